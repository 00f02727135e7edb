"""Answers that come back: links, replies and receipts, as the web server takes them."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update
from twilio.request_validator import RequestValidator

from alerts.audit import open_audit, show, verify
from alerts.database.tables import events, links, messages, stopped
from alerts.incidents import store
from alerts.notify import days
from alerts.notify.answers import Answer, parse
from alerts.notify.bootstrap import linker_of
from alerts.notify.dispatch import Dispatcher
from alerts.notify.web import make_app, open_answers
from alerts.notify.words import Renderer
from vedette.clock import DAY
from vedette.errors import SettingsError, StateError
from vedette.events import Alert
from vedette.settings import AuditSettings, IncidentSettings, NotifySettings, Secret, Settings

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
  - tell: [desk, phone]
"""


def audit_settings(folder: Path) -> AuditSettings:
    """A log in a folder."""
    return AuditSettings(path=str(folder / "audit.jsonl"), key=Secret("k" * 32))


class Site:
    """The web server over a database in which one incident has been told."""

    def __init__(self, engine: Engine, folder: Path, dial: Any, alert: Callable[..., Alert]) -> None:
        routing = folder / "routing.yaml"
        routing.write_text(ROUTING)
        settings = Settings(
            incidents=IncidentSettings(routing=str(routing)),
            notify=NotifySettings(
                public_url=BASE, link_key=Secret("k" * 32), twilio_auth_token=Secret(TOKEN), sms_from="+15550100",
                twilio_account_sid="AC1",
            ),
        )  # fmt: skip
        self.engine = engine
        self.dial = dial
        self.audit = open_audit(audit_settings(folder), dial, "notify")
        served = open_answers(settings, engine, self.audit, dial, Random(1))  # noqa: S311
        self.client = TestClient(make_app(served), base_url=BASE)
        linker = linker_of(settings.notify, Random(2))  # noqa: S311
        dispatcher = Dispatcher(served.routing, Renderer(), linker, days.picture)
        with engine.begin() as connection:
            (self.number,) = store.join(connection, [alert(1)], lambda each: each.expected_loss, dial.now)
            dispatcher.run(connection, dial.now)
            bodies = connection.scalars(select(messages.c.body).where(messages.c.recipient == "desk")).one()
        text = json.loads(bodies)["text"]
        self.path = next(word for word in text.split() if word.startswith(BASE)).removeprefix(BASE)

    def state(self) -> str:
        """The incident's."""
        with self.engine.begin() as connection:
            return store.get(connection, self.number).state

    def labels(self) -> int:
        """How many wait for Kafka."""
        with self.engine.begin() as connection:
            return len(connection.execute(select(events.c.id)).all())

    def twilio(self, path: str, form: dict[str, str], signature: str | None = None) -> Any:
        """Post a form as Twilio does."""
        signed = RequestValidator(TOKEN).compute_signature(BASE + path, form) if signature is None else signature
        return self.client.post(path, data=form, headers={"X-Twilio-Signature": signed})

    def reply(self, body: str, sender: str = PHONE, sid: str = "SM1") -> str:
        """Answer by SMS; what is answered to that."""
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
    """A mail scanner may open it as often as it likes; the page asks, and hides nothing in its URL or from caches."""
    for _ in range(3):
        page = site.client.get(site.path)
        assert page.status_code == 200
        assert '<form method="post">' in page.text
    assert site.client.head(site.path).status_code == 405
    assert site.state() == "open"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_confirming_acknowledges_once(site: Site) -> None:
    """The button makes the incident the recipient's, and the link works no more."""
    assert site.client.post(site.path).status_code == 200
    assert site.state() == "acknowledged"
    with site.engine.begin() as connection:
        assert store.get(connection, site.number).owner == "desk"
    assert site.client.post(site.path).status_code == 404
    assert site.client.get(site.path).status_code == 404


def test_who_acted_on_an_incident_by_link_or_message_is_in_the_audit_log(
    site: Site, tmp_path: Path, alert: Callable[..., Alert]
) -> None:
    """Every step says who, what, when, which incident and which way; what was refused is not there, nor a number."""
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
    """With a log that somebody has cut, neither link nor message changes an incident."""
    site.audit.record("incident.acknowledged", "incident:0", {})
    (tmp_path / "audit.jsonl").write_bytes(b"")
    with pytest.raises(StateError, match="was cut"):
        site.client.post(site.path)
    with pytest.raises(StateError, match="was cut"):
        site.reply(f"{site.number} fraud")
    assert (site.state(), site.labels()) == ("open", 0)


def test_a_link_expires(site: Site) -> None:
    """After a week it is as if it had never been."""
    site.dial.now += 7 * DAY
    assert site.client.post(site.path).status_code == 404
    assert site.state() == "open"


@pytest.mark.parametrize("change", ["nonce", "signature", "short", "rubbish"])
def test_a_forged_link_is_refused(site: Site, change: str) -> None:
    """No change of a token leads anywhere, and the answer is that for any unknown link."""
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
    """Whoever reads the table cannot use a link."""
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
    """A number and a word close the incident, with its labels, or take it on."""
    assert f"Incident {site.number}: " in site.reply(f"{site.number} {word}")
    assert (site.state(), site.labels()) == (state, labels)


