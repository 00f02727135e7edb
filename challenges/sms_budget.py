"""Limits of SMS: a protection against SMS pumping in which nobody can use up the budget of others.

Each purpose has separate budgets. So codes sent to unverified numbers, or links obtained from a representative by
deception, do not affect those of challenges. The account is counted before the number, and only sent messages are
counted.
"""

from dataclasses import dataclass
from typing import Literal

from access.rate_limit import RateLimit, RateLimiter, Reservation
from vedette.clock import HOUR, Clock

Purpose = Literal["challenge", "enrolment", "call"]


@dataclass(frozen=True, slots=True)
class SmsBudget:
    """The limits, and the counts towards them.

    Args:
        prefixes: Prefixes of the only numbers that get an SMS.
        per_prefix: SMS per hour to the numbers of one prefix.
        per_number: SMS per hour to one number, and to one account.
        limiter: The rate limiter.
        clock: The clock.
    """

    prefixes: tuple[str, ...]
    per_prefix: int
    per_number: int
    limiter: RateLimiter
    clock: Clock

    def reserve(self, purpose: Purpose, account_id: str, phone: str) -> Reservation:
        """Count an SMS for an account to a number, or name the exceeded limit in `refused`."""
        prefix = max((known for known in self.prefixes if phone.startswith(known)), key=len, default=None)
        if prefix is None:
            return Reservation(refused="prefix not allowed")
        limits = [
            (RateLimit(f"{purpose} sms of account", self.per_number, HOUR), account_id),
            (RateLimit(f"{purpose} sms to number", self.per_number, HOUR), phone),
            (RateLimit(f"{purpose} sms to prefix", self.per_prefix, HOUR), prefix),
        ]
        return self.limiter.reserve(limits, self.clock.now_ms())

    def cancel(self, reservation: Reservation) -> None:
        """Release the count of an SMS that was certainly not sent."""
        self.limiter.cancel(reservation)
