"""The policy on the console: read, drafted, checked, priced, approved by somebody else, taken back."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser, expect

from adapters.kafka_client import client_config
from decisions.policy_record import policy_files
from stack.state import StackState
from stack.topics import apply
from streams.history.control_state import read_control
from streams.history.policy_price import price
from tests.conftest import ROOT, SettingsFor, wait_for
from tests.console.conftest import HOSTILE, NARROW, WIDE, Office, Person, Site, open_office, opened_site, violations
from tests.streams.conftest import PARTITIONS
from tests.streams.feed import logs
from vedette.clock import MINUTE
from vedette.control import POLICY_FILE
from vedette.settings import Settings

SHIPPED = policy_files(ROOT / "decisions/policy.yaml")[POLICY_FILE]
STRICTER = (
    SHIPPED.replace("version: 1", "version: 2").replace("account_count_10min >= 8", "account_count_10min >= 1")
    .replace("es: ocho pagos o más en diez minutos\n    shadow: true", "es: ocho pagos o más en diez minutos")
    .replace("block: []", "block:\n    - {name: mules, column: payee, values: [p-1], reason: known mule}")
)  # fmt: skip
"""Every payment of an account that paid in the last ten minutes is asked about, and a list blocks a payee."""


@pytest.fixture(scope="module")
def deployment(embedded_stack: StackState, settings_for: SettingsFor) -> Settings:
    """A deployment with some payments and their labels on its topics."""
    return fed(settings_for(embedded_stack, "console-policy-"))


def fed(settings: Settings) -> Settings:
    """Return the settings of a deployment with payments and labels on its topics."""
    settings = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS))
    apply(settings)
    producer = Producer(client_config(settings.kafka))
    for (topic, partition), records in logs(PARTITIONS, 25)[0].records.items():
        for record in records:
            producer.produce(settings.topics.prefix + topic, record.value, record.key, partition)
    assert not producer.flush(30)
    return settings


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, embedded_stack: StackState, settings_for: SettingsFor
) -> Iterator[Office]:
    """The console of another such deployment, with a lead, a model builder and an approver."""
    settings = fed(settings_for(embedded_stack, "console-office-"))
    with open_office(tmp_path_factory.mktemp("office"), settings) as opened:
        for name, role in (("ana", "lead"), ("mia", "model-builder"), ("bo", "approver")):
            opened.site.accepted(name, role)
        yield opened


@pytest.fixture
def bank(tmp_path: Path, settings: Settings, log: Any) -> Iterator[Site]:
    """A console with a broker and topics of this test's own."""
    with opened_site(tmp_path, log, deployment=settings) as opened:
        yield opened


def number_in(answer: Any) -> int:
    """Return the number of the draft that a step led to."""
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def revision_of(person: Person, draft: int) -> str:
    """Return the revision of a draft as its page has it."""
    found = re.search(r'name="revision" value="(\d+)"', person.get(f"/policy/drafts/{draft}").text)
    assert found
    return found[1]


def saved(person: Person, draft: int, text: str) -> Any:
    """Save a text as a person does."""
    fields = {"name": POLICY_FILE, "text": text.replace("\n", "\r\n"), "revision": revision_of(person, draft)}
    return person.post(f"/policy/drafts/{draft}", **fields)


def submitted(person: Person, text: str) -> int:
    """Draft a text and submit it."""
    draft = number_in(person.post("/policy/drafts"))
    assert saved(person, draft, text).status_code == 303
    fields = {"reason": "bursts get through", "revision": revision_of(person, draft)}
    assert person.post(f"/policy/drafts/{draft}/submit", **fields).status_code == 303
    return draft


def approve(site: Site, person: Person, draft: int, code: str | None = None) -> Any:
    """Approve a draft as its page offers it."""
    shown = person.get(f"/policy/drafts/{draft}").text
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', shown)
    fields = {"seen": seen[1] if seen else "", "revision": revision_of(person, draft)}
    site.clock.now += 30_000
    return person.post(f"/policy/drafts/{draft}/approve", **fields, code=code or site.code(person.user.name))


