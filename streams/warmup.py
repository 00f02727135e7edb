"""Warm-up: compile and load everything before the first transaction."""

import gc
import sys

import msgspec
import numpy as np
import pyarrow as pa

from decisions.rollout import BatchDecision, Rollout
from features.activity import of_payments, payment_flags, unusualness
from features.catalogue import NAMES
from features.columns import from_batch
from features.engine import advance_accounts, advance_entities, query_entities, stateless_features
from features.signals import KINDS
from streams.decode import RawMessage, decode_transactions
from vedette.events import MIN_TIME, Transaction

_COLLECT_AFTER = 2_000_000


def keep_pandas_out() -> None:
    """Let pyarrow do without pandas in this process.

    Where pandas is installed, pyarrow imports it for the first scalar, to recognise its values: a second that a worker
    need not take to start.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar("")  # the import fails, and pyarrow does not try again
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder of modules that finds no pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def relieve_collector() -> None:
    """Keep the garbage collector away from the objects there are, and let it run rarely.

    They stay alive, and batches are freed without cycles, so the collector need not run before there are more objects
    than the batches in flight can hold.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)


def warm_up(rollout: Rollout) -> BatchDecision:
    """Run an invented transaction through kernels, models and policy, and return the decision on it."""
    payment = Transaction(
        transaction_id="t", account_id="a", amount=1, currency="EUR", event_time=MIN_TIME, merchant_id="m",
        device_id="d", ip_address="::1", payee="p",
    )  # fmt: skip
    message = RawMessage(b"a", msgspec.json.encode(payment), 0, 0, MIN_TIME)
    decoded, _ = decode_transactions([message], 0.0)
    batch = decoded.batch
    columns = from_batch(batch)
    slot = np.zeros(1, np.int64)
    advanced = advance_accounts([None], slot, columns)
    flags = payment_flags(advanced.features, advanced.new)
    records = of_payments(columns, unusualness(advanced.features), flags)
    entity_slot = np.arange(len(records.row))
    blobs = advance_entities([None] * len(entity_slot), entity_slot, records.activity)
    query_entities([*blobs, None], np.arange(KINDS).reshape(1, -1), columns, advanced.features)
    stateless_features(columns)
    for strategy in (rollout.champion, rollout.challenger):
        if strategy:  # reasons are made for flagged payments only, of which this may be none
            strategy.scorer.contributions(strategy.matrix(np.zeros((1, len(NAMES))), [{}]))
    return rollout.decide(batch, np.zeros((1, len(NAMES))), [{}], degraded=False)
