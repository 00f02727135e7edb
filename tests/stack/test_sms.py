import http.client
import json
import threading
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from stack.sms import INVALID_TO, SILENT_BUT_KEPT, TOO_MANY, Sms, SmsSink
from stack.sms_http import SmsResponse
from vedette.clock import DAY

FORM = {"To": "+14155550101", "From": "+14155550100", "Body": "words"}


@dataclass
class Dial:
    """A clock set by hand."""

    now: int = 1_700_000_000_000

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.now


def call(sink: SmsSink, method: str, path: str, form: dict[str, str] | None = None, token: str = "") -> Any:
    """Return status, decoded body and headers of one request."""
    connection = http.client.HTTPConnection(sink.host, sink.port, timeout=5)
    login = b64encode(f"{sink.account_sid}:{token or sink.auth_token}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request(method, path, urlencode(form or {}), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def messages(sink: SmsSink) -> str:
    """Return the path of the Messages resource, without its extension."""
    return f"/2010-04-01/Accounts/{sink.account_sid}/Messages"


def test_a_message_is_created_queued_and_then_found() -> None:
    """The answer to POST is 201 and a queued resource; the same message is found by its sid, as sent."""
    received: list[Sms] = []
    with SmsSink(on_sms=received.append, clock=Dial()) as sink:
        status, created, _ = call(sink, "POST", messages(sink) + ".json", FORM)
        assert (status, created["status"], created["date_sent"]) == (201, "queued", None)
        assert (created["to"], created["from"], created["body"]) == (FORM["To"], FORM["From"], "words")
        assert created["sid"].startswith("SM")
        assert len(created["sid"]) == 34
        status, fetched, _ = call(sink, "GET", f"{messages(sink)}/{created['sid']}.json")
        assert (status, fetched["sid"], fetched["status"]) == (200, created["sid"], "sent")
        assert fetched["date_sent"] == "Tue, 14 Nov 2023 22:13:20 +0000"
        assert received == sink.messages


def test_lists_newest_first_by_recipient_and_date_in_pages() -> None:
    """To and DateSent filter, pages follow one another, and the newest message comes first."""
    dial = Dial()
    with SmsSink(clock=dial) as sink:
        for body in ("one", "two", "three"):
            call(sink, "POST", messages(sink) + ".json", FORM | {"Body": body})
            dial.now += DAY
        call(sink, "POST", messages(sink) + ".json", FORM | {"To": "+14155550102"})

        def bodies(page: dict[str, Any]) -> list[str]:
            return [message["body"] for message in page["messages"]]

        query = urlencode({"To": FORM["To"], "PageSize": 2})
        _, first, _ = call(sink, "GET", f"{messages(sink)}.json?{query}")
        assert bodies(first) == ["three", "two"]
        _, second, _ = call(sink, "GET", first["next_page_uri"])
        assert (bodies(second), second["next_page_uri"]) == (["one"], None)
        day = datetime.fromtimestamp((dial.now - 2 * DAY) / 1000, UTC).date().isoformat()
        for key, expected in (("DateSent", ["two"]), ("DateSent>", ["three", "two"]), ("DateSent<", ["two", "one"])):
            query = urlencode({"To": FORM["To"], key: day})
            assert bodies(call(sink, "GET", f"{messages(sink)}.json?{query}")[1]) == expected


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (FORM | {"To": "0151"}, 21211),
        (FORM | {"To": ""}, 21604),
        (FORM | {"From": ""}, 21603),
        (FORM | {"Body": ""}, 21602),
        (FORM | {"Body": 1601 * "x"}, 21617),
    ],
)
def test_refuses_what_twilio_refuses(form: dict[str, str], code: int) -> None:
    """An invalid message gets 400 with Twilio's own error code, and is not kept."""
    with SmsSink() as sink:
        status, body, _ = call(sink, "POST", messages(sink) + ".json", form)
        assert (status, body["code"], body["status"], sink.messages) == (400, code, 400, [])
        assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


def test_another_token_or_path_is_refused() -> None:
    """A wrong token gets 401 with 20003, and an unknown path 404 with 20404."""
    with SmsSink() as sink:
        status, body, _ = call(sink, "POST", messages(sink) + ".json", FORM, token="wrong")
        assert (status, body["code"]) == (401, 20003)
        for path in ("/2010-04-01/Calls.json", messages(sink) + "/SM0.json"):
            status, body, _ = call(sink, "GET", path)
            assert (status, body["code"]) == (404, 20404)


def test_answers_as_scripted_then_as_usual() -> None:
    """Each scripted answer is given once, with its code and Retry-After."""
    with SmsSink() as sink:
        sink.script(TOO_MANY, SmsResponse(429, 20429, "Too Many Requests", retry_after_s=7), INVALID_TO)
        answers = [call(sink, "POST", messages(sink) + ".json", FORM) for _ in range(4)]
        assert [status for status, _, _ in answers] == [429, 429, 400, 201]
        assert [headers["Retry-After"] for _, _, headers in answers] == [None, "7", None, None]
        assert len(sink.messages) == 1


def test_a_silent_answer_never_comes_and_does_not_hold_the_sink() -> None:
    """The client runs into its time-out, the message is kept, and the sink still ends at once."""
    before = set(threading.enumerate())
    with SmsSink() as sink:
        sink.script(SILENT_BUT_KEPT)
        connection = http.client.HTTPConnection(sink.host, sink.port, timeout=0.2)
        login = b64encode(f"{sink.account_sid}:{sink.auth_token}".encode()).decode()
        connection.request("POST", messages(sink) + ".json", urlencode(FORM), {"Authorization": f"Basic {login}"})
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        assert len(sink.messages) == 1
    assert not {thread for thread in set(threading.enumerate()) - before if not thread.daemon}
