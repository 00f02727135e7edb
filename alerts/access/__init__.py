"""Who may call the institution's API: credentials with a role, tokens that live for minutes, and the guard of routes.

A credential is an id and a secret. It is sent as an API key, or exchanged for a token (OAuth2 client credentials).
"""

from alerts.access.admin import create, list_all, revoke
from alerts.access.credentials import Created, Credential, Credentials
from alerts.access.guard import Guard
from alerts.access.roles import Role, Scope
from alerts.access.tokens import Tokens
from alerts.access.web import token_router

__all__ = [
    "Created",
    "Credential",
    "Credentials",
    "Guard",
    "Role",
    "Scope",
    "Tokens",
    "create",
    "list_all",
    "revoke",
    "token_router",
]
