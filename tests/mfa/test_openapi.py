"""The API against its own description: what it says it takes, it takes, and what it answers is what it says."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stack.redis_server import RedisKind, RedisServer
from tests.mfa.whole import Whole, whole_service

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def whole(redis_of: Callable[[RedisKind], RedisServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The service, once for all examples."""
    directory = tmp_path_factory.mktemp("openapi")
    with whole_service(redis_of("embedded").url, directory, "openapi-", "http://localhost:8470") as made:
        yield made


def test_answers_are_as_described(whole: Whole) -> None:
    """Whatever is sent, the API never fails, and every answer has a status, a type and a form that it has promised."""
    described = schemathesis.openapi.from_asgi("/openapi.json", whole.app)
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        role = "representative" if operation.path.startswith("/v1/calls") else "app"
        answer_as_described(operation, whole, {"X-API-Key": whole.api_keys[role]})


def answer_as_described(operation: Any, whole: Whole, headers: dict[str, str]) -> None:
    """Try one operation with a dozen requests, right and wrong."""

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def try_one(case: Any) -> None:
        whole.clock.now += 60_000  # so that nobody is refused for coming too often
        case.call_and_validate(headers=headers, checks=CHECKS)

    try_one()
