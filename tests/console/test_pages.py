"""Queue, cases, search and the live page, through the real app."""

import re
import tomllib
from pathlib import Path
from string import Formatter
from typing import Any

import msgspec

from archive.tables import TABLES
from archive.writer import TableWriter
from console import view
from console.account_history import days, habit, involved, totals
from console.live_feed import matcher
from console.view import span
from tests.archive.conftest import decision, label, payment, stored
from tests.console.conftest import Site, alert
from vedette.clock import DAY, HOUR, MINUTE
from vedette.topics import Name

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TEMPLATES = Path(view.__file__).with_name("templates")


def test_taking_deciding_and_going_on(site: Site) -> None:
    """The largest loss comes first; a decision leads to the next case, and the last one back to the queue."""
    small, large = site.open(alert(1), alert(2))
    ana = site.person("analyst", "ana")
    first = ana.post("/queue/next", queue="order=loss").headers["location"]
    assert first.startswith(f"/cases/{large}?")
    page = ana.get(first).text
    assert "You work on this case." in page
    following = ana.post(f"/cases/{large}/close", decision="fraud", queue="order=loss").headers["location"]
    assert following == f"/cases/{small}?queue=order%3Dloss&closed={large}"
    assert f"Incident {large} is closed: confirmed fraud." in ana.get(following).text
    end = ana.post(f"/cases/{small}/close", decision="false_alarm").headers["location"]
    assert end == f"/queue?&done=1&closed={small}"
    shown = ana.get(end).text
    assert "Nothing is left that nobody works on." in shown
    assert f'action="/cases/{small}/undo"' in shown
    assert ana.post(f"/cases/{small}/undo").headers["location"] == f"/cases/{small}?queue="
    assert site.console.desk.show(small).incident.state == "acknowledged"
    assert [record.subject for record in site.audited("console.looked")].count(f"incident:{large}") == 1


def test_what_somebody_else_works_on_is_not_decided(site: Site) -> None:
    """The page says who works on it, and nothing is changed."""
    (number,) = site.open(alert(1))
    ana, ben = site.person("analyst", "ana"), site.person("analyst", "ben")
    ana.post(f"/cases/{number}/claim")
    ana.get(f"/cases/{number}")
    for path, fields in (("claim", {}), ("close", {"decision": "fraud"})):
        answer = ben.post(f"/cases/{number}/{path}", **fields)
        assert answer.status_code == 409
        assert "ana works on this case. Nothing was changed." in answer.text
    assert 'value="fraud"' not in ben.get(f"/cases/{number}").text
    assert "Also looking: ana" in ben.post(f"/cases/{number}/presence").text
    assert ana.post(f"/cases/{number}/release").headers["location"] == "/queue?"
    assert ben.post(f"/cases/{number}/claim").status_code == 303
    assert ana.post(f"/cases/{number}/close", decision="").status_code == 422


def test_many_are_closed_after_count_money_and_a_code(site: Site) -> None:
    """Only a lead can, with a reason and a fresh code, and at most as many as the limit."""
    numbers = site.open(*(alert(number) for number in range(1, 5)))
    site.accepted("ana", "lead")
    ana = site.person("lead", "ana")
    site.clock.now += 6 * MINUTE  # the code of the sign-in counts for five minutes
    shown = ana.post("/queue/bulk", chosen=[str(number) for number in numbers]).text
    assert '<strong class="num">4</strong> incidents' in shown
    assert "10.00 EUR" in shown
    fields: dict[str, Any] = {"chosen": [str(number) for number in numbers], "decision": "false_alarm"}
    assert ana.post("/queue/bulk/close", **fields, code=site.code("ana")).status_code == 422  # no reason
    assert ana.post("/queue/bulk/close", **fields, note="test merchant", code="123456").status_code == 422
    assert {site.console.desk.show(number).incident.state for number in numbers} == {"open"}
    done = ana.post("/queue/bulk/close", **fields, note="test merchant", code=site.code("ana"))
    assert "4 closed" in done.text
    assert [record.details["incidents"] for record in site.audited("incident.bulk")] == ["4"]
    assert ana.post("/queue/bulk", chosen=["x"]).status_code == 422
    assert "No incident is chosen." in ana.post("/queue/bulk").text
    many = ana.post("/queue/bulk/close", chosen=[str(n) for n in range(1, 102)], decision="fraud", note="x")
    assert "at most 100 can be closed together" in many.text


def test_filters_are_in_the_address(site: Site) -> None:
    """Invalid filters are ignored instead of refused."""
    site.open(alert(1), alert(2, account_id="zz"))
    ana = site.person()
    assert "zz" in ana.get("/queue?account=zz").text
    assert "account-1" not in ana.get("/queue?account=zz&order=due").text
    assert "account-1" not in ana.get("/queue?min_loss=1.50").text
    assert ana.get("/queue?min_loss=x&older=-1&standing=what&page=0&holder=%00&account=%00%25").status_code == 200
    site.clock.now += 3 * HOUR
    ana = site.person()  # the first session was idle for too long
    assert "account-1" in ana.get("/queue?older=2").text
    assert "No incident matches" in ana.get("/queue?older=4").text
    (newer,) = site.open(alert(3))
    assert "New: 1, expected loss 3.00 EUR" in ana.get(f"/queue/arrivals?after={newer - 1}").text


