"""The events on the topics. Times are milliseconds since 1970-01-01 UTC, amounts are minor units.

Events have no creation time, which is Kafka's timestamp; so a decision that is published again after a crash has
exactly the same bytes.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vedette.codes import COUNTRIES, CURRENCIES, ip_address
from vedette.errors import InputError

MAX_AMOUNT = 10**15
MIN_TIME = 315_532_800_000
"""1980-01-01. Seconds taken for milliseconds would all lie in January and February 1970."""
MAX_TIME = 4_102_444_800_000
"""2100-01-01. Microseconds and nanoseconds since 1980 all lie beyond it."""

LONGEST_ID = 64
Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, description="compared as it is written: case counts")]
if TYPE_CHECKING:
    Currency = str
    Country = str
else:  # msgspec looks up a literal faster than it measures the length of a string
    Currency = Annotated[Literal[tuple(CURRENCIES)], Meta(description="ISO 4217 alphabetic code")]
    Country = Annotated[Literal[COUNTRIES], Meta(description="ISO 3166-1 alpha-2 code, or XK")]
IpAddress = Annotated[str, Meta(min_length=2, max_length=45, description="IPv4 or IPv6, in any of its spellings")]
Category = Annotated[str, Meta(min_length=4, max_length=4, description="ISO 18245 category code, four digits")]
Amount = Annotated[int, Meta(ge=0, le=MAX_AMOUNT, description="minor units of the currency")]
Time = Annotated[int, Meta(ge=MIN_TIME, le=MAX_TIME, description="milliseconds since 1970-01-01 UTC")]
Opened = Annotated[int, Meta(ge=0, le=MAX_TIME, description="milliseconds since 1970-01-01 UTC")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]

Channel = Literal["pos", "ecom", "atm", "transfer", "phone"]
Kind = Literal["payment", "withdrawal", "deposit", "refund", "reversal", "authorisation", "completion"]
DEFAULT_KIND: Kind = "payment"
PAYING: tuple[Kind, ...] = ("payment", "withdrawal", "authorisation", "completion")
"""The kinds that take money from the account, which need a counterparty."""
Action = Literal["approve", "challenge", "review", "decline"]
ChallengeStatus = Literal["issued", "approved", "denied", "expired", "blocked"]
IncidentOutcome = Literal["confirmed", "false_alarm", "expired"]
CallOutcome = Literal["verified", "denied", "blocked", "expired", "cancelled"]
Direction = Literal["bank", "customer"]

NO_COUNTERPARTY = "neither `merchant_id` nor `payee` is given"
NO_ORIGINAL = "a reversal without `original_id` takes nothing back"

EXTRA = "extra."
"""Prefix of the column names of Transaction.extra."""

_EXTRA_NAME = re.compile(r"""[^\s\x00-\x1f\x7f",:\[\]{}<>]{1,64}""")


