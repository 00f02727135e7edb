"""The API against its own description: it accepts what it describes, and answers as it describes."""

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stack.redis_server import RedisKind
from tests.challenges.whole import Whole, whole_service
from tests.shared_servers import SharedRedis

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def whole(redis_of: Callable[[RedisKind], SharedRedis], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The whole service, created once for all examples."""
    directory = tmp_path_factory.mktemp("openapi")
    with whole_service(
        redis_of("embedded").url, directory, f"openapi-{uuid.uuid4().hex[:8]}-", "http://localhost:8470"
    ) as made:
        yield made


def test_answers_are_as_described(whole: Whole) -> None:
    """Whatever is sent, the API never fails, and every answer has a described status, type and form."""
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


SIZES = st.sampled_from([0, 1, 1_000, 64 * 1024, 64 * 1024 + 1, 200_000])
KINDS = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml", "", "\xff"]
)
PATTERNS = st.sampled_from([b"[", b'{"a":', b"a=b&", b"--x\r\n", b"\x00", b"\xff", b" ", b'"\\ud800",', b"NaN,", b"9"])


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_body_is_an_error_of_the_service(whole: Whole, data: st.DataObject) -> None:
    """A body of any size and kind, sent to any route with or without a key, is refused or accepted, never a 5xx."""
    method, _, path = data.draw(st.sampled_from(sorted(whole.routes()))).partition(" ")
    pattern, size = data.draw(PATTERNS), data.draw(SIZES)
    headers = {
        "Content-Type": data.draw(KINDS),
        "X-API-Key": data.draw(st.sampled_from(["", *whole.api_keys.values()])),
    }
    whole.clock.now += 60_000
    with TestClient(whole.app, base_url="http://localhost:8470", follow_redirects=False) as client:
        got = client.request(
            method,
            re.sub(r"\{\w+\}", "0" + "a" * 24, path),
            content=(pattern * (size // len(pattern) + 1))[:size],
            headers={name: value.encode("latin-1") for name, value in headers.items()},  # type: ignore[misc]
        )
    assert got.status_code < 500, (method, path, pattern, size, headers, got.text)
    assert got.headers["x-content-type-options"] == "nosniff"
