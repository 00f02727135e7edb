"""Adapters to the outside, one for each: Kafka, Redis, SQL, YAML, files, logs, HTTP servers, messages."""