def is_extra_name(name: str) -> bool:
    """Return whether a value of Transaction.extra of this name can be a feature of a model.

    LightGBM turns a space into an underscore, truncates a name at other white space and refuses the special characters
    of JSON; XGBoost refuses brackets and angle brackets. A model with such a name could not be trained or loaded.
    """
    return _EXTRA_NAME.fullmatch(name) is not None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all events: immutable, fields by name, defaults left out of the JSON; never part of a cycle."""


class Transaction(Event, frozen=True):
    """A transaction as it enters Vedette, a payment unless its kind says otherwise.

    The amount is never negative: the kind says in which direction the money goes. A transaction that takes money from
    the account names a counterparty, merchant or payee. A reversal names the transaction that it takes back.
    """

    transaction_id: Id
    account_id: Id
    amount: Amount
    currency: Currency
    event_time: Time
    merchant_id: Id | None = None
    payee: Id | None = None
    mcc: Category | None = None
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
    account_opened_at: Opened | None = None
    kind: Annotated[Kind | None, Meta(description="a payment if absent")] = None
    original_id: Annotated[
        Id | None,
        Meta(description="transaction that a reversal takes back, a refund returns or a completion completes"),
    ] = None
    extra: dict[str, float] = {}

    def missing(self) -> str:
        """Return what a transaction of its kind needs and this one lacks, which makes it invalid; empty: nothing."""
        if self.kind == "reversal" and self.original_id is None:
            return NO_ORIGINAL
        if self.merchant_id is None and self.payee is None and (self.kind or DEFAULT_KIND) in PAYING:
            return NO_COUNTERPARTY
        return ""


class Label(Event, frozen=True):
    """The label of a transaction: whether it was fraud, once this is known."""

    transaction_id: Id
    account_id: Id
    fraud: bool
    source: Annotated[
        str, Meta(max_length=64, description="source of the label: analyst, challenge, chargeback, file …")
    ]
    event_time: Annotated[int, Meta(ge=MIN_TIME, le=MAX_TIME, description="event time of the transaction")]
    labelled_at: Annotated[int, Meta(ge=MIN_TIME, le=MAX_TIME, description="when the label became known")]
    merchant_id: Id | None = None
    device_id: Id | None = None
    ip_address: IpAddress | None = None
    payee: Id | None = None


_PaymentT = TypeVar("_PaymentT", Transaction, Label)

EXACT_FIELDS = ("transaction_id", "account_id", "merchant_id", "payee", "device_id", "account_type", "original_id")
"""Ids and names that are compared exactly, so that a stray space would make a different one."""


def canonical(event: _PaymentT) -> _PaymentT:
    """Return the event with its IP address in canonical text.

    Raises:
        InputError: An id has surrounding white space, or `mcc` or `ip_address` is not valid; the message names the
            field.
    """
    for name in EXACT_FIELDS:
        value: str | None = getattr(event, name, None)
        if value is not None and value != value.strip():
            raise InputError(f"`{name}` {value!r} has white space around it")
    category: str | None = getattr(event, "mcc", None)
    if category is not None and not (category.isascii() and category.isdigit()):
        raise InputError(f"`mcc` {category!r} is not four digits")
    if event.ip_address is None:
        return event
    try:
        address = ip_address(event.ip_address)
    except InputError as error:
        raise InputError(f"`ip_address` {error.args[0]}") from error
    return event if address == event.ip_address else msgspec.structs.replace(event, ip_address=address)


class Reason(Event, frozen=True):
    """A reason in words. The text is in English, or as the policy words it; readers word it in their own language."""

    code: Annotated[
        str, Meta(description="stable: a code of docs/reasons.md, or rule. or list. and a name of the policy")
    ]
    text: str
    weight: Annotated[float, Meta(description="what it adds to the model's log-odds; 0 for a reason of the policy")]
    values: Annotated[
        dict[str, int | float | str], Meta(description="what the text says; money in minor units of `currency`")
    ] = {}
    texts: Annotated[dict[str, str], Meta(description="the policy's texts by language, if it gives several")] = {}


if TYPE_CHECKING:
    Reasons = list[Reason]
else:
    Reasons = Annotated[
        list[Reason | str], Meta(description="the strongest first; a text alone was written before reasons had codes")
    ]


def _with_reasons(event: "Decision | Alert") -> None:
    """Give reasons of the former form, texts alone, the form of today."""
    given: list[Reason | str] = event.reasons  # type: ignore[assignment]
    if any(isinstance(reason, str) for reason in given):
        reasons = [Reason(code=NO_CODE, text=one, weight=0.0) if isinstance(one, str) else one for one in given]
        msgspec.structs.force_setattr(event, "reasons", reasons)


NO_CODE = "unknown"
"""Code of a reason from before reasons had codes."""


class Decision(Event, frozen=True, omit_defaults=False):
    """The decision on one transaction. A repeated publication has the same content.

    A decision to challenge is followed by a second one on the same transaction once the challenge is settled; it is
    marked as final and names the challenge. Counterparty and origin are those of the payment; what it does not name is
    left out.
    """

    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: Currency
    action: Action
    score: Probability
    expected_loss: Annotated[int, Meta(description="calibrated probability times amount, minor units")]
    reasons: Reasons
    rules: list[str]
    model: Annotated[str, Meta(description="name and version of the model; empty: decided without a score")]
    policy: Annotated[str, Meta(description="name and version of the policy")]
    features_hash: Annotated[str, Meta(description="hash of the ordered feature catalogue")]
    degraded: bool = False
    kind: Annotated[Kind | UnsetType, Meta(description="of the transaction, where it names one")] = UNSET
    original_id: str | UnsetType = UNSET
    merchant_id: str | UnsetType = UNSET
    payee: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    country: Country | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET
    final: Annotated[bool, Meta(description="no other decision follows: the challenge is settled")] | UnsetType = UNSET
    follows: Annotated[str, Meta(description="challenge that led to this decision")] | UnsetType = UNSET

    def __post_init__(self) -> None:
        _with_reasons(self)


class Alert(Event, frozen=True, omit_defaults=False):
    """A flagged transaction, for analysts: everything a notifier needs without a look-up."""

    alert_id: Annotated[str, Meta(description="derived from the transaction, so a repeated alert is recognised")]
    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: Currency
    action: Action
    score: Probability
    expected_loss: int
    reasons: Reasons
    merchant_id: str | None = None
    payee: str | None = None
    channel: str | None = None
    country: Country | None = None
    device_id: str | None = None
    ip_address: str | None = None
    segment: Annotated[str | None, Meta(description="account_type of the transaction")] = None
    degraded: Annotated[bool, Meta(description="decided without history")] | UnsetType = UNSET
    kind: Annotated[Kind | UnsetType, Meta(description="of the transaction, where it names one")] = UNSET

    def __post_init__(self) -> None:
        _with_reasons(self)


class Challenge(Event, frozen=True, omit_defaults=False):
    """A question to the customer, or its outcome, bound to one transaction, amount, currency and payee."""

    challenge_id: str
    transaction_id: str
    account_id: str
    amount: int
    currency: Currency
    payee: str
    status: ChallengeStatus
    factor: str
    issued_at: Time
    expires_at: Time
    settled_at: Time | None = None


class CallCheck(Event, frozen=True, omit_defaults=False):
    """The outcome of a call check, in which bank and customer prove their identity to each other on the phone."""

    call_id: str
    account_id: str
    direction: Annotated[
        Direction, Meta(description="direction of the call: from the bank to the customer, or the reverse")
    ]
    status: Annotated[
        CallOutcome,
        Meta(description="verified: both proved their identity; denied: the customer heard a different code"),
    ]
    representative: Annotated[
        str, Meta(description="id of the representative's credential; empty if nobody took the call")
    ]
    attempts: Annotated[int, Meta(ge=0, description="number of wrong codes entered")]
    started_at: Time
    settled_at: Time


class ClosedIncident(Event, frozen=True, omit_defaults=False):
    """An incident that is closed: confirmed as fraud, dismissed, or expired without an action."""

    incident_id: Annotated[int, Meta(ge=0)]
    account_id: str
    state: IncidentOutcome
    transaction_ids: Annotated[list[str], Meta(description="the payments of its alerts, in order of event time")]
    closed_at: Time


TRANSACTION_NEEDS: dict[str, Any] = {
    "anyOf": [
        {"required": ["merchant_id"]},
        {"required": ["payee"]},
        {
            "required": ["kind"],
            "properties": {"kind": {"enum": [kind for kind in get_args(Kind) if kind not in PAYING]}},
        },
    ],
    "if": {"required": ["kind"], "properties": {"kind": {"const": "reversal"}}},
    "then": {"required": ["original_id"]},
}
"""What `Transaction.missing` checks, as JSON Schema."""

EVENTS: tuple[type[Event], ...] = (Transaction, Label, Decision, Alert, Challenge, CallCheck, ClosedIncident)


def json_schema(event: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an event type."""
    schema = msgspec.json.schema(event)
    definition: dict[str, Any] = schema["$defs"][event.__name__]
    others = {name: body for name, body in schema["$defs"].items() if name != event.__name__}
    result: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:vedette:event:{event.__name__.lower()}:1",
        **definition,
    }
    if event is Transaction:
        result |= TRANSACTION_NEEDS
    if others:
        result["$defs"] = others
    return result
