"""Models on the console: seen, compared, tried, promoted and taken back by two people."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import pytest
from playwright.sync_api import Browser, expect

from console.computed import FigureJobs
from models.file_names import BOOSTER, CONTRACT
from models.folder import Contract, read_contract
from models.registry import Registry
from models.registry.model_card_store import register
from stack.state import StackState
from stack.topics import apply
from streams.history.control_state import read_control
from tests.conftest import NOW, ROOT, Dial, SettingsFor, wait_for
from tests.console.conftest import HOSTILE, NARROW, WIDE, Office, Person, Site, open_office, opened_site, violations
from vedette.clock import MINUTE
from vedette.errors import InputError
from vedette.settings import Settings

DEMO = ROOT / "models/demo"


@pytest.fixture(scope="session")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with half of the trees of the demo's."""
    return halved(tmp_path_factory.mktemp("models") / "smaller")


def halved(folder: Path) -> Path:
    """Write the demo's model with half of its trees into a folder, and return it."""
    shutil.copytree(DEMO, folder)
    contract = read_contract(DEMO)
    booster = lightgbm.Booster(model_file=str(DEMO / BOOSTER))
    text = booster.model_to_string(num_iteration=booster.current_iteration() // 2).encode()
    digest = hashlib.sha256(text).hexdigest()
    changed: Contract = msgspec.structs.replace(
        contract, model_sha256=digest, version=digest[:8], training_rows=contract.training_rows - 1
    )
    (folder / BOOSTER).write_bytes(text)
    (folder / CONTRACT).write_bytes(msgspec.json.encode(changed))
    return folder


@pytest.fixture
def bank(tmp_path: Path, settings: Settings, log: Any, smaller: Path) -> Iterator[Site]:
    """A console with two versions, the first of which is the champion, and a broker."""
    with opened_site(tmp_path, log, deployment=settings) as opened:
        filled(opened, smaller)
        yield opened


def filled(site: Site, smaller: Path) -> None:
    """Register two versions; two people make the first one the champion."""
    registry = Registry(site.settings.registry)
    for folder in (DEMO, smaller):
        register(registry, folder, NOW)
    mia, bo = site.person("model-builder", "mia"), site.person("approver", "bo")
    proposal = proposed(mia, act="promote", version="1")
    assert decided(bo, proposal).status_code == 303


def proposed(person: Person, reason: str = "better figures", **fields: str) -> int:
    """Propose a change; return its number."""
    answer = person.post("/models/proposals", reason=reason, **fields)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def decided(person: Person, proposal: int, act: str = "approve", **fields: str) -> Any:
    """Decide about a proposal as its page offers it."""
    shown = person.get(f"/models/proposals/{proposal}").text
    hidden = dict(re.findall(r'name="(revision|seen)" value="(\w+)"', shown))
    return person.post(f"/models/proposals/{proposal}/{act}", **hidden | fields)


def test_a_model_is_tried_promoted_and_taken_back_by_two_people(bank: Site) -> None:
    """Each step is proposed by one and carried out by another; registry, workers' topic and card agree."""
    mia, bo = bank.person("model-builder", "mia"), bank.person("approver", "bo")
    registry = Registry(bank.settings.registry)
    first, second = (version.ref for version in registry.versions())
    page = mia.get("/models").text
    assert f'<span class="id">{first}</span>' in page
    assert "approved by bo" in page

    trial = proposed(mia, act="start_trial", version="2", fraction="0.2")
    assert mia.post(f"/models/proposals/{trial}/approve").status_code == 403
    assert decided(bo, trial).status_code == 303
    followed = read_control(bank.settings).models
    assert followed is not None
    assert (followed.challenger, followed.rollout_fraction, followed.approver) == (second, 0.2, "bo")
    assert f"{second} is on trial and decides for 20 % of the accounts" in bo.get("/models").text

    assert decided(bo, proposed(mia, act="promote", version="2")).status_code == 303
    followed = read_control(bank.settings).models
    assert followed is not None
    assert (followed.champion, followed.previous, followed.challenger) == (second, first, None)
    assert followed == registry.in_force()
    assert "promote" in bo.get("/models/2/card").text

    assert decided(bo, proposed(mia, act="rollback", reason="alerts doubled")).status_code == 303
    followed = read_control(bank.settings).models
    assert followed is not None
    assert (followed.champion, followed.previous) == (first, None)
    in_force = registry.in_force()
    assert in_force is not None
    assert in_force.champion == first
    history = bo.get("/models/2").text
    assert "make it the champion" in history
    assert "go back to" in bo.get("/models/1").text
    events = [record.event for record in bank.audited("models.")]
    assert events.count("models.in-force") == 4


def test_what_cannot_be_proposed(bank: Site) -> None:
    """The champion again, an unknown version, a trial that is not there, a way back without one, no reason."""
    mia = bank.person("model-builder", "mia")
    for fields, why in (
        ({"act": "promote", "version": "1"}, "is champion"),
        ({"act": "promote", "version": "99"}, "no version"),
        ({"act": "end_trial"}, "no trial to end"),
        ({"act": "rollback"}, "no previous champion"),
        ({"act": "promote", "version": "2", "reason": " "}, "needs a reason"),
    ):
        answer = mia.post("/models/proposals", **{"reason": "because", **fields})
        assert answer.status_code == 409, fields
        assert why in answer.text
    assert mia.post("/models/proposals", act="delete", version="2", reason="r").status_code == 422
    assert mia.post("/models/proposals", act="start_trial", version="2", fraction="2", reason="r").status_code == 422


def test_an_approval_is_for_what_was_in_service(bank: Site) -> None:
    """If other models have come into service meanwhile, nothing happens; a refusal is told to the author."""
    mia, bo = bank.person("model-builder", "mia"), bank.person("approver", "bo")
    trial, promotion = proposed(mia, act="start_trial", version="2"), proposed(mia, act="promote", version="2")
    shown = bo.get(f"/models/proposals/{promotion}").text
    seen = re.search(r'name="seen" value="(\w+)"', shown)[1]  # type: ignore[index]
    assert decided(bo, trial).status_code == 303
    answer = decided(bo, promotion, seen=seen)
    assert answer.status_code == 409
    assert "other models have come into service" in answer.text
    assert decided(bo, promotion, "refuse", reason=f"wait {HOSTILE}").status_code == 303
    page = mia.get(f"/models/proposals/{promotion}").text
    assert "refused" in page
    assert "<img" not in page


def test_a_code_is_asked_for(bank: Site) -> None:
    """Some minutes after the last one; a wrong one changes nothing."""
    bank.accepted("cy", "approver")
    mia, cy = bank.person("model-builder", "mia"), bank.person("approver", "cy")
    trial = proposed(mia, act="start_trial", version="2")
    bank.clock.now += 6 * MINUTE
    assert "The code is wrong" in decided(cy, trial, code="000000").text
    assert Registry(bank.settings.registry).find("2").standing == "registered"
    bank.clock.now += 30_000
    assert decided(cy, trial, code=bank.code("cy")).status_code == 303
    assert Registry(bank.settings.registry).find("2").standing == "challenger"


def test_versions_are_compared(bank: Site) -> None:
    """Figures side by side and what differs in how they were made; unknown versions are not found."""
    mia = bank.person("auditor", "aud")
    page = mia.get("/models/compare?first=1&second=2").text
    assert "Average precision" not in page  # the list has the words, the table the terms
    assert "AUC" in page
    contract = read_contract(DEMO)
    assert f"{contract.training_rows - 1:,}" in page
    assert mia.get("/models/compare?first=1&second=9").status_code == 404
    assert mia.get("/models/9").status_code == 404
    assert mia.get("/models/9/card").status_code == 404
    card = mia.get("/models/1/card").text
    assert "Model card" in card
    assert "<table>" in card


def test_workers_can_be_made_to_follow_the_registry(bank: Site) -> None:
    """After a change that the broker has not heard of, the page says so, and an approver publishes again."""
    registry, bo = Registry(bank.settings.registry), bank.person("approver", "bo")
    now = registry.in_force()
    assert now is not None
    registry.put(msgspec.structs.replace(now, reason="by hand"), {})
    assert "do not follow the registry" in bo.get("/models").text
    assert bank.person("model-builder", "mia").post("/models/publish").status_code == 403
    assert bo.post("/models/publish").status_code == 303
    followed = read_control(bank.settings).models
    assert followed is not None
    assert followed.reason == "by hand"
    assert "do not follow the registry" not in bo.get("/models").text


def test_an_empty_registry_says_how_to_fill_it(site: Site) -> None:
    """And the page works without a broker."""
    page = site.person("model-builder").get("/models").text
    assert "vedette models register DIR" in page
    assert "What the workers follow is not known now" in page
    assert "Nobody has proposed a change yet" in page


def failing(_given: int) -> None:
    """Fail as figures may."""
    raise InputError("too few payments")


@pytest.mark.slow
def test_figures_are_computed_beside_the_pages(dial: Dial) -> None:
    """In another process; they are kept for a quarter of an hour, and failures have their reason."""
    computed = FigureJobs(dial, {"sum": (divmod, (NOW * 7,)), "bad": (failing, ())})
    try:
        assert computed.of("sum").state == "none"
        for kind in ("sum", "bad"):
            computed.ask(kind)
            wait_for(lambda kind=kind: computed.of(kind).state not in ("none", "running"), 60)
        assert computed.of("sum").result == (7, 0)
        assert computed.of("bad").problem == "too few payments"
        dial.now += 16 * MINUTE
        assert computed.of("sum").state == "none"
        with pytest.raises(KeyError):
            computed.ask("other")
    finally:
        computed.close()


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, embedded_stack: StackState, settings_for: SettingsFor, smaller: Path
) -> Iterator[Office]:
    """A console with two versions, served."""
    settings = settings_for(embedded_stack, "console-models-")
    apply(settings)
    with open_office(tmp_path_factory.mktemp("office"), settings) as opened:
        for name, role in (("mia", "model-builder"), ("bo", "approver")):
            opened.site.accepted(name, role)
        filled(opened.site, smaller)
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize(("size", "theme", "language"), [(WIDE, "light", "en"), (NARROW, "dark", "es")])
def test_models_are_accessible_and_fit(office: Office, browser: Browser, size: Any, theme: Any, language: str) -> None:
    """No violation known to axe-core, nothing wider than the screen, no error in the browser's console."""
    context = browser.new_context(viewport=size, locale=language, color_scheme=theme)
    page = office.sign_in(context, "mia", "/live")
    for path in ("/models", "/models/2", "/models/1/card", "/models/compare?first=1&second=2", "/models/proposals/1"):
        page.goto(f"{office.url}{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        name = re.sub(r"\W+", "-", path.partition("?")[0])
        office.shoot(page, f"console{name}-{language}")
    page.goto(f"{office.url}/models")
    page.get_by_role("button", name="Drift" if language == "en" else "Deriva").click()
    wanted = "There are no figures" if language == "en" else "No hay cifras"
    expect(page.locator("#drift-figures")).to_contain_text(wanted, timeout=60_000)
    assert page.complaints == []  # type: ignore[attr-defined]
    context.close()
