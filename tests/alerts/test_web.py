"""What comes back to the notifier: links, replies and receipts, as the web server receives them."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update
from twilio.request_validator import RequestValidator

from access.audit import open_audit, show, verify
from alerts.incidents import store
from alerts.notify import daily_totals, failures, outbox, receipts
from alerts.notify.channels import open_linker
from alerts.notify.dispatch import Dispatcher
from alerts.notify.rendering import Renderer
from alerts.notify.replies import Reply, parse
from alerts.notify.web import make_app, open_pages
from alerts.tables import events, incidents, links, messages, stopped
from vedette.clock import DAY, HOUR
from vedette.errors import SettingsError
from vedette.events import Alert
from vedette.settings import AuditSettings, IncidentSettings, NotifySettings, Settings, TwilioSettings
from vedette.settings_base import Secret
from vedette.topics import Name

BASE = "https://answers.example"
TOKEN = "twilio-token"
PHONE = "+34600000001"
ROUTING = f"""\
format: 1
recipients:
  desk: {{channel: email, to: fraud@bank.example}}
  phone: {{channel: sms, to: "{PHONE}"}}
  other: {{channel: sms, to: "+34600000002"}}
routes:
  - notify: [desk, phone]
"""


def audit_settings(folder: Path) -> AuditSettings:
    """A log in a folder."""
    return AuditSettings(path=str(folder / "audit.jsonl"), key=Secret("k" * 32))


class Site:
    """The web server over a database with one notified incident."""

    def __init__(self, engine: Engine, folder: Path, dial: Any, alert: Callable[..., Alert]) -> None:
        routing = folder / "routing.yaml"
        routing.write_text(ROUTING)
        settings = Settings(
            incidents=IncidentSettings(routing=str(routing)),
            twilio=TwilioSettings(account_sid="AC1", auth_token=Secret(TOKEN)),
            notify=NotifySettings(public_url=BASE, link_key=Secret("k" * 32), sms_from="+15550100"),
        )
        self.engine = engine
        self.dial = dial
        self.audit = open_audit(audit_settings(folder), dial, "notify")
        served = open_pages(settings, engine, self.audit, dial, Random(1), structlog.get_logger())  # noqa: S311
        self.client = TestClient(make_app(served), base_url=BASE)
        linker = open_linker(settings.notify, Random(2))  # noqa: S311
        self.routing = served.routing
        dispatcher = Dispatcher(served.routing, Renderer(), linker, daily_totals.chart)
        with engine.begin() as connection:
            (self.number,) = store.join(connection, [alert(1)], lambda each: each.expected_loss, dial.now)
            dispatcher.run(connection, dial.now)
            bodies = connection.scalars(select(messages.c.body).where(messages.c.recipient == "desk")).one()
        text = json.loads(bodies)["text"]
        self.path = next(word for word in text.split() if word.startswith(BASE)).removeprefix(BASE)

    def state(self) -> str:
        """Return the incident's state."""
        with self.engine.begin() as connection:
            return store.get(connection, self.number).state

    def labels(self) -> int:
        """Count the labels that wait for Kafka."""
        with self.engine.begin() as connection:
            return len(connection.execute(select(events.c.id).where(events.c.topic == Name.LABELS)).all())

    def twilio(self, path: str, form: dict[str, str], signature: str | None = None) -> Any:
        """Post a form as Twilio does."""
        signed = RequestValidator(TOKEN).compute_signature(BASE + path, form) if signature is None else signature
        return self.client.post(path, data=form, headers={"X-Twilio-Signature": signed})

    def reply(self, body: str, sender: str = PHONE, sid: str = "SM1") -> str:
        """Reply by SMS and return the answer."""
        answer = self.twilio("/twilio/reply", {"MessageSid": sid, "From": sender, "Body": body})
        assert answer.status_code == 200
        return str(answer.text)


@pytest.fixture
def site(engine: Engine, tmp_path: Path, dial: Any, alert: Callable[..., Alert]) -> Iterator[Site]:
    """The server, on each database in turn."""
    made = Site(engine, tmp_path, dial, alert)
    with made.client, made.audit:
        yield made


