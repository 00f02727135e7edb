"""Money that honest customers get back: reversals after minutes, refunds after days."""

import numpy as np

from producers.payments import GENUINE, NONE, REFUND, REVERSAL, SimulatedPayments, concatenate
from producers.world import ATM, Ints
from vedette.clock import DAY, MINUTE, SECOND

_REVERSED = 0.3  # share of returns that are reversals
_WHOLE = 0.7  # share of refunds of the whole amount
_REFUND_DAYS = 21


class Returns:
    """Refunds and reversals of payments, kept until they are due.

    Args:
        share: Share of honest payments at merchants that come back.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._waiting: list[SimulatedPayments] = []

    def due(self, payments: SimulatedPayments, number: Ints, end: int, rng: np.random.Generator) -> SimulatedPayments:
        """Take in the payments of a day and return what comes back by its end, in no particular order.

        Args:
            payments: What customers spend.
            number: int[n], the number of each payment.
            end: End of the day, milliseconds.
            rng: The day's random numbers.
        """
        n = len(payments)
        honest = (payments.scenario == GENUINE) & (payments.merchant != NONE) & (payments.channel != ATM)
        rows = np.flatnonzero((rng.random(n) < self._share) & honest & (payments.amount > 0))
        count = len(rows)
        reversal = rng.random(count) < _REVERSED
        later = np.where(
            reversal, rng.integers(10 * SECOND, 10 * MINUTE, count), rng.integers(DAY, _REFUND_DAYS * DAY, count)
        )
        part = np.where(reversal | (rng.random(count) < _WHOLE), 1.0, rng.uniform(0.1, 0.9, count))
        nothing = np.full(count, NONE)
        back = SimulatedPayments(
            time=payments.time[rows] + later,
            customer=payments.customer[rows],
            amount=np.ceil(payments.amount[rows] * part).astype(np.int64),
            channel=payments.channel[rows],
            merchant=payments.merchant[rows],
            payee=nothing,
            country=payments.country[rows],
            device=nothing,
            ip=nothing,
            scenario=np.full(count, GENUINE),
            kind=np.where(reversal, REVERSAL, REFUND),
            original=number[rows],
        )
        whole = concatenate([*self._waiting, back])
        is_due = whole.time < end
        self._waiting = [whole.rows(~is_due)]
        return whole.rows(is_due)
