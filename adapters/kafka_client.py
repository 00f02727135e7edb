"""The common configuration of all Kafka clients: the connection, the login, and an institution's own properties."""

from functools import lru_cache
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from adapters.kafka_token import TokenSource
from vedette.errors import SettingsError
from vedette.settings import KafkaSettings

ClientConfig = dict[str, Any]

_OWN = {
    "bootstrap.servers": "[kafka] bootstrap_servers",
    "metadata.broker.list": "[kafka] bootstrap_servers",
    "security.protocol": "[kafka] security_protocol",
    "sasl.mechanism": "[kafka] sasl_mechanism",
    "sasl.mechanisms": "[kafka] sasl_mechanism",
    "sasl.username": "[kafka] username",
    "sasl.password": "[kafka] password",
    "ssl.ca.location": "[kafka] ca_file",
    "ssl.certificate.location": "[kafka] certificate_file",
    "ssl.key.location": "[kafka] key_file",
    "ssl.key.password": "[kafka] key_password",
    "ssl.key.pem": "[kafka] key_file",
    "ssl.keystore.location": "[kafka] certificate_file and key_file",
    "ssl.keystore.password": "[kafka] key_password",
    "sasl.oauthbearer.method": "[kafka] oauth_url or oauth_token_file",
    "sasl.oauthbearer.config": "[kafka] oauth_url or oauth_token_file",
    "sasl.oauthbearer.client.id": "[kafka] username",
    "sasl.oauthbearer.client.secret": "[kafka] password",
    "sasl.oauthbearer.scope": "[kafka] oauth_scope",
    "sasl.oauthbearer.token.endpoint.url": "[kafka] oauth_url",
    "enable.sasl.oauthbearer.unsecure.jwt": "[kafka] oauth_url or oauth_token_file",
}
"""Properties that have a setting of their own."""

_RELIED_ON = {
    "acks": "an acknowledged message is on all in-sync replicas",
    "request.required.acks": "an acknowledged message is on all in-sync replicas",
    "enable.idempotence": "a repeated message is recognised",
    "max.in.flight": "messages stay in order",
    "max.in.flight.requests.per.connection": "messages stay in order",
    "partitioner": "an account's messages go to the partition of its state",
    "isolation.level": "what was aborted is not read",
    "enable.auto.commit": "a message counts as read once it is dealt with",
    "enable.auto.offset.store": "a message counts as read once it is dealt with",
    "auto.offset.reset": "nothing is skipped",
    "enable.partition.eof": "the end of a topic is noticed",
    "partition.assignment.strategy": "the topics of a partition go to one worker",
    "group.protocol": "the topics of a partition go to one worker",
    "group.id": "each part has its own group",
    "group.instance.id": "each process has its own name",
    "transactional.id": "each process has its own name",
    "delivery.report.only.error": "the outcome of each message is known",
    "delivery.timeout.ms": "each part has its own time-out",
    "message.timeout.ms": "each part has its own time-out",
    "max.poll.interval.ms": "each part has its own time-out",
}
"""Properties that Vedette's guarantees rely on, with the guarantee."""


def client_config(settings: KafkaSettings) -> ClientConfig:
    """Return the librdkafka properties for the connection and the login, and those of `[kafka.properties]`.

    Raises:
        SettingsError: A property is unknown, or not one that may be set.
    """
    config: ClientConfig = {
        # The embedded broker answers a fetch with everything up to the end of a partition, regardless of the requested
        # size; librdkafka permanently drops the connection on a response beyond this limit (100 MB by default).
        "receive.message.max.bytes": 2_147_483_647,
    }
    if settings.properties:
        _check(tuple(sorted(settings.properties.items())))
        config |= settings.properties
    config["bootstrap.servers"] = settings.bootstrap_servers
    config["security.protocol"] = settings.security_protocol.lower()
    if settings.ca_file:
        config["ssl.ca.location"] = settings.ca_file
    if settings.certificate_file:
        config["ssl.certificate.location"] = settings.certificate_file
        config["ssl.key.location"] = settings.key_file or settings.certificate_file
        if settings.key_password:
            config["ssl.key.password"] = settings.key_password.value
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            source = TokenSource(settings)
            config["oauth_cb"] = lambda _: source.token()
        else:
            config["sasl.username"] = settings.username
            config["sasl.password"] = settings.password.value if settings.password else ""
    return config


@lru_cache(16)
def _check(properties: tuple[tuple[str, str], ...]) -> None:
    for name, _ in properties:
        if own := _OWN.get(name):
            raise SettingsError(f"[kafka.properties] {name} has a setting of its own", remedy=f"use {own}")
        if guarantee := _RELIED_ON.get(name):
            raise SettingsError(
                f"[kafka.properties] {name} cannot be set: Vedette relies on it, so that {guarantee}",
                remedy="leave it out; docs/kafka.md lists what is refused",
            )
    for name, value in properties:
        try:
            AdminClient({"bootstrap.servers": "", "log_level": 0, name: value})
        except (KafkaException, ValueError, TypeError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            raise SettingsError(
                f"[kafka.properties] {name} = {value!r} is not a property of librdkafka: {reason}",
                remedy="librdkafka's CONFIGURATION.md lists names and values",
            ) from error
