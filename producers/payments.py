"""Payments of one simulated day as parallel arrays, before they get their names."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from producers.frame import SCHEMA
from producers.simulation import SCENARIOS
from producers.world import ACCOUNT_TYPES, CHANNELS, COUNTRIES, CURRENCY, MCCS, Ints, World

NONE = -1
GENUINE = -1
_NAMES = tuple(SCENARIOS)


@dataclass
class Payments:
    """One entry per payment.

    `merchant`, `payee`, `device` and `ip` are numbers, NONE where there is none; `country` indexes COUNTRIES;
    `scenario` indexes SCENARIOS, GENUINE where it is no fraud.
    """

    time: Ints
    customer: Ints
    amount: Ints
    channel: Ints
    merchant: Ints
    payee: Ints
    country: Ints
    device: Ints
    ip: Ints
    scenario: Ints

    def __len__(self) -> int:
        return len(self.time)

    def sorted(self) -> "Payments":
        """In order of time; at the same moment, the order is kept."""
        order = np.argsort(self.time, kind="stable")
        return Payments(**{column.name: getattr(self, column.name)[order] for column in fields(self)})


def concatenate(parts: Sequence[Payments]) -> Payments:
    """All payments of several, one after the other."""
    return Payments(
        **{column.name: np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Payments)}
    )


def scenario_index(name: str) -> int:
    """The number that stands for a scenario in Payments."""
    return _NAMES.index(name)


class Namer:
    """Turns numbers into the names and places of the canonical frame."""

    def __init__(self, world: World, prefix: str) -> None:
        self._world = world
        self._prefix = prefix
        self._accounts = _numbered("C", np.arange(len(world.customers.mean_amount)))
        self._merchants = _numbered("M", np.arange(len(world.merchants.channel)))
        self._countries = pa.array(COUNTRIES)
        self._types = pa.array(ACCOUNT_TYPES)

    def frame(self, payments: Payments, balance: Ints, labelled_at: Ints, first_number: int) -> pa.RecordBatch:
        """The canonical batch.

        Args:
            payments: In order of time.
            balance: Of each payment's account before it, minor units.
            labelled_at: When each payment's truth becomes known.
            first_number: The number in the first payment's transaction id; the next ones count up.
        """
        people, shops = self._world.customers, self._world.merchants
        present = payments.merchant >= 0
        here = present & ((payments.channel == CHANNELS.index("pos")) | (payments.channel == CHANNELS.index("atm")))
        columns = {
            "transaction_id": _numbered(self._prefix, first_number + np.arange(len(payments))),
            "account_id": self._accounts.take(pa.array(payments.customer)),
            "amount": pa.array(payments.amount),
            "currency": pa.repeat(CURRENCY, len(payments)),
            "event_time": pa.array(payments.time),
            "merchant_id": _take(self._merchants, payments.merchant),
            "payee": _numbered("P", payments.payee),
            "mcc": _take(pa.array(MCCS), np.where(present, shops.mcc[payments.merchant], NONE)),
            "channel": pa.array(CHANNELS).take(pa.array(payments.channel)),
            "country": self._countries.take(pa.array(payments.country)),
            "lat": pa.array(shops.lat[payments.merchant], mask=~here),
            "lon": pa.array(shops.lon[payments.merchant], mask=~here),
            "device_id": _numbered("D", payments.device),
            "ip_address": _dotted(payments.ip),
            "balance": pa.array(balance),
            "account_type": self._types.take(pa.array(people.account_type[payments.customer])),
            "account_opened_at": pa.array(people.opened_at[payments.customer]),
            "fraud": pa.array(payments.scenario != GENUINE),
            "labelled_at": pa.array(labelled_at),
            "scenario": _take(pa.array(_NAMES), payments.scenario),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _take(names: pa.Array, index: Ints) -> pa.Array:
    return names.take(pa.array(index, mask=index < 0))


def _numbered(prefix: str, numbers: Ints) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.scalar(prefix), pc.cast(pa.array(numbers, mask=numbers < 0), pa.string()), pa.scalar("")
    )


def _dotted(addresses: Ints) -> pa.Array:
    parts = [pc.cast(pa.array((addresses >> shift) & 255, mask=addresses < 0), pa.string()) for shift in (24, 16, 8, 0)]
    return pc.binary_join_element_wise(*parts, pa.scalar("."))


def running_balance(payments: Payments, opening: Ints) -> tuple[Ints, Ints]:
    """Balance before each payment, and every account's balance after the last.

    Args:
        payments: In order of time.
        opening: Balance of every account before the first.
    """
    order = np.argsort(payments.customer, kind="stable")
    customer, amount = payments.customer[order], payments.amount[order]
    spent = np.cumsum(amount) - amount
    starts = np.searchsorted(customer, customer)
    before = np.empty(len(payments), np.int64)
    before[order] = opening[customer] - (spent - spent[starts]) if len(payments) else 0
    total = np.bincount(customer, weights=amount, minlength=len(opening))
    return before, opening - total.astype(np.int64)
