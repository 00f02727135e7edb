import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from adapters.kafka_client import client_config
from stack.process import free_ports
from stack.state import StackState
from stack.topics import apply, diff
from tests.conftest import SettingsFor
from vedette.errors import UnavailableError
from vedette.settings import KafkaSettings, Settings
from vedette.topics import Name, topics


@pytest.fixture
def settings(any_stack: StackState, topic_prefix: str, settings_for: SettingsFor) -> Settings:
    """Settings whose topics do not exist yet."""
    return settings_for(any_stack, topic_prefix)


def with_topics(settings: Settings, **changed: int) -> Settings:
    """Return the same settings with some of [topics] replaced."""
    return msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, **changed))


def test_apply_creates_all_topics_once(settings: Settings) -> None:
    """The first apply creates every topic, after which there is no difference and nothing to do."""
    missing = diff(settings)
    assert [(change.topic, change.kind) for change in missing] == [
        (topic.name, "create") for topic in topics(settings.topics)
    ]
    assert all(change.applied for change in apply(settings))
    assert diff(settings) == []
    assert apply(settings) == []


def test_diff_changes_nothing(settings: Settings) -> None:
    """Comparing twice finds the same."""
    assert diff(settings) == diff(settings) != []


def test_differing_configuration_is_set(settings: Settings) -> None:
    """A setting that differs is named with both values, and apply corrects it."""
    apply(settings)
    changed = with_topics(settings, max_message_bytes=2_000_000)
    differences = {(change.topic, change.key, change.now, change.wanted) for change in diff(changed)}
    assert differences == {
        (settings.topics.prefix + name, "max.message.bytes", "16000000", "2000000")
        for name in (Name.DLQ, Name.FEATURES, Name.ACTIVITY)
    }
    assert all(change.applied for change in apply(changed))
    assert diff(changed) == []


@pytest.mark.parametrize("partitions", [3, 5])
def test_partitions_are_never_changed(settings: Settings, partitions: int) -> None:
    """Another number of partitions is reported with the reason, and the topics do not change."""
    apply(settings)
    changes = apply(with_topics(settings, partitions=partitions))
    assert len(changes) == len(topics(settings.topics)) - 1
    assert all(change.kind == "partitions" and change.note and not change.applied for change in changes)
    assert diff(settings) == []


def test_a_refusal_by_the_broker_is_reported(settings: Settings) -> None:
    """Topics with more replicas than brokers are not created, and the note has the broker's reason."""
    changes = apply(with_topics(settings, replication=3))
    assert {change.kind for change in changes} == {"create"}
    assert not any(change.applied for change in changes)
    assert all("replication factor" in change.note for change in changes)


def test_replication_is_reported(settings: Settings) -> None:
    """Another number of replicas is reported with the reason and not changed."""
    apply(settings)
    changes = apply(with_topics(settings, replication=2))
    assert {(change.kind, change.now, change.wanted, change.applied) for change in changes} == {
        ("replication", "1", "2", False)
    }


def test_a_deleted_topic_is_created_again(settings: Settings) -> None:
    """Only what is missing is created."""
    apply(settings)
    name = settings.topics.prefix + Name.ALERTS
    client = AdminClient(client_config(settings.kafka))
    client.delete_topics([name])[name].result()
    while name in client.list_topics(timeout=10).topics:
        pass
    assert [(change.topic, change.applied) for change in apply(settings)] == [(name, True)]


def test_a_broker_that_is_away_is_reported() -> None:
    """Where no broker answers, the error names the address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(UnavailableError, match=address):
        diff(Settings(kafka=KafkaSettings(bootstrap_servers=address)), timeout_s=1)
