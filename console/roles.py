"""Roles of people and what each of them may do. The page `/roles` shows this table."""

from enum import StrEnum


class Permission(StrEnum):
    """A permission that routes require."""

    INCIDENTS_READ = "incidents:read"
    INCIDENTS_WORK = "incidents:work"
    INCIDENTS_BULK = "incidents:bulk"
    PAYMENTS_READ = "payments:read"
    LIVE_READ = "live:read"
    POLICY_READ = "policy:read"
    POLICY_PRICE = "policy:price"
    POLICY_DRAFT = "policy:draft"
    POLICY_APPROVE = "policy:approve"
    MODELS_READ = "models:read"
    MODELS_PROPOSE = "models:propose"
    MODELS_APPROVE = "models:approve"
    PREVIEWS_ASK = "previews:ask"
    REPORTS_READ = "reports:read"
    OPERATIONS_READ = "operations:read"
    AUDIT_READ = "audit:read"
    USERS_READ = "users:read"
    USERS_MANAGE = "users:manage"


class StaffRole(StrEnum):
    """The role of a person; programs have those of access.roles."""

    ANALYST = "analyst"
    LEAD = "lead"
    REPRESENTATIVE = "representative"
    MODEL_BUILDER = "model-builder"
    APPROVER = "approver"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


_ANALYST = frozenset(
    {Permission.INCIDENTS_READ, Permission.INCIDENTS_WORK, Permission.PAYMENTS_READ, Permission.LIVE_READ}
)
_DECIDING = frozenset(
    {
        Permission.LIVE_READ, Permission.POLICY_READ, Permission.POLICY_PRICE, Permission.MODELS_READ,
        Permission.REPORTS_READ,
    }
)  # fmt: skip

PERMISSIONS: dict[StaffRole, frozenset[Permission]] = {
    StaffRole.ANALYST: _ANALYST | {Permission.PREVIEWS_ASK},
    StaffRole.LEAD: _ANALYST
    | _DECIDING
    | {Permission.INCIDENTS_BULK, Permission.POLICY_DRAFT, Permission.PREVIEWS_ASK, Permission.AUDIT_READ},
    StaffRole.REPRESENTATIVE: frozenset({Permission.PAYMENTS_READ}),
    StaffRole.MODEL_BUILDER: _DECIDING | {Permission.POLICY_DRAFT, Permission.MODELS_PROPOSE, Permission.PREVIEWS_ASK},
    StaffRole.APPROVER: _DECIDING | {Permission.POLICY_APPROVE, Permission.MODELS_APPROVE},
    StaffRole.AUDITOR: frozenset(permission for permission in Permission if permission.endswith(":read")),
    StaffRole.OPERATOR: frozenset({Permission.LIVE_READ, Permission.OPERATIONS_READ}),
    StaffRole.ADMINISTRATOR: frozenset({Permission.USERS_READ, Permission.USERS_MANAGE}),
}
"""Administrators manage accounts and see no payment; auditors see everything and change nothing."""
