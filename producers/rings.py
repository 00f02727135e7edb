"""Frauds across accounts: each payment looks nearly ordinary for its account, and only together they stand out."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from producers.episodes import Episode, Scene, stranger
from producers.payments import NONE, SimulatedPayments, concatenate, scenario_index
from producers.world import OWN_ACCOUNT, Ints
from vedette.clock import DAY, HOUR, MINUTE


def card_testing_ring(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return tiny payments of 40 to 120 stolen cards at one online shop, and the later use of those that worked.

    Each try comes from another device and address, as from rented computers, so only the shop is shared.
    """
    if not len(scene.online):
        return scene.rows(0, [], 0)
    cards = scene.people(rng, int(rng.integers(40, 121)))
    start = midnight + rng.integers(0, DAY)
    tries = scene.rows(
        cards,
        start + np.sort(rng.integers(0, rng.integers(10 * MINUTE, 40 * MINUTE), len(cards))),
        rng.integers(50, 400, len(cards)),
        merchant=int(rng.choice(scene.online)),
        **_rented(rng, len(cards)),
        scenario=scenario_index("card_testing_ring"),
    )
    worked = cards[rng.random(len(cards)) < scene.config.scenarios.get("tested_card", 0)]
    used = np.repeat(worked, rng.integers(1, 4, len(worked)))
    later = scene.rows(
        used,
        start + HOUR + np.rint(rng.exponential(DAY, len(used))).astype(np.int64),
        np.maximum(scene.usual(used) * rng.uniform(1.5, 5, len(used)), 4_000),
        merchant=rng.choice(scene.online, len(used)),
        **_rented(rng, len(used)),
        scenario=scenario_index("tested_card"),
    )
    return concatenate([tries, later])


def app_scam(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return transfers of 6 to 20 customers to one new payee, over some hours to a day and a half.

    The customers authorise them, from their own devices; half of the payees are new names elsewhere, half are accounts
    of this institution.
    """
    count = int(rng.integers(6, 21))
    mule = OWN_ACCOUNT + scene.victim(rng) if rng.random() < 0.5 else stranger(rng)
    victims = scene.people(rng, count)
    return scene.rows(
        victims,
        midnight + rng.integers(7 * HOUR, 20 * HOUR)
        + np.sort(rng.integers(0, rng.integers(2 * HOUR, 36 * HOUR), len(victims))),
        np.maximum(scene.usual(victims) * rng.uniform(2, 12, len(victims)), rng.integers(8_000, 30_000, len(victims))),
        payee=mule,
        **scene.own(victims),
        scenario=scenario_index("app_scam"),
    )  # fmt: skip


def takeover_ring(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return one to three payments of each of 10 to 30 accounts, all from one device, within two to twelve hours.

    Most are transfers to a few new payees, the others go to online shops; amounts are ordinary.
    """
    victims = scene.people(rng, int(rng.integers(10, 31)))
    turns = rng.integers(1, 4, len(victims))
    span = int(rng.integers(2 * HOUR, 12 * HOUR))
    customer = np.repeat(victims, turns)
    entered = np.sort(rng.integers(0, span, len(victims)))
    payees = np.array([stranger(rng) for _ in range(int(rng.integers(2, 5)))])
    to_payee = (rng.random(len(customer)) < 0.6) | (not len(scene.online))
    shops = rng.choice(scene.online, len(customer)) if len(scene.online) else np.full(len(customer), NONE)
    addresses = _homes(rng, int(rng.integers(1, 4)))
    return scene.rows(
        customer,
        midnight + rng.integers(0, DAY) + np.repeat(entered, turns) + rng.integers(0, 15 * MINUTE, len(customer)),
        np.maximum(scene.usual(customer) * rng.uniform(0.8, 3, len(customer)), 2_000),
        merchant=np.where(to_payee, NONE, shops),
        payee=np.where(to_payee, rng.choice(payees, len(customer)), NONE),
        device=stranger(rng),
        ip=rng.choice(addresses, len(customer)),
        scenario=scenario_index("takeover_ring"),
    )


def bust_out_merchant(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return some genuine sales of a new online shop over two to five days, then 30 to 80 charges of stolen cards."""
    if not len(scene.online):
        return scene.rows(0, [], 0)
    shop = scene.world.new_shop(int(rng.choice(scene.online)), rng)
    days = int(rng.integers(2, 6))
    buyers = scene.people(rng, int(rng.integers(5, 16)))
    sales = scene.rows(
        buyers,
        midnight + rng.integers(0, days * DAY, len(buyers)),
        scene.usual(buyers) * rng.uniform(0.3, 1.5, len(buyers)),
        merchant=shop,
        **scene.own(buyers),
    )
    cards = scene.people(rng, int(rng.integers(30, 81)))
    charges = scene.rows(
        cards,
        midnight + days * DAY + rng.integers(0, DAY - 10 * HOUR) + np.sort(rng.integers(0, 10 * HOUR, len(cards))),
        np.maximum(scene.usual(cards) * rng.uniform(1.2, 4, len(cards)), 3_000),
        merchant=shop,
        **_rented(rng, len(cards)),
        scenario=scenario_index("bust_out_merchant"),
    )
    return concatenate([sales, charges])


def mule_account(scene: Scene, midnight: int, rng: np.random.Generator) -> SimulatedPayments:
    """Return transfers of three to ten customers to an account within two hours, which pays them on within the hour."""
    mule, victims = scene.victim(rng), scene.people(rng, int(rng.integers(3, 11)))
    victims = victims[victims != mule]
    start = midnight + rng.integers(7 * HOUR, 20 * HOUR)
    arrived = start + np.sort(rng.integers(0, 2 * HOUR, len(victims)))
    amount = np.maximum(scene.usual(victims) * rng.uniform(2, 8, len(victims)), 15_000).astype(np.int64)
    received = scene.rows(
        victims,
        arrived,
        amount,
        payee=OWN_ACCOUNT + mule,
        **scene.own(victims),
        scenario=scenario_index("mule_account"),
    )
    parts = int(scene.config.scenarios.get("mule_forward", 0))
    if not len(victims) or not parts:
        return received
    share = rng.dirichlet(np.full(parts, 4.0))
    forwarded = scene.rows(
        np.full(parts, mule),
        arrived[-1] + np.sort(rng.integers(5 * MINUTE, 55 * MINUTE, parts)),
        np.maximum(amount.sum() * rng.uniform(0.85, 0.98) * share, 1),
        payee=np.array([stranger(rng) for _ in range(parts)]),
        **scene.own(np.full(parts, mule)),
        scenario=scenario_index("mule_forward"),
    )
    return concatenate([received, forwarded])


def _rented(rng: np.random.Generator, count: int) -> dict[str, Ints]:
    """Return a device of its own for each payment, and an address as customers have it."""
    return {"device": np.array([stranger(rng) for _ in range(count)], np.int64), "ip": _homes(rng, count)}


def _homes(rng: np.random.Generator, count: int) -> Ints:
    return (100 << 24) + (64 << 16) + rng.integers(0, 1 << 22, count)


RING_EPISODES: Mapping[str, Episode] = MappingProxyType(
    {
        "card_testing_ring": card_testing_ring,
        "app_scam": app_scam,
        "takeover_ring": takeover_ring,
        "bust_out_merchant": bust_out_merchant,
        "mule_account": mule_account,
    }
)
