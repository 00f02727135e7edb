"""Fallback answers for decisions that are not made in time: a part of the policy, by amount and channel."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.events import Action, Channel
from vedette.money import to_minor

Money = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]+)?$", description="in major units")]
Currencies = dict[Annotated[str, Meta(pattern=r"^([A-Z]{3}|other)$")], Money]


class FallbackCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payments of some channels, up to some amounts, and the action for them.

    Attributes:
        action: The fallback action.
        channels: Channels of the payments; empty: every channel, and payments that name none.
        up_to: Largest amounts by currency, in major units, `other` for the currencies not named; None: every amount.
    """

    action: Action
    channels: list[Channel] = []
    up_to: Currencies | None = None

    def __post_init__(self) -> None:
        if self.up_to is not None and "other" not in self.up_to:
            raise ValueError("up_to must include other currencies, as in other: 0")

    def covers(self, amount: int, currency: str, channel: str | None) -> bool:
        """Return whether the case applies to a payment; see Fallback.action_for."""
        if self.channels and channel not in self.channels:
            return False
        return self.up_to is None or amount <= _largest(self.up_to, currency)


class Fallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `fallback` of a policy.

    Attributes:
        cases: Cases in order; the first that covers a payment determines the answer.
        otherwise: The answer for all other payments.
    """

    cases: list[FallbackCase] = []
    otherwise: Action = "review"

    def action_for(self, amount: int, currency: str, channel: str | None) -> Action:
        """Return the action to answer with.

        Args:
            amount: Amount of the payment, minor units.
            currency: ISO 4217 code.
            channel: Channel of the payment; None if it has none.
        """
        for case in self.cases:
            if case.covers(amount, currency, channel):
                return case.action
        return self.otherwise


def _largest(amounts: Mapping[str, str], currency: str) -> int:
    return to_minor(amounts.get(currency, amounts["other"]), currency)
