"""The compacted `control` topic: which models and which policy are in force, since when, and who approved it.

One record holds champion, challenger and rollout fraction together, so that no worker ever sees half of a change.
Reading a record twice changes nothing, and only the latest record of each key counts.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.errors import InputError
from vedette.reading import UNREADABLE

MODELS = "models"
POLICY = "policy"
"""Keys of the topic."""

POLICY_FILE = "policy.yaml"
"""Name under which a policy record holds the policy itself."""


class ModelRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of the registry, and the hash that proves that a folder is that version.

    Attributes:
        name: Name of the model.
        version: First eight hexadecimal digits of the booster's hash.
        contract_sha256: SHA-256 of `contract.json`, which in turn names the hash of the booster.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    version: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$")]
    contract_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class RolloutGuardrail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions under which a challenger is withdrawn automatically.

    Both models score every payment, so their alert rates are compared on the same payments. A model that fails while
    it scores (an exception, or a score that is not a number) is withdrawn at once.

    Attributes:
        max_alert_ratio: The challenger may flag at most this many times as many payments as the champion.
        min_payments: Payments that both models must have scored before their alert rates are compared.
    """

    max_alert_ratio: Annotated[float, Meta(gt=1)] = 2.0
    min_payments: Annotated[int, Meta(ge=100)] = 2_000


class Models(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The models in force.

    Attributes:
        champion: The model that decides.
        challenger: The model on trial: it scores the same payments and decides for `rollout_fraction` of the accounts.
        rollout_fraction: From 0, shadow only, to 1. Which accounts are chosen depends on challenger and account alone.
        previous: The champion before, to which a rollback returns; None if there is none.
        guardrail: Conditions under which the challenger is withdrawn.
        withdrawn: The challenger that the guardrail has withdrawn with this record, if any.
        at: Time of this change, milliseconds UTC.
        approver: Person who approved it; `guardrail` for a withdrawal by a worker.
        reason: Reason for the change.
    """

    champion: ModelRef
    challenger: ModelRef | None = None
    rollout_fraction: Annotated[float, Meta(ge=0, le=1)] = 0.0
    previous: ModelRef | None = None
    guardrail: RolloutGuardrail = RolloutGuardrail()
    withdrawn: ModelRef | None = None
    at: int
    approver: str
    reason: str


BY_GUARDRAIL = "guardrail"
"""Approver of the records with which workers withdraw a challenger."""


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy in force.

    Attributes:
        name: Name and version.
        files: Content by file name: the policy itself under POLICY_FILE, and the files that its lists name.
        at: Time of this change, milliseconds UTC.
        approver: Person who approved it.
        reason: Reason for the change.
    """

    name: str
    files: dict[str, str]
    at: int
    approver: str
    reason: str


ControlRecord = Models | PolicyRecord


def decode(key: str, value: bytes) -> ControlRecord:
    """Decode a record of the topic.

    Raises:
        InputError: The key is unknown, or the value does not match its key.
    """
    kinds: dict[str, type[Models | PolicyRecord]] = {MODELS: Models, POLICY: PolicyRecord}
    if key not in kinds:
        raise InputError(f"the control topic has a record {key!r}", remedy=f"known keys are {', '.join(kinds)}")
    try:
        return msgspec.json.decode(value, type=kinds[key])
    except UNREADABLE as error:
        remedy = "`vedette models publish`" if key == MODELS else "`vedette policy apply`"
        raise InputError(f"control record {key!r}: {error}", remedy=f"{remedy} writes it again") from error


def key_of(record: ControlRecord) -> str:
    """Return the key under which a record is published."""
    return MODELS if isinstance(record, Models) else POLICY
