"""The topics on the broker: compared with the configuration, and changed to match it."""

import time
from collections.abc import Iterable
from itertools import groupby
from typing import Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from adapters.kafka_client import client_config
from vedette.errors import UnavailableError
from vedette.settings import KafkaSettings, Settings
from vedette.topics import Topic, topics

_TIMEOUT_S = 10.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between a topic and its configuration.

    Attributes:
        topic: Full name of the topic.
        kind: `create` (it is missing), `config`, `partitions` or `replication`.
        key: The differing item: a configuration key, or the kind itself.
        now: The broker's value; empty if there is none.
        wanted: The value it should have.
        applied: Whether apply() has removed the difference.
        note: Reason why it is left; empty if apply() can remove it.
    """

    topic: str
    kind: Literal["create", "config", "partitions", "replication"]
    key: str
    now: str
    wanted: str
    applied: bool = False
    note: str = ""

    def __str__(self) -> str:
        was = "was" if self.applied else "is"
        if self.kind == "create":
            text = f"{self.topic}: {was} missing, wanted with {self.wanted}"
        else:
            text = f"{self.topic}: {self.key} {was} {self.now or 'not set'}, wanted {self.wanted}"
        return f"{text} — {self.note}" if self.note else text


def admin_client(settings: KafkaSettings) -> AdminClient:
    """Return an admin client that does not write connection errors to standard error."""
    return AdminClient({**client_config(settings), "log_level": 0})


def unavailable(settings: KafkaSettings, error: KafkaException) -> UnavailableError:
    """Return the error for a broker that did not answer properly."""
    return UnavailableError(
        f"the broker at {settings.bootstrap_servers} does not answer: {error.args[0].str()}",
        remedy="check [kafka] bootstrap_servers; `vedette stack up` starts a broker on this machine",
    )


def diff(settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Return all differences between the broker's topics and the configured ones, in the order of the topics.

    Raises:
        UnavailableError: The broker does not answer.
    """
    return _diff(admin_client(settings.kafka), settings, timeout_s)


def apply(settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Create missing topics and set differing configurations, and return all differences.

    Partitions are never added: that would move keys to partitions where their state is not. A difference that remains,
    for this reason or because the broker refuses, has `applied` false and a note. Returns once the broker shows what
    was applied; a second call then finds nothing to do.

    Raises:
        UnavailableError: The broker does not answer.
    """
    client = admin_client(settings.kafka)
    wanted = {topic.name: topic for topic in topics(settings.topics)}
    results: list[Change] = []
    for (name, kind), group in groupby(_diff(client, settings, timeout_s), lambda change: (change.topic, change.kind)):
        changes = list(group)
        if kind == "create":
            refusal = _create(client, wanted[name], timeout_s)
        elif kind == "config":
            refusal = _configure(client, name, changes, timeout_s)
        else:
            results += changes
            continue
        results += [msgspec.structs.replace(change, applied=not refusal, note=refusal) for change in changes]
    _await(client, settings, results, timeout_s)
    return results


def _diff(client: AdminClient, settings: Settings, timeout_s: float) -> list[Change]:
    wanted = topics(settings.topics)
    try:
        present = client.list_topics(timeout=timeout_s).topics
        existing = [topic.name for topic in wanted if topic.name in present]
        configs = _configs(client, existing, timeout_s)
        copies = _replication(client, existing, timeout_s)
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    changes: list[Change] = []
    for topic in wanted:
        if topic.name in present:
            partitions = len(present[topic.name].partitions)
            changes += _compare(topic, partitions, copies[topic.name], configs[topic.name])
        else:
            changes.append(
                Change(
                    topic=topic.name,
                    kind="create",
                    key="topic",
                    now="",
                    wanted=f"partitions {topic.partitions}, replication {topic.replication}",
                )
            )
    return changes


def _compare(topic: Topic, partitions: int, replication: int, config: dict[str, str]) -> Iterable[Change]:
    if partitions != topic.partitions:
        more = partitions < topic.partitions
        yield Change(
            topic=topic.name,
            kind="partitions",
            key="partitions",
            now=str(partitions),
            wanted=str(topic.partitions),
            note="added partitions would separate accounts from their state; "
            f"`vedette topics copy --to PREFIX --partitions {topic.partitions}` copies the messages to new topics, "
            "from which workers rebuild it"
            if more
            else "Kafka cannot remove partitions; set [topics] partitions to the existing number",
        )
    if replication != topic.replication:
        yield Change(
            topic=topic.name,
            kind="replication",
            key="replication",
            now=str(replication),
            wanted=str(topic.replication),
            note="use the broker's reassignment tool to move replicas, as that loads the network",
        )
    for key, value in topic.config.items():
        if config.get(key) != value:
            yield Change(topic=topic.name, kind="config", key=key, now=config.get(key, ""), wanted=value)


def _configs(client: AdminClient, names: list[str], timeout_s: float) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    answers = client.describe_configs(asked, request_timeout=timeout_s)
    return {
        resource.name: {key: entry.value for key, entry in answer.result().items() if entry.value is not None}
        for resource, answer in answers.items()
    }


def _replication(client: AdminClient, names: list[str], timeout_s: float) -> dict[str, int]:
    if not names:
        return {}
    answers = client.describe_topics(TopicCollection(names), request_timeout=timeout_s)
    return {
        name: min(len(partition.replicas) for partition in answer.result().partitions)
        for name, answer in answers.items()
    }


def _create(client: AdminClient, topic: Topic, timeout_s: float) -> str:
    """Create a topic; return the reason if the broker refuses, otherwise ''."""
    new = NewTopic(topic.name, topic.partitions, topic.replication, config=topic.config)
    try:
        client.create_topics([new], request_timeout=timeout_s)[topic.name].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process has just applied it
            return ""
        return f"the broker refuses: {error.args[0].str()}"
    return ""


def _configure(client: AdminClient, name: str, changes: list[Change], timeout_s: float) -> str:
    """Set a topic's differing configuration; return the reason if the broker refuses, otherwise ''."""
    entries = [
        ConfigEntry(change.key, change.wanted, incremental_operation=AlterConfigOpType.SET) for change in changes
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
    try:
        for answer in client.incremental_alter_configs([resource], request_timeout=timeout_s).values():
            answer.result()
    except KafkaException as error:
        return f"the broker refuses: {error.args[0].str()}"
    return ""


def _await(client: AdminClient, settings: Settings, results: list[Change], timeout_s: float) -> None:
    """Wait until the broker shows the accepted changes: it answers before every node knows them."""
    accepted = {(change.topic, change.key) for change in results if change.applied}
    deadline = time.monotonic() + timeout_s
    while accepted:
        left = accepted & {(change.topic, change.key) for change in _diff(client, settings, timeout_s)}
        if not left:
            return
        if time.monotonic() > deadline:
            names = ", ".join(f"{topic} ({key})" for topic, key in sorted(left))
            raise UnavailableError(f"the broker accepted changes but does not show them after {timeout_s:g} s: {names}")
        time.sleep(0.05)
