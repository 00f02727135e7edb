"""Honest payments that look like frauds across accounts to whoever only counts.

Episodes begin on a day by chance; a habit belongs to certain people and goes on from the first day to the last.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from producers.episodes import Episode, Scene, stranger
from producers.payments import SimulatedPayments, concatenate, scenario_index
from producers.world import OWN_ACCOUNT, POS, Ints
from vedette.clock import DAY, HOUR, MINUTE

_MONTH = 30  # days
_TODAY, _MOVES, _DUE = range(3)  # purposes of random streams
_COMPUTER = 2 * 10**12  # numbers of public computers' devices, beyond those of strangers


def ticket_sale(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return 100 to 300 purchases at one online shop, most within half an hour, at three prices."""
    if not len(scene.online):
        return scene.rows(0, [], 0)
    fans = scene.people(rng, int(rng.integers(100, 301)))
    return scene.rows(
        fans,
        midnight + rng.integers(8 * HOUR, 20 * HOUR) + rng.exponential(15 * MINUTE, len(fans)).astype(np.int64),
        rng.choice(rng.integers(30, 150, 3) * 100, len(fans)) * rng.integers(1, 3, len(fans)),
        merchant=int(rng.choice(scene.online)),
        **scene.own(fans),
        scenario=scenario_index("ticket_sale"),
    )


