"""Real decisions on some payments of the made-up history, so that they can be proven.

Run as `python -m bench.archive_proofs TRANSACTION…`: each is decided from the archived events before it by the kernels,
the shipped model and the policy, and decision and features are archived as the worker publishes them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from archive.evidence import Evidence, evidence, labels_before, transactions_before
from archive.past import control_records
from archive.search import Archive, Question
from archive.service import location
from archive.tables import TABLES
from archive.writer import TableWriter
from decisions.policy_file import load_policy
from decisions.strategy import EVENT_COLUMNS, Strategy
from features.catalogue import NAMES, catalogue_hash
from features.limits import fill_limits
from streams.arrow import feature_batch, write
from streams.history.proofs import prove_decisions, recompute
from streams.history.prove import Proof
from streams.history.replay import Recomputed
from streams.history.versions import PastVersions
from vedette import VedetteError
from vedette.settings import Settings
from vedette.settings_file import load_settings
from vedette.topics import Name

_ROW = 0


@dataclass(frozen=True)
class _Message:
    """A message of a topic, as the archive reads it."""

    partition: int
    offset: int
    timestamp: int
    value: bytes


def main() -> None:
    """Decide the payments that are named, and archive decisions and features."""
    settings = load_settings(None, os.environ)
    names, tables = (Name.DECISIONS, Name.FEATURES), {table.topic: table for table in TABLES}
    decided = [_decided(settings, transaction) for transaction in sys.argv[1:]]
    for name, messages in zip(names, zip(*decided, strict=True), strict=True):
        writer = TableWriter(location(settings.archive, tables[name]), tables[name], name, {})
        first = writer.position(0) or 0
        stored = [_Message(0, first + number, at, value) for number, (at, value) in enumerate(messages)]
        rows, rejected = tables[name].rows(stored)
        if rejected:
            raise VedetteError(f"{len(rejected)} messages of {name} are not valid")
        writer.append(rows, {0: first + len(stored)})


def proof(settings: Settings, transaction: str) -> Proof:
    """Return the proof of one decision, as `vedette prove` does.

    Raises:
        VedetteError: The archive has no such payment.
    """
    with _found(settings, transaction) as (archive, found):
        changes, labels = control_records(archive), labels_before(archive, found)
        (one,) = prove_decisions(settings, changes, found, labels, transactions_before(archive, found))
    return one


def _decided(settings: Settings, transaction: str) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """Return when a payment was published, with its decision, and likewise with its entry of the feature log."""
    with _found(settings, transaction) as (archive, found):
        changes, labels = control_records(archive), labels_before(archive, found)
        recomputed = recompute(settings, found, labels, transactions_before(archive, found), None, {_ROW})
    if _ROW not in recomputed:
        raise VedetteError(f"payment {transaction} of the history is not valid")
    versions = PastVersions(settings, changes)
    strategy = Strategy(versions.scorer(""), versions.policy(_policy(settings)))
    payment = recomputed[_ROW]
    features = payment.variants[:1].copy()
    fill_limits(features, payment.batch, strategy.policy.limits)
    evaluation = strategy.evaluate(payment.batch, features, [payment.extra])
    (decision,) = strategy.decide(payment.batch, evaluation, np.arange(1), degraded=False).messages
    at = round(found.payments["produced_at"][_ROW].as_py().timestamp() * 1000)
    return (at, decision), (at, _logged(settings, strategy, payment, features))


def _logged(settings: Settings, strategy: Strategy, payment: Recomputed, features: np.ndarray) -> bytes:
    """Return the message of the feature log; nobody else has paid, so there are no live signals."""
    ids = payment.batch.select(["transaction_id", "account_id", "event_time", "amount", "currency"])
    none = pa.array([-1])
    carried = pa.RecordBatch.from_pydict(
        {name: ids.column(name) for name in ids.schema.names}
        | {"role": ["champion"], "model": [strategy.scorer.version], "action": none, "shadow_model": [""],
           "shadow_score": [float("nan")], "shadow_action": none}
    )  # fmt: skip
    versions = {
        "policy": strategy.policy.name,
        "features_hash": catalogue_hash(settings.features.label_delay),
        "model": strategy.scorer.version,
    }
    return write(feature_batch(carried, tuple(NAMES), features, np.zeros(1), versions))


@contextmanager
def _found(settings: Settings, transaction: str) -> Iterator[tuple[Archive, Evidence]]:
    with Archive(settings.archive) as archive:
        found = evidence(archive, Question(transaction=transaction))
        if len(found.payments) != 1:
            raise VedetteError(f"the archive has {len(found.payments)} payments {transaction}")
        yield archive, found


def _policy(settings: Settings) -> str:
    return load_policy(settings.decisions.policy_file, {*NAMES, *EVENT_COLUMNS}).name


if __name__ == "__main__":
    main()