def test_a_policy_comes_into_force_by_two_people_and_goes_back(bank: Site) -> None:
    """Drafted by one, approved by another with a code, followed by the workers' topic; then the same way back."""
    ana = bank.person("lead", "ana")
    bank.accepted("bo", "approver")
    bo = bank.person("approver", "bo")
    page = ana.get("/policy").text
    assert "default@1" in page
    assert "that of the settings" in page
    draft = submitted(ana, STRICTER)
    assert ana.post(f"/policy/drafts/{draft}/approve").status_code == 403
    shown = bo.get(f"/policy/drafts/{draft}").text
    assert "Against default@1: 3 changes" in shown
    assert "account_count_10min &gt;= 1" in shown
    bank.clock.now += 6 * MINUTE
    refused = approve(bank, bo, draft, code="000000")
    assert "The code is wrong" in refused.text
    assert read_control(bank.settings).policy is None
    assert approve(bank, bo, draft).status_code == 303
    record = read_control(bank.settings).policy
    assert record is not None
    assert (record.name, record.approver, record.reason) == ("default@2", "bo", "bursts get through")
    assert record.files == {POLICY_FILE: STRICTER}
    assert "Against default@1: 3 changes" in bo.get(f"/policy/drafts/{draft}").text
    page = bo.get("/policy").text
    assert "approved by bo" in page
    assert "put into force" in page
    assert '<a href="/policy/lists/mules">' in page
    assert "p-1" in bo.get("/policy/lists/mules?q=P-").text
    assert "Nothing found" in bo.get("/policy/lists/mules?q=other").text

    back = number_in(ana.post("/policy/drafts", copied=str(draft), before="1"))
    fields = {"reason": "too many alerts", "revision": revision_of(ana, back)}
    assert ana.post(f"/policy/drafts/{back}/submit", **fields).status_code == 303
    assert approve(bank, bo, back).status_code == 303
    record = read_control(bank.settings).policy
    assert record is not None
    assert (record.name, record.files) == ("default@1", {POLICY_FILE: SHIPPED})
    steps = [record.event for record in bank.audited("policy.")]
    assert steps.count("policy.in-force") == 2
    assert ("bo", f"proposal:{draft}") in [(r.actor, r.subject) for r in bank.audited("policy.approved")]


def test_what_cannot_be_submitted(bank: Site) -> None:
    """A text with a mistake, one that changes nothing, one that keeps the version, and one without a reason."""
    ana = bank.person("lead", "ana")
    draft = number_in(ana.post("/policy/drafts"))

    def submit(reason: str = "because") -> Any:
        return ana.post(f"/policy/drafts/{draft}/submit", reason=reason, revision=revision_of(ana, draft))

    assert "changes nothing" in submit().text
    saved(ana, draft, SHIPPED + "# more\n")
    assert "raise `version`" in submit().text
    saved(ana, draft, SHIPPED.replace("version: 1", "version: two"))
    answer = submit()
    assert answer.status_code == 409
    assert "policy.yaml:4:10" in answer.text
    saved(ana, draft, STRICTER)
    assert "needs a reason" in submit(" ").text
    assert submit().status_code == 303


def test_an_approval_is_for_the_difference_that_was_seen(bank: Site) -> None:
    """If another policy has come into force, or the draft was edited, the approver has to look again."""
    ana, mia = bank.person("lead", "ana"), bank.person("model-builder", "mia")
    bank.accepted("bo", "approver")
    bo = bank.person("approver", "bo")
    first, second = submitted(ana, STRICTER), submitted(mia, SHIPPED.replace("version: 1", "version: 3"))
    shown = bo.get(f"/policy/drafts/{second}").text
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', shown)[1]  # type: ignore[index]
    assert approve(bank, bo, first).status_code == 303
    answer = bo.post(f"/policy/drafts/{second}/approve", seen=seen, revision=revision_of(bo, second))
    assert answer.status_code == 409
    assert "default@2 has come into force meanwhile" in answer.text
    assert approve(bank, bo, second).status_code == 303
    assert bo.post(f"/policy/drafts/{second}/refuse", reason="late", revision="99").status_code == 409


def test_a_draft_says_where_its_mistake_is(site: Site) -> None:
    """Line, column and the line itself, escaped, while what is in force is not even known; nothing is saved."""
    ana = site.person("lead", "ana")
    draft = site.console.deciding.policy.drafts.draft("ana", '{"files":{"policy.yaml":""}}').id
    rule = f"  - {{name: r, when: amont > 5, action: review, reason: '{HOSTILE}'}}"
    text = f"format: 1\nname: mine\nversion: 1\nrules:\n{rule}\n"
    answer = ana.post(f"/policy/drafts/{draft}/check", name=POLICY_FILE, text=text)
    assert "Line 5, column 21" in answer.text
    assert "did you mean amount" in answer.text
    assert "<img" not in answer.text
    assert "&lt;img" in answer.text
    assert (
        "is valid"
        in ana.post(f"/policy/drafts/{draft}/check", name=POLICY_FILE, text=text.replace("amont", "amount")).text
    )
    assert "What is in force is not known now" in ana.get("/policy").text
    assert msgspec.json.decode(site.console.deciding.policy.drafts.find(draft).content) == {
        "files": {"policy.yaml": ""}
    }


