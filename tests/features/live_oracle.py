"""What the live features mean, computed the slow and obvious way from a list of everything that happened.

It keeps every payment for ever, so where the kernel's bounded state is exact, both agree to the last digit, and where
it is not, the difference is the error of the kernel.
"""

import math
from dataclasses import dataclass, field

from features.catalogue import ENTITIES
from features.catalogue_live import INCOMING_WINDOWS, LIVE_WINDOWS, PASSED_ON_WINDOWS, SMALL_AMOUNT
from features.live_codec import KEEP
from tests.features.oracle import Payment, Truth
from vedette.clock import DAY
from vedette.money import exponent

NAN = math.nan
MONTH = 30 * DAY


@dataclass(frozen=True)
class Visit:
    """A payment at an entity, and what it was for its account."""

    payment: Payment
    first_here: bool
    unusual: bool


@dataclass
class LiveEntity:
    """Everything that happened at an entity, in order of arrival."""

    visits: list[Visit] = field(default_factory=list)
    frauds: list[Truth] = field(default_factory=list)

    def window(self, e: Payment, length: int) -> list[Visit]:
        """The payments of a window before a payment."""
        return [v for v in self.seen(e) if v.payment.event_time > e.event_time - length]

    def seen(self, e: Payment) -> list[Visit]:
        """What a payment sees: neither the future nor other payments of its own account at the same moment."""
        now = (e.event_time, e.account_id)
        past = [v for v in self.visits if v.payment.event_time <= e.event_time]
        return [v for v in past if (v.payment.event_time, v.payment.account_id) != now]

    def is_fraud(self, payment: Payment) -> bool:
        """Whether a payment is a known fraud."""
        return any(
            (f.event_time, f.transaction_id) == (payment.event_time, payment.transaction_id) for f in self.frauds
        )

    def features(self, e: Payment) -> dict[str, float]:
        """Features by their names without the kind."""
        scale = 10 ** exponent(e.currency)
        found: dict[str, float] = {}
        for name, length in LIVE_WINDOWS.items():
            window = self.window(e, length)
            n, total = len(window), sum(v.payment.amount for v in window)
            small = [v for v in window if v.payment.amount < SMALL_AMOUNT * 10 ** exponent(v.payment.currency)]
            found |= {
                f"count_{name}": n,
                f"accounts_{name}": len({v.payment.account_id for v in window}),
                f"new_accounts_{name}": sum(v.first_here for v in window),
                f"sum_{name}": total / scale,
                f"mean_{name}": total / scale / n if n else NAN,
                f"small_share_{name}": len(small) / n if n else 0.0,
                f"unusual_share_{name}": sum(v.unusual for v in window) / n if n else 0.0,
                f"flagged_share_{name}": NAN,
                f"frauds_{name}": sum(self.is_fraud(v.payment) for v in window),
            }
        times = [v.payment.event_time for v in self.seen(e)]
        mine = [v for v in self.visits if (v.payment.event_time, v.payment.account_id) == (e.event_time, e.account_id)]
        forgotten = bool(mine) and bool(times) and max(times) <= e.event_time - KEEP  # only the newest time is kept
        return found | {
            "age_days": (e.event_time - min(times)) / DAY if times else NAN,
            "seconds_since_last": NAN if forgotten or not times else (e.event_time - max(times)) / 1000,
            "frauds_known": len(self.frauds),
        }


class LiveOracle:
    """All entities, for payments in order of time whose labels are shown when they become known."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str], LiveEntity] = {}
        self._past: list[Payment] = []

    def entity(self, kind: str, name: str) -> LiveEntity:
        """The entity of a kind with a name."""
        return self.entities.setdefault((kind, name), LiveEntity())

    def label(self, label: Truth) -> None:
        """Show the label of a fraud."""
        for kind, source in ENTITIES.items():
            if name := getattr(label, source):
                frauds = self.entity(kind, name).frauds
                frauds += [] if label in frauds else [label]

    def pay(self, e: Payment, settled: dict[str, float], *, pays: bool = True) -> dict[str, float]:
        """Show a transaction with the features of its account, and whether it is a payment; its live features."""
        found: dict[str, float] = {}
        for kind, source in ENTITIES.items():
            name = getattr(e, source)
            entity = LiveEntity() if name is None else self.entity(kind, name)
            of_kind = entity.features(e)
            found |= {f"{kind}_live_{key}": NAN if name is None else value for key, value in of_kind.items()}
        found |= self._incoming(e, settled)
        if e in self._past or not pays:
            return found  # delivered again, or no activity
        for kind, source in ENTITIES.items():
            if name := getattr(e, source):
                lately = [p for p in self._past if p.account_id == e.account_id and p.event_time > e.event_time - MONTH]
                first = all(getattr(p, source) != name for p in lately)
                visit = Visit(e, first_here=first, unusual=settled["amount_to_typical"] > 3)
                self.entity(kind, name).visits.append(visit)
        self._past.append(e)
        return found

    def _incoming(self, e: Payment, settled: dict[str, float]) -> dict[str, float]:
        received = self.entity("payee", e.account_id).features(e)
        found: dict[str, float] = {}
        for name in INCOMING_WINDOWS:
            found |= {
                f"incoming_count_{name}": received[f"count_{name}"],
                f"incoming_sum_{name}": received[f"sum_{name}"],
                f"incoming_senders_{name}": received[f"accounts_{name}"],
                f"incoming_new_senders_{name}": received[f"new_accounts_{name}"],
            }
        found["incoming_seconds_since_last"] = received["seconds_since_last"]
        for name in PASSED_ON_WINDOWS:
            total = received[f"sum_{name}"]
            found[f"incoming_passed_on_{name}"] = min(1.0, settled[f"account_sum_{name}"] / total) if total else NAN
        return found