def test_looking_at_a_link_changes_nothing(site: Site) -> None:
    """A mail scanner may open the link as often as it likes; the page asks first, with no secret in URLs or caches."""
    for _ in range(3):
        page = site.client.get(site.path)
        assert page.status_code == 200
        assert '<form method="post">' in page.text
    assert site.client.head(site.path).status_code == 405
    assert site.state() == "open"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Strict-Transport-Security"].startswith("max-age=")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_confirming_acknowledges_once(site: Site) -> None:
    """The button assigns the incident to the recipient, and the link no longer works."""
    assert site.client.post(site.path).status_code == 200
    assert site.state() == "acknowledged"
    with site.engine.begin() as connection:
        assert store.get(connection, site.number).owner == "desk"
    assert site.client.post(site.path).status_code == 404
    assert site.client.get(site.path).status_code == 404


def test_a_strangers_link_does_not_wait_for_the_database(site: Site) -> None:
    """While somebody else writes, a token that is none is refused at once, and takes nobody's turn."""
    with site.engine.begin():
        for token in ("x" * 40, "A" * 40, "é", "%00"):
            assert site.client.post(f"/incidents/{token}").status_code == 404


def test_who_acted_on_an_incident_by_link_or_message_is_in_the_audit_log(
    site: Site, tmp_path: Path, alert: Callable[..., Alert]
) -> None:
    """Every step records who, what, when, which incident and how; refused steps and phone numbers are absent."""
    site.client.post(site.path)
    site.client.post(site.path)  # the link is used up
    site.reply(f"{site.number} fraud")
    site.reply(f"{site.number} ok", sid="SM2")  # it is closed
    site.reply("STOP", sid="SM3")
    site.reply(f"{site.number} mine", sender="+34600000002", sid="SM4")  # was never told of it
    recorded = show(audit_settings(tmp_path))
    assert [(each.event, each.actor, each.subject, each.details.get("way")) for each in recorded] == [
        ("incident.acknowledged", "desk", f"incident:{site.number}", "link"),
        ("incident.confirmed", "phone", f"incident:{site.number}", "sms"),
        ("messages.stop", "phone", "recipient:phone", None),
    ]
    assert {each.at for each in recorded} == {site.dial.now}
    assert recorded[0].details["account"] == alert().account_id
    assert verify(audit_settings(tmp_path)).ok
    assert PHONE not in (tmp_path / "audit.jsonl").read_text()


def test_what_cannot_be_recorded_is_not_done(site: Site, tmp_path: Path) -> None:
    """With a truncated audit log, neither a link nor a message changes an incident."""
    site.audit.record("incident.acknowledged", "incident:0", {})
    (tmp_path / "audit.jsonl").write_bytes(b"")
    assert site.client.post(site.path).status_code == 503
    form = {"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} fraud"}
    assert site.twilio("/twilio/reply", form).status_code == 503
    assert (site.state(), site.labels()) == ("open", 0)


def test_a_link_expires(site: Site) -> None:
    """After a week it is unknown."""
    site.dial.now += 7 * DAY
    assert site.client.post(site.path).status_code == 404
    assert site.state() == "open"


@pytest.mark.parametrize("change", ["nonce", "signature", "short", "rubbish"])
def test_a_forged_link_is_refused(site: Site, change: str) -> None:
    """No change to a token leads anywhere, and the answer is the one for any unknown link."""
    token = site.path.rpartition("/")[2]
    forged = {
        "nonce": ("A" if token[0] != "A" else "B") + token[1:],
        "signature": token[:-1] + ("A" if token[-1] != "A" else "B"),
        "short": token[:20],
        "rubbish": "ñ!",
    }[change]
    assert site.client.post(f"/incidents/{forged}").status_code == 404
    assert site.state() == "open"


def test_the_database_keeps_no_token(site: Site) -> None:
    """Somebody who reads the table cannot use a link."""
    token = site.path.rpartition("/")[2]
    with site.engine.begin() as connection:
        kept = connection.scalars(select(links.c.token_hash)).all()
    assert len(kept) == 1
    assert token not in kept[0]
    assert hashlib.sha256(token.encode()).hexdigest() not in kept


