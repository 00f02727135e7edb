"""Figures of trial and drift on the console, from what a worker has logged."""

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from decisions.rollout import Rollout, StaticStrategies
from decisions.strategy import Strategy
from features.store import RedisStore
from models.file_names import SETTLED_MODEL
from models.scorer import load_scorer
from stack.state import StackState
from stack.topics import apply
from streams.history.run_output import Topics
from streams.own_decisions import DecisionLog
from streams.pipeline import Pipeline
from streams.publish import ResultPublisher
from streams.topic_check import check_topics
from tests.conftest import SettingsFor, wait_for
from tests.console.conftest import opened_site
from tests.console.test_models import halved
from tests.streams.conftest import PARTITIONS
from tests.streams.feed import batches, logs
from vedette.settings import DecisionSettings, Settings


def decided(settings: Settings, champion: Strategy, challenger: Strategy) -> int:
    """Have a worker decide some payments with a trial at half of the accounts; return how many."""
    log = logs(PARTITIONS, 25)[0]
    producer = Producer(client_config(settings.kafka))
    for (topic, partition), records in log.records.items():
        for record in records:
            producer.produce(settings.topics.prefix + topic, record.value, record.key, partition)
    assert not producer.flush(30)
    with closing(RedisStore(settings.redis)) as store, closing(DecisionLog(settings)) as decisions, closing(
        Topics(settings)
    ) as topics:  # fmt: skip
        worker = Pipeline(
            store=store, decisions=decisions,
            publisher=ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings)),
            strategies=StaticStrategies(Rollout(champion, challenger, 0.5)), partitions=PARTITIONS,
            prefix=settings.redis.prefix, cache_accounts=settings.worker.cache_accounts, max_future_ms=60_000,
        )  # fmt: skip
        worker.assign(set(range(PARTITIONS)))
        for work in batches(worker, log, topics, 1000):
            sent = worker.send([work])
            worker.confirm(sent)
            for update in work.updates:
                worker.commit(sent, update.partition)
    return len(log.transactions)


@pytest.mark.slow
def test_trial_and_drift_are_those_of_the_feature_log(
    embedded_stack: StackState, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path, log: Any,
    strategy: Strategy,
) -> None:  # fmt: skip
    """Both arms with their payments, and the largest drift first; until then the page offers to compute them."""
    settings = settings_for(embedded_stack, topic_prefix)
    settings = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS))
    settings = msgspec.structs.replace(settings, decisions=DecisionSettings(model=str(SETTLED_MODEL)))
    apply(settings)
    challenger = Strategy(load_scorer(halved(tmp_path / "smaller")), strategy.policy)
    payments = decided(settings, strategy, challenger)
    with opened_site(tmp_path / "site", log, deployment=settings) as site:
        mia = site.person("model-builder")
        assert "Champion and challenger of the latest trial" in mia.get("/models").text
        for kind in ("trial", "drift"):
            assert mia.post(f"/models/figures/{kind}").status_code == 303
            wait_for(lambda kind=kind: site.console.deciding.computed.of(kind).state not in ("none", "running"), 90)
        trial = mia.get("/models/figures/trial").text
        assert strategy.scorer.version in trial
        assert challenger.scorer.version in trial
        assert f"On the same {payments:,} payments" in trial
        found = site.console.deciding.computed.of("trial").result
        assert found.champion.payments + found.challenger.payments == payments
        drift = mia.get("/models/figures/drift").text
        assert f"{strategy.scorer.version} on " in drift
        assert "PSI" in drift
        assert "Compute again" in mia.get("/models").text
