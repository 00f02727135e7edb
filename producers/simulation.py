"""What can be set about a simulation, and the fraud scenarios it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import MAX_TIME


@dataclass(frozen=True)
class Scenario:
    """A kind of fraud.

    Args:
        number: The default of the one number that sets it: a threshold for `large_amount`, else how many a day.
        unit: What that number counts.
        about: What happens.
    """

    number: float
    unit: str
    about: str


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
        "mule_payee": Scenario(0.2, "episodes a day", "many accounts transfer to one payee nobody knew before"),
    }
)

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
        "trips_per_day": (0, MAX_NUMBER),
        "daily_limit": (1, 1_000_000),
    }
)


def default_scenarios() -> dict[str, float]:
    """Every scenario with its default number."""
    return {name: scenario.number for name, scenario in SCENARIOS.items()}


def chosen_scenarios(only: Sequence[str], without: Sequence[str]) -> dict[str, float]:
    """Scenarios from words such as `card_testing` or `card_testing=5`.

    Args:
        only: These and no others; all if there are none.
        without: Not these.

    Raises:
        InputError: There is no such scenario, or the number is none.
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
        seed: Of all randomness.
        radius: How far from home a customer pays, in grid units (the grid is 100 by 100).
        label_delay_days: From a transaction to the moment its truth is known.
        late_labels: Share of transactions whose truth becomes known up to LATE_DAYS later than that.
        transfers: Share of payments that go to a payee instead of a terminal.
        trips_per_day: How many customers set out on a five-day trip abroad, which looks unusual and is genuine.
        daily_limit: What `limit_walk` stays under, in major units.
        scenarios: The frauds that happen, with their number; see SCENARIOS.
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