def charity_appeal(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return 80 to 250 donations of 1 to 100 units to a payee that is new to nearly all, within twelve hours."""
    donors = scene.people(rng, int(rng.integers(80, 251)))
    return scene.rows(
        donors,
        midnight + rng.integers(6 * HOUR, 12 * HOUR) + np.sort(rng.integers(0, 12 * HOUR, len(donors))),
        rng.choice([100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000], len(donors)),
        payee=stranger(rng),
        **scene.own(donors),
        scenario=scenario_index("charity_appeal"),
    )


def shop_launch(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return 40 to 150 payments at a shop that opened this morning, over two days, half of such shops on the spot."""
    if not len(scene.online):
        return scene.rows(0, [], 0)
    terminals = scene.world.merchants.channel[: scene.world.own_terminals]
    on_the_spot = np.flatnonzero(terminals == POS)
    if rng.random() < 0.5 and len(on_the_spot):
        like = int(rng.choice(on_the_spot))
        around = scene.world.nearby(like)
        buyers = rng.choice(around, 2 * len(around)) if len(around) else around
        own: dict[str, Ints] = {}
    else:
        like, buyers = int(rng.choice(scene.online)), scene.people(rng, int(rng.integers(40, 151)))
        own = scene.own(buyers)
    return scene.rows(
        buyers,
        midnight + rng.choice([0, DAY], len(buyers), p=[0.7, 0.3]) + rng.integers(8 * HOUR, 21 * HOUR, len(buyers)),
        scene.usual(buyers) * rng.uniform(0.2, 2, len(buyers)),
        merchant=scene.world.new_shop(like, rng),
        **own,
        scenario=scenario_index("shop_launch"),
    )


def carrier_address(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return online purchases of 100 to 300 customers, each from the own device, behind one new address in a day."""
    if not len(scene.online):
        return scene.rows(0, [], 0)
    customers = scene.people(rng, int(rng.integers(100, 301)))
    return scene.rows(
        customers,
        midnight + rng.integers(6 * HOUR, DAY, len(customers)),
        scene.usual(customers) * rng.uniform(0.2, 2, len(customers)),
        merchant=rng.choice(scene.online, len(customers)),
        device=scene.device[customers],
        ip=int((198 << 24) + (18 << 16) + rng.integers(256, 1 << 16)),
        scenario=scenario_index("carrier_address"),
    )


def landlord(scene: Scene, day: int, story: Sequence[int]) -> SimulatedPayments:
    """Return rents of 10 to 40 tenants on the first three days of the month; one in ten flats has a new tenant.

    Half of the landlords have their account here, and pay most of the rents on to a bank on the fourth day.
    """
    fixed = np.random.default_rng(story)
    owner = scene.victim(fixed)
    flats = int(fixed.integers(10, 41))
    here, elsewhere = fixed.random() < 0.5, stranger(fixed)
    payee, bank = OWN_ACCOUNT + owner if here else elsewhere, stranger(fixed)
    tenants, rent = scene.people(fixed, flats), fixed.integers(300, 1_200, flats) * 100
    month, today = divmod(day, _MONTH)
    for past in range(1, month + 1):
        moved = np.random.default_rng([*story, _MOVES, past])
        leaving = moved.random(len(tenants)) < 0.1
        tenants = np.where(leaving, moved.integers(0, scene.config.customers, len(tenants)), tenants)
    rng = np.random.default_rng([*story, _TODAY, day])
    due = np.random.default_rng([*story, _DUE, month]).integers(0, 3, len(tenants)) == today
    midnight = scene.config.start + day * DAY
    rents = scene.rows(
        tenants[due],
        midnight + rng.integers(6 * HOUR, 22 * HOUR, int(due.sum())),
        rent[: len(tenants)][due],
        payee=payee,
        **scene.own(tenants[due]),
        scenario=scenario_index("landlord"),
    )
    if not here or today != 3:
        return rents
    account = np.array([owner])
    instalment = scene.rows(
        account,
        midnight + rng.integers(8 * HOUR, 18 * HOUR, 1),
        rent.sum() * 0.8,
        payee=bank,
        **scene.own(account),
        scenario=scenario_index("landlord"),
    )
    return concatenate([rents, instalment])


def family_device(scene: Scene, day: int, story: Sequence[int]) -> SimulatedPayments:
    """Return everyday online payments of three to six accounts from the device and address of the first of them."""
    fixed = np.random.default_rng(story)
    family = scene.people(fixed, int(fixed.integers(3, 7)))
    rng = np.random.default_rng([*story, _TODAY, day])
    payers = family[rng.random(len(family)) < 0.3]
    if not len(scene.online):
        payers = payers[:0]
    return scene.rows(
        payers,
        scene.config.start + day * DAY + rng.integers(7 * HOUR, 23 * HOUR, len(payers)),
        scene.usual(payers) * rng.uniform(0.2, 2, len(payers)),
        merchant=rng.choice(scene.online, len(payers)) if len(payers) else -1,
        device=scene.device[family[0]],
        ip=scene.world.customers.ip[family[0]],
        scenario=scenario_index("family_device"),
    )


def public_computer(scene: Scene, day: int, story: Sequence[int]) -> SimulatedPayments:
    """Return one everyday online payment of each of 10 to 30 visitors of a library, from one device and address."""
    fixed = np.random.default_rng(story)
    place = int((198 << 24) + (18 << 16) + fixed.integers(256, 1 << 16))
    device = _COMPUTER + int(fixed.integers(0, 10**6)) * 10**4 + (day + int(fixed.integers(0, _MONTH))) // _MONTH
    rng = np.random.default_rng([*story, _TODAY, day])
    visitors = scene.people(rng, int(rng.integers(10, 31)) if len(scene.online) else 0)
    return scene.rows(
        visitors,
        scene.config.start + day * DAY + rng.integers(9 * HOUR, 18 * HOUR, len(visitors)),
        scene.usual(visitors) * rng.uniform(0.2, 2, len(visitors)),
        merchant=rng.choice(scene.online, len(visitors)) if len(visitors) else -1,
        device=device,
        ip=place,
        scenario=scenario_index("public_computer"),
    )


Habit = Callable[[Scene, int, Sequence[int]], SimulatedPayments]
"""Returns the payments of a day of one such group of people; their numbers are the seed of all that is random."""

LOOK_ALIKE_EPISODES: Mapping[str, Episode] = MappingProxyType(
    {
        "ticket_sale": ticket_sale,
        "charity_appeal": charity_appeal,
        "shop_launch": shop_launch,
        "carrier_address": carrier_address,
    }
)
HABITS: Mapping[str, Habit] = MappingProxyType(
    {"landlord": landlord, "family_device": family_device, "public_computer": public_computer}
)
