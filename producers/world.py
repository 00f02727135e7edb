"""The simulated world: customers, terminals and payees on the handbook's 100 by 100 grid.

The profiles and the choice of terminals follow Le Borgne et al., "Reproducible Machine Learning for Credit
Card Fraud Detection", 2022, chapter 3. The rest (countries, channels, devices …) is added by Vedette.

One grid unit is 10 km. The grid lies over western Europe, from 45.0 N 0.0 E (x = y = 0) upwards: a unit is 0.09 degrees
of latitude and 0.137 of longitude. Four vertical bands of 25 units represent four countries; they do not follow real
borders.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from producers.simulation import Simulation
from vedette.clock import DAY

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

GRID = 100.0
CURRENCY = "EUR"
CHANNELS = ("pos", "ecom", "atm", "transfer")
POS, ECOM, ATM, TRANSFER = range(4)
ACCOUNT_TYPES = ("debit", "credit", "prepaid")

_HOME = ("FR", "BE", "DE", "AT")
# Cities for trips and for remote fraud: country, latitude, longitude.
_ABROAD = (
    ("US", 40.71, -74.01), ("BR", -23.55, -46.63), ("TH", 13.76, 100.50), ("NG", 6.46, 3.39),
    ("AE", 25.20, 55.27), ("MX", 19.43, -99.13), ("ID", -6.21, 106.85), ("ZA", -33.92, 18.42),
)  # fmt: skip
COUNTRIES = (*_HOME, *(country for country, _, _ in _ABROAD))
CITIES = len(_ABROAD)
SHOPS_ABROAD = 50  # per city, half of them online
NEW_SHOP = 10**10
"""Merchants from this number on opened during the simulation; see World.new_shop."""
OWN_ACCOUNT = 10**13
"""Payees from this number on are accounts: OWN_ACCOUNT plus the customer."""

# ISO 18245 codes by channel: groceries, restaurants, fuel, department stores, pharmacies … then online and cash.
_MCC = {
    POS: ("5411", "5812", "5814", "5541", "5311", "5912", "5651", "5200"),
    ECOM: ("5732", "5942", "5945", "4816", "5815", "4722"),
    ATM: ("6011",),
}
MCCS = tuple(code for codes in _MCC.values() for code in codes)


def degrees(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return latitude and longitude of a place on the grid, to five decimals (a metre)."""
    return np.round(45.0 + 0.09 * y, 5), np.round(0.137 * x, 5)


def countries(x: Floats) -> Ints:
    """Return index into COUNTRIES of a place on the grid."""
    return np.minimum(x / GRID * len(_HOME), len(_HOME) - 1).astype(np.int64)


@dataclass(frozen=True)
class Customers:
    """One entry per account; amounts in minor units."""

    mean_amount: Floats
    mean_per_day: Floats
    country: Ints
    account_type: Ints
    opened_at: Ints
    balance: Ints
    ip: Ints


@dataclass(frozen=True)
class Merchants:
    """The grid's terminals, then the shops abroad; one entry each."""

    channel: Ints
    mcc: Ints
    country: Ints
    lat: Floats
    lon: Floats


@dataclass(frozen=True)
class World:
    """Everything that is constant from the first day to the last."""

    customers: Customers
    merchants: Merchants
    first: Ints  # the terminals of customer c are terminals[first[c] : first[c + 1]]
    terminals: Ints
    payees: int

    def place(self, merchant: Ints) -> Ints:
        """Return the index in `merchants` of what is known of each merchant: a new shop is like a terminal of old."""
        return np.where(merchant < NEW_SHOP, merchant, (merchant - NEW_SHOP) % self.own_terminals)

    def new_shop(self, like: int, rng: np.random.Generator) -> int:
        """Return the number of a shop that never sold before, with category, channel and place of a terminal."""
        return NEW_SHOP + int(rng.integers(0, 10**6)) * self.own_terminals + like

    @property
    def own_terminals(self) -> int:
        """Number of terminals on the grid."""
        return len(self.merchants.channel) - CITIES * SHOPS_ABROAD

    def nearby(self, terminal: int) -> Ints:
        """Return the customers who can reach a terminal of the grid."""
        places = np.flatnonzero(self.terminals == terminal)
        return np.searchsorted(self.first, places, side="right") - 1

    def account_of(self, payee: Ints) -> Ints:
        """Return the customer whose account each payee is, -1 for payees elsewhere; every third is one."""
        own = (payee % 3 == 0) & (payee < self.payees)
        customer = payee * 2_654_435_761 % len(self.customers.mean_amount)
        return np.where(payee >= OWN_ACCOUNT, payee - OWN_ACCOUNT, np.where(own & (payee >= 0), customer, -1))

    def abroad(self, city: Ints, shop: Ints) -> Ints:
        """Return the merchant index of a city's shop; even ones are physical shops, odd ones sell online."""
        return self.own_terminals + city * SHOPS_ABROAD + shop


