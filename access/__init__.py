"""Access to the institution's API: credentials with a role, short-lived tokens, and the authorizer of routes.

A credential is an id and a secret. It is sent as an API key, or exchanged for a token (OAuth2 client credentials).

The entry points: `access.credentials.Credentials`, `access.guard.Authorizer`, `access.admin.create`. Nothing is
imported here, so that a command does not wait for a web framework that it does not use.
"""
