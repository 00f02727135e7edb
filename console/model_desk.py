"""The models for people: versions and what is in service, proposals, and carrying one out by four eyes."""

import hashlib
from threading import Lock
from typing import Literal

import msgspec

from access.ports import AuditSink
from console.changes.proposals import Proposal, Proposals
from console.control_topic import ControlTopic
from models.folder import Contract, read_contract
from models.registry import Registry, Version, promotion
from models.registry.store import StandingChange
from streams.model_changes import Gap, change_models, gap, publish_again, roll_back
from vedette.clock import Clock
from vedette.control import Models, RolloutGuardrail
from vedette.errors import InputError, UnavailableError
from vedette.settings import Settings

Act = Literal["promote", "start_trial", "end_trial", "rollback", "archive"]
OF_VERSION: tuple[Act, ...] = ("start_trial", "promote", "archive")
"""Changes that name a version; the others concern what is in service."""


class ModelChange(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed change.

    Attributes:
        act: What is to be done.
        version: The version, as `name@version`; empty where the change names none.
        fraction: For a trial: of the accounts, the share for which it decides.
        guardrail: For a trial: when it is withdrawn by itself.
    """

    act: Act
    version: str = ""
    fraction: float = 0.0
    guardrail: RolloutGuardrail = RolloutGuardrail()


class ModelsView(msgspec.Struct, frozen=True, kw_only=True):
    """What there is.

    Attributes:
        versions: All versions, the newest first.
        contracts: By number, the contract of a version.
        in_force: The models in service by the registry; None before the first promotion.
        followed: The models that workers follow; None: no record, or unknown.
        gap: How these two differ.
        unknown: Why it is not known what workers follow.
    """

    versions: list[Version]
    contracts: dict[int, Contract]
    in_force: Models | None
    followed: Models | None
    gap: Gap
    unknown: str


class ModelDesk:
    """Reading and changing the models in service.

    Args:
        control: The control topic.
        settings: Settings of the deployment.
        proposals: Proposals about models.
        audit: The audit log.
        clock: The clock.
    """

    def __init__(
        self, control: ControlTopic, settings: Settings, proposals: Proposals, audit: AuditSink, clock: Clock
    ) -> None:
        self._audit = audit
        self._control, self._settings, self.proposals, self._clock = control, settings, proposals, clock
        self._lock = Lock()
        self._opened: Registry | None = None

    def registry(self) -> Registry:
        """Return the registry.

        Raises:
            UnavailableError: It does not answer, or MLflow is not installed.
        """
        with self._lock:
            if self._opened is None:
                self._opened = Registry(self._settings.registry)
            return self._opened

    def view(self) -> ModelsView:
        """Return all versions and what is in service.

        Raises:
            UnavailableError: The registry does not answer.
            ModelError: A copy of a version is not the one that was registered.
        """
        registry = self.registry()
        versions, now = registry.versions()[::-1], registry.in_force()
        followed, unknown = self._followed()
        contracts = {each.number: read_contract(registry.folder(each)) for each in versions if shown(each)}
        differs = "" if unknown else gap(now, followed)
        return ModelsView(
            versions=versions, contracts=contracts, in_force=now, followed=followed, gap=differs, unknown=unknown
        )  # fmt: skip

    def version(self, number: int) -> tuple[Version, Contract, list[StandingChange]]:
        """Return a version, its contract, and every change of its standing.

        Raises:
            InputError: There is none of this number.
        """
        registry = self.registry()
        found = registry.find(str(number))
        changes = [change for change in registry.changes() if change.version == str(found.ref)]
        return found, read_contract(registry.folder(found)), changes

    def propose(self, who: str, change: ModelChange, reason: str) -> Proposal:
        """Propose a change that is possible now.

        Raises:
            InputError: It is not, or the reason is missing.
            UnavailableError: The registry does not answer.
        """
        registry = self.registry()
        now = registry.in_force()
        if change.act in OF_VERSION:
            version = registry.find(change.version)
            if version.standing in ("archived", "champion"):
                raise InputError(f"{version.ref} is {version.standing}")
            change = msgspec.structs.replace(change, version=str(version.ref))
            if change.act == "start_trial" and now is None:
                raise InputError("there is no champion yet that a trial could be compared with")
            if change.act == "archive" and version.standing == "challenger":
                raise InputError(f"{version.ref} is on trial", remedy="end the trial first")
        elif change.act == "end_trial" and (now is None or now.challenger is None):
            raise InputError("there is no trial to end")
        elif change.act == "rollback" and (now is None or now.previous is None):
            raise InputError("there is no previous champion to return to")
        return self.proposals.propose(who, msgspec.json.encode(change).decode(), reason)

    def digest(self) -> str:
        """Return a hash of what is in service by the registry."""
        return hashlib.sha256(msgspec.json.encode(self.registry().in_force())).hexdigest()

    def approve(self, number: int, who: str, revision: int, seen: str) -> Proposal:
        """Carry out somebody else's proposal, as the commands do.

        Args:
            number: The proposal.
            who: Who approves.
            revision: The revision that this person has seen.
            seen: Digest of what was in service then.

        Raises:
            InputError: It cannot be approved, or something else has come into service meanwhile.
            ModelError: The version cannot score.
            UnavailableError: Registry or broker does not answer.
        """

        def apply(proposal: Proposal) -> str:
            if self.digest() != seen:
                raise InputError("other models have come into service meanwhile", remedy="look at the page again")
            before = self.registry().in_force()
            self._carry_out(change_of(proposal), who, proposal.reason)
            return msgspec.json.encode(before).decode()

        return self.proposals.approve(number, who, revision, apply)

    def publish_again(self, who: str) -> None:
        """Make the workers follow the registry.

        Args:
            who: Who asks for it.

        Raises:
            InputError: There is no champion yet.
            UnavailableError: Registry or broker does not answer.
        """
        self._audit.record("models.published", "models:in-force", {}, actor=who)
        publish_again(self._settings, self.registry())
        self._control.forget()

    def _carry_out(self, change: ModelChange, who: str, reason: str) -> None:
        registry, at = self.registry(), self._clock.now_ms()
        if change.act == "rollback":
            followed, _ = self._followed(fresh=True)
            roll_back(self._settings, self.registry, followed, approver=who, reason=reason, at=at)
        elif change.act == "archive":
            promotion.archive(registry, registry.find(change.version), approver=who, reason=reason, at=at)
        else:
            change_models(self._settings, registry, lambda opened: _applied(opened, change, who, reason, at))
        self._control.forget()

    def _followed(self, *, fresh: bool = False) -> tuple[Models | None, str]:
        try:
            return self._control.state(fresh=fresh).models, ""
        except (InputError, UnavailableError) as error:
            return None, str(error)


def _applied(registry: Registry, change: ModelChange, approver: str, reason: str, at: int) -> Models:
    if change.act == "end_trial":
        return promotion.end_trial(registry, approver=approver, reason=reason, at=at)
    version = registry.find(change.version)
    if change.act == "promote":
        return promotion.promote(registry, version, approver=approver, reason=reason, at=at)
    return promotion.start_trial(
        registry, version, change.fraction, change.guardrail, approver=approver, reason=reason, at=at
    )


def change_of(proposal: Proposal) -> ModelChange:
    """Return the change of a proposal."""
    return msgspec.json.decode(proposal.content, type=ModelChange)


def shown(version: Version) -> bool:
    """Return whether the figures of a version are shown beside those of others."""
    return version.standing != "archived"
