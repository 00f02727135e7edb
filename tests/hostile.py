"""Requests as hostile clients send them, and what must be true of every answer to them.

Bodies are of every size and kind; paths, queries, forms, JSON, headers and cookies carry values that have broken
programs before. Real servers refuse some of these before the app sees them; the app must bear them all.
"""

import inspect
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SCRIPT = "<script>alert(1)</script>"
VALUES = (
    "", "0", "1", "-1", "\u0661", "²", "1e9", "1e999", "NaN", "-Infinity", "9" * 18, "9" * 19, "9" * 60, "9" * 5000,
    "null", "\0", "a\0b", "\ud800", "a\udfffb", "\u202e", "é" * 300, "x" * 3000, "../../etc/passwd", "/",
    "//evil.example/", "/\\evil.example", "https://evil.example/", "a\r\nSet-Cookie: hostile=1", SCRIPT, f'"{SCRIPT}',
    f"'>{SCRIPT}", "' OR 1=1 --", "%00", "{{7*7}}", "${7*7}", "#1", "#" + "9" * 40, "true", "[]", "{}", "csrf", "%",
    "_", "?", "&=",
)  # fmt: skip
"""Values of fields."""

NAMES = (
    "account", "account_id", "action", "actions", "actor", "after", "again", "amount", "answer", "call", "challenge_id",
    "chosen", "client_id", "closed", "code", "csrf", "currency", "days", "decision", "event", "event_time", "events",
    "factor", "grant_type", "heard", "holder", "key", "kind", "language", "limit", "min_loss", "min_score", "name",
    "next", "note", "older", "order", "page", "password", "phone", "q", "queue", "role", "schema", "schemaType",
    "scope", "seen", "shown", "since", "standing", "status", "subject", "text", "theme", "transaction",
    "transaction_id", "transactions", "url", "value", "From", "Body", "MessageSid", "MessageStatus",
)  # fmt: skip
"""Names of fields of all servers."""

_SIZES = (0, 1, 1_000, 16 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 200_000)
_KINDS = (
    "application/json", "application/x-www-form-urlencoded", "application/x-ndjson", "multipart/form-data; boundary=x",
    "application/json; charset=utf-16", "text/xml", "", "\xff", "application/json;" + "x" * 500,
)  # fmt: skip
_PATTERNS = (
    b"[", b'{"a":', b'[{"":', b"a=b&", b"--x\r\n", b"\x00", b"\xff", b" ", b"\n", b'"\\ud800",', b"NaN,", b"9", b"-",
    b'{"transactions":[', b"%00=%ff&", b"\xef\xbb\xbf", b"{}\n", b'"\\u0000"', b"1e9",
)  # fmt: skip
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_HEADERS = (
    "Accept", "Accept-Language", "Authorization", "Cookie", "Host", "HX-Request", "Last-Event-ID", "Origin", "Range",
    "Sec-Fetch-Site", "Vedette-Deadline-Ms", "X-API-Key", "X-CSRF-Token", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Twilio-Signature",
)  # fmt: skip

hostile = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
"""For `@given(sent=requests_to(…))`."""


