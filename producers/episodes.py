"""Fraud scenarios known to analysts, as episodes that add payments to a day."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from producers.payments import GENUINE, NONE, PAYMENT, SimulatedPayments, concatenate, scenario_index
from producers.simulation import Simulation
from producers.world import CITIES, ECOM, POS, SHOPS_ABROAD, TRANSFER, Floats, Ints, World
from vedette.clock import DAY, HOUR, MINUTE

# Numbers beyond those of ordinary customers and payees, so a fraudster's device or payee is unique.
_STRANGER = 10**12


class Scene:
    """Context of an episode: the world, and the current devices of its customers."""

    def __init__(self, config: Simulation, world: World) -> None:
        self.config = config
        self.world = world
        self.device: Ints = np.arange(config.customers)  # every customer's current device; the simulator changes it
        self.online: Ints = np.flatnonzero(world.merchants.channel[: world.own_terminals] == ECOM)
        self._reachable = np.flatnonzero(np.diff(world.first) > 0)

    def play(self, name: str, episode: "Episode", midnight: int, rng: np.random.Generator) -> SimulatedPayments:
        """Return the payments of all episodes of a kind on the day that starts at `midnight`."""
        stories = whole_number(self.config.scenarios[name], rng) if self.inhabited else 0
        return concatenate([self.rows(0, [], 0)] + [episode(self, midnight, rng) for _ in range(stories)])

    @property
    def inhabited(self) -> bool:
        """Whether any customer has a terminal to pay at."""
        return len(self._reachable) > 0

    def victim(self, rng: np.random.Generator) -> int:
        """Return a customer who has a terminal to pay at."""
        return int(rng.choice(self._reachable))

    def people(self, rng: np.random.Generator, count: int) -> Ints:
        """Return different customers; fewer if there are not as many."""
        return rng.permutation(self.config.customers)[:count]

    def usual(self, customers: Ints) -> Floats:
        """Return the mean amount of each customer, minor units."""
        return self.world.customers.mean_amount[customers]

    def own(self, customers: Ints) -> dict[str, Ints]:
        """Return the customers' own devices and addresses, for `rows`."""
        return {"device": self.device[customers], "ip": self.world.customers.ip[customers]}

    def rows(
        self,
        customer: int | Ints,
        time: npt.ArrayLike,
        amount: npt.ArrayLike,
        *,
        merchant: int | Ints = NONE,
        payee: int | Ints = NONE,
        device: int | Ints = NONE,
        ip: int | Ints = NONE,
        scenario: int | Ints = GENUINE,
    ) -> SimulatedPayments:
        """Return payments with one value for all, or one for each; channel and country follow from the counterparty."""
        times = np.asarray(time, np.int64)
        columns = {
            name: np.broadcast_to(np.asarray(value, np.int64), times.shape).copy()
            for name, value in (
                ("customer", customer), ("amount", amount), ("merchant", merchant), ("payee", payee),
                ("device", device), ("ip", ip), ("scenario", scenario),
            )
        }  # fmt: skip
        shop = columns["merchant"]
        place = self.world.place(shop)
        return SimulatedPayments(
            time=times,
            channel=np.where(shop == NONE, TRANSFER, self.world.merchants.channel[place]),
            country=np.where(
                shop == NONE, self.world.customers.country[columns["customer"]], self.world.merchants.country[place]
            ),
            kind=np.full(times.shape, PAYMENT),
            original=np.full(times.shape, NONE),
            **columns,
        )

    def shops(self, rng: np.random.Generator, channel: int, count: int) -> Ints:
        """Return shops of one city abroad; of one channel, POS or ECOM."""
        shop = rng.integers(0, SHOPS_ABROAD // 2, count) * 2 + (channel == ECOM)
        return self.world.abroad(np.full(count, rng.integers(0, CITIES)), shop)


Episode = Callable[[Scene, int, np.random.Generator], SimulatedPayments]


def whole_number(expected: float, rng: np.random.Generator) -> int:
    """Return a random whole number with that expectation: 2 is always 2, 0.5 is 0 or 1."""
    return int(expected) + int(rng.random() < expected % 1)


def stranger(rng: np.random.Generator) -> int:
    """Return the number of a device or payee that nobody else has."""
    return int(_STRANGER + rng.integers(0, 10**9))


def address(rng: np.random.Generator) -> int:
    """Return an address that no customer has."""
    return int((198 << 24) + (19 << 16) + rng.integers(0, 1 << 16))  # 198.19.0.0/16, set aside for testing


def card_testing(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return 20 to 40 online payments under two units within ten minutes, then a large one shortly afterwards."""
    count = int(rng.integers(20, 41))
    start = midnight + rng.integers(0, DAY - HOUR)
    small = np.sort(start + rng.integers(0, 10 * MINUTE, count))
    time = np.append(small, small[-1] + rng.integers(MINUTE, 20 * MINUTE))
    amount = np.append(rng.integers(1, 200, count), rng.integers(30_000, 90_000))
    return scene.rows(
        scene.victim(rng),
        time,
        amount,
        merchant=scene.shops(rng, ECOM, count + 1),
        device=stranger(rng),
        ip=address(rng),
        scenario=scenario_index("card_testing"),
    )


def account_takeover(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return two to five online payments from a new device, address and country, far above the account's usual."""
    victim, count = scene.victim(rng), int(rng.integers(2, 6))
    time = np.sort(midnight + rng.integers(0, DAY - 2 * HOUR) + rng.integers(0, 2 * HOUR, count))
    usual = scene.world.customers.mean_amount[victim]
    amount = np.maximum(usual * rng.uniform(3, 8, count), 10_000)
    return scene.rows(
        victim,
        time,
        amount,
        merchant=scene.shops(rng, ECOM, count),
        device=stranger(rng),
        ip=address(rng),
        scenario=scenario_index("account_takeover"),
    )


def impossible_travel(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return a genuine payment near home and, within the hour, a fraudulent one in a shop on another continent."""
    victim, world = scene.victim(rng), scene.world
    near = world.terminals[world.first[victim] : world.first[victim + 1]]
    at_home = near[world.merchants.channel[near] == POS]
    if not len(at_home):  # nothing but online shops near this home: no payment on the spot to contradict
        return scene.rows(victim, [], 0)
    first = midnight + rng.integers(6 * HOUR, DAY - 2 * HOUR)
    return scene.rows(
        victim,
        [first, first + rng.integers(10 * MINUTE, HOUR)],
        world.customers.mean_amount[victim] * rng.uniform([0.5, 1.0], [1.5, 3.0]),
        merchant=np.concatenate([rng.choice(at_home, 1), scene.shops(rng, POS, 1)]),
        scenario=np.array([GENUINE, scenario_index("impossible_travel")]),
    )


def limit_walk(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return six to ten increasing payments over some hours that add up to 97 to 99.9 % of the daily limit."""
    count = int(rng.integers(6, 11))
    share = np.sort(rng.uniform(0.5, 1.5, count))
    amount = np.floor(share / share.sum() * scene.config.daily_limit * 100 * rng.uniform(0.97, 0.999))
    time = midnight + rng.integers(HOUR, DAY - 12 * HOUR) + np.cumsum(rng.integers(20 * MINUTE, HOUR, count))
    return scene.rows(
        scene.victim(rng),
        time,
        amount,
        merchant=scene.shops(rng, ECOM, count),
        device=stranger(rng),
        ip=address(rng),
        scenario=scenario_index("limit_walk"),
    )


def mule_payee(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return transfers of 10 to 30 accounts, persuaded by phone, to one new payee within eight hours."""
    count = int(rng.integers(10, 31))
    victims = rng.integers(0, scene.config.customers, count)
    return scene.rows(
        victims,
        midnight + rng.integers(6 * HOUR, 14 * HOUR) + np.sort(rng.integers(0, 8 * HOUR, count)),
        rng.integers(20_000, 150_000, count),
        payee=stranger(rng),
        device=scene.device[victims],
        ip=scene.world.customers.ip[victims],
        scenario=scenario_index("mule_payee"),
    )


EPISODES: Mapping[str, Episode] = MappingProxyType(
    {
        "card_testing": card_testing,
        "account_takeover": account_takeover,
        "impossible_travel": impossible_travel,
        "limit_walk": limit_walk,
        "mule_payee": mule_payee,
    }
)