def test_nothing_a_payment_or_a_note_says_becomes_markup(site: Site) -> None:
    """Script in every field that comes from outside is shown as text, on every page that shows the field."""
    names = ("account_id", "transaction_id", "payee", "merchant_id", "device_id", "ip_address")
    hostile = dict.fromkeys(names, XSS)
    (number,) = site.open(alert(1, **hostile, reasons=[XSS], country="ES"))
    about = msgspec.structs.replace(
        payment(1), account_id=XSS, transaction_id=XSS, merchant_id=XSS, device_id=XSS, payee=XSS
    )
    archive(site, about, XSS)
    site.console.feed.add([msgspec.json.encode(decision(about, "review", reasons=[XSS], payee=XSS))])
    ana = site.person("lead", "ana")
    ana.post(f"/cases/{number}/note", text=XSS)
    ana.post(f"/cases/{number}/claim")
    pages = [
        ana.get(path)
        for path in (
            "/queue", f"/cases/{number}", f"/cases/{number}/account", "/find", "/live", "/audit",
        )
    ] + [
        ana.get("/find", params={"q": XSS, "kind": "account", "days": "all"}),
        ana.get("/find", params={"q": XSS, "kind": "device", "days": "all"}),
        ana.get(f"/payments/{XSS.replace('/', '%2F')}"),
        ana.get("/queue", params={"account": XSS, "min_loss": XSS}),
        ana.get("/audit", params={"subject": XSS}),
        ana.post(f"/cases/{number}/close", decision=XSS),
        ana.post("/queue/bulk", chosen=[str(number)], queue=f"account={XSS}"),
        site.browser().post("/sign-in", data={"name": XSS, "next": XSS}),
    ]  # fmt: skip
    shown = 0
    for page in pages:
        assert page.status_code in (200, 422), page.url
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        shown += page.text.count("&lt;script&gt;alert(1)")
    assert shown > 15


def archive(site: Site, about: Any, name: str) -> None:
    """Archive a payment with its decision and label."""
    logs: dict[Name, Any] = {
        Name.TRANSACTIONS: [(0, about)],
        Name.DECISIONS: [(0, decision(about, "review", reasons=[name], rules=[name]))],
        Name.LABELS: [(0, label(about, fraud=True, labelled_at=about.event_time + DAY))],
    }
    for table in TABLES:
        writer = TableWriter(f"{site.settings.archive.url}/{table.topic}", table, table.topic, {})
        rows, rejected = table.rows(messages := stored(logs.get(table.topic, [])))
        assert not rejected
        writer.append(rows, {0: len(messages)})


def test_finding_leads_to_the_payment(site: Site) -> None:
    """An id of a payment leads to its page, another one to a list; every search is in the audit log."""
    about = payment(7)
    archive(site, about, "a reason")
    (number,) = site.open(alert(1))
    ana = site.person()
    assert ana.get("/find?q=t7").headers["location"] == "/payments/t7"
    shown = ana.get("/payments/t7").text
    assert "a reason" in shown
    assert "fraud" in shown
    listed = ana.get("/find?q=m1&days=all").text
    assert "/payments/t7" in listed
    assert "of 1 labelled" in ana.get("/find?q=m1").text
    site.clock.now += 120 * DAY
    ana = site.person()
    assert "of 1 labelled" in ana.get("/find?q=m1").text  # nothing in 90 days, so everything is looked through
    assert "Nothing found" in ana.get("/find?q=m1&days=30").text
    assert ana.get(f"/find?q=%23{number}").headers["location"] == f"/cases/{number}"
    assert "Nothing found" in ana.get("/find?q=nobody").text
    assert ana.get("/payments/none").status_code == 404
    looks = {record.subject for record in site.audited("console.looked")}
    assert {"search:t7", "transaction:t7", "search:m1"} <= looks


def test_without_an_archive_pages_say_so(shared_site: Site) -> None:
    """They give the remedy; the rest of the case is shown."""
    ana = shared_site.person()
    for path in ("/cases/1/account", "/find?q=x", "/payments/x"):
        assert "`vedette archive run` writes it" in ana.get(path).text


