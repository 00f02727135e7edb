"""Changes of what is in service: each asks for a reason and an approver, and is written down before it takes effect.

`champion` decides, `challenger` is tried beside it, `previous` is what a rollback returns to. What these functions
return is to be published to the control topic, where the workers read it.
"""

from models.registry.store import Alias, Change, Registry, Version
from models.scorer import load_scorer
from vedette.control import Guard, Models
from vedette.errors import InputError


def challenge(
    registry: Registry, version: Version, share: float, guard: Guard, *, approver: str, reason: str, at: int
) -> Models:
    """Have a version score beside the champion, and decide for a share of the accounts.

    Raises:
        InputError: There is no champion, the version is the champion or archived, or nobody approves.
        ModelError: The version cannot score.
    """
    _usable(registry, version)
    now = _now(registry)
    if version.standing == "champion":
        raise InputError(f"{version.ref} is the champion", remedy="name another version")
    change = Change(at=at, act="challenge", version=str(version.ref), approver=approver, reason=reason, share=share)
    models = Models(
        champion=now.champion, challenger=version.ref, share=share, guard=guard,
        at=at, approver=approver, reason=reason,
    )  # fmt: skip
    return _put(registry, models, change, {"challenger": version})


def withdraw(registry: Registry, *, approver: str, reason: str, at: int) -> Models:
    """End the challenge; the champion decides for all accounts.

    Raises:
        InputError: There is no challenger, or nobody approves.
    """
    now = _now(registry)
    if now.challenger is None:
        raise InputError("there is no challenger to withdraw")
    change = Change(at=at, act="withdraw", version=str(now.challenger), approver=approver, reason=reason)
    models = Models(champion=now.champion, at=at, approver=approver, reason=reason)
    return _put(registry, models, change, {"challenger": None})


def promote(registry: Registry, version: Version, *, approver: str, reason: str, at: int) -> Models:
    """Make a version the champion; the one before can be returned to.

    Raises:
        InputError: It is the champion or archived, or nobody approves.
        ModelError: It cannot score.
    """
    _usable(registry, version)
    if version.standing == "champion":
        raise InputError(f"{version.ref} is the champion already")
    change = Change(at=at, act="promote", version=str(version.ref), approver=approver, reason=reason)
    models = Models(champion=version.ref, at=at, approver=approver, reason=reason)
    aliases: dict[Alias, Version | None] = {
        "champion": version, "previous": registry.holder("champion"), "challenger": None,
    }  # fmt: skip
    return _put(registry, models, change, aliases)


def rollback(registry: Registry, *, approver: str, reason: str, at: int) -> Models:
    """Return to the champion before; a challenger is withdrawn.

    Raises:
        InputError: There is none to return to, or nobody approves.
        ModelError: It can no longer score.
    """
    before = registry.holder("previous")
    if before is None:
        raise InputError("there is no champion before this one to return to")
    _usable(registry, before)
    change = Change(at=at, act="rollback", version=str(before.ref), approver=approver, reason=reason)
    models = Models(champion=before.ref, at=at, approver=approver, reason=reason)
    return _put(registry, models, change, {"champion": before, "previous": None, "challenger": None})


def archive(registry: Registry, version: Version, *, approver: str, reason: str, at: int) -> None:
    """Put a version away: it can no longer be promoted.

    Raises:
        InputError: It is in service, or nobody approves.
    """
    if version.standing in ("champion", "challenger"):
        raise InputError(f"{version.ref} is in service as {version.standing}", remedy="put another in its place")
    change = Change(at=at, act="archive", version=str(version.ref), approver=approver, reason=reason)
    registry.write(change)
    registry.put_away(version)


def _now(registry: Registry) -> Models:
    if (now := registry.in_force()) is None:
        raise InputError("there is no champion yet", remedy="`vedette models promote` makes one")
    return now


def _usable(registry: Registry, version: Version) -> None:
    if version.standing == "archived":
        raise InputError(f"{version.ref} is archived", remedy="register another version")
    load_scorer(registry.folder(version))


def _put(registry: Registry, models: Models, change: Change, aliases: dict[Alias, Version | None]) -> Models:
    registry.write(change)
    registry.put(models, aliases)
    return models