@pytest.mark.parametrize(
    ("word", "state", "labels"),
    [("fraud", "confirmed", 1), ("FRAUDE.", "confirmed", 1), ("ok", "false_alarm", 1), ("mine", "acknowledged", 0)],
)
def test_a_reply_does_what_it_says(site: Site, word: str, state: str, labels: int) -> None:
    """A number and a word close the incident, with its labels, or acknowledge it."""
    assert f"Incident {site.number}: " in site.reply(f"{site.number} {word}")
    assert (site.state(), site.labels()) == (state, labels)


def test_a_reply_delivered_again_does_nothing_more(site: Site) -> None:
    """Twilio repeats what was not answered; the same id counts once."""
    site.reply(f"{site.number} fraud", sid="SM7")
    assert site.reply(f"{site.number} ok", sid="SM7") == "<Response/>"
    assert (site.state(), site.labels()) == ("confirmed", 1)


def test_the_slower_of_two_is_told_how_it_stands(site: Site) -> None:
    """A closed incident stays as it is."""
    site.reply(f"{site.number} fraud", sid="SM1")
    assert "already closed: confirmed fraud" in site.reply(f"{site.number} ok", sid="SM2")
    assert site.labels() == 1


def test_only_those_who_were_told_may_answer(site: Site) -> None:
    """An unknown number gets no answer; a colleague who was not notified and an unknown incident change nothing."""
    assert site.reply(f"{site.number} fraud", sender="+19990001111", sid="SM1") == "<Response/>"
    assert "not been notified" in site.reply(f"{site.number} fraud", sender="+34600000002", sid="SM2")
    assert "not been notified" in site.reply("999999 fraud", sid="SM3")
    assert site.state() == "open"


def test_stop_and_start(site: Site) -> None:
    """STOP silences the number without an answer from us, and START lifts that."""
    assert site.reply("STOP", sid="SM1") == "<Response/>"
    with site.engine.begin() as connection:
        assert connection.scalars(select(stopped.c.address)).all() == [PHONE]
    assert "again" in site.reply("start", sid="SM2")
    with site.engine.begin() as connection:
        assert connection.scalars(select(stopped.c.address)).all() == []


@pytest.mark.parametrize("path", ["/twilio/reply", "/twilio/status"])
@pytest.mark.parametrize("signature", ["", "wrong", base64.b64encode(b"x" * 20).decode()])
def test_nothing_is_believed_without_twilios_signature(site: Site, path: str, signature: str) -> None:
    """A missing, malformed or foreign signature gets 403, and nothing happens."""
    form = {"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} fraud", "MessageStatus": "delivered"}
    assert site.twilio(path, form, signature).status_code == 403
    assert site.state() == "open"


def test_a_signature_is_of_these_fields(site: Site) -> None:
    """A form that was changed in transit is refused."""
    form = {"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} ok"}
    signature = RequestValidator(TOKEN).compute_signature(f"{BASE}/twilio/reply", form)
    changed = form | {"Body": f"{site.number} fraud"}
    assert site.twilio("/twilio/reply", changed, signature).status_code == 403
    assert site.state() == "open"


def test_a_json_body_needs_its_hash_in_the_signed_url(site: Site) -> None:
    """With bodySHA256 it is accepted; without it, or with the hash of another body, it is refused."""
    body = json.dumps({"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} mine"}).encode()

    def post(path: str, sent: bytes) -> int:
        signature = RequestValidator(TOKEN).compute_signature(BASE + path, {})
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
        return site.client.post(path, content=sent, headers=headers).status_code

    hashed = f"/twilio/reply?bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert post("/twilio/reply", body) == 403
    assert post(hashed, body.replace(b"mine", b"okay")) == 403
    assert site.state() == "open"
    assert post(hashed, body) == 200
    assert site.state() == "acknowledged"


