"""Every route with what it requires. A route that is not in this table cannot be served."""

from dataclasses import dataclass

from console.roles import Permission


@dataclass(frozen=True, slots=True)
class Access:
    """What a route requires.

    Attributes:
        permission: The permission; None: any signed-in person.
        public: Whether it is open to people who are not signed in.
        background: Whether pages call it by themselves, so that it does not keep a session alive.
    """

    permission: Permission | None = None
    public: bool = False
    background: bool = False


_PUBLIC = Access(public=True)
_ANYBODY = Access()
_READ = Access(Permission.INCIDENTS_READ)
_WORK = Access(Permission.INCIDENTS_WORK)
_BULK = Access(Permission.INCIDENTS_BULK)
_PAYMENTS = Access(Permission.PAYMENTS_READ)
_LIVE = Access(Permission.LIVE_READ)
_POLICY = Access(Permission.POLICY_READ)
_MODELS = Access(Permission.MODELS_READ)
_MODELS_APPROVE = Access(Permission.MODELS_APPROVE)
_DRAFT = Access(Permission.POLICY_DRAFT)
_APPROVE = Access(Permission.POLICY_APPROVE)

ROUTES: dict[tuple[str, str], Access] = {
    ("GET", "/sign-in"): _PUBLIC,
    ("POST", "/sign-in"): _PUBLIC,
    ("GET", "/sign-in/oidc"): _PUBLIC,
    ("GET", "/sign-in/oidc/callback"): _PUBLIC,
    ("GET", "/me/confirm"): _ANYBODY,
    ("POST", "/me/confirm"): _ANYBODY,
    ("GET", "/me/confirm/oidc"): _ANYBODY,
    ("GET", "/invitation/{token}"): _PUBLIC,
    ("POST", "/invitation/{token}"): _PUBLIC,
    ("GET", "/healthz"): _PUBLIC,
    ("GET", "/readyz"): _PUBLIC,
    ("GET", "/"): _ANYBODY,
    ("POST", "/sign-out"): _ANYBODY,
    ("GET", "/me"): _ANYBODY,
    ("POST", "/me/preferences"): _ANYBODY,
    ("POST", "/me/sign-out-everywhere"): _ANYBODY,
    ("GET", "/roles"): _ANYBODY,
    ("GET", "/users"): Access(Permission.USERS_READ),
    ("POST", "/users"): Access(Permission.USERS_MANAGE),
    ("POST", "/users/{name}/invite"): Access(Permission.USERS_MANAGE),
    ("POST", "/users/{name}/disable"): Access(Permission.USERS_MANAGE),
    ("POST", "/users/{name}/enable"): Access(Permission.USERS_MANAGE),
    ("GET", "/queue"): _READ,
    ("GET", "/queue/arrivals"): Access(Permission.INCIDENTS_READ, background=True),
    ("POST", "/queue/next"): _WORK,
    ("POST", "/queue/bulk"): _BULK,
    ("POST", "/queue/bulk/close"): _BULK,
    ("GET", "/cases/{number}"): _READ,
    ("GET", "/cases/{number}/account"): _READ,
    ("POST", "/cases/{number}/presence"): Access(Permission.INCIDENTS_READ, background=True),
    ("POST", "/cases/{number}/claim"): _WORK,
    ("POST", "/cases/{number}/release"): _WORK,
    ("POST", "/cases/{number}/close"): _WORK,
    ("POST", "/cases/{number}/undo"): _WORK,
    ("POST", "/cases/{number}/note"): _WORK,
    ("GET", "/cases/{number}/question"): Access(Permission.INCIDENTS_READ, background=True),
    ("POST", "/cases/{number}/ask"): _WORK,
    ("GET", "/find"): _PAYMENTS,
    ("GET", "/payments/{transaction:path}"): _PAYMENTS,
    ("GET", "/proofs/{transaction:path}"): Access(Permission.PAYMENTS_READ, background=True),
    ("POST", "/proofs/{transaction:path}"): _PAYMENTS,
    ("GET", "/reports"): Access(Permission.REPORTS_READ),
    ("GET", "/reports/file"): Access(Permission.REPORTS_READ),
    ("GET", "/live"): _LIVE,
    ("GET", "/live/stream"): Access(Permission.LIVE_READ, background=True),
    ("GET", "/policy"): _POLICY,
    ("GET", "/policy/rules"): _POLICY,
    ("GET", "/policy/lists/{name}"): _POLICY,
    ("GET", "/policy/columns"): _POLICY,
    ("POST", "/policy/drafts"): _DRAFT,
    ("GET", "/policy/drafts/{number}"): _POLICY,
    ("POST", "/policy/drafts/{number}"): _DRAFT,
    ("POST", "/policy/drafts/{number}/check"): Access(Permission.POLICY_DRAFT, background=True),
    ("POST", "/policy/drafts/{number}/entries"): _DRAFT,
    ("POST", "/policy/drafts/{number}/submit"): _DRAFT,
    ("POST", "/policy/drafts/{number}/withdraw"): _DRAFT,
    ("POST", "/policy/drafts/{number}/discard"): _DRAFT,
    ("POST", "/policy/drafts/{number}/approve"): _APPROVE,
    ("POST", "/policy/drafts/{number}/refuse"): _APPROVE,
    ("POST", "/policy/drafts/{number}/whatif"): Access(Permission.POLICY_PRICE),
    ("GET", "/policy/whatif/{number}"): Access(Permission.POLICY_READ, background=True),
    ("POST", "/policy/whatif/{number}/cancel"): Access(Permission.POLICY_PRICE),
    ("GET", "/models"): _MODELS,
    ("GET", "/models/compare"): _MODELS,
    ("GET", "/models/{number}"): _MODELS,
    ("GET", "/models/{number}/card"): _MODELS,
    ("POST", "/models/publish"): _MODELS_APPROVE,
    ("POST", "/models/figures/{kind}"): _MODELS,
    ("GET", "/models/figures/{kind}"): Access(Permission.MODELS_READ, background=True),
    ("POST", "/models/proposals"): Access(Permission.MODELS_PROPOSE),
    ("GET", "/models/proposals/{number}"): _MODELS,
    ("POST", "/models/proposals/{number}/discard"): Access(Permission.MODELS_PROPOSE),
    ("POST", "/models/proposals/{number}/approve"): _MODELS_APPROVE,
    ("POST", "/models/proposals/{number}/refuse"): _MODELS_APPROVE,
    ("GET", "/score"): Access(Permission.PREVIEWS_ASK),
    ("POST", "/score"): Access(Permission.PREVIEWS_ASK),
    ("GET", "/audit"): Access(Permission.AUDIT_READ),
    ("POST", "/audit/verify"): Access(Permission.AUDIT_READ),
}
