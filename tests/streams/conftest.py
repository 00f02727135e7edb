"""Real parts for the pipeline: model, policy, Redis, broker, and logs of messages to feed it with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from bench.faults.outcome import Topics
from features.store import RedisStore
from stack.local import LocalStack
from stack.topics import apply
from streams.bootstrap import load_judge
from streams.panel import Fixed, Panel
from streams.pipeline import Pipeline
from streams.publish import Publisher
from streams.scoring import Judge
from tests.conftest import SettingsFor
from vedette.settings import Settings

ROOT = Path(__file__).parents[2]
PARTITIONS = 2

NewDeployment = Callable[[str], Settings]


class MakePipeline(Protocol):
    """Makes a pipeline, under another judge if one is given."""

    def __call__(self, settings: Settings, judge: Judge = ...) -> Pipeline:
        """A pipeline that owns no partition yet."""
        ...


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The model and policy that ship with Vedette."""
    return load_judge(ROOT / "models/demo", ROOT / "streams/policy.yaml")


@pytest.fixture
def deployment(embedded_stack: LocalStack, settings_for: SettingsFor, topic_prefix: str) -> NewDeployment:
    """Makes the settings of one more deployment on the embedded stack, with its topics; named by a letter."""

    def make(name: str) -> Settings:
        settings = settings_for(embedded_stack, f"{topic_prefix}{name}-")
        settings = msgspec.structs.replace(
            settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS)
        )
        apply(settings)
        return settings

    return make


@pytest.fixture
def pipeline(judge: Judge) -> Iterator[MakePipeline]:
    """Makes a pipeline as a worker would; it owns no partition yet. One deployment's share their publisher."""
    stores: list[RedisStore] = []
    publishers: dict[str, Publisher] = {}

    def make(settings: Settings, judge: Judge = judge) -> Pipeline:
        stores.append(RedisStore(settings.redis))
        prefix = settings.topics.prefix
        publishers[prefix] = publishers.get(prefix) or Publisher(settings.kafka, prefix)
        return Pipeline(
            store=stores[-1],
            publisher=publishers[prefix],
            judges=Fixed(Panel(judge)),
            partitions=settings.topics.partitions,
            prefix=settings.redis.prefix,
            cache_accounts=settings.worker.cache_accounts,
            max_future_ms=settings.worker.max_future_s * 1000,
        )

    yield make
    for store in stores:
        store.close()


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
