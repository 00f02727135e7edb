"""No request makes the notifier's pages fail, whoever sends it, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from sqlalchemy import Engine
from twilio.request_validator import RequestValidator

from tests.alerts.test_web import BASE, TOKEN, Site
from tests.hostile import VALUES, assert_harmless, hostile, requests_to
from vedette.events import Alert

ROUTES = ("GET /incidents/{token}", "POST /incidents/{token}", "POST /twilio/reply", "POST /twilio/status",
          "GET /healthz", "GET /readyz", "GET /{path}")  # fmt: skip


def test_no_request_of_a_stranger_is_a_failure(
    engine: Engine, tmp_path: Path, dial: Any, alert: Callable[..., Alert]
) -> None:
    """Nor does any of them acknowledge the incident, but by the link itself."""
    site = Site(engine, tmp_path, dial, alert)

    @hostile
    @given(sent=requests_to(ROUTES))
    def each(sent: Any) -> None:
        assert_harmless(sent, site.client.request(sent.method, sent.target, headers=sent.headers, content=sent.body))

    with site.client, site.audit:
        each()
        assert site.state() == "open"


def test_no_field_that_twilio_signs_is_a_failure(
    engine: Engine, tmp_path: Path, dial: Any, alert: Callable[..., Alert]
) -> None:
    """Whoever sends an SMS chooses its text, and Twilio signs it whatever it is."""
    site = Site(engine, tmp_path, dial, alert)
    with site.client, site.audit:
        for path in ("/twilio/reply", "/twilio/status"):
            for number, value in enumerate(VALUES):
                odd = value.encode("utf-8", "replace").decode()
                for field in ("MessageSid", "From", "Body", "MessageStatus", "ErrorCode", "SmsSid"):
                    form = {
                        "MessageSid": f"SM{number}{field}", "From": "+34600000001", "Body": "ok",
                        "MessageStatus": "failed", "ErrorCode": "1",
                    } | {field: odd}  # fmt: skip
                    signed = RequestValidator(TOKEN).compute_signature(BASE + path, form)
                    got = site.client.post(path, data=form, headers={"X-Twilio-Signature": signed})
                    assert got.status_code in (200, 204), (path, field, value)
