"""Questions of people to customers about payments of an incident; the challenge service sends and settles them."""

from collections.abc import Sequence

from challenges.challenges import Challenges
from challenges.records import Binding, ChallengeRecord
from vedette.errors import InputError
from vedette.events import Alert

_MOST = 20
"""Payments of an incident whose questions are looked up."""


class CustomerQuestions:
    """Questions by means of the challenge service's store.

    Args:
        challenges: The challenges.
    """

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    def ask(self, alert: Alert, who: str) -> ChallengeRecord:
        """Ask the customer about a payment; a repeated request changes nothing.

        Args:
            alert: The payment, which must be held for review: what is declined stays declined.
            who: Who asks.

        Raises:
            InputError: The payment is not held, or was asked about with another amount or payee.
            UnavailableError: Redis does not answer.
        """
        if alert.action != "review":
            raise InputError(f"payment {alert.transaction_id} is not held for review")
        return self._challenges.issue(_binding(alert), actor=who)

    def of(self, alerts: Sequence[Alert]) -> list[tuple[Alert, ChallengeRecord | None]]:
        """Return the latest payments, each once, with the question about it.

        Raises:
            UnavailableError: Redis does not answer.
        """
        payments = list({alert.transaction_id: alert for alert in alerts}.values())[-_MOST:]
        states = [self._challenges.find(_binding(alert)) for alert in payments]
        return [(alert, state.record if state else None) for alert, state in zip(payments, states, strict=True)][::-1]


def _binding(alert: Alert) -> Binding:
    return Binding(
        transaction_id=alert.transaction_id, account_id=alert.account_id, amount=alert.amount,
        currency=alert.currency, payee=alert.payee or alert.merchant_id or "",
    )  # fmt: skip
