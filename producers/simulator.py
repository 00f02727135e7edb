"""A stream of simulated payments, day by day, written from the description of the handbook's simulator.

Source of the base population and of the first three scenarios: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible
Machine Learning for Credit Card Fraud Detection - Practical Handbook", 2022, chapter 3, "Transaction data simulator".
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from producers.episodes import EPISODES, Scene, whole_number
from producers.look_alikes import HABITS, LOOK_ALIKE_EPISODES
from producers.payments import (
    GENUINE,
    NONE,
    PAYMENT,
    Namer,
    SimulatedPayments,
    concatenate,
    running_balance,
    scenario_index,
)
from producers.returns import Returns
from producers.rings import RING_EPISODES
from producers.simulation import LATE_DAYS, Simulation
from producers.world import ATM, CITIES, ECOM, SHOPS_ABROAD, TRANSFER, Ints, World, build
from vedette.clock import DAY, SECOND

BATCH_ROWS = 50_000

_TERMINAL_DAYS = 28
_CARD_DAYS = 14
_CARD_SHARE = 1 / 3
_CARD_FACTOR = 5
_TRIP_DAYS = 5
_NEW_DEVICE = 1 / 500  # probability per day that a customer changes the device
_NEW_PAYEE = 0.05  # share of transfers to payees other than the three usual ones
_MOBILE = 0.15  # share of online payments made through the mobile network's 256 addresses, 198.18.0.0/24

# Each purpose has its own random stream, so that switching one off does not change the payments of the others.
_WORLD, _PAYMENTS, _ATTRIBUTES, _SCENARIOS, _EPISODES, _LABELS, _RETURNS, _HABITS = range(8)
_EPISODES_BY_NAME = {**EPISODES, **RING_EPISODES, **LOOK_ALIKE_EPISODES}


def simulate(config: Simulation) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most BATCH_ROWS in order of event time, with about one day of payments in memory."""
    world = build(config, np.random.default_rng([config.seed, _WORLD]))
    life = _Life(config, world)
    namer = Namer(world, f"S{config.seed}-")
    balance = world.customers.balance
    returns = Returns(config.returns)
    made = 0
    for day in range(config.days):
        spending, episodes = life.day(day)
        payments = concatenate([spending, episodes])
        order = np.argsort(payments.time, kind="stable")
        number = np.empty(len(payments), np.int64)
        number[order] = np.arange(made, made + len(payments))
        payments = payments.rows(order)
        labelled_at = _labelled_at(config, payments, day)
        end = config.start + (day + 1) * DAY
        rng = np.random.default_rng([config.seed, _RETURNS, day])
        payments = concatenate([payments, returns.due(spending, number[: len(spending)], end, rng)]).sorted()
        known = payments.time + round(config.label_delay_days * DAY)
        known[payments.kind == PAYMENT] = labelled_at
        received = world.account_of(payments.payee)
        before, balance = running_balance(payments, balance + _salaries(world, day), received)
        frame = namer.frame(payments, before, known, made)
        made += len(number)
        for start in range(0, len(payments), BATCH_ROWS):
            yield frame.slice(start, BATCH_ROWS)


def _salaries(world: World, day: int) -> Ints:
    """Return incoming payments: every 30 days each customer receives slightly more than a month's spending."""
    people = world.customers
    payday = np.arange(len(people.mean_amount)) % 30 == day % 30
    return np.where(payday, people.mean_amount * people.mean_per_day * 33 + 10_000, 0).astype(np.int64)


def _labelled_at(config: Simulation, payments: SimulatedPayments, day: int) -> Ints:
    rng = np.random.default_rng([config.seed, _LABELS, day])
    late = np.where(
        rng.random(len(payments)) < config.late_labels, rng.uniform(0, LATE_DAYS * DAY, len(payments)), 0
    ).astype(np.int64)
    return payments.time + round(config.label_delay_days * DAY) + late


