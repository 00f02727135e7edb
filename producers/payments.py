"""Payments of one simulated day as parallel arrays, before names are assigned."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.frame import SCHEMA
from producers.simulation import SCENARIOS
from producers.world import ACCOUNT_TYPES, CHANNELS, COUNTRIES, CURRENCY, MCCS, Ints, World
from vedette.events import Kind

NONE = -1
_BACK = "-R"
"""Suffix of the id of what gives money back, after the id of its payment."""
GENUINE = -1
_NAMES = tuple(SCENARIOS)
KINDS: tuple[Kind | None, ...] = (None, "reversal", "refund")
PAYMENT, REVERSAL, REFUND = range(3)
_HONEST = np.array([scenario.honest for scenario in SCENARIOS.values()])


@dataclass
class SimulatedPayments:
    """One entry per payment.

    `merchant`, `payee`, `device` and `ip` are numbers, NONE where absent; `country` indexes COUNTRIES; `scenario`
    indexes SCENARIOS, GENUINE for an everyday payment. `kind` indexes KINDS; `original` is the number of the payment
    that a refund or reversal names, NONE for payments.
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
    kind: Ints
    original: Ints

    def __len__(self) -> int:
        return len(self.time)

    @property
    def fraud(self) -> npt.NDArray[np.bool_]:
        """Whether each payment is a fraud."""
        of: npt.NDArray[np.bool_] = (self.scenario != GENUINE) & ~_HONEST[self.scenario]
        return of

    def rows(self, which: Ints | npt.NDArray[np.bool_]) -> "SimulatedPayments":
        """Return some of the payments."""
        return SimulatedPayments(**{column.name: getattr(self, column.name)[which] for column in fields(self)})

    def sorted(self) -> "SimulatedPayments":
        """Return the payments in order of time; the sort is stable."""
        return self.rows(np.argsort(self.time, kind="stable"))


def concatenate(parts: Sequence[SimulatedPayments]) -> SimulatedPayments:
    """Return the concatenation of payments."""
    return SimulatedPayments(
        **{
            column.name: np.concatenate([getattr(part, column.name) for part in parts])
            for column in fields(SimulatedPayments)
        }
    )


def scenario_index(name: str) -> int:
    """Return the number that stands for a scenario in Payments."""
    return _NAMES.index(name)


class Namer:
    """Turns numbers into the names and places of the canonical frame."""

    def __init__(self, world: World, prefix: str) -> None:
        self._world = world
        self._prefix = prefix
        self._accounts = _numbered("C", np.arange(len(world.customers.mean_amount)))
        self._countries = pa.array(COUNTRIES)
        self._types = pa.array(ACCOUNT_TYPES)

    def frame(self, payments: SimulatedPayments, balance: Ints, labelled_at: Ints, first_number: int) -> pa.RecordBatch:
        """Return the canonical batch.

        Args:
            payments: In order of time.
            balance: Balance of the account before each payment, minor units.
            labelled_at: Time at which each label becomes known.
            first_number: Number in the first payment's transaction id, from which the next ones count up; what comes
                back has the number of its payment.
        """
        pays = payments.kind == PAYMENT
        number = np.where(pays, first_number + np.cumsum(pays) - 1, payments.original)
        people, shops = self._world.customers, self._world.merchants
        present, place = payments.merchant >= 0, self._world.place(payments.merchant)
        here = present & ((payments.channel == CHANNELS.index("pos")) | (payments.channel == CHANNELS.index("atm")))
        columns = {
            "transaction_id": pc.binary_join_element_wise(
                _numbered(self._prefix, number), pa.array(np.where(pays, "", _BACK)), pa.scalar("")
            ),
            "account_id": self._accounts.take(pa.array(payments.customer)),
            "amount": pa.array(payments.amount),
            "currency": pa.repeat(CURRENCY, len(payments)),
            "event_time": pa.array(payments.time),
            "merchant_id": _numbered("M", payments.merchant),
            "payee": self._payees(payments.payee),
            "mcc": _take(pa.array(MCCS), np.where(present, shops.mcc[place], NONE)),
            "channel": pa.array(CHANNELS).take(pa.array(payments.channel)),
            "country": self._countries.take(pa.array(payments.country)),
            "lat": pa.array(shops.lat[place], mask=~here),
            "lon": pa.array(shops.lon[place], mask=~here),
            "device_id": _numbered("D", payments.device),
            "ip_address": _dotted(payments.ip),
            "balance": pa.array(balance),
            "account_type": self._types.take(pa.array(people.account_type[payments.customer])),
            "account_opened_at": pa.array(people.opened_at[payments.customer]),
            "kind": pa.array(KINDS, pa.string()).take(pa.array(payments.kind)),
            "original_id": _numbered(self._prefix, payments.original),
            "fraud": pa.array(payments.fraud),
            "labelled_at": pa.array(labelled_at),
            "scenario": _take(pa.array(_NAMES), payments.scenario),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _payees(self, payee: Ints) -> pa.Array:
        """Return the names of payees; one who has an account is named by it."""
        account = self._world.account_of(payee)
        return pc.coalesce(_take(self._accounts, account), _numbered("P", payee))


def _take(names: pa.Array, index: Ints) -> pa.Array:
    return names.take(pa.array(index, mask=index < 0))


def _numbered(prefix: str, numbers: Ints) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.scalar(prefix), pc.cast(pa.array(numbers, mask=numbers < 0), pa.string()), pa.scalar("")
    )


def _dotted(addresses: Ints) -> pa.Array:
    parts = [pc.cast(pa.array((addresses >> shift) & 255, mask=addresses < 0), pa.string()) for shift in (24, 16, 8, 0)]
    return pc.binary_join_element_wise(*parts, pa.scalar("."))


def running_balance(payments: SimulatedPayments, opening: Ints, recipient: Ints) -> tuple[Ints, Ints]:
    """Return the balance before each payment, and every account's balance after the last.

    Args:
        payments: In order of time.
        opening: Balance of every account before the first.
        recipient: Customer who receives each payment, -1 for none.
    """
    n, received = len(payments), np.flatnonzero(recipient >= 0)
    customer = np.concatenate([payments.customer, recipient[received]])
    paid = np.where(payments.kind == PAYMENT, payments.amount, -payments.amount)
    change = np.concatenate([-paid, paid[received]])
    order = np.lexsort((np.concatenate([np.arange(n), received]), customer))
    customer, change = customer[order], change[order]
    so_far = np.cumsum(change) - change
    before = np.empty(len(order), np.int64)
    before[order] = opening[customer] + so_far - so_far[np.searchsorted(customer, customer)] if n else 0
    total = np.bincount(customer, weights=change, minlength=len(opening))
    return before[:n], opening + total.astype(np.int64)
