"""What the compacted `control` topic says: which models and which policy are in force, since when, and by whose word.

One record holds champion, challenger and share together, so that no worker ever sees half of a change. A record that
comes again has the same content, and the latest of each key is all there is to know.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.errors import InputError

MODELS = "models"
POLICY = "policy"
"""Keys of the topic."""

POLICY_FILE = "policy.yaml"
"""Under which name a policy record holds the policy itself."""


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the registry, and what proves that a folder is that version.

    Attributes:
        name: What the model is called.
        version: First eight hexadecimal digits of its booster's hash.
        contract_sha256: SHA-256 of `contract.json`, which in turn names the hash of the booster.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    version: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$")]
    contract_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """When the newer of two models is taken out of service without asking anybody.

    Both score every payment, so their alert rates are compared on the very same payments. An error while it scores
    (an exception, or a score that is no number) takes a model out at once.

    Attributes:
        most_alerts: The newer model may flag at most this many times as many payments as the other.
        least_payments: Nothing is judged before so many payments were scored by both.
    """

    most_alerts: Annotated[float, Meta(gt=1)] = 2.0
    least_payments: Annotated[int, Meta(ge=100)] = 2_000


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The models in force.

    Attributes:
        champion: Decides.
        challenger: Scores the same payments in its shadow, and decides for `share` of the accounts.
        share: From 0, shadow only, to 1. Which accounts are in it depends on the challenger and the account alone.
        guard: When the challenger is taken out of service.
        at: When this was decided, milliseconds UTC.
        approver: Who decided.
        reason: Why.
    """

    champion: ModelRef
    challenger: ModelRef | None = None
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    guard: Guard = Guard()
    at: int
    approver: str
    reason: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in force.

    Attributes:
        name: Name and version.
        files: Content by file name: the policy itself under POLICY_FILE, and the files that its lists name.
        at: When this was decided, milliseconds UTC.
        approver: Who decided.
        reason: Why.
    """

    name: str
    files: dict[str, str]
    at: int
    approver: str
    reason: str


Record = Models | Policy


def decode(key: str, value: bytes) -> Record:
    """A record of the topic.

    Raises:
        InputError: The key is unknown or the value not of its form.
    """
    kinds: dict[str, type[Models | Policy]] = {MODELS: Models, POLICY: Policy}
    if key not in kinds:
        raise InputError(f"the control topic has a record {key!r}", remedy=f"known are {', '.join(kinds)}")
    try:
        return msgspec.json.decode(value, type=kinds[key])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"control record {key!r}: {error}", remedy="publish it again from the registry") from error


def key_of(record: Record) -> str:
    """Under which key a record is published."""
    return MODELS if isinstance(record, Models) else POLICY