def test_nobody_edits_the_draft_of_another(site: Site) -> None:
    """Nor an older revision of their own; what was typed is shown again."""
    ana, mia = site.person("lead", "ana"), site.person("model-builder", "mia")
    draft = site.console.deciding.policy.drafts.draft("ana", '{"files":{"policy.yaml":"a: b"}}').id
    for act in ("", "/submit", "/discard", "/withdraw"):
        answer = mia.post(f"/policy/drafts/{draft}{act}", name=POLICY_FILE, text="x: y", reason="r", revision="1")
        assert answer.status_code in (409, 503), act
    assert ana.post(f"/policy/drafts/{draft}", name=POLICY_FILE, text="c: d", revision="1").status_code == 303
    answer = ana.post(f"/policy/drafts/{draft}", name=POLICY_FILE, text="typed: again", revision="1")
    assert answer.status_code == 409
    assert "typed: again" in answer.text
    assert ana.get("/policy/drafts/999").status_code == 404


def test_entries_of_lists_are_added_and_removed(bank: Site) -> None:
    """In a draft, by its author; a list that is a file comes along into the record."""
    ana = bank.person("lead", "ana")
    bank.accepted("bo", "approver")
    bo = bank.person("approver", "bo")
    draft = number_in(ana.post("/policy/drafts"))
    text = STRICTER.replace("values: [p-1]", "file: mules.txt")
    fields = {"name": [POLICY_FILE, "mules.txt", ""], "text": [text, "p-1\n", ""], "revision": revision_of(ana, draft)}
    assert ana.post(f"/policy/drafts/{draft}", **fields).status_code == 303

    def change(act: str, value: str) -> Any:
        fields = {"name": "mules", "value": value, "note": "case 17", "act": act, "revision": revision_of(ana, draft)}
        return ana.post(f"/policy/drafts/{draft}/entries", **fields)

    assert change("add", "p-2").status_code == 303
    assert "has &#39;p-2&#39; already" in change("add", "p-2").text
    assert change("remove", "p-1").status_code == 303
    fields = {"reason": "case 17", "revision": revision_of(ana, draft)}
    assert ana.post(f"/policy/drafts/{draft}/submit", **fields).status_code == 303
    assert approve(bank, bo, draft).status_code == 303
    record = read_control(bank.settings).policy
    assert record is not None
    assert record.files["mules.txt"] == "p-2  # case 17\n"


def test_columns_are_found_by_name_and_by_meaning(site: Site) -> None:
    """The catalogue and the fields of payments, those whose name begins so first."""
    ana = site.person("lead", "ana")
    assert "account_count_10min" in ana.get("/policy/columns?q=account_count_10").text
    assert "speed_kmh" in ana.get("/policy/columns?q=speed").text
    assert "Nothing found" in ana.get("/policy/columns?q=nosuchcolumn").text


def test_the_price_is_that_of_every_payment(deployment: Settings) -> None:
    """What changes comes from the policy alone; the list and the moves add up; nothing changes under the same one."""
    told: list[str] = []
    same = price(deployment, {POLICY_FILE: SHIPPED}, since=0, show=lambda stage, *_: told.append(stage))
    assert (same.changed, same.saved, same.moves) == (0, {}, {})
    assert same.payments > 400
    assert {"reading transactions", "replaying"} <= set(told)
    strict = price(deployment, {POLICY_FILE: STRICTER}, since=0, show=lambda *_: None)
    assert strict.payments == same.payments
    assert strict.changed == sum(strict.moves.values()) > 0
    assert strict.flagged[1] > strict.flagged[0] == same.flagged[0]
    assert strict.alerts_per_day[1] == strict.flagged[1] / strict.days
    assert len(strict.largest) == min(strict.changed, 200)
    assert {each.new_action for each in strict.largest} == {"challenge"}


def test_pages_without_a_broker_do_not_wait_for_it_each_time(site: Site) -> None:
    """The first one does, for two seconds."""
    ana = site.person("lead", "ana")
    assert ana.get("/policy").status_code == 200
    read_at = site.console.deciding.policy._control._read_at
    assert ana.get("/policy").status_code == 200
    assert site.console.deciding.policy._control._read_at == read_at