class _Life:
    """State that changes from day to day: trips, devices, and compromised terminals and cards."""

    def __init__(self, config: Simulation, world: World) -> None:
        self._config = config
        self._world = world
        self._trip_start = np.full(config.customers, -_TRIP_DAYS - 1)
        self._trip_city = np.zeros(config.customers, np.int64)
        self._terminal_until = np.zeros(len(world.merchants.channel), np.int64)
        self._card_until = np.zeros(config.customers, np.int64)
        self._scene = Scene(config, world)
        self._later = self._scene.rows(0, [], 0)

    def day(self, day: int) -> tuple[SimulatedPayments, SimulatedPayments]:
        """Return the payments of a day, in no particular order: what customers spend, and those of scenarios.

        What a scenario adds on later days is kept for then.
        """
        config = self._config
        payments = self._spending(day)
        self._live(payments, day)
        self._handbook_frauds(payments, day)
        midnight = config.start + day * DAY
        scenes = [
            self._scene.play(name, episode, midnight, np.random.default_rng([config.seed, _EPISODES, day, number]))
            for number, (name, episode) in enumerate(_EPISODES_BY_NAME.items())
            if config.scenarios.get(name)
        ]
        habits = [
            habit(self._scene, day, [config.seed, _HABITS, number, story])
            for number, (name, habit) in enumerate(HABITS.items())
            for story in range(int(config.scenarios.get(name, 0)) if self._scene.inhabited else 0)
        ]
        added = concatenate([self._later, *scenes, *habits])
        today = added.time < midnight + DAY
        self._later = added.rows(~today)
        return payments, added.rows(today)

    def _spending(self, day: int) -> SimulatedPayments:
        """Return the handbook's genuine payments: Poisson counts, normal amounts and times, reachable terminals."""
        config, world = self._config, self._world
        rng = np.random.default_rng([config.seed, _PAYMENTS, day])
        options = np.diff(world.first)
        count = np.where(options > 0, rng.poisson(world.customers.mean_per_day), 0)
        seconds = rng.normal(DAY / SECOND / 2, 20_000, int(count.sum()))
        customer = np.repeat(np.arange(config.customers), count)
        inside = (seconds > 0) & (seconds < DAY / SECOND)
        customer, seconds = customer[inside], seconds[inside]
        mean = world.customers.mean_amount[customer]
        amount = rng.normal(mean, mean / 2)
        amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
        choice = (rng.random(len(customer)) * options[customer]).astype(np.int64)
        merchant = world.terminals[world.first[customer] + choice]
        return SimulatedPayments(
            time=config.start + day * DAY + (seconds * SECOND).astype(np.int64),
            customer=customer,
            amount=np.rint(amount).astype(np.int64),
            channel=world.merchants.channel[merchant],
            merchant=merchant,
            payee=np.full(len(customer), NONE),
            country=world.merchants.country[merchant],
            device=np.full(len(customer), NONE),
            ip=np.full(len(customer), NONE),
            scenario=np.full(len(customer), GENUINE),
            kind=np.full(len(customer), PAYMENT),
            original=np.full(len(customer), NONE),
        )

    def _live(self, payments: SimulatedPayments, day: int) -> None:
        """Apply Vedette's additions in place: transfers, trips abroad, devices, addresses; amounts and times stay."""
        config, world = self._config, self._world
        rng = np.random.default_rng([config.seed, _ATTRIBUTES, day])
        people = world.customers
        customer, count = payments.customer, len(payments)

        setting_out = rng.integers(0, config.customers, rng.poisson(config.trips_per_day))
        self._trip_start[setting_out] = day
        self._trip_city[setting_out] = rng.integers(0, CITIES, len(setting_out))
        self._scene.device[rng.random(config.customers) < _NEW_DEVICE] += config.customers

        since = day - self._trip_start[customer]
        shop = rng.integers(0, SHOPS_ABROAD // 2, count) * 2
        away = (since > 0) & (since < _TRIP_DAYS) & (payments.channel != ECOM)
        payments.merchant[away] = world.abroad(self._trip_city[customer], shop)[away]
        # On the two travel days there are no in-person payments, so nobody seems to travel faster than an aeroplane.
        travelling = ((since == 0) | (since == _TRIP_DAYS)) & (payments.channel != ECOM)
        payments.merchant[travelling] = world.abroad(self._trip_city[customer], shop + 1)[travelling]
        moved = away | travelling
        payments.channel[moved] = world.merchants.channel[payments.merchant[moved]]
        payments.country[moved] = world.merchants.country[payments.merchant[moved]]

        transfer = (rng.random(count) < config.transfers) & (payments.channel != ATM) & ~moved
        usual = (customer * 3 + rng.integers(0, 3, count)) * 2_654_435_761 % world.payees
        other = rng.integers(0, world.payees, count)
        payments.payee[transfer] = np.where(rng.random(count) < _NEW_PAYEE, other, usual)[transfer]
        payments.channel[transfer] = TRANSFER
        payments.merchant[transfer] = NONE
        payments.country[transfer] = people.country[customer[transfer]]

        online = (payments.channel == ECOM) | transfer
        payments.device[online] = self._scene.device[customer][online]
        mobile = (198 << 24) + (18 << 16) + rng.integers(0, 256, count)
        payments.ip[online] = np.where(rng.random(count) < _MOBILE, mobile, people.ip[customer])[online]

    def _handbook_frauds(self, payments: SimulatedPayments, day: int) -> None:
        """Apply the handbook's three scenarios in place, in its order: a later one overrides an earlier one."""
        config = self._config
        rng = np.random.default_rng([config.seed, _SCENARIOS, day])
        terminals = rng.integers(
            0, config.terminals, whole_number(config.scenarios.get("compromised_terminal", 0), rng)
        )
        self._terminal_until[terminals] = day + _TERMINAL_DAYS
        cards = rng.integers(0, config.customers, whole_number(config.scenarios.get("compromised_card", 0), rng))
        self._card_until[cards] = day + _CARD_DAYS

        if "large_amount" in config.scenarios:
            large = payments.amount > round(config.scenarios["large_amount"] * 100)
            payments.scenario[large] = scenario_index("large_amount")
        at_terminal = (payments.merchant != NONE) & (self._terminal_until[payments.merchant] > day)
        payments.scenario[at_terminal] = scenario_index("compromised_terminal")
        stolen = (self._card_until[payments.customer] > day) & (rng.random(len(payments)) < _CARD_SHARE)
        payments.amount[stolen] *= _CARD_FACTOR
        payments.scenario[stolen] = scenario_index("compromised_card")