def build(config: Simulation, rng: np.random.Generator) -> World:
    """Return the world of a simulation."""
    home_x, home_y = rng.uniform(0, GRID, (2, config.customers))
    place_x, place_y = rng.uniform(0, GRID, (2, config.terminals))
    first, terminals = reachable(home_x, home_y, place_x, place_y, config.radius)
    return World(
        customers=_customers(config, rng, home_x),
        merchants=_merchants(rng, place_x, place_y),
        first=first,
        terminals=terminals,
        payees=max(config.customers // 2, 3),
    )


def _customers(config: Simulation, rng: np.random.Generator, home_x: Floats) -> Customers:
    count = config.customers
    mean_amount = rng.uniform(5, 100, count) * 100
    mean_per_day = rng.uniform(0, 4, count)
    month = mean_amount * mean_per_day * 30
    fresh = rng.random(count) < 0.05  # accounts opened within the last two months
    age = np.where(fresh, rng.uniform(0, 60, count), rng.uniform(60, 3650, count)) * DAY
    return Customers(
        mean_amount=mean_amount,
        mean_per_day=mean_per_day,
        country=countries(home_x),
        account_type=rng.choice(len(ACCOUNT_TYPES), count, p=[0.6, 0.3, 0.1]),
        opened_at=np.maximum(config.start - age.astype(np.int64), 0),
        balance=(20_000 + month * rng.uniform(0.5, 3, count)).astype(np.int64),
        ip=(100 << 24) + (64 << 16) + rng.integers(0, 1 << 22, count),  # 100.64.0.0/10, providers' shared space
    )


def _merchants(rng: np.random.Generator, x: Floats, y: Floats) -> Merchants:
    lat, lon = degrees(x, y)
    channel = rng.choice([POS, ECOM, ATM], len(x), p=[0.72, 0.23, 0.05])
    country = countries(x)
    elsewhere = (channel == ECOM) & (rng.random(len(x)) < 0.2)  # an online shop need not be in the customer's country
    country[elsewhere] = rng.integers(0, len(COUNTRIES), int(elsewhere.sum()))
    city = np.repeat(np.arange(CITIES), SHOPS_ABROAD)
    shop_channel = np.tile([POS, ECOM], CITIES * SHOPS_ABROAD // 2)
    spread = rng.normal(0, 0.05, (2, len(city)))
    channels = np.concatenate([channel, shop_channel])
    return Merchants(
        channel=channels,
        mcc=_mcc(rng, channels),
        country=np.concatenate([country, len(_HOME) + city]),
        lat=np.concatenate([lat, np.round(np.array([place[1] for place in _ABROAD])[city] + spread[0], 5)]),
        lon=np.concatenate([lon, np.round(np.array([place[2] for place in _ABROAD])[city] + spread[1], 5)]),
    )


def _mcc(rng: np.random.Generator, channel: Ints) -> Ints:
    index = np.empty(len(channel), np.int64)
    base = 0
    for kind, codes in _MCC.items():
        chosen = channel == kind
        index[chosen] = base + rng.integers(0, len(codes), int(chosen.sum()))
        base += len(codes)
    return index


def reachable(home_x: Floats, home_y: Floats, x: Floats, y: Floats, radius: float) -> tuple[Ints, Ints]:
    """Return the places within the radius of each home, using a grid of cells at least one radius wide.

    Returns:
        `first` and `places`: the places of home h are places[first[h] : first[h + 1]], in ascending order.
    """
    cells = max(1, min(int(GRID // radius), 1000))

    def cell(values: Floats) -> Ints:
        return np.minimum(values / GRID * cells, cells - 1).astype(np.int64)

    row, column = cell(home_y), cell(home_x)
    place_cell = cell(y) * cells + cell(x)
    by_cell = np.argsort(place_cell, kind="stable")
    bounds = np.searchsorted(place_cell[by_cell], np.arange(cells * cells + 1))
    homes: list[Any] = []
    places: list[Any] = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            inside = (row + down >= 0) & (row + down < cells) & (column + right >= 0) & (column + right < cells)
            home = np.flatnonzero(inside)
            neighbour = (row[home] + down) * cells + column[home] + right
            count = bounds[neighbour + 1] - bounds[neighbour]
            home, start = np.repeat(home, count), np.repeat(bounds[neighbour] - np.cumsum(count) + count, count)
            place = by_cell[start + np.arange(len(start))]
            near = (home_x[home] - x[place]) ** 2 + (home_y[home] - y[place]) ** 2 < radius**2
            homes.append(home[near])
            places.append(place[near])
    home, place = np.concatenate(homes), np.concatenate(places)
    order = np.lexsort((place, home))
    return np.searchsorted(home[order], np.arange(len(home_x) + 1)), place[order]
