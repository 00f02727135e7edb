"""The entity kernel: activity and confirmed frauds of merchants, devices, addresses and payees across accounts.

The delayed part of an entity's state is the matter of features.kernel_delayed, the live part that of
features.kernel_live. Online, a worker looks at the entities of its payments (`query_entities`) and applies activity to
those that it owns (`advance_entities`); offline, both happen payment by payment (`follow_entities`).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TABLE
from features.catalogue import DELAYED
from features.entity_codec import EntityStates, pack_entities, unpack_entities
from features.kernel_delayed import MERCHANT, apply_delayed, clear_delayed, query_delayed
from features.kernel_live import apply_live
from features.kernel_look import KIND_SIGNALS, SCRATCH, look
from features.live_codec import NO_PAYMENT, REPEATED
from features.signals import ABSENT

DELAYED_PART, LIVE_PART = 1, 2
"""Parts of a state that a record is applied to; usually both."""

_N_DELAYED = len(DELAYED)


@numba.njit(cache=True, nogil=True)
def advance_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    kind: NDArray[np.uint8],
    time: NDArray[np.int64],
    tx: NDArray[np.int64],
    account: NDArray[np.int64],
    amount: NDArray[np.int64],
    unusual: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    label: NDArray[np.int8],
    parts: int,
    delay: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Apply activity to the states of its entities, in order.

    Args:
        blobs: uint8, the concatenated blobs of all entities of the batch; an empty one is a new entity.
        starts: int64[entities + 1], start of each blob.
        slots: int64[n], the entity of each record.
        kind: uint8[n], its kind, as an index into ENTITIES.
        time: int64[n], event times in milliseconds.
        tx: int64[n], transaction hashes within TX_MASK.
        account: int64[n], account hashes within ACCOUNT_MASK.
        amount: int64[n], minor units.
        unusual: uint8[n], unusualness in sixteenths.
        flags: uint8[n], flags of features.live_codec.
        label: int8[n], -1 for a payment, otherwise a label of the payment with this time and hash: 1 fraud, 0 not.
        parts: DELAYED_PART, LIVE_PART or both.
        delay: The label delay, milliseconds.

    Returns:
        The new blobs, the start of each, and -1 or the index of an entity whose blob is not valid.
    """
    states = unpack_entities(blobs, starts, slots)
    if states.broken >= 0:
        return np.empty(0, np.uint8), starts, states.broken
    for i in range(slots.shape[0]):
        _apply(
            states, slots[i], kind[i], time[i], tx[i], account[i], amount[i], unusual[i], flags[i], label[i], parts,
            delay,
        )  # fmt: skip
    blobs_out, starts_out = pack_entities(states)
    return blobs_out, starts_out, -1


@numba.njit(cache=True, nogil=True)
def _apply(
    states: EntityStates,
    e: int,
    kind: int,
    time: int,
    tx: int,
    account: int,
    amount: int,
    unusual: int,
    flags: int,
    label: int,
    parts: int,
    delay: int,
) -> None:
    """Apply one record to the state of entity e."""
    if parts & LIVE_PART:
        apply_live(
            states.live[e],
            states.events[states.event_base[e] : states.event_base[e + 1]],
            states.tiles[states.tile_base[e] : states.tile_base[e + 1]],
            states.sample[states.sample_base[e] : states.sample_base[e + 1]],
            time,
            tx,
            account,
            amount,
            flags,
            label,
        )
    if parts & DELAYED_PART and kind < _N_DELAYED:
        if kind == MERCHANT:
            apply_delayed(states, e, time, tx, 0, amount, unusual, label, delay)
        else:
            apply_delayed(states, e, time, tx, account, 0, 0, label, delay)


@numba.njit(cache=True, nogil=True)
def query_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    scale: NDArray[np.float64],
    account: NDArray[np.int64],
    delay: int,
    out: NDArray[np.float64],
    signals: NDArray[np.int64],
) -> int:
    """Fill the delayed features and the live signals of payments; states are only read.

    Args:
        blobs: uint8, the concatenated blobs of all entities of the batch.
        starts: int64[entities + 1], start of each blob.
        slots: int64[n, KINDS], merchant, device, address and payee of each payment, and the account as a payee; -1 for
            none, whose features become NaN and whose signals ABSENT.
        time: int64[n], event times in milliseconds.
        scale: float64[n], minor units in a major unit of the payment's currency.
        account: int64[n], account hashes within ACCOUNT_MASK.
        delay: The label delay, milliseconds.
        out: float64[n, features].
        signals: int64[n, SIGNALS].

    Returns:
        -1, or the index of an entity whose blob is not valid.
    """
    states = unpack_entities(blobs, starts, np.empty(0, np.int64))
    if states.broken >= 0:
        broken: int = states.broken
        return broken
    keys = np.empty(TABLE, np.int64)
    marks = np.zeros(TABLE, np.int32)
    values = np.empty(TABLE, np.int32)
    scratch = np.empty(SCRATCH, np.int64)
    generation = 0
    for i in range(slots.shape[0]):
        generation = _query(
            states,
            slots[i],
            time[i],
            scale[i],
            account[i],
            delay,
            out[i],
            signals[i],
            keys,
            marks,
            values,
            scratch,
            generation,
        )
    return -1