class Answer(Protocol):
    """What is looked at of an answer."""

    @property
    def status_code(self) -> int:
        """Its status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""

    @property
    def text(self) -> str:
        """Its body."""


@dataclass(frozen=True)
class Sent:
    """A request: its method, its target as it stands in the request line, headers and body."""

    method: str
    target: str
    headers: dict[str, bytes]
    body: bytes


def _quoted(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def _pairs() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=6)


@st.composite
def requests_to(
    draw: st.DrawFn, routes: Collection[str], headers: Sequence[Mapping[str, str]] = ({},),
    known: Mapping[str, str] | None = None,
) -> Sent:  # fmt: skip
    """A request to one of the routes, which are written `METHOD /path/{parameter}`.

    Args:
        draw: Given by hypothesis.
        routes: The routes.
        headers: Headers of which one set goes along, such as those of a session.
        known: Values of parameters of paths that exist.
    """
    method, _, path = draw(st.sampled_from(sorted(routes))).partition(" ")
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(_METHODS))

    def filled(found: re.Match[str]) -> str:
        name = found[1].partition(":")[0]
        exists = known and name in known and draw(st.booleans())
        return (known or {})[name] if exists else _quoted(draw(st.sampled_from([v for v in VALUES if v])))

    target = re.sub(r"\{([^}]+)\}", filled, path)
    if draw(st.integers(0, 2)) == 0:
        query = draw(_pairs())
        target += "?" + "&".join(f"{name}={_quoted(value)}" for name, value in query.items())
    sent = {name: value.encode("latin-1") for name, value in draw(st.sampled_from(list(headers))).items()}
    for name in draw(st.lists(st.sampled_from(_HEADERS), max_size=2)):
        value = draw(st.sampled_from(VALUES)).encode("utf-8", "surrogatepass")
        sent.setdefault(name, re.sub(rb"[\x00-\x1f\x7f]", b"", value).strip())
    body = b""
    if method not in ("GET", "HEAD", "TRACE"):
        kind, body = draw(_bodies())
        sent["Content-Type"] = kind
    return Sent(method, target, sent, body)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A media type and a body: a pattern of some size, or fields in the form that the type says."""
    match draw(st.integers(0, 2)):
        case 0:
            pattern, size = draw(st.sampled_from(_PATTERNS)), draw(st.sampled_from(_SIZES))
            kind = draw(st.sampled_from(_KINDS)).encode("latin-1")
            return kind, (pattern * (size // len(pattern) + 1))[:size]
        case 1:
            fields = {name: value.encode("utf-8", "surrogatepass") for name, value in draw(_pairs()).items()}
            return b"application/x-www-form-urlencoded", urlencode(fields).encode()
        case _:
            odd = st.sampled_from([None, True, -1, 2**53, 2**63, 2**200, 1.5, float("nan"), float("inf"), [], {}, [[]]])
            values = st.one_of(st.sampled_from(VALUES), odd, st.lists(st.sampled_from(VALUES), max_size=3))
            content = draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=6))
            return b"application/json", json.dumps(content).encode()


def assert_harmless(sent: Sent, got: Answer, away: Collection[int] = ()) -> None:
    """Check an answer: it is no failure, carries the headers, leads nowhere else and repeats no markup.

    Args:
        sent: The request.
        got: Its answer.
        away: Statuses above 499 that are right here, because a part is missing on purpose.
    """
    assert got.status_code < 500 or got.status_code in away, (sent, got.status_code, got.text[:500])
    assert got.headers["x-content-type-options"] == "nosniff", sent
    assert "hostile" not in got.headers.get("set-cookie", ""), sent
    location = got.headers.get("location", "/")
    assert re.match(r"/(?![/\\])", location), (sent, location)
    if got.headers.get("content-type", "").startswith("text/html"):
        assert SCRIPT not in got.text, sent


def swept(
    app: FastAPI,
    usual: Mapping[str, str],
    skipped: Collection[str] = (),
    also: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Sent]:
    """Yield a request for each field of each route with each value; forms and queries have all their other fields.

    Args:
        app: The app, whose routes say what their fields are.
        usual: Values of the other fields by name; otherwise `1`.
        skipped: Routes that are left out, as `METHOD /path/{parameter}`.
        also: Fields that a route reads without saying so.
    """
    for route in iter_route_contexts(app.routes):
        if route.endpoint is None or route.path is None:
            continue
        in_path = re.findall(r"\{(\w+)", route.path)
        fields = [name for name in inspect.signature(route.endpoint).parameters if name not in ("request", "self")]
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if f"{method} {route.path}" in skipped:
                continue
            others = {
                name: usual.get(name, "1")
                for name in (*in_path, *fields, *(also or {}).get(method + " " + route.path, ()))
            }
            for name, value in itertools.product(others, VALUES):
                if value or name not in in_path:
                    yield _filled(method, route.path, others | {name: value}, in_path)


def _filled(method: str, path: str, values: Mapping[str, str], in_path: Collection[str]) -> Sent:
    coded = {name: _quoted(value) for name, value in values.items()}
    target = re.sub(r"\{(\w+)[^}]*\}", lambda found: coded[found[1]], path)
    rest = "&".join(f"{name}={value}" for name, value in coded.items() if name not in in_path)
    if method == "GET":
        return Sent(method, f"{target}?{rest}", {}, b"")
    return Sent(method, target, {"Content-Type": b"application/x-www-form-urlencoded"}, rest.encode())