def test_receipts_are_written_down_and_a_late_one_takes_nothing_back(site: Site) -> None:
    """The last final status stays, in whatever order Twilio's posts arrive, and a repeated one changes nothing."""
    with site.engine.begin() as connection:
        connection.execute(
            update(messages).where(messages.c.recipient == "phone").values(provider_id="SM5", status="sent", body=None)
        )
    seen = []
    for status, code in (("queued", ""), ("undelivered", "30003"), ("sent", ""), ("queued", ""), ("undelivered", "")):
        form = {"MessageSid": "SM5", "MessageStatus": status, "ErrorCode": code}
        assert site.twilio("/twilio/status", form).status_code == 204
        with site.engine.begin() as connection:
            seen.append(connection.scalars(select(messages.c.receipt).where(messages.c.provider_id == "SM5")).one())
    assert seen == ["queued", "undelivered 30003", "undelivered 30003", "undelivered 30003", "undelivered 30003"]


def test_a_huge_body_is_refused_before_anything_looks_at_it(site: Site) -> None:
    """A body above 64 KiB is refused even with a valid signature, and no JSON is parsed."""
    for kind, body in (("x-www-form-urlencoded", b"x" * 100_000), ("json", b"[" * 100_000)):
        headers = {"X-Twilio-Signature": "x", "Content-Type": f"application/{kind}"}
        assert site.client.post("/twilio/reply", content=body, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_sites_page_cannot_take_an_incident(site: Site, headers: dict[str, str]) -> None:
    """A form from another site is refused, and the link still works for its recipient."""
    assert site.client.post(site.path, headers=headers).status_code == 403
    assert site.state() == "open"
    assert site.client.post(site.path, headers={"Origin": BASE, "Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_no_redirect_carries_a_token_to_another_host(site: Site) -> None:
    """A path with one slash too many is unknown, whatever Host the request names."""
    answer = site.client.get(site.path + "/", headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "Location" not in answer.headers


def test_every_answer_has_the_security_headers(site: Site) -> None:
    """This holds for pages, refusals, unknown paths and failures."""
    broken = site.client.post("/twilio/reply", content=b"x" * 100_000)
    for answer in (site.client.get(site.path), site.client.get("/nowhere"), site.client.put("/healthz"), broken):
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


ODD = ("\0", "\ud800", "é" * 300, "-1", "NaN", "[" * 5000, "17 fraud\0", "\u202e", "'; DROP TABLE messages; --")


@pytest.mark.parametrize("odd", ODD)
def test_no_signed_input_is_a_server_error(site: Site, odd: str) -> None:
    """Whatever the fields contain, as a form or as JSON, on either database, the status is below 500."""
    for path, name in (("/twilio/reply", "Body"), ("/twilio/reply", "From"), ("/twilio/status", "MessageStatus"),
                       ("/twilio/status", "ErrorCode"), ("/twilio/status", "MessageSid")):  # fmt: skip
        form = {"MessageSid": "SM1", "From": PHONE, "Body": "x", "MessageStatus": "sent"} | {name: odd}
        plain = {key: value.encode("utf-8", "replace").decode() for key, value in form.items()}
        assert site.twilio(path, plain).status_code < 500
        for value in (odd, [odd], {odd: None}, None, 17):
            body = json.dumps({**form, name: value}).encode()
            target = f"{path}?bodySHA256={hashlib.sha256(body).hexdigest()}"
            signature = RequestValidator(TOKEN).compute_signature(BASE + target, {})
            headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
            assert site.client.post(target, content=body, headers=headers).status_code < 500


@pytest.mark.parametrize("token", ["%00", "%ed%a0%80", "%ff", "a" * 3000, "%F0%9F%92%A9", "..%2f..", "=" * 40])
def test_no_token_is_a_server_error(site: Site, token: str) -> None:
    """Any text in a link gives an unknown link or an address that is too long."""
    for answer in (site.client.get(f"/incidents/{token}"), site.client.post(f"/incidents/{token}")):
        assert answer.status_code in (404, 414)


def test_a_message_that_was_not_delivered_has_failed_and_escalates(site: Site) -> None:
    """A carrier that filters the SMS (30007) is a failure of the message, and the next escalation is due at once."""
    with site.engine.begin() as connection:
        connection.execute(
            update(messages)
            .where(messages.c.recipient == "phone")
            .values(provider_id="SM5", status="sent", body=None, due_at=None)
        )
        connection.execute(update(incidents).values(escalate_at=site.dial.now + HOUR))
    form = {"MessageSid": "SM5", "MessageStatus": "undelivered", "ErrorCode": "30007"}
    assert site.twilio("/twilio/status", form).status_code == 204
    assert site.twilio("/twilio/status", form).status_code == 204
    with site.engine.begin() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 5)
        assert (dead.recipient, dead.code, dead.receipt, dead.due_at) == ("phone", "30007", "undelivered 30007", None)
        assert store.get(connection, site.number).escalate_at == site.dial.now
        assert outbox.retry(connection, [], site.dial.now) == 0


def test_a_receipt_that_comes_before_the_outcome_is_not_lost(site: Site) -> None:
    """Twilio may report before the outbox knows the id: the receipt is applied once it does."""
    form = {"MessageSid": "SM6", "MessageStatus": "failed", "ErrorCode": "30003"}
    assert site.twilio("/twilio/status", form).status_code == 204
    with site.engine.begin() as connection:
        connection.execute(
            update(messages).where(messages.c.recipient == "phone").values(provider_id="SM6", status="sent", body=None)
        )
        ((row, code),) = receipts.apply(connection, ["SM6"], site.dial.now)
        assert (row.recipient, code) == ("phone", "30003")
        assert receipts.apply(connection, ["SM6"], site.dial.now) == []  # it is reported once


def test_readiness_names_what_does_not_work(site: Site) -> None:
    """A channel that is down makes the notifier not ready; strangers do not see the reason, which names hosts."""
    assert site.client.get("/readyz").status_code == 200
    failure = failures.ComponentFailure(
        component="channel email", since=1, code="535", reason="smtp.bank.example refused", remedy="", retry_at=2
    )
    with site.engine.begin() as connection:
        failures.report(connection, failure)
    answer = site.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"missing": ["channel email"]})
    assert "bank.example" not in answer.text


def test_spanish_analysts_are_answered_in_spanish(site: Site) -> None:
    """Each answer is in the recipient's language."""
    spanish = msgspec.structs.replace(site.routing.recipients["phone"], language="es")
    site.routing.recipients["phone"] = spanish
    assert "Responda con un número" in site.reply("hola", sid="SM1")
    assert "No se le ha notificado" in site.reply("999999 fraude", sid="SM2")
    assert f"Incidente {site.number}: fraude confirmado." in site.reply(f"{site.number} fraude", sid="SM3")
    assert "ya estaba cerrado: fraude confirmado" in site.reply(f"{site.number} ok", sid="SM4")
    assert "Volverá a recibir" in site.reply("start", sid="SM5")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 fraud", Reply("fraud", 1)),
        (" #12: FRAUD! ", Reply("fraud", 12)),
        ("2 mine", Reply("acknowledge", 2)),
        ("3 mío", Reply("acknowledge", 3)),
        ("4 ok", Reply("legitimate", 4)),
        ("Stop", Reply("stop")),
        ("START", Reply("start")),
        ("fraud", None),
        ("1", None),
        ("1 2 fraud", None),
        ("call me", None),
        ("", None),
    ],
)
def test_what_people_write_is_understood_or_not(text: str, answer: Reply | None) -> None:
    """A reply is a number and a word, in any case, with or without punctuation; anything else is not a reply."""
    assert parse(text) == answer


def test_without_an_address_nothing_is_served(engine: Engine, tmp_path: Path, dial: Any) -> None:
    """The error says which setting is missing."""
    (tmp_path / "routing.yaml").write_text(ROUTING)
    settings = Settings(
        incidents=IncidentSettings(routing=str(tmp_path / "routing.yaml")),
        twilio=TwilioSettings(account_sid="AC1", auth_token=Secret(TOKEN)),
        notify=NotifySettings(sms_from="+15550100"),
    )
    with (
        open_audit(audit_settings(tmp_path), dial, "notify") as audit,
        pytest.raises(SettingsError, match="public_url"),
    ):
        open_pages(settings, engine, audit, dial, Random(1), structlog.get_logger())  # noqa: S311


def test_a_link_of_somebody_who_was_removed_is_dead(site: Site) -> None:
    """A person who is no longer in the routing cannot take an incident by an old link."""
    del site.routing.recipients["desk"]
    assert site.client.get(site.path).status_code == 404
    assert site.client.post(site.path).status_code == 404
    assert site.state() == "open"