@numba.njit(cache=True, nogil=True)
def _query(
    states: EntityStates,
    slots: NDArray[np.int64],
    time: int,
    scale: float,
    account: int,
    delay: int,
    out: NDArray[np.float64],
    signals: NDArray[np.int64],
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    scratch: NDArray[np.int64],
    generation: int,
) -> int:
    """Fill the row of one payment; return the last generation used of the hash table."""
    for kind in range(slots.shape[0]):
        e = slots[kind]
        if kind < _N_DELAYED:
            clear_delayed(kind, out)
        own = signals[kind * KIND_SIGNALS : (kind + 1) * KIND_SIGNALS]
        if e < 0:
            own[:] = ABSENT
            continue
        generation += 1
        look(
            states.live[e],
            states.events[states.event_base[e] : states.event_base[e + 1]],
            states.tiles[states.tile_base[e] : states.tile_base[e + 1]],
            states.sample[states.sample_base[e] : states.sample_base[e + 1]],
            time,
            account,
            keys,
            marks,
            values,
            generation,
            scratch,
            own,
        )
        if kind < _N_DELAYED:
            generation += 1
            query_delayed(states, e, kind, time, delay, scale, out, keys, marks, values, generation)
    return generation


@numba.njit(cache=True, nogil=True)
def follow_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    scale: NDArray[np.float64],
    tx: NDArray[np.int64],
    account: NDArray[np.int64],
    amount: NDArray[np.int64],
    unusual: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    label_known_at: NDArray[np.int64],
    label_row: NDArray[np.int64],
    label_slots: NDArray[np.int64],
    label_time: NDArray[np.int64],
    label_tx: NDArray[np.int64],
    delay: int,
    out: NDArray[np.float64],
    signals: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Look at the entities of each payment and then apply it, in order: the features of a history without lag.

    Args:
        blobs: As for advance_entities, and so the return value.
        starts: As there.
        slots: int64[n, KINDS], as for query_entities.
        time: int64[n], and so on for each payment; flags are uint8[n, entities], as they differ between them.
        scale: As for query_entities.
        tx: As for advance_entities.
        account: As there.
        amount: As there.
        unusual: As there.
        flags: uint8[n, kinds of entity].
        label_known_at: int64[m], ascending: times from which frauds are known, for the live part.
        label_row: int64[m], the row of their payments, before which they have no effect; -1 for an earlier payment.
        label_slots: int64[m, kinds of entity], the entities of these payments, -1 for none.
        label_time: int64[m], their event times.
        label_tx: int64[m], their transaction hashes.
        delay: The label delay, milliseconds.
        out: float64[n, features], whose delayed features are filled.
        signals: int64[n, SIGNALS].
    """
    entities = label_slots.shape[1]
    touched = np.empty(slots.shape[0] * entities + label_slots.shape[0] * entities, np.int64)
    count = 0
    for i in range(slots.shape[0]):
        for kind in range(entities):
            if slots[i, kind] >= 0:
                touched[count] = slots[i, kind]
                count += 1
    for i in range(label_slots.shape[0]):
        for kind in range(entities):
            if label_slots[i, kind] >= 0:
                touched[count] = label_slots[i, kind]
                count += 1
    states = unpack_entities(blobs, starts, touched[:count])
    if states.broken >= 0:
        return np.empty(0, np.uint8), starts, states.broken
    keys = np.empty(TABLE, np.int64)
    marks = np.zeros(TABLE, np.int32)
    values = np.empty(TABLE, np.int32)
    scratch = np.empty(SCRATCH, np.int64)
    applied = np.zeros(label_known_at.shape[0], np.bool_)
    generation, known = 0, 0
    for i in range(slots.shape[0] + 1):
        label = known
        while label < applied.shape[0] and (i == slots.shape[0] or label_known_at[label] <= time[i]):
            if not applied[label] and label_row[label] < i:
                applied[label] = True
                for kind in range(entities):
                    if label_slots[label, kind] >= 0:
                        _apply(
                            states, label_slots[label, kind], kind, label_time[label], label_tx[label], 0,
                            0, 0, 0, 1, LIVE_PART, delay,
                        )  # fmt: skip
            label += 1
        while known < applied.shape[0] and applied[known]:
            known += 1
        if i == slots.shape[0]:
            break
        generation = _query(
            states,
            slots[i],
            time[i],
            scale[i],
            account[i],
            delay,
            out[i],
            signals[i],
            keys,
            marks,
            values,
            scratch,
            generation,
        )
        for kind in range(entities):
            if slots[i, kind] >= 0 and not flags[i, kind] & (REPEATED | NO_PAYMENT):
                _apply(
                    states, slots[i, kind], kind, time[i], tx[i], account[i], amount[i], unusual[i], flags[i, kind],
                    -1, DELAYED_PART | LIVE_PART, delay,
                )  # fmt: skip
    blobs_out, starts_out = pack_entities(states)
    return blobs_out, starts_out, -1
