"""Parameters of a simulation, and its scenarios: frauds, and honest look-alikes that would fool a naive counter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import MAX_TIME


@dataclass(frozen=True)
class Scenario:
    """A kind of fraud, or of honest payments that look like one.

    Args:
        number: Default of the scenario's parameter, usually a number per day.
        unit: Unit of that parameter.
        description: What happens.
        honest: Whether the payments are genuine.
    """

    number: float
    unit: str
    description: str
    honest: bool = False


# The first three are those of the handbook (Le Borgne et al., 2022, chapter 3), with its numbers.
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "large_amount": Scenario(220, "major units", "every payment above this amount is fraud"),
        "compromised_terminal": Scenario(2, "terminals a day", "all payments there are fraud for 28 days"),
        "compromised_card": Scenario(
            3, "customers a day", "for 14 days a third of their payments is fivefold and fraud"
        ),
        "card_testing": Scenario(1, "episodes a day", "dozens of tiny online payments in minutes, then a large one"),
        "account_takeover": Scenario(1, "episodes a day", "payments from a new device, address and country"),
        "impossible_travel": Scenario(1, "episodes a day", "two shop payments within the hour, a continent apart"),
        "limit_walk": Scenario(0.5, "episodes a day", "rising payments whose total stays just under the daily limit"),
        "mule_payee": Scenario(0.2, "episodes a day", "many accounts transfer to one payee that is new to all of them"),
        "card_testing_ring": Scenario(
            0.5, "episodes a day", "dozens of stolen cards are tried with tiny payments at one online shop"
        ),
        "tested_card": Scenario(
            0.5, "share of the tried cards", "a card that was tried is used in other shops, hours or days later"
        ),
        "app_scam": Scenario(
            0.5, "episodes a day", "customers are talked into transfers to a payee nobody has paid before"
        ),
        "takeover_ring": Scenario(0.5, "episodes a day", "many accounts are emptied from one device within hours"),
        "bust_out_merchant": Scenario(
            0.3, "episodes a day", "a shop that opened some days ago charges stolen cards, then disappears"
        ),
        "mule_account": Scenario(0.5, "episodes a day", "an ordinary account receives scam transfers of some accounts"),
        "mule_forward": Scenario(3, "payments per mule", "that account pays nearly all of it on within the hour"),
        "ticket_sale": Scenario(0.3, "episodes a day", "hundreds buy from one online shop within an hour", honest=True),
        "charity_appeal": Scenario(
            0.3, "episodes a day", "hundreds give small sums to one payee, most for the first time", honest=True
        ),
        "landlord": Scenario(
            20, "landlords", "tenants pay one payee early in the month; some landlords pay most of it on", honest=True
        ),
        "shop_launch": Scenario(0.4, "episodes a day", "a new shop, at which everybody pays first", honest=True),
        "family_device": Scenario(40, "families", "three to six accounts pay from one device", honest=True),
        "carrier_address": Scenario(
            0.4, "episodes a day", "a new address of a mobile carrier, shared by hundreds for a day", honest=True
        ),
        "public_computer": Scenario(
            3, "computers", "a library's computer, new every month, from which strangers pay once each", honest=True
        ),
    }
)

LOOK_ALIKES = tuple(name for name, scenario in SCENARIOS.items() if scenario.honest)
"""Scenarios whose payments are genuine."""

HANDBOOK = ("large_amount", "compromised_terminal", "compromised_card")


LATE_DAYS = 30
MAX_NUMBER = 100_000

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "customers": (1, 10_000_000),
        "terminals": (1, 10_000_000),
        "days": (1, 36_500),
        "start": (0, MAX_TIME),
        "seed": (0, 2**63),
        "radius": (0.01, 150),
        "label_delay_days": (0, 3_650),
        "late_labels": (0, 1),
        "transfers": (0, 1),
        "returns": (0, 1),
        "trips_per_day": (0, MAX_NUMBER),
        "daily_limit": (1, 1_000_000),
    }
)


def default_scenarios() -> dict[str, float]:
    """Return every scenario with its default number."""
    return {name: scenario.number for name, scenario in SCENARIOS.items()}


def chosen_scenarios(only: Sequence[str], without: Sequence[str]) -> dict[str, float]:
    """Return scenarios from words such as `card_testing` or `card_testing=5`.

    Args:
        only: The scenarios to include; all if empty.
        without: The scenarios to exclude.

    Raises:
        InputError: There is no such scenario, or its number is not valid.
    """
    chosen = {} if only else default_scenarios()
    for word in only:
        name, _, number = word.partition("=")
        _known(name)
        try:
            chosen[name] = float(number) if number else SCENARIOS[name].number
        except ValueError as error:
            raise InputError(f"scenario {word!r} has no number", remedy=f"write {name} or {name}=2") from error
    for name in without:
        _known(name)
        chosen.pop(name, None)
    return chosen


def _known(name: str) -> None:
    if name not in SCENARIOS:
        raise InputError(f"there is no scenario {name!r}", remedy=f"one of {', '.join(SCENARIOS)}")


@dataclass(frozen=True)
class Simulation:
    """Everything a simulation depends on; the same values give the same transactions, bit for bit.

    Args:
        customers: Number of accounts.
        terminals: Number of places to pay at, spread over the grid.
        days: Number of days.
        start: The first moment, milliseconds since epoch; a day is 24 hours from here.
        seed: Seed of all randomness.
        radius: Maximum distance from home at which a customer pays, in grid units (the grid is 100 by 100).
        label_delay_days: Days from a transaction to the arrival of its label.
        late_labels: Share of transactions whose label arrives up to LATE_DAYS later than that.
        transfers: Share of payments that go to a payee instead of a terminal.
        returns: Share of honest payments at merchants that are reversed within minutes or refunded within three weeks.
        trips_per_day: Number of customers who start a five-day trip abroad, which looks unusual but is genuine.
        daily_limit: Limit that `limit_walk` stays under, in major units.
        scenarios: Scenarios with their number; see SCENARIOS.
    """

    customers: int = 5_000
    terminals: int = 10_000
    days: int = 183
    start: int = 1_522_540_800_000  # 2018-04-01, the handbook's first day
    seed: int = 0
    radius: float = 5.0
    label_delay_days: float = 7.0
    late_labels: float = 0.0
    transfers: float = 0.03
    returns: float = 0.01
    trips_per_day: float = 5.0
    daily_limit: float = 1_000.0
    scenarios: Mapping[str, float] = field(default_factory=default_scenarios)

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise InputError(
                    f"{name} of a simulation is {getattr(self, name)}", remedy=f"it must lie between {least} and {most}"
                )
        if self.start + (self.days + self.label_delay_days + LATE_DAYS) * DAY > MAX_TIME:
            raise InputError("the simulation reaches beyond the year 2100", remedy="start earlier or take fewer days")
        for name, number in self.scenarios.items():
            _known(name)
            if not 0 <= number <= MAX_NUMBER:
                raise InputError(
                    f"scenario {name} has {number} {SCENARIOS[name].unit}",
                    remedy=f"it must lie between 0 and {MAX_NUMBER}",
                )
