import subprocess
import sys

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from features.backfill import Backfill
from features.catalogue import NAMES
from models.file_names import SETTLED_MODEL
from models.scorer import load_scorer
from producers.frame import rows_to_transactions
from producers.publisher import TransactionPublisher
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.state import StackState
from stack.topics import apply
from streams.history.run_output import Topics
from tests.conftest import ROOT, SettingsFor
from vedette.events import Decision
from vedette.topics import Name

MODEL = SETTLED_MODEL


@pytest.mark.kafka
def test_quix_gives_the_same_scores(apache_stack: StackState, settings_for: SettingsFor, topic_prefix: str) -> None:
    """The comparison is fair: features and scores are those of Vedette's kernel, without labels and device history."""
    settings = settings_for(apache_stack, topic_prefix)
    # What a merchant sees of several partitions comes in no order, and here each score must be the one of this order.
    settings = replace(settings, topics=replace(settings.topics, partitions=1))
    apply(settings)
    config = Simulation(customers=40, terminals=20, days=10, seed=5, returns=0)
    frame = pa.Table.from_batches(simulate(config)).combine_chunks().to_batches()[0]
    with TransactionPublisher(settings) as publisher:
        publisher.send_transactions(frame)
    subprocess.run(
        [sys.executable, "-m", "bench.references.quix", settings.kafka.bootstrap_servers, settings.redis.url,
         topic_prefix, str(MODEL / "model.txt"), str(len(frame))],
        cwd=ROOT, timeout=120, check=True, capture_output=True,
    )  # fmt: skip
    topics = Topics(settings)
    decisions = [msgspec.json.decode(message.value(), type=Decision) for message in topics.messages(Name.DECISIONS)]
    topics.close()
    unlabelled = frame.drop_columns([name for name in ("fraud", "labelled_at") if name in frame.schema.names])
    features = Backfill().advance(unlabelled)
    features[:, [name.startswith(("device_", "ip_")) for name in NAMES]] = np.nan
    expected = load_scorer(MODEL).predict(features)
    ids = [transaction.transaction_id for transaction in rows_to_transactions(frame)]
    found = {decision.transaction_id: decision.score for decision in decisions}
    assert len(decisions) == len(found) == len(ids)
    np.testing.assert_array_equal([found[identifier] for identifier in ids], expected)
