"""The schema of a policy file; docs/policy.md describes it for authors of policies."""

from decimal import Decimal
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from features.limits import Allowance, Amounts
from vedette.codes import CURRENCIES
from vedette.events import Action, Reason
from vedette.fallback import Fallback
from vedette.money import exponent, to_minor
from vedette.wording import Value, reason

ACTIONS: tuple[Action, ...] = get_args(Action)
"""Actions from the mildest to the most severe."""

FORMAT = 1
"""The format of file that this version of Vedette reads."""

Flag = Literal["challenge", "review", "decline"]
Scorable = Literal["completion", "refund", "reversal", "deposit"]
"""Kinds of transaction that are approved without a score, unless a policy names them."""
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Words = Annotated[str, Meta(min_length=1, max_length=200)]
ByLanguage = dict[Annotated[str, Meta(pattern=r"^[a-z]{2}$")], Words]
Money = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]+)?$", description="in major units")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of the file; a misspelt key is an error."""


class Threshold(_Entry, frozen=True):
    """Values that a payment must reach, all of them; expected loss is by currency, `other` for those not named."""

    probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    expected_loss: dict[Annotated[str, Meta(pattern=r"^([A-Z]{3}|other)$")], Money] | None = None

    def __post_init__(self) -> None:
        if self.probability is None and self.expected_loss is None:
            raise ValueError("a threshold names a probability, an expected_loss or both")
        if self.expected_loss is not None and "other" not in self.expected_loss:
            raise ValueError("expected_loss must include other currencies, as in other: 20")
        for currency, amount in (self.expected_loss or {}).items():
            _check_places(amount, currency)

    def least_loss(self, currency: str) -> int:
        """Return the expected loss that must be reached, in minor units of a currency."""
        amounts = self.expected_loss or {"other": "0"}
        return to_minor(amounts.get(currency, amounts["other"]), currency)

    def reason(self, action: Action, probability: float, loss: int, currency: str) -> Reason:
        """Return the reason for its action, given a probability and an expected loss in minor units."""
        # Rounded down, so that 99.97% does not read as certain.
        shares: dict[str, Value] = {"probability": int(probability * 1000) / 1000, "least": self.probability or 0.0}
        shares["action"] = action
        money: dict[str, Value] = {"loss": loss, "currency": currency}
        if self.expected_loss is None:
            return reason("threshold-probability", shares)
        if self.probability is None:
            return reason("threshold-loss", money | {"least": self.least_loss(currency), "action": action})
        return reason("threshold-both", shares | money | {"least_loss": self.least_loss(currency)})


class Thresholds(_Entry, frozen=True):
    """Thresholds by action; one entry reached is sufficient."""

    challenge: list[Threshold] = []
    review: list[Threshold] = []
    decline: list[Threshold] = []


def own_reason(kind: Literal["rule", "list"], name: str, given: str | ByLanguage) -> Reason:
    """Return the reason of a rule or list in the policy's own words; the first language given is that of the log."""
    texts = {} if isinstance(given, str) else given
    text = given if isinstance(given, str) else next(iter(given.values()), name)
    return Reason(code=f"{kind}.{name}", text=text, weight=0.0, texts=texts)


class SqlRule(_Entry, frozen=True):
    """A rule in its written form."""

    name: Name
    when: Annotated[str, Meta(max_length=2000)]
    action: Flag
    reason: Words | ByLanguage
    shadow: bool = False


class OwnLimit(_Entry, frozen=True):
    """The limit of one account; an omitted amount is that of the other accounts."""

    daily: Money | None = None
    monthly: Money | None = None


class Limit(_Entry, frozen=True):
    """The limit of an account per UTC day or month; it applies to every account if no type is named."""

    name: Name
    currency: Currency
    action: Flag
    account_type: str | None = None
    daily: Money | None = None
    monthly: Money | None = None
    accounts: dict[str, OwnLimit] = {}

    def __post_init__(self) -> None:
        if self.daily is None and self.monthly is None:
            raise ValueError("a limit names a daily or a monthly amount or both")
        entries: list[Limit | OwnLimit] = [self, *self.accounts.values()]
        for entry in entries:
            for amount in (entry.daily, entry.monthly):
                _check_places(amount or "0", self.currency)

    def allowance(self) -> Allowance:
        """Return the limit in minor units."""

        def minor(entry: "Limit | OwnLimit") -> Amounts:
            daily, monthly = entry.daily or self.daily, entry.monthly or self.monthly
            return (
                to_minor(daily, self.currency) if daily else None,
                to_minor(monthly, self.currency) if monthly else None,
            )

        own = {account: minor(entry) for account, entry in self.accounts.items()}
        return Allowance(self.currency, minor(self), self.account_type, own)


class AllowList(_Entry, frozen=True):
    """Values of a column, written in the policy or one per line in a file next to it."""

    name: Name
    column: Literal["account_id", "merchant_id", "payee", "country", "device_id"]
    reason: Words | ByLanguage
    values: list[str] = []
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.file):
            raise ValueError("a list has either values or a file")


class BlockList(AllowList, frozen=True):
    """Values of a column, and the action for a payment that has one of them."""

    action: Flag = "decline"


class Lists(_Entry, frozen=True):
    """The lists by kind."""

    allow: list[AllowList] = []
    block: list[BlockList] = []


class Degraded(_Entry, frozen=True):
    """Payments are decided without their history once the state store has been unavailable for this long."""

    after_s: Annotated[float, Meta(gt=0, le=86_400)]


class PolicyForm(_Entry, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    name: Name
    version: Annotated[int, Meta(ge=1)]
    scored_kinds: list[Scorable] = []
    thresholds: Thresholds = Thresholds()
    rules: list[SqlRule] = []
    limits: list[Limit] = []
    lists: Lists = Lists()
    degraded: Degraded | None = None
    fallback: Fallback = Fallback()

    def __post_init__(self) -> None:
        for case in self.fallback.cases:
            for currency, amount in (case.up_to or {}).items():
                _check_places(amount, currency)


def _check_places(amount: str, currency: str) -> None:
    """Refuse an amount with more decimal places than its currency has, which rounding would change silently."""
    if currency == "other":
        return
    if currency not in CURRENCIES:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency")
    if Decimal(amount).scaleb(exponent(currency)) % 1:
        raise ValueError(f"{amount} {currency} has more than the {exponent(currency)} decimal places of its currency")
