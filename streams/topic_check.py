"""Checks of the topics before the worker starts: number of partitions and maximum size of messages."""

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from adapters.kafka_client import client_config
from vedette.errors import SettingsError, UnavailableError
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name

OUTPUTS = (Name.DECISIONS, Name.ALERTS, Name.FEATURES, Name.ACTIVITY, Name.DLQ)
"""The topics that the worker writes."""

_LIMIT = "max.message.bytes"
_TIMEOUT_S = 10.0
_log = structlog.get_logger("vedette.worker")


def check_topics(settings: Settings) -> dict[Name, int]:
    """Check the topics that the worker reads and writes.

    Returns:
        The maximum size of a message on each topic that it writes, in bytes.

    Raises:
        SettingsError: The number of partitions of a topic differs from the settings, so state would be looked up in the
            wrong partition.
        UnavailableError: The broker does not answer, or a topic is missing.
    """
    client = AdminClient({**client_config(settings.kafka), "log_level": 0})
    prefix, expected = settings.topics.prefix, settings.topics.partitions
    try:
        present = client.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise UnavailableError(
            f"the broker at {settings.kafka.bootstrap_servers} does not answer: {error.args[0].str()}",
            remedy="check [kafka] bootstrap_servers; `vedette doctor` looks",
        ) from error
    for name in dict.fromkeys((*WORKER_INPUTS, *OUTPUTS)):
        topic = present.get(prefix + name)
        if topic is None or topic.error:
            raise UnavailableError(f"there is no topic {prefix + name}", remedy="`vedette topics apply` creates it")
        if len(topic.partitions) != expected:
            raise SettingsError(
                f"topic {prefix + name} has {len(topic.partitions)} partitions, but [topics] partitions is {expected}",
                remedy="set it to the topic's number; `vedette topics diff` compares all topics",
            )
    return _limits(client, settings)


def _limits(client: AdminClient, settings: Settings) -> dict[Name, int]:
    """Return the limits by topic from the broker, or from the settings where the broker does not report them."""
    prefix = settings.topics.prefix
    asked = [ConfigResource(ConfigResource.Type.TOPIC, prefix + name) for name in OUTPUTS]
    found: dict[str, int] = {}
    try:
        answers = client.describe_configs(asked, request_timeout=_TIMEOUT_S)
        found = {resource.name: int(answer.result()[_LIMIT].value) for resource, answer in answers.items()}
    except (KafkaException, KeyError) as error:
        _log.warning("the broker does not report the maximum size of messages", taken=settings.topics.max_message_bytes,
                     because=str(error))  # fmt: skip
    return {name: found.get(prefix + name, settings.topics.max_message_bytes) for name in OUTPUTS}