def test_a_reply_delivered_again_does_nothing_more(site: Site) -> None:
    """Twilio repeats what it heard no answer to; the same id counts once."""
    site.reply(f"{site.number} fraud", sid="SM7")
    assert site.reply(f"{site.number} ok", sid="SM7") == "<Response/>"
    assert (site.state(), site.labels()) == ("confirmed", 1)


def test_the_slower_of_two_is_told_how_it_stands(site: Site) -> None:
    """A closed incident stays as it is."""
    site.reply(f"{site.number} fraud", sid="SM1")
    assert "already closed: confirmed fraud" in site.reply(f"{site.number} ok", sid="SM2")
    assert site.labels() == 1


def test_only_those_who_were_told_may_answer(site: Site) -> None:
    """A stranger hears nothing; a colleague who was not told, and an unknown number, change nothing."""
    assert site.reply(f"{site.number} fraud", sender="+19990001111", sid="SM1") == "<Response/>"
    assert "not been told" in site.reply(f"{site.number} fraud", sender="+34600000002", sid="SM2")
    assert "not been told" in site.reply("999999 fraud", sid="SM3")
    assert site.state() == "open"


def test_stop_and_start(site: Site) -> None:
    """STOP silences the number without an answer of ours, START lifts that."""
    assert site.reply("STOP", sid="SM1") == "<Response/>"
    with site.engine.begin() as connection:
        assert connection.scalars(select(stopped.c.address)).all() == [PHONE]
    assert "again" in site.reply("start", sid="SM2")
    with site.engine.begin() as connection:
        assert connection.scalars(select(stopped.c.address)).all() == []


@pytest.mark.parametrize("path", ["/twilio/reply", "/twilio/status"])
@pytest.mark.parametrize("signature", ["", "wrong", base64.b64encode(b"x" * 20).decode()])
def test_nothing_is_believed_without_twilios_signature(site: Site, path: str, signature: str) -> None:
    """Missing, malformed or of another key: 403, and nothing has happened."""
    form = {"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} fraud", "MessageStatus": "delivered"}
    assert site.twilio(path, form, signature).status_code == 403
    assert site.state() == "open"


def test_a_signature_is_of_these_fields(site: Site) -> None:
    """A form changed on its way is refused."""
    form = {"MessageSid": "SM1", "From": PHONE, "Body": f"{site.number} ok"}
    signature = RequestValidator(TOKEN).compute_signature(f"{BASE}/twilio/reply", form)
    changed = form | {"Body": f"{site.number} fraud"}
    assert site.twilio("/twilio/reply", changed, signature).status_code == 403
    assert site.state() == "open"


def test_a_json_body_needs_its_hash_in_the_signed_url(site: Site) -> None:
    """With bodySHA256 it is taken; without, with another body, or with the hash of another, it is refused."""
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
    """The last final word stays, whatever order Twilio's posts come in, and a repeated one changes nothing."""
    with site.engine.begin() as connection:
        connection.execute(update(messages).where(messages.c.recipient == "phone").values(provider_id="SM5"))
    seen = []
    for status, code in (("queued", ""), ("undelivered", "30003"), ("sent", ""), ("queued", ""), ("undelivered", "")):
        form = {"MessageSid": "SM5", "MessageStatus": status, "ErrorCode": code}
        assert site.twilio("/twilio/status", form).status_code == 204
        with site.engine.begin() as connection:
            seen.append(connection.scalars(select(messages.c.receipt).where(messages.c.provider_id == "SM5")).one())
    assert seen == ["queued", "undelivered 30003", "undelivered 30003", "undelivered 30003", "undelivered 30003"]


def test_a_huge_body_is_refused(site: Site) -> None:
    """Nobody fills the memory through a webhook."""
    answer = site.client.post("/twilio/reply", content=b"x" * 100_000, headers={"X-Twilio-Signature": "x"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 fraud", Answer("fraud", 1)),
        (" #12: FRAUD! ", Answer("fraud", 12)),
        ("2 mine", Answer("mine", 2)),
        ("3 mío", Answer("mine", 3)),
        ("4 ok", Answer("fine", 4)),
        ("Stop", Answer("stop")),
        ("START", Answer("start")),
        ("fraud", None),
        ("1", None),
        ("1 2 fraud", None),
        ("call me", None),
        ("", None),
    ],
)
def test_what_people_write_is_understood_or_not(text: str, answer: Answer | None) -> None:
    """A number and a word, in any case, with or without signs; anything else is no answer."""
    assert parse(text) == answer


def test_without_an_address_nothing_is_served(engine: Engine, tmp_path: Path, dial: Any) -> None:
    """The message says what to set."""
    (tmp_path / "routing.yaml").write_text(ROUTING)
    settings = Settings(
        incidents=IncidentSettings(routing=str(tmp_path / "routing.yaml")),
        notify=NotifySettings(twilio_auth_token=Secret(TOKEN), sms_from="+15550100", twilio_account_sid="AC1"),
    )
    with (
        open_audit(audit_settings(tmp_path), dial, "notify") as audit,
        pytest.raises(SettingsError, match="public_url"),
    ):
        open_answers(settings, engine, audit, dial, Random(1))  # noqa: S311
