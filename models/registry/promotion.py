"""Changes of what is in service: each needs a reason and an approver, and is recorded before it takes effect.

The `champion` decides, the `challenger` is on trial, and a rollback returns to `previous`. The functions return the
record to publish on the control topic, which the workers follow.
"""

import msgspec

from models.registry.store import Alias, Registry, StandingChange, Version, check_approved
from vedette.control import Models, RolloutGuardrail
from vedette.errors import InputError


def start_trial(
    registry: Registry,
    version: Version,
    rollout_fraction: float,
    guardrail: RolloutGuardrail,
    *,
    approver: str,
    reason: str,
    at: int,
) -> Models:
    """Let a version score every payment in parallel with the champion, and decide for a fraction of the accounts.

    Raises:
        InputError: There is no champion, the version is the champion or archived, or approver or reason is missing.
        ModelError: The version cannot score.
    """
    _check_usable(registry, version)
    now = _in_force(registry)
    if version.standing == "champion":
        raise InputError(f"{version.ref} is the champion", remedy="name another version")
    change = StandingChange(
        at=at, act="start_trial", version=str(version.ref), approver=approver, reason=reason,
        rollout_fraction=rollout_fraction,
    )  # fmt: skip
    models = Models(
        champion=now.champion, previous=now.previous, challenger=version.ref, rollout_fraction=rollout_fraction,
        guardrail=guardrail, at=at, approver=approver, reason=reason,
    )  # fmt: skip
    return _apply(registry, models, change, {"challenger": version})


def end_trial(registry: Registry, *, approver: str, reason: str, at: int) -> Models:
    """End the trial: the champion decides for all accounts.

    Raises:
        InputError: There is no challenger, or approver or reason is missing.
    """
    now = _in_force(registry)
    if now.challenger is None:
        raise InputError("there is no trial to end: no version is the challenger")
    change = StandingChange(at=at, act="end_trial", version=str(now.challenger), approver=approver, reason=reason)
    models = Models(champion=now.champion, previous=now.previous, at=at, approver=approver, reason=reason)
    return _apply(registry, models, change, {"challenger": None})


def promote(registry: Registry, version: Version, *, approver: str, reason: str, at: int) -> Models:
    """Make a version the champion; `rollback` returns to the one before.

    Raises:
        InputError: The version is the champion or archived, or approver or reason is missing.
        ModelError: The version cannot score.
    """
    _check_usable(registry, version)
    if version.standing == "champion":
        raise InputError(f"{version.ref} is already the champion")
    change = StandingChange(at=at, act="promote", version=str(version.ref), approver=approver, reason=reason)
    before = registry.holder("champion")
    models = Models(
        champion=version.ref, previous=before.ref if before else None, at=at, approver=approver, reason=reason
    )
    aliases: dict[Alias, Version | None] = {"champion": version, "previous": before, "challenger": None}
    return _apply(registry, models, change, aliases)


def rollback(registry: Registry, *, approver: str, reason: str, at: int) -> Models:
    """Return to the previous champion; a trial ends.

    The previous champion has been in service before, so it is not loaded here: in an emergency this takes seconds. Its
    folder is verified by its hash, and a worker that cannot load it keeps the current champion and reports it.

    Raises:
        InputError: There is no previous champion, it is archived, or approver or reason is missing.
        ModelError: Its folder is not the one that was registered.
    """
    previous = registry.holder("previous")
    if previous is None:
        raise InputError("there is no previous champion to return to")
    _check_not_archived(previous)
    registry.folder(previous)
    change = StandingChange(at=at, act="rollback", version=str(previous.ref), approver=approver, reason=reason)
    models = Models(champion=previous.ref, at=at, approver=approver, reason=reason)
    return _apply(registry, models, change, {"champion": previous, "previous": None, "challenger": None})


def rolled_back(now: Models, *, approver: str, reason: str, at: int) -> Models:
    """Return the record that rolls back the models in force, without asking the registry.

    In an emergency the record is published first; `rollback` then records it in the registry.

    Raises:
        InputError: There is no previous champion, or approver or reason is missing.
    """
    check_approved(approver, reason)
    if now.previous is None:
        raise InputError("there is no previous champion to return to")
    return Models(champion=now.previous, at=at, approver=approver, reason=reason)


def archive(registry: Registry, version: Version, *, approver: str, reason: str, at: int) -> Models | None:
    """Archive a version, so that it can no longer be promoted.

    Returns:
        The record to publish if a rollback would have returned to this version; otherwise None.

    Raises:
        InputError: The version is in service, or approver or reason is missing.
    """
    if version.standing in ("champion", "challenger"):
        raise InputError(f"{version.ref} is in service as {version.standing}", remedy="put another in its place")
    change = StandingChange(at=at, act="archive", version=str(version.ref), approver=approver, reason=reason)
    registry.write(change)
    registry.put_away(version)
    now = registry.in_force()
    if now is None or now.previous != version.ref:
        return None
    models = msgspec.structs.replace(now, previous=None, at=at, approver=approver, reason=reason)
    registry.put(models, {})
    return models


def _in_force(registry: Registry) -> Models:
    if (now := registry.in_force()) is None:
        raise InputError("there is no champion yet", remedy="`vedette models promote` makes one")
    return now


def _check_not_archived(version: Version) -> None:
    if version.standing == "archived":
        raise InputError(f"{version.ref} is archived", remedy="register another version")


def _check_usable(registry: Registry, version: Version) -> None:
    _check_not_archived(version)
    from models.scorer import load_scorer  # noqa: PLC0415 - brings LightGBM, which takes seconds

    load_scorer(registry.folder(version))


def _apply(registry: Registry, models: Models, change: StandingChange, aliases: dict[Alias, Version | None]) -> Models:
    registry.write(change)
    registry.put(models, aliases)
    return models
