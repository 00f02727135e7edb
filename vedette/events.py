"""What travels on the topics. Times are milliseconds since 1970-01-01 UTC, amounts are minor units.

No event carries the moment it was made: Kafka's own timestamp says that, and so a decision that is published
again after a crash has the very same bytes.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_AMOUNT = 10**15
MAX_TIME = 4_102_444_800_000  # 2100-01-01

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Currency = Annotated[str, Meta(min_length=3, max_length=3, description="ISO 4217 code")]
Country = Annotated[str, Meta(min_length=2, max_length=2, description="ISO 3166-1 alpha-2 code")]
IpAddress = Annotated[str, Meta(min_length=2, max_length=45)]
Amount = Annotated[int, Meta(ge=0, le=MAX_AMOUNT, description="minor units of the currency")]
Time = Annotated[int, Meta(ge=0, le=MAX_TIME, description="milliseconds since 1970-01-01 UTC")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]

Channel = Literal["pos", "ecom", "atm", "transfer", "phone"]
Action = Literal["approve", "challenge", "review", "decline"]
ChallengeStatus = Literal["issued", "approved", "denied", "expired", "blocked"]
CallOutcome = Literal["verified", "denied", "blocked", "expired", "cancelled"]
Direction = Literal["bank", "customer"]

EXTRA = "extra."
"""What stands before the names of Transaction.extra where they are columns."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all events: immutable, fields by name, defaults left out of the JSON; never part of a cycle."""


class Transaction(Event, frozen=True):
    """A payment as it enters Vedette. One counterparty, merchant or payee, must be named."""

    transaction_id: Id
    account_id: Id
    amount: Amount
    currency: Currency
    event_time: Time
    merchant_id: Id | None = None
    payee: Id | None = None
    mcc: Annotated[str, Meta(min_length=4, max_length=4, description="ISO 18245 category code")] | None = None
    channel: Channel | None = None
    country: Country | None = None
    lat: Annotated[float, Meta(ge=-90.0, le=90.0)] | None = None
    lon: Annotated[float, Meta(ge=-180.0, le=180.0)] | None = None
    device_id: Id | None = None
    ip_address: IpAddress | None = None
    balance: (
        Annotated[int, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="before the payment, minor units")] | None
    ) = None
    account_type: Id | None = None
    account_opened_at: Time | None = None
    extra: dict[str, float] = {}

    def missing_counterparty(self) -> bool:
        """Whether neither merchant_id nor payee is given, which makes the transaction invalid."""
        return self.merchant_id is None and self.payee is None


class Label(Event, frozen=True):
    """The truth about a transaction, once somebody knows it."""

    transaction_id: Id
    account_id: Id
    fraud: bool
    source: Annotated[str, Meta(max_length=64, description="who says so: analyst, challenge, chargeback, file …")]
    event_time: Annotated[int, Meta(ge=0, le=MAX_TIME, description="event time of the transaction")]
    labelled_at: Annotated[int, Meta(ge=0, le=MAX_TIME, description="when the label became known")]
    merchant_id: Id | None = None
    device_id: Id | None = None
    ip_address: IpAddress | None = None


class Decision(Event, frozen=True, omit_defaults=False):
    """What Vedette says about one transaction. Published again, it has the same content.

    A decision to challenge is followed by a second one about the same transaction once the challenge is settled: it
    says that it is final, and which challenge it follows. Whom the payment goes to is there unless it is approved.
    """

    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: str
    action: Action
    score: Probability
    expected_loss: Annotated[int, Meta(description="calibrated probability times amount, minor units")]
    reasons: list[str]
    rules: list[str]
    model: Annotated[str, Meta(description="name and version of the model")]
    policy: Annotated[str, Meta(description="name and version of the policy")]
    features_hash: Annotated[str, Meta(description="hash of the ordered feature catalogue")]
    degraded: bool = False
    merchant_id: str | UnsetType = UNSET
    payee: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    final: Annotated[bool, Meta(description="nothing follows: the challenge is settled")] | UnsetType = UNSET
    follows: Annotated[str, Meta(description="the challenge whose outcome this is")] | UnsetType = UNSET


class Alert(Event, frozen=True, omit_defaults=False):
    """A flagged transaction, for people: everything a notifier needs without a look-up."""

    alert_id: Annotated[str, Meta(description="derived from the transaction, so a repeated alert is recognised")]
    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: str
    action: Action
    score: Probability
    expected_loss: int
    reasons: list[str]
    merchant_id: str | None = None
    payee: str | None = None
    channel: str | None = None
    country: str | None = None
    device_id: str | None = None
    ip_address: str | None = None
    segment: Annotated[str | None, Meta(description="account_type of the transaction")] = None
    degraded: Annotated[bool, Meta(description="decided without history")] | UnsetType = UNSET


class Challenge(Event, frozen=True, omit_defaults=False):
    """A question to the customer, or its outcome, bound to one transaction, amount, currency and payee."""

    challenge_id: str
    transaction_id: str
    account_id: str
    amount: int
    currency: str
    payee: str
    status: ChallengeStatus
    factor: str
    issued_at: Time
    expires_at: Time
    settled_at: Time | None = None


class CallCheck(Event, frozen=True, omit_defaults=False):
    """How it ended when bank and customer proved to each other on the phone who they are."""

    call_id: str
    account_id: str
    direction: Annotated[Direction, Meta(description="who called whom: the bank the customer, or the reverse")]
    status: Annotated[
        CallOutcome, Meta(description="verified: both have proven it; denied: the customer heard another code")
    ]
    representative: Annotated[str, Meta(description="id of their credential; empty if nobody took the call")]
    attempts: Annotated[int, Meta(ge=0, description="wrong codes typed in")]
    started_at: Time
    settled_at: Time


EVENTS: tuple[type[Event], ...] = (Transaction, Label, Decision, Alert, Challenge, CallCheck)


def json_schema(event: type[Event]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an event type."""
    schema = msgspec.json.schema(event)
    definition: dict[str, Any] = schema["$defs"][event.__name__]
    others = {name: body for name, body in schema["$defs"].items() if name != event.__name__}
    result: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:vedette:event:{event.__name__.lower()}:1",
        **definition,
    }
    if event is Transaction:
        result["anyOf"] = [{"required": ["merchant_id"]}, {"required": ["payee"]}]
    if others:
        result["$defs"] = others
    return result