def test_the_live_page_filters(site: Site) -> None:
    """It filters by action, score and text; messages that are not decisions are skipped."""
    calm, odd = decision(payment(1)), decision(payment(2), "decline", score=0.97)
    site.console.feed.add([msgspec.json.encode(each) for each in (calm, odd)] + [b"rubbish", b"\xff", b""])
    ana = site.person()
    assert "/payments/t1" in ana.get("/live").text
    for query in ("action=flagged", "action=decline", "min_score=0.9", "text=A2"):
        page = ana.get(f"/live?{query}").text
        assert "/payments/t2" in page
        assert "/payments/t1" not in page
    operator = site.person("operator").get("/live").text
    assert "a1" not in re.sub(r"<head>.*?</head>", "", operator, flags=re.DOTALL).split("<tbody>")[1]
    assert matcher({"min_score": "x"})(calm)


def test_the_audit_log_is_searched_and_verified(site: Site) -> None:
    """The page finds the same records as the command."""
    lead = site.person("lead", "ana")
    lead.get("/queue")
    assert "console.looked" in lead.get("/audit?event=console&actor=ana").text
    assert "are present and unchanged" in lead.post("/audit/verify").text


def test_every_answer_is_protected(shared_site: Site) -> None:
    """Strict content policy, no frames, no caching of pages."""
    for path in ("/sign-in", "/me", "/static/console.css", "/nowhere"):
        headers = shared_site.person().get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert (headers.get("cache-control") == "no-store") == (not path.startswith("/static"))


def test_templates_have_no_inline_script_or_style() -> None:
    """The content policy would not run them anyway."""
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|hx-on|\|safe", text), path.name
        for script in re.findall(r"<script[^>]*>", text):
            assert " src=" in script


def test_pages_are_light(shared_site: Site) -> None:
    """Page, style and scripts together stay far under 300 kB."""
    static = sum(path.stat().st_size for path in TEMPLATES.with_name("static").iterdir())
    assert static + len(shared_site.person().get("/queue").content) < 200_000


def locales() -> dict[str, dict[str, str]]:
    """Return the words by language."""
    folder = TEMPLATES.with_name("locales")
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.toml")}


def test_languages_have_the_same_words() -> None:
    """They also have the same placeholders."""
    words = locales()
    assert set(words) == {"en", "es"}
    assert words["en"].keys() == words["es"].keys()
    for key, text in words["en"].items():
        fields = [{name for _, name, _, _ in Formatter().parse(each) if name} for each in (text, words["es"][key])]
        assert fields[0] == fields[1], key


def test_every_word_that_a_template_uses_is_known() -> None:
    """A missing one would be an error only on the page that needs it."""
    known = locales()["en"]
    for path in TEMPLATES.glob("*.html"):
        for key in re.findall(r"""\bt\(\s*["'](\w+)["']\s*[,)]""", path.read_text(encoding="utf-8")):
            assert key in known, f"{path.name}: {key}"


def test_language_and_theme_are_chosen(shared_site: Site) -> None:
    """They follow the browser at first, then the person's choice."""
    person = shared_site.person()
    assert 'lang="es"' in person.get("/me", headers={"accept-language": "es-MX,es;q=0.9"}).text
    person.post("/me/preferences", language="es", theme="dark")
    shown = person.get("/roles").text
    assert '<html lang="es" data-theme="dark">' in shown
    assert "Roles y permisos" in shown


ROW = {"transaction_id": "t", "account_id": "a", "currency": "EUR", "payee": None, "merchant_id": "m", "device_id": "d",
       "ip_address": "i", "country": "ES", "channel": "pos", "action": "approve", "fraud": None}  # fmt: skip


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Return a payment of the archive, one a day."""
    return {**ROW, "transaction_id": f"t{number}", "event_time": number * DAY, "amount": 100 * number, **changes}


def test_history_of_an_account() -> None:
    """New behaviour comes first; the usual is that of the other payments."""
    payments = [row(number) for number in range(1, 15)] + [row(15, device_id="new", action="decline")]
    alerted = payments[-1:]
    found = involved(payments, alerted)
    assert (found[0].kind, found[0].value, found[0].before, found[0].within) == ("device", "new", 0, 1)
    assert {each.before for each in found[1:]} == {14}
    usual = habit(payments, alerted)
    assert usual is not None
    assert (usual.payments, usual.typical, usual.largest) == (14, 750, 1400)
    assert round(usual.per_week, 1) == 7.5
    assert habit(alerted, alerted) is None
    shown = days(payments, until=15 * DAY, count=3)
    assert [(day.payments, day.flagged) for day in shown] == [(1, 0), (1, 0), (1, 1)]
    sums = totals([*payments, row(16, fraud=True)], without="device")
    assert (sums.payments, sums.flagged, sums.frauds, sums.labelled) == (16, 1, 1, 1)
    assert "device" not in sums.neighbours
    assert totals([]).first is None


def test_spans_are_short() -> None:
    """They have at most two units."""
    texts = [span(ms) for ms in (-5, 59_000, 90 * 60_000, 12 * HOUR, 30 * HOUR, 40 * DAY)]
    assert texts == ["0 s", "59 s", "1 h 30 min", "12 h", "1 d 6 h", "40 d"]
