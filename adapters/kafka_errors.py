"""Classification of a producer's errors into temporary and permanent ones, with remedies."""

from typing import Any

from confluent_kafka import KafkaError

from vedette.errors import RefusedError

_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError._FATAL,  # noqa: SLF001 — a public constant: the producer has failed for good
    }
)
_MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 — public constants
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
_REMEDIES = {
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes: `vedette topics apply` does",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow the user in [kafka] to write to the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "allow the user in [kafka] to write idempotently",
}


def is_refusal(error: Any) -> bool:
    """Return whether a KafkaError is permanent."""
    return error.code() in _REFUSALS


def is_missing(error: Any) -> bool:
    """Return whether a KafkaError reports a missing topic or partition, as a broker also does while it starts."""
    return error.code() in _MISSING


def refused(topic: str, error: Any) -> RefusedError:
    """Return the error to raise for a permanent KafkaError."""
    return RefusedError(
        f"the broker does not accept messages for {topic}: {error.str()}",
        remedy=_REMEDIES.get(error.code(), "`vedette doctor` looks at broker and topics"),
    )
