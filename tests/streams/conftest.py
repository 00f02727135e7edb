"""Real parts for the pipeline: model, policy, Redis, broker, and logs of messages."""

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
import pytest

from adapters.dead_letters import DeadLetters
from decisions.rollout import Rollout, StaticStrategies
from decisions.strategy import Strategy
from features.store import RedisStore
from stack.state import StackState
from stack.topics import apply
from streams.history.run_output import Topics
from streams.own_decisions import DecisionLog
from streams.pipeline import Pipeline
from streams.publish import ResultPublisher
from streams.topic_check import check_topics
from tests.conftest import SettingsFor
from vedette.card_numbers import CardNumbers
from vedette.settings import Settings

PARTITIONS = 2

NewDeployment = Callable[[str], Settings]


class MakePipeline(Protocol):
    """Makes a pipeline, with another strategy if one is given."""

    def __call__(self, settings: Settings, strategy: Strategy = ...) -> Pipeline:
        """Return a pipeline that owns no partition yet."""
        ...


@pytest.fixture
def deployment(embedded_stack: StackState, settings_for: SettingsFor, topic_prefix: str) -> NewDeployment:
    """Makes the settings of another deployment on the embedded stack, with its topics; a letter names it."""

    def make(name: str) -> Settings:
        settings = settings_for(embedded_stack, f"{topic_prefix}{name}-")
        settings = msgspec.structs.replace(
            settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS)
        )
        apply(settings)
        return settings

    return make


@pytest.fixture
def pipeline(strategy: Strategy) -> Iterator[MakePipeline]:
    """Makes a pipeline as a worker does; it owns no partition yet. Those of one deployment share their publisher."""
    stores: list[RedisStore] = []
    logs: list[DecisionLog] = []
    publishers: dict[str, ResultPublisher] = {}

    def make(settings: Settings, strategy: Strategy = strategy) -> Pipeline:
        stores.append(RedisStore(settings.redis))
        logs.append(DecisionLog(settings))
        prefix = settings.topics.prefix
        publishers[prefix] = publishers.get(prefix) or ResultPublisher(
            settings.kafka, prefix, check_topics(settings), DeadLetters(settings.cards)
        )
        return Pipeline(
            store=stores[-1],
            decisions=logs[-1],
            publisher=publishers[prefix],
            strategies=StaticStrategies(Rollout(strategy)),
            partitions=settings.topics.partitions,
            prefix=settings.redis.prefix,
            cache_accounts=settings.worker.cache_accounts,
            max_future_ms=settings.worker.max_future_s * 1000,
            cards=CardNumbers(settings.cards),
        )

    yield make
    for opened in (*stores, *logs):
        opened.close()


@pytest.fixture
def topics() -> Iterator[Callable[[Settings], Topics]]:
    """Makes readers of topics."""
    made: list[Topics] = []

    def make(settings: Settings) -> Topics:
        made.append(Topics(settings))
        return made[-1]

    yield make
    for reader in made:
        reader.close()
