"""Roles and their scopes. A credential may have fewer scopes than its role, never more."""

from enum import StrEnum


class Scope(StrEnum):
    """A permission that routes require."""

    CHALLENGES_READ = "challenges:read"
    CHALLENGES_WRITE = "challenges:write"
    ENROLMENT_READ = "enrolment:read"
    ENROLMENT_WRITE = "enrolment:write"
    CALLS_INVITE = "calls:invite"
    CALLS_CHECK = "calls:check"
    CALLS_READ = "calls:read"
    DECISIONS_READ = "decisions:read"
    DECISIONS_WRITE = "decisions:write"
    DECISIONS_PREVIEW = "decisions:preview"
    TRANSACTIONS_WRITE = "transactions:write"
    LABELS_WRITE = "labels:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"


class Role(StrEnum):
    """The role of a credential. Customers do not have roles: their sessions begin with a link."""

    APP = "app"
    REPRESENTATIVE = "representative"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    PAYMENTS = "payments"


DESCRIPTIONS = {
    Scope.CHALLENGES_READ: "see challenges and how they ended",
    Scope.CHALLENGES_WRITE: "issue challenges and submit answers",
    Scope.ENROLMENT_READ: "see which factors a customer has",
    Scope.ENROLMENT_WRITE: "enrol, change and remove factors",
    Scope.CALLS_INVITE: "get the link to a customer's own page of call checks",
    Scope.CALLS_CHECK: "start call checks and type in what the customer reads out",
    Scope.CALLS_READ: "see call checks and how they ended, without codes",
    Scope.DECISIONS_READ: "see decisions on payments, and follow them until they are final",
    Scope.DECISIONS_PREVIEW: "see the decision that a payment would get, without submitting it",
    Scope.DECISIONS_WRITE: "submit payments and wait for their decisions",
    Scope.TRANSACTIONS_WRITE: "submit payments without waiting for decisions",
    Scope.LABELS_WRITE: "say which payments were fraud",
    Scope.WEBHOOKS_READ: "see webhooks and what became of their deliveries",
    Scope.WEBHOOKS_WRITE: "register, pause, replay and remove webhooks",
}

SCOPES = {
    Role.APP: frozenset(
        {
            Scope.CHALLENGES_READ, Scope.CHALLENGES_WRITE, Scope.ENROLMENT_READ, Scope.ENROLMENT_WRITE,
            Scope.CALLS_INVITE,
        }
    ),
    Role.REPRESENTATIVE: frozenset({Scope.CALLS_CHECK, Scope.CALLS_READ}),
    Role.ANALYST: frozenset({Scope.CHALLENGES_READ, Scope.CALLS_READ, Scope.DECISIONS_READ}),
    Role.AUDITOR: frozenset(
        {Scope.CHALLENGES_READ, Scope.ENROLMENT_READ, Scope.CALLS_READ, Scope.DECISIONS_READ}
    ),
    Role.PAYMENTS: frozenset(
        {
            Scope.DECISIONS_READ, Scope.DECISIONS_WRITE, Scope.DECISIONS_PREVIEW, Scope.TRANSACTIONS_WRITE,
            Scope.LABELS_WRITE, Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE,
        }
    ),
}  # fmt: skip
"""An app could read the codes that a customer reads out, and a representative types them in: nobody has both."""
