"""The OpenAPI description: schemas come from the types that travel, and every example is run as a test."""

from typing import Any

import msgspec
from fastapi import FastAPI

from gateway.problems import MEDIA_TYPE
from vedette.client import Answer, BatchAnswer, LineResult, PreviewAnswer, Problem
from vedette.events import TRANSACTION_NEEDS, Label, Transaction

Responses = dict[int | str, dict[str, Any]]

_REF = "#/components/schemas/"

EXAMPLE: dict[str, Any] = {
    "transaction_id": "t-20260104-77", "account_id": "a-1001", "amount": 4_990, "currency": "EUR",
    "event_time": 1_767_520_800_000, "merchant_id": "m-17", "mcc": "5411", "channel": "pos", "country": "ES",
}  # fmt: skip
_TRANSFER: dict[str, Any] = {
    "transaction_id": "t-20260104-78", "account_id": "a-1001", "amount": 120_000, "currency": "EUR",
    "event_time": 1_767_520_860_000, "payee": "p-5", "channel": "transfer", "device_id": "d-9",
    "ip_address": "192.0.2.1",
}  # fmt: skip
_LABEL: dict[str, Any] = {
    "transaction_id": "t-20260104-77", "account_id": "a-1001", "fraud": True, "source": "chargeback",
    "event_time": 1_767_520_800_000, "labelled_at": 1_767_700_000_000, "merchant_id": "m-17",
}  # fmt: skip


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF + name}


def _body(media_type: str, schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    listed = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema, "examples": listed}}}}


def _lines(*events: dict[str, Any]) -> str:
    return "".join(msgspec.json.encode(event).decode() + "\n" for event in events)


def _ok(status: int, description: str, media_type: str, schema: dict[str, Any]) -> Responses:
    return {status: {"description": description, "content": {media_type: {"schema": schema}}}}


_NDJSON = "application/x-ndjson"
_TEXT = {"type": "string", "description": "one JSON object a line"}
_BATCH_BODY = {
    "type": "object",
    "required": ["transactions"],
    "properties": {"transactions": {"type": "array", "minItems": 1, "maxItems": 100, "items": _ref("Transaction")}},
}

PAYMENT = _body("application/json", _ref("Transaction"), {"card": EXAMPLE, "transfer": _TRANSFER})
PREVIEW = _body("application/json", _ref("Transaction"), {"card": EXAMPLE | {"transaction_id": "t-preview"}})
BATCH = _body("application/json", _BATCH_BODY, {"two": {"transactions": [EXAMPLE, _TRANSFER]}})
TRANSACTIONS = _body(_NDJSON, _TEXT, {"two": _lines(EXAMPLE, _TRANSFER)})
LABELS = _body(_NDJSON, _TEXT, {"one": _lines(_LABEL)})

DECISION_OK = _ok(200, "The decision, or a provisional answer.", "application/json", _ref("Answer"))
BATCH_OK = _ok(200, "An answer for each payment, in order.", "application/json", _ref("BatchAnswer"))
LINES_OK = _ok(202, "A result for each line, in order.", _NDJSON, _TEXT)
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "standing, degraded or final; send it as Last-Event-ID to go on"},
        "data": {"type": "string", "description": "the decision as JSON; empty: there is none yet"},
        "event": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
_HOOK = _ref("WebhookEndpoint")
WEBHOOK_OK = _ok(200, "The webhook.", "application/json", _HOOK)
WEBHOOK_NEW_OK = _ok(201, "The webhook and its secret.", "application/json", _ref("RegisteredEndpoint"))
WEBHOOK_LIST_OK = _ok(200, "All webhooks.", "application/json", {"type": "array", "items": _HOOK})
WEBHOOK_DELIVERIES_OK = _ok(200, "Deliveries.", "application/json", {"type": "array", "items": _ref("WebhookDelivery")})
_COUNT = {"type": "object", "required": ["replayed"], "properties": {"replayed": {"type": "integer"}}}
REPLAY_OK = _ok(200, "How many are posted again.", "application/json", _COUNT)
_TEXTS = {"type": "array", "items": {"type": "string"}, "maxItems": 20}
WEBHOOK = _body(
    "application/json",
    {
        "type": "object",
        "required": ["url"],
        "properties": {"url": {"type": "string", "maxLength": 2048}, "events": _TEXTS, "actions": _TEXTS},
    },
    {"finals": {"url": "https://bank.example/vedette", "events": ["decision.final"], "actions": ["decline"]}},
)
REPLAY: dict[str, Any] = _body(
    "application/json",
    {"type": "object", "properties": {"since": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**53}}},
    {"since": {"since": 1_767_520_800_000}},
)
REPLAY["requestBody"]["required"] = False
EVENTS_OK = _ok(200, "Decisions as JSON, as server-sent events.", "text/event-stream", _EVENT)
PREVIEW_OK = _ok(200, "The decision that it would get.", "application/json", _ref("PreviewAnswer"))
LOOK_UP = _ok(200, "The decision.", "application/json", _ref("Answer"))

_PROBLEM_CONTENT = {"content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}
PROBLEMS: Responses = {
    status: {"description": description, **_PROBLEM_CONTENT}
    for status, description in {
        401: "No valid token or key.",
        403: "The credential lacks the scope.",
        404: "The payment is not known here.",
        408: "The body does not arrive in time.",
        409: "The id belongs to another payment, or the payment is not decided yet.",
        413: "The body is too large.",
        415: "The body is of another media type.",
        422: "The request or an event cannot be read; field, value and remedy are named.",
        429: "Too many payments of this credential.",
        503: "Nothing was accepted, or it is not known whether it was: send it again under the same id.",
    }.items()
}


def describe(app: FastAPI, *more: type) -> None:
    """Add the schemas that the routes refer to to the app's description: those of this package and more."""
    plain = app.openapi
    _, schemas = msgspec.json.schema_components(
        [Transaction, Label, Answer, BatchAnswer, LineResult, PreviewAnswer, Problem, *more],
        ref_template=_REF + "{name}",
    )
    schemas["Transaction"] |= TRANSACTION_NEEDS

    def openapi() -> dict[str, Any]:
        described = plain()
        described.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return described

    app.openapi = openapi  # type: ignore[method-assign]
