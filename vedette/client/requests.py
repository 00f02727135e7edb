"""Requests of the API and their answers as bytes, and when a request is sent again: the same for both clients."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from vedette.client.answers import (
    Answer,
    BatchAnswer,
    BatchItem,
    LineResult,
    PreviewAnswer,
    Problem,
    ProblemError,
    of_status,
)
from vedette.errors import UnavailableError
from vedette.events import Event, Label, Transaction

_NDJSON = "application/x-ndjson"
_AGAIN = (429, 503)
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class GatewayRequest:
    """One request: it is repeated byte for byte.

    Attributes:
        method: The HTTP method.
        path: Path below the gateway's URL.
        body: The body; None: there is none.
        headers: Headers besides the key.
    """

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


class Patience:
    """How long a request is repeated, and the pauses between.

    Args:
        patience_s: Seconds from now.
    """

    def __init__(self, patience_s: float) -> None:
        self._until = time.monotonic() + patience_s
        self._pause_s = _FIRST_PAUSE_S

    def pause_s(self, failure: Exception, retry_after_s: float = 0.0) -> float:
        """Return the seconds to wait before the request is sent again.

        Args:
            failure: Why it has to be; raised if the patience ends before.
            retry_after_s: Seconds that the gateway asks for.
        """
        wait_s = max(self._pause_s, retry_after_s)
        if time.monotonic() + wait_s > self._until:
            raise failure
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return wait_s


def decide(transaction: Transaction, deadline_ms: int | None) -> GatewayRequest:
    """Return the request for a decision."""
    return _post("/v1/decisions", msgspec.json.encode(transaction), deadline_ms)


def decide_batch(transactions: Sequence[Transaction], deadline_ms: int | None) -> GatewayRequest:
    """Return the request for several decisions."""
    return _post("/v1/decisions:batch", msgspec.json.encode({"transactions": transactions}), deadline_ms)


def preview(transaction: Transaction) -> GatewayRequest:
    """Return the request for a preview."""
    return _post("/v1/decisions:preview", msgspec.json.encode(transaction), None)


def look_up(transaction_id: str) -> GatewayRequest:
    """Return the request for the newest decision on a payment."""
    path = quote(transaction_id, safe="").replace(".", "%2E")  # an id of dots is not a step up
    return GatewayRequest("GET", f"/v1/decisions/{path}", None, {})


def submit(events: Sequence[Transaction] | Sequence[Label], path: str) -> GatewayRequest:
    """Return the request that publishes events, one a line."""
    lines: Sequence[Event] = events
    body = msgspec.json.Encoder().encode_lines(lines)
    return GatewayRequest("POST", path, body, {"Content-Type": _NDJSON})


def outcome(status: int, body: bytes, retry_after: str) -> tuple[ProblemError | None, float]:
    """Return None if a request was answered, else the refusal and the seconds after which it may be repeated.

    Raises:
        ProblemError: It is refused, and would be refused again.
    """
    if status < 300:
        return None, 0.0
    try:
        refused = ProblemError(msgspec.json.decode(body, type=Problem))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        refused = ProblemError(of_status(status, "the answer is not a problem document"))
    if status not in _AGAIN:
        raise refused
    seconds = retry_after.strip()
    return refused, float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def no_answer(url: str, why: object) -> UnavailableError:
    """Return the error of a gateway that does not answer."""
    return UnavailableError(f"the gateway at {url} does not answer: {why}")


def answer_of(body: bytes) -> Answer:
    """Return the decision in a body."""
    return _answer.decode(body)


def answers_of(body: bytes) -> list[BatchItem]:
    """Return the answers to a batch."""
    return _batch.decode(body).results


def preview_of(body: bytes) -> PreviewAnswer:
    """Return the preview in a body."""
    return _preview.decode(body)


def results_of(body: bytes) -> list[LineResult]:
    """Return the result of each line."""
    return _line.decode_lines(body)


def _post(path: str, body: bytes, deadline_ms: int | None) -> GatewayRequest:
    headers = {"Content-Type": "application/json"}
    if deadline_ms is not None:
        headers["Vedette-Deadline-Ms"] = str(deadline_ms)
    return GatewayRequest("POST", path, body, headers)


_answer = msgspec.json.Decoder(Answer)
_batch = msgspec.json.Decoder(BatchAnswer)
_preview = msgspec.json.Decoder(PreviewAnswer)
_line = msgspec.json.Decoder(LineResult)