@pytest.mark.servers
@pytest.mark.slow
def test_a_change_of_the_policy_in_the_browser(office: Office, browser: Browser) -> None:
    """Draft, see a mistake while typing, go to it by a button, save, see the price, submit; another person approves."""
    desk = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    ana = office.sign_in(desk, "ana")
    ana.goto(f"{office.url}/policy")
    ana.keyboard.press("n")
    ana.wait_for_url("**/policy/drafts/*")
    editor = ana.locator("[data-editor]")
    editor.fill(STRICTER.replace("speed_kmh > 1200", "speed_kph > 1200"))
    expect(ana.locator("#check")).to_contain_text("Line 22, column 11")
    assert violations(ana) == []
    office.shoot(ana, "console-policy-mistake")
    ana.get_by_role("button", name="Go there").click()
    assert editor.evaluate("e => e.value.slice(e.selectionStart, e.selectionStart + 9)") == "speed_kph"
    editor.fill(STRICTER)
    expect(ana.locator("#check")).to_contain_text("Against default@1: 3 changes")
    ana.locator("#columnq").fill("speed")
    expect(ana.locator("#columns")).to_contain_text("speed_kmh")
    ana.get_by_role("button", name="Save").click()
    expect(ana.locator("#check")).to_contain_text("default@2 is valid")
    ana.locator("#span").select_option("0")
    ana.get_by_role("button", name="Compute").click()
    expect(ana.locator("#run")).to_contain_text("decisions change", timeout=120_000)
    expect(ana.locator("#run")).to_contain_text("more alerts a day")
    assert violations(ana) == []
    office.shoot(ana, "console-draft")
    ana.locator("#why").fill("bursts get through")
    ana.get_by_role("button", name="Submit for approval").click()
    expect(ana.locator(".head .tag")).to_have_text("waits for approval")
    assert ana.complaints == []  # type: ignore[attr-defined]

    phone = browser.new_context(viewport=NARROW, locale="es-ES", color_scheme="dark")
    bo = office.sign_in(phone, "bo", "/live")
    bo.goto(ana.url)
    expect(bo.locator("#check")).to_contain_text("Frente a default@1: 3 cambios")
    assert violations(bo) == []
    assert bo.evaluate("document.documentElement.scrollWidth <= innerWidth")
    office.shoot(bo, "console-draft-phone")
    if bo.locator("#code").count():
        bo.locator("#code").fill(office.site.code("bo"))
    bo.get_by_role("button", name="Aprobar y poner en vigor").click()
    expect(bo.locator(".head .tag")).to_have_text("puesto en vigor")
    record = read_control(office.site.settings).policy
    assert record is not None
    assert (record.name, record.approver) == ("default@2", "bo")
    assert bo.complaints == []  # type: ignore[attr-defined]
    phone.close()
    desk.close()


@pytest.mark.servers
@pytest.mark.slow
def test_a_what_if_is_cancelled(office: Office) -> None:
    """Its process ends, the run says so, and the next one may begin."""
    site = office.site
    mia = site.person("model-builder", "mia")
    draft = number_in(mia.post("/policy/drafts"))
    assert mia.post(f"/policy/drafts/{draft}/whatif", days="0").status_code == 303
    run = site.console.deciding.runs.latest(draft)
    assert run is not None
    busy = mia.post(f"/policy/drafts/{draft}/whatif", days="0")
    assert "another what-if is running" in busy.text
    assert mia.post(f"/policy/whatif/{run.id}/cancel").status_code == 303
    wait_for(lambda: site.console.deciding.runs.find(run.id).state == "cancelled", 60)
    assert "Cancelled." in mia.get(f"/policy/whatif/{run.id}").text
    assert [record.event for record in site.audited("policy.whatif")][-2:] == [
        "policy.whatif-started", "policy.whatif-cancelled",
    ]  # fmt: skip


@pytest.mark.servers
@pytest.mark.parametrize(("size", "theme", "language"), [(WIDE, "light", "en"), (NARROW, "dark", "es")])
def test_the_policy_is_accessible_and_fits(
    office: Office, browser: Browser, size: Any, theme: Any, language: str
) -> None:
    """No violation known to axe-core, nothing wider than the screen, no error in the browser's console."""
    context = browser.new_context(viewport=size, locale=language, color_scheme=theme)
    page = office.sign_in(context, "ana")
    draft = office.site.console.deciding.policy.begin("ana")
    for path in ("/policy", f"/policy/drafts/{draft.id}", "/roles"):
        page.goto(f"{office.url}{path}")
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto(f"{office.url}/policy")
    page.locator("#rule-figures").wait_for()
    office.shoot(page, f"console-policy-{language}")
    assert page.complaints == []  # type: ignore[attr-defined]
    context.close()


def test_lookups_are_quiet_without_an_archive(site: Site) -> None:
    """The figures of rules say that there is none."""
    assert "no archive" in site.person("lead").get("/policy/rules").text
