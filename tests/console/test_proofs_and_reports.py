"""A decision is proven on the page of its payment, and reports are shown, printed and saved."""

import sys
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable, write_deltalake
from playwright.sync_api import Browser, expect

from archive.tables import TABLES
from archive.writer import TableWriter
from bench import archive_proofs
from tests.archive.conftest import payment, stored
from tests.conftest import wait_for
from tests.console.conftest import NARROW, WIDE, Office, open_office, violations
from vedette.topics import Name

DAYS = {"since": "2023-11-01", "until": "2023-12-01"}
PAGE = "/reports?kind=model&since=2023-11-01&until=2023-12-01"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A console with an archive, in which two payments were decided by the shipped model and policy."""
    with open_office(tmp_path_factory.mktemp("office")) as opened, pytest.MonkeyPatch.context() as patch:
        url = opened.site.settings.archive.url
        for table in TABLES:
            writer = TableWriter(f"{url}/{table.topic}", table, table.topic, {})
            log: list[Any] = (
                [(0, payment(number)) for number in range(1, 9)] if table.topic == Name.TRANSACTIONS else []
            )
            rows, _ = table.rows(messages := stored(log))
            writer.append(rows, {0: len(messages)})
        patch.setenv("VEDETTE_ARCHIVE__URL", url)
        patch.setattr(sys, "argv", ["", "t7", "t8"])
        archive_proofs.main()
        opened.site.accepted("ana", "lead")
        yield opened


@pytest.mark.servers
@pytest.mark.slow
def test_a_decision_is_proven_or_what_differs_is_named(office: Office) -> None:
    """It is the same bit for bit; after one archived amount has changed by a cent, that payment differs."""
    site, url = office.site, office.site.settings.archive.url
    ana, caller = site.person("lead", "ana"), site.person("representative")

    def proven(transaction: str) -> str:
        assert ana.post(f"/proofs/{transaction}").headers["location"] == f"/payments/{transaction}#proof"
        wait_for(lambda: "<progress" not in ana.get(f"/proofs/{transaction}").text, within_s=120)
        return ana.get(f"/proofs/{transaction}").text

    assert "The same, bit for bit" in (page := proven("t7"))
    assert "records are present and unchanged" in page
    assert "records are present" not in caller.get("/proofs/t7").text  # who may not read the log learns nothing of it
    rows = DeltaTable(f"{url}/transactions").to_pyarrow_table()
    changed = duckdb.sql(
        "SELECT * REPLACE (amount + (transaction_id = 't8')::BIGINT AS amount) FROM rows"
    ).to_arrow_table()
    write_deltalake(f"{url}/transactions", changed.cast(rows.schema), mode="overwrite")
    assert "Not the same" in (page := proven("t8"))
    assert "<code>amount</code>" in page
    assert "does not have this payment" in proven("nobody")
    assert {record.subject for record in site.audited("payment.proof-asked")} == {
        "transaction:t7", "transaction:t8", "transaction:nobody",
    }  # fmt: skip


def test_what_came_later_stands_apart(office: Office) -> None:
    """As of the first moment nothing is known of a decision; as of the last one, or any other number, everything is."""
    ana = office.site.person("lead", "ana")
    first, last = (ana.get("/payments/t7", params={"as_of": step}).text for step in ("0", "1"))
    assert first.index("Came later") < first.index("<strong>Decision</strong>")
    assert "0 of 1 steps known" in first
    for page in (last, ana.get("/payments/t7?as_of=99999").text, ana.get("/payments/t7?as_of=<b>").text):
        assert "Came later" not in page
        assert "1 of 1 steps known" in page


def test_a_report_is_shown_and_saved(office: Office) -> None:
    """The page has the tables of `vedette report`, the file is its page, and days in the wrong order are refused."""
    ana = office.site.person("lead", "ana")
    page = ana.get("/reports", params={"kind": "regulator", **DAYS})
    assert page.status_code == 200
    assert "8 payments" in page.text
    assert "Payments and frauds by instrument" in page.text
    saved = ana.get("/reports/file", params={"kind": "regulator", **DAYS})
    assert saved.headers["content-disposition"] == 'attachment; filename="regulator-2023-11-01-2023-12-01.html"'
    assert "<h1>Regulator report</h1>" in saved.text
    assert (
        ana.get("/reports", params={"kind": "model", "since": "2023-12-01", "until": "2023-11-01"}).status_code == 422
    )
    for path in ("/reports", "/reports/file"):
        assert ana.get(path, params={"kind": "model", "since": "<b>", "until": "x\r\ny"}).status_code == 422
    empty = ana.get("/reports", params={"kind": "model", "since": "2001-01-01", "until": "2001-01-02"})
    assert "has no payment of these days" in empty.text


@pytest.mark.servers
@pytest.mark.parametrize(("size", "theme", "language"), [(WIDE, "light", "en"), (NARROW, "dark", "es")])
def test_the_pages_are_accessible_and_fit(
    office: Office, browser: Browser, size: Any, theme: Any, language: str
) -> None:
    """There is no violation known to axe-core, nothing wider than the screen, and no error in the browser's console."""
    context = browser.new_context(viewport=size, locale=language, color_scheme=theme)
    page = office.sign_in(context, "ana")
    for path in ("/reports", PAGE, "/payments/t7?as_of=0", "/payments/t7"):
        page.goto(f"{office.url}{path}")
        if path == "/payments/t7?as_of=0":
            page.get_by_role("slider").press("ArrowRight")
            page.wait_for_url("**/payments/t7?as_of=1")
            page.goto(f"{office.url}{path}")
        if path == "/payments/t7":
            page.get_by_role("button", name="Prove" if language == "en" else "Probar").click()
            expect(page.locator("#proof-state .banner.good").first).to_be_visible(timeout=120_000)
            page.locator("#proof").scroll_into_view_if_needed()
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        name = {"/reports": "form", PAGE: "report", "/payments/t7": "proof"}.get(path, "as-of")
        page.screenshot(path=office.shots / f"console-{name}-{language}.png", full_page=True)
    assert page.complaints == []  # type: ignore[attr-defined]
    context.close()
