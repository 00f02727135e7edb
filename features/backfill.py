"""Features of past transactions, computed in order of event time by the same kernels as online."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.account_codec import TX_MASK
from features.activity import of_labels, payment_flags, unusualness
from features.catalogue import ENTITIES, LABEL_DELAY, NAMES
from features.columns import IDENTIFIERS, Columns, from_batch
from features.engine import KnownFrauds, advance_accounts, advance_entities, follow_entities, slots
from features.identity import OPEN, Identity
from features.kernel_account import DUPLICATE
from features.kernel_entity import DELAYED_PART, LIVE_PART
from features.limits import Allowance, fill_limits
from features.live_codec import NO_PAYMENT, REPEATED
from features.signals import FLAGGED_COLUMNS, SPENT
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA

ACCOUNT = "account"
UNUSUAL = "unusual"
FLAGS = "flags"
PAYS = "pays"
FROM_ACCOUNT = (UNUSUAL, FLAGS, *SPENT)
"""Columns that carry the results of the accounts to the entities, where these are computed apart."""

FLAGGED = "flagged"
"""Column of a batch with whether Vedette flagged each payment, where its decisions are known."""

_CARRIED = (
    "transaction_id", "account_id", "event_time", "amount", "currency", "fraud", "labelled_at", "scenario", "channel",
    "country", "account_type",
)  # fmt: skip


@dataclass
class Backfill:
    """State of all accounts and entities, advanced batch by batch.

    Labels follow the rule of the stream: in delayed features, a label known within the label delay of its payment
    takes effect at the end of that delay, a later one when it becomes known; in live features, all when they become
    known.
    """

    limits: Sequence[Allowance] = ()
    """Account limits of the policy, for the features that compare totals with them."""
    kinds: Sequence[str] = (ACCOUNT, *ENTITIES)
    """Kinds whose state is kept and whose features are filled; all by default. Without accounts, the batches must carry
    their results in the columns FROM_ACCOUNT."""
    label_delay: int = LABEL_DELAY
    """Milliseconds, at least a day."""
    identity: Identity = OPEN
    """Key of the hashes."""
    accounts: dict[str, bytes] = field(default_factory=dict)
    entities: dict[int, bytes] = field(default_factory=dict)
    flags: list[NDArray[np.uint8]] = field(default_factory=list)
    """Flags of the last batch's payments, step by step; see features.activity.payment_flags."""
    _newest: int = 0
    _late: list[tuple[int, int, str, int, list[int]]] = field(default_factory=list)
    """Heap of pending labels: time known, time of the payment, account, transaction hash, entities."""
    _unknown: list[tuple[int, int, int, int, list[int]]] = field(default_factory=list)
    """Heap of frauds not known yet, for the live features: time known, number of the payment in the history, time of
    the payment, transaction hash, entities."""
    _taken: int = 0
    """Number of payments so far."""

    def advance(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        """Return the features of a batch, float64[n, features] in catalogue order.

        Args:
            batch: Columns as the fields of Transaction, if labels are known, `fraud` and `labelled_at`, and, if the
                decisions are known, FLAGGED.

        Raises:
            InputError: The batch is not in order of event time, or begins before the last one ended.
        """
        columns = from_batch(batch, self.identity)
        columns.entities[:, [kind not in self.kinds for kind in ENTITIES]] = 0
        if "payee" not in self.kinds:
            columns.recipient[:] = 0
        self._check_order(columns.time)
        account_ids: list[str] = batch.column("account_id").to_pylist()
        frauds = _frauds(batch)
        known_at = _known_at(batch, columns.time, self.label_delay)
        given = None if ACCOUNT in self.kinds else batch.select(FROM_ACCOUNT)
        flagged = batch.column(FLAGGED).to_numpy(zero_copy_only=False) if FLAGGED in batch.schema.names else None
        out = np.empty((len(columns), len(NAMES)))
        self.flags.clear()
        start = 0
        while start < len(columns):
            end = self._cut(columns.time, start)
            part = slice(start, end)
            out[part] = self._step(
                columns.rows(part), account_ids[part], frauds[part], known_at[part],
                given if given is None else given[part], flagged if flagged is None else flagged[part],
            )  # fmt: skip
            start = end
        fill_limits(out, batch, self.limits)
        if flagged is None:
            out[:, FLAGGED_COLUMNS] = np.nan
        return out

    @property
    def pays(self) -> NDArray[np.bool_]:
        """bool[n], which transactions of the last batch are payments, and not refunds, reversals and the like."""
        flags = np.concatenate(self.flags) if self.flags else np.empty((0, len(ENTITIES)), np.uint8)
        pays: NDArray[np.bool_] = flags[:, 0] & NO_PAYMENT == 0
        return pays

    def settle(self, now: int) -> None:
        """Apply the labels that are known by a moment, after the last payment."""
        self._settle_late(now)
        for *_, time, tx, of in self._known_by(now):
            label = label_columns(np.array([time]), np.array([tx]), np.array([of], np.uint64))
            self._apply_to_entities(label, LIVE_PART)

    def _settle_late(self, now: int) -> None:
        while self._late and self._late[0][0] <= now:
            self._apply_label(*heapq.heappop(self._late)[1:])

    def _known_by(self, now: int) -> Iterator[tuple[int, int, int, int, list[int]]]:
        while self._unknown and self._unknown[0][0] <= now:
            yield heapq.heappop(self._unknown)

    def _check_order(self, time: NDArray[np.int64]) -> None:
        if len(time) == 0:
            return
        if time[0] < self._newest or np.any(np.diff(time) < 0):
            raise InputError("transactions are not in order of event time", remedy="sort the file by event time first")
        self._newest = int(time[-1])

    def _cut(self, time: NDArray[np.int64], start: int) -> int:
        """Apply late labels known by now; return the end of the step: the next label, within the delay."""
        self._settle_late(int(time[start]))
        limit = int(time[start]) + min(DAY, self.label_delay - 1)
        if self._late:
            limit = min(limit, self._late[0][0] - 1)
        return int(np.searchsorted(time, limit, "right"))

    def _step(
        self, columns: Columns, account_ids: list[str], frauds: NDArray[np.bool_], known_at: NDArray[np.int64],
        given: pa.RecordBatch | None, flagged: NDArray[np.bool_] | None,
    ) -> NDArray[np.float64]:  # fmt: skip
        if given is None:
            keys, slot = slots(account_ids)
            advanced = advance_accounts([self.accounts.get(key) for key in keys], slot, columns, delay=self.label_delay)
            self.accounts.update(zip(keys, advanced.blobs, strict=True))
            features, unusual = advanced.features, unusualness(advanced.features)
            flags = payment_flags(features, advanced.new, flagged)
            flags[advanced.status == DUPLICATE] |= REPEATED
            flags[~advanced.pays] |= NO_PAYMENT
            self.flags.append(flags)
        else:
            features = np.full((len(columns), len(NAMES)), np.nan)
            for name in SPENT:
                features[:, NAMES.index(name)] = given.column(name).to_numpy()
            unusual = given.column(UNUSUAL).to_numpy()
            flags = unpacked_flags(given.column(FLAGS).to_numpy())

        pays = flags[:, 0] & NO_PAYMENT == 0
        for i in np.flatnonzero(frauds):
            of = (columns.entities[i] * pays[i]).tolist()
            known = int(known_at[i])
            fraud = (known, self._taken + int(i), int(columns.time[i]), int(columns.tx[i]), of)
            heapq.heappush(self._unknown, fraud)
        self._follow(columns, unusual, flags, features)
        self._taken += len(columns)
        for i in np.flatnonzero(frauds):
            # What is not a payment is no activity of its merchant, which would wait for it in vain.
            label = (int(columns.time[i]), account_ids[i], int(columns.tx[i]), (columns.entities[i] * pays[i]).tolist())
            if known_at[i] <= columns.time[i] + self.label_delay:
                self._apply_label(*label)
            else:
                heapq.heappush(self._late, (int(known_at[i]), *label))
        return features

    def _follow(
        self, columns: Columns, unusual: NDArray[np.uint8], flags: NDArray[np.uint8], features: NDArray[np.float64]
    ) -> None:
        """Take the entities forward by payments, and by the frauds that become known meanwhile."""
        frauds = list(self._known_by(int(columns.time[-1])))
        of_frauds = np.array([of for *_, of in frauds], np.uint64).reshape(-1, len(ENTITIES))
        hashes = np.column_stack([columns.entities, columns.recipient])
        named = np.concatenate([hashes.ravel(), of_frauds.ravel()])
        entities, index = slots(pa.array(named[named != 0]))
        slot = np.full(len(named), -1, np.int64)
        slot[named != 0] = index
        known = KnownFrauds(
            known_at=np.array([fraud[0] for fraud in frauds], np.int64),
            slot=slot[hashes.size :].reshape(of_frauds.shape),
            row=np.maximum(np.array([fraud[1] for fraud in frauds], np.int64) - self._taken, -1),
            time=np.array([fraud[2] for fraud in frauds], np.int64),
            tx=np.array([fraud[3] for fraud in frauds], np.int64) & TX_MASK,
        )
        blobs = [self.entities.get(entity) for entity in entities]
        new = follow_entities(
            blobs, slot[: hashes.size].reshape(hashes.shape), columns, unusual, flags, known, features,
            delay=self.label_delay,
        )  # fmt: skip
        touched = np.zeros(len(entities), np.bool_)
        leaves_a_trace = (columns.entities != 0) & (flags & (REPEATED | NO_PAYMENT) == 0)
        touched[slot[: hashes.size].reshape(hashes.shape)[:, :-1][leaves_a_trace]] = True
        touched[known.slot[known.slot >= 0]] = True
        self.entities.update((entities[i], new[i]) for i in np.flatnonzero(touched).tolist())

    def _apply_label(self, time: int, account: str, tx: int, of: list[int]) -> None:
        label = label_columns(np.array([time]), np.array([tx]), np.array([of], np.uint64))
        if ACCOUNT in self.kinds:
            fraud, slot = np.ones(1, np.int8), np.zeros(1, np.int64)
            self.accounts[account] = advance_accounts(
                [self.accounts.get(account)], slot, label, fraud, delay=self.label_delay
            ).blobs[0]
        self._apply_to_entities(label, DELAYED_PART)

    def _apply_to_entities(self, label: Columns, part: int) -> None:
        activity = of_labels(label, np.ones(1, np.int8)).activity
        entities, slot = slots(activity.entity)
        new = advance_entities(
            [self.entities.get(entity) for entity in entities], slot, activity, part, delay=self.label_delay
        )
        self.entities.update(zip(entities, new, strict=True))


def packed_flags(flags: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return flags by kind of entity, uint8[n, kinds], as one number for each payment, for the column FLAGS."""
    return np.ascontiguousarray(flags).view("<u4").ravel()


def unpacked_flags(packed: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the inverse of packed_flags."""
    flags: NDArray[np.uint8] = np.ascontiguousarray(packed).view(np.uint8).reshape(len(packed), len(ENTITIES))
    return flags


def label_columns(time: NDArray[np.int64], tx: NDArray[np.int64], entities: NDArray[np.uint64]) -> Columns:
    """Return columns for labels: only the payment's time, transaction hash and entities matter."""
    n = len(time)
    zeros = np.zeros(n, np.int64)
    return Columns(
        time=time,
        amount=zeros,
        scale=np.ones(n),
        tx=tx,
        identifiers=np.zeros((n, len(IDENTIFIERS)), np.int64),
        entities=entities,
        recipient=np.zeros(n, np.uint64),
        account=zeros,
        lat=zeros,
        lon=zeros,
        balance=zeros,
        opened_at=zeros,
        kind=np.zeros(n, np.int8),
        original=zeros,
    )


def backfill(batches: Iterable[pa.RecordBatch], into: Backfill | None = None) -> Iterator[pa.RecordBatch]:
    """Compute the features of a whole history, batch by batch, in memory bounded by the accounts and entities.

    Refunds, reversals, deposits and completions of known authorisations become part of the state, but are not yielded:
    they are not what a model scores.

    Args:
        batches: Batches as for Backfill.advance.
        into: State to continue from and to update; a new one by default.

    Yields:
        For the payments of each batch the identifying and label columns, any `extra.*`, and one float64 column per
        feature.

    Raises:
        InputError: The batches are not in order of event time.
    """
    state = into if into is not None else Backfill()
    for batch in batches:
        features = state.advance(batch)
        payments = batch if state.pays.all() else batch.filter(pa.array(state.pays))
        names = carried(batch.schema.names)
        yield pa.RecordBatch.from_arrays(
            [*(payments.column(name) for name in names), *(pa.array(column) for column in features[state.pays].T)],
            names=[*names, *NAMES],
        )


def carried(columns: Iterable[str]) -> list[str]:
    """Return the columns that precede the features in the frame: identifiers, labels, and any extra."""
    return [name for name in columns if name in _CARRIED or name.startswith(EXTRA)]


def _frauds(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    index = batch.schema.get_field_index("fraud")
    if index < 0:
        return np.zeros(len(batch), np.bool_)
    return np.asarray(batch.column(index).fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _known_at(batch: pa.RecordBatch, time: NDArray[np.int64], delay: int) -> NDArray[np.int64]:
    """Return the time from which each label is known; the end of the delay where the batch has none."""
    index = batch.schema.get_field_index("labelled_at")
    if index < 0 or batch.column(index).null_count == len(batch):
        return time + delay
    return np.asarray(batch.column(index).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
