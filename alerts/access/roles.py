"""What each role may do. A credential may be given fewer scopes than its role has, never more."""

from enum import StrEnum


class Scope(StrEnum):
    """A permission; routes ask for one."""

    CHALLENGES_READ = "challenges:read"
    CHALLENGES_WRITE = "challenges:write"
    ENROLMENT_READ = "enrolment:read"
    ENROLMENT_WRITE = "enrolment:write"
    CALLS_INVITE = "calls:invite"
    CALLS_CHECK = "calls:check"
    CALLS_READ = "calls:read"


class Role(StrEnum):
    """Who somebody is. Customers are none of these: their sessions begin with a link."""

    APP = "app"
    REPRESENTATIVE = "representative"
    ANALYST = "analyst"
    AUDITOR = "auditor"


ABOUT = {
    Scope.CHALLENGES_READ: "see challenges and how they ended",
    Scope.CHALLENGES_WRITE: "issue challenges and submit answers",
    Scope.ENROLMENT_READ: "see which factors a customer has",
    Scope.ENROLMENT_WRITE: "enrol, change and remove factors",
    Scope.CALLS_INVITE: "get the link to a customer's own page of call checks",
    Scope.CALLS_CHECK: "start call checks and type in what the customer reads out",
    Scope.CALLS_READ: "see call checks and how they ended, without codes",
}

SCOPES = {
    Role.APP: frozenset(
        {
            Scope.CHALLENGES_READ, Scope.CHALLENGES_WRITE, Scope.ENROLMENT_READ, Scope.ENROLMENT_WRITE,
            Scope.CALLS_INVITE,
        }
    ),
    Role.REPRESENTATIVE: frozenset({Scope.CALLS_CHECK, Scope.CALLS_READ}),
    Role.ANALYST: frozenset({Scope.CHALLENGES_READ, Scope.CALLS_READ}),
    Role.AUDITOR: frozenset({Scope.CHALLENGES_READ, Scope.ENROLMENT_READ, Scope.CALLS_READ}),
}  # fmt: skip
"""An app could read the codes that a customer reads out, and a representative types them in: nobody has both."""
