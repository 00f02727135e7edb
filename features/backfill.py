"""Features of the past, by the same kernels as online: transactions in order of event time go in, features come out."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import of_labels, of_payments, unusualness
from features.catalogue import ENTITIES, LABEL_DELAY, NAMES
from features.columns import Columns, from_batch
from features.engine import advance_accounts, advance_entities, query_entities, slots
from features.limits import Allowance, fill_limits
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA

ACCOUNT = "account"
UNUSUAL = "unusual"

_CARRIED = (
    "transaction_id", "account_id", "event_time", "amount", "fraud", "labelled_at", "scenario", "channel", "country",
    "account_type",
)  # fmt: skip


@dataclass
class Backfill:
    """State of all accounts and entities, taken forward batch by batch.

    Labels follow the rule of the stream: one that is known within LABEL_DELAY of its payment is seen from the end of
    that delay on, one that comes later from the moment it comes.
    """

    limits: Sequence[Allowance] = ()
    """Those of the policy, for the features that compare with them."""
    kinds: Sequence[str] = (ACCOUNT, *ENTITIES)
    """Whose state is kept and whose features are filled, if not everybody's. Without accounts the batches must say, in
    the column UNUSUAL, what features.activity.unusualness says with them."""
    accounts: dict[str, bytes] = field(default_factory=dict)
    entities: dict[int, bytes] = field(default_factory=dict)
    _newest: int = 0
    _late: list[tuple[int, int, str, int, list[int]]] = field(default_factory=list)
    """Heap of labels still to come: known at, payment's time, account, transaction hash, entities."""

    def advance(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        """Features of a batch, float64[n, features] in catalogue order.

        Args:
            batch: Columns as the fields of Transaction, and, if labels are known, `fraud` and `labelled_at`.

        Raises:
            InputError: The batch is not in order of event time, or begins before the last one ended.
        """
        columns = from_batch(batch)
        columns.entities[:, [kind not in self.kinds for kind in ENTITIES]] = 0
        self._check_order(columns.time)
        account_ids: list[str] = batch.column("account_id").to_pylist()
        frauds = _frauds(batch)
        known_at = _known_at(batch, columns.time)
        unusual = None if ACCOUNT in self.kinds else batch.column(UNUSUAL).to_numpy()
        out = np.empty((len(columns), len(NAMES)))
        start = 0
        while start < len(columns):
            end = self._cut(columns.time, start)
            part = slice(start, end)
            out[part] = self._step(
                columns.rows(part), account_ids[part], frauds[part], known_at[part],
                unusual if unusual is None else unusual[part],
            )  # fmt: skip
            start = end
        fill_limits(out, batch, self.limits)
        return out

    def settle(self, now: int) -> None:
        """Apply the late labels that are known by a moment."""
        while self._late and self._late[0][0] <= now:
            self._apply_label(*heapq.heappop(self._late)[1:])

    def _check_order(self, time: NDArray[np.int64]) -> None:
        if len(time) == 0:
            return
        if time[0] < self._newest or np.any(np.diff(time) < 0):
            raise InputError("transactions are not in order of event time", remedy="sort the file by event time first")
        self._newest = int(time[-1])

    def _cut(self, time: NDArray[np.int64], start: int) -> int:
        """Apply the late labels known by now; how far a step may go: to the next one, and less than the delay."""
        self.settle(int(time[start]))
        limit = int(time[start]) + min(DAY, LABEL_DELAY - 1)
        if self._late:
            limit = min(limit, self._late[0][0] - 1)
        return int(np.searchsorted(time, limit, "right"))

    def _step(
        self, columns: Columns, account_ids: list[str], frauds: NDArray[np.bool_], known_at: NDArray[np.int64],
        unusual: NDArray[np.uint8] | None,
    ) -> NDArray[np.float64]:  # fmt: skip
        if unusual is None:
            keys, slot = slots(account_ids)
            advanced = advance_accounts([self.accounts.get(key) for key in keys], slot, columns)
            self.accounts.update(zip(keys, advanced.blobs, strict=True))
            features, unusual = advanced.features, unusualness(advanced.features)
        else:
            features = np.full((len(columns), len(NAMES)), np.nan)

        records = of_payments(columns, unusual)
        entities, entity_slot = slots(records.activity.entity)
        states = [self.entities.get(entity) for entity in entities]
        seen = np.full(columns.entities.shape, -1, np.int64)
        seen[records.row, records.kind] = entity_slot
        query_entities(states, seen, columns, features)
        self.entities.update(zip(entities, advance_entities(states, entity_slot, records.activity), strict=True))

        for i in np.flatnonzero(frauds):
            label = (int(columns.time[i]), account_ids[i], int(columns.tx[i]), columns.entities[i].tolist())
            if known_at[i] <= columns.time[i] + LABEL_DELAY:
                self._apply_label(*label)
            else:
                heapq.heappush(self._late, (int(known_at[i]), *label))
        return features

    def _apply_label(self, time: int, account: str, tx: int, of: list[int]) -> None:
        fraud = np.ones(1, np.int8)
        slot = np.zeros(1, np.int64)
        label = label_columns(np.array([time]), np.array([tx]), np.array([of], np.uint64))
        if ACCOUNT in self.kinds:
            self.accounts[account] = advance_accounts([self.accounts.get(account)], slot, label, fraud).blobs[0]
        activity = of_labels(label, fraud).activity
        entities, slot = slots(activity.entity)
        new = advance_entities([self.entities.get(entity) for entity in entities], slot, activity)
        self.entities.update(zip(entities, new, strict=True))


def label_columns(time: NDArray[np.int64], tx: NDArray[np.int64], entities: NDArray[np.uint64]) -> Columns:
    """Columns for labels: only the payment's time, transaction hash and entities count."""
    n = len(time)
    zeros = np.zeros(n, np.int64)
    return Columns(
        time=time,
        amount=zeros,
        scale=np.ones(n),
        tx=tx,
        identifiers=np.zeros((n, 5), np.int64),
        entities=entities,
        account=zeros,
        lat=zeros,
        lon=zeros,
        balance=zeros,
        opened_at=zeros,
    )


def backfill(batches: Iterable[pa.RecordBatch], into: Backfill | None = None) -> Iterator[pa.RecordBatch]:
    """Features of a whole history, batch by batch, in memory bounded by the number of accounts and entities.

    Args:
        batches: As Backfill.advance takes them.
        into: The state to go on from and to leave behind; a fresh one by default.

    Yields:
        For each batch the identifying and label columns, any `extra.*`, and one float64 column per feature.

    Raises:
        InputError: The batches are not in order of event time.
    """
    state = into if into is not None else Backfill()
    for batch in batches:
        features = state.advance(batch)
        names = carried(batch.schema.names)
        yield pa.RecordBatch.from_arrays(
            [*(batch.column(name) for name in names), *(pa.array(column) for column in features.T)],
            names=[*names, *NAMES],
        )


def carried(columns: Iterable[str]) -> list[str]:
    """Which columns stand before the features in the frame: what identifies, the truth, and any extra."""
    return [name for name in columns if name in _CARRIED or name.startswith(EXTRA)]


def _frauds(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    index = batch.schema.get_field_index("fraud")
    if index < 0:
        return np.zeros(len(batch), np.bool_)
    return np.asarray(batch.column(index).fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _known_at(batch: pa.RecordBatch, time: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each label is known; the end of the delay where the batch does not say."""
    index = batch.schema.get_field_index("labelled_at")
    if index < 0 or batch.column(index).null_count == len(batch):
        return time + LABEL_DELAY
    return np.asarray(batch.column(index).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
