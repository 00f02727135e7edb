"""The star for BI: complete, exact, masked, and with the columns that docs/bi.md promises."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from archive.search import Archive, Question
from archive.star import STAR, export_star, opened_star
from archive.star_postgres import load_star
from tests.archive.conftest import Log
from tests.archive.test_payments import a_week
from tests.conftest import ROOT
from vedette.errors import InputError, UnavailableError
from vedette.settings import ArchiveSettings
from vedette.topics import Name

KEY = "k" * 40
IDS = ("transaction_id", "account_id", "merchant_id")


@pytest.fixture
def archive(fill: Callable[[dict[Name, Log]], None], archive_settings: ArchiveSettings) -> Iterator[Archive]:
    """Sixty payments with repeated, degraded, final and missing decisions, challenges and labels."""
    fill(a_week(Random(3)))  # noqa: S311, made-up payments
    with Archive(archive_settings) as opened:
        yield opened


def promised() -> dict[str, list[tuple[str, str]]]:
    """The columns of docs/bi.md with their types, by table."""
    sections = re.split(r"^## `(\w+)`$", (ROOT / "docs/bi.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^\| `(\w+)` \| ([A-Z][A-Z0-9 (),]*) \|", text, re.MULTILINE)
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def test_columns_are_those_that_are_promised(archive: Archive, tmp_path: Path) -> None:
    """Nobody's report breaks silently: a changed column is a changed manual, and this test."""
    export_star(archive, Question(), tmp_path, KEY)
    with opened_star(tmp_path) as duck:
        tables = [duck.table(table.name) for table in STAR]
        found = {
            table.name: list(zip(rows.columns, map(str, rows.types), strict=True))
            for table, rows in zip(STAR, tables, strict=True)
        }
    assert found == promised()
    for name, columns in found.items():
        assert pq.read_schema(tmp_path / f"{name}.parquet").names == [column for column, _ in columns]


def test_figures_are_those_of_payments(archive: Archive, tmp_path: Path) -> None:
    """Every decided payment is there once, with its exact amount, and all other tables add up to them."""
    decided = [row for row in archive.find(Question(limit=1000)).to_pylist() if row["action"]]
    rows = export_star(archive, Question(), tmp_path, KEY)
    assert rows["payments"] == len(decided) > 40
    with opened_star(tmp_path) as duck:
        total, frauds, stopped = duck.sql(
            "SELECT sum(amount), count(*) FILTER (fraud), count(*) FILTER (stopped) FROM payments"
        ).fetchall()[0]
        assert total == Decimal(sum(row["amount"] for row in decided)) / 100
        assert frauds == sum(row["fraud"] is True for row in decided)
        assert stopped == sum(row["final_action"] in {"decline", "review"} for row in decided)
        for name, key in (("accounts", "account_key"), ("merchants", "merchant_key"), ("models", "model_key")):
            table = duck.table(name)
            joined = duck.table("payments").join(table, key).aggregate(f"count(*), count(DISTINCT {key})")
            assert joined.fetchall() == [(len(decided), rows[name])]
            assert table.aggregate("sum(payments), sum(frauds)").fetchall() == [(len(decided), frauds)]
        assert duck.sql("SELECT count(*) FROM payments JOIN days USING (day)").fetchall() == [(len(decided),)]
        of_rules = duck.sql(
            "SELECT count(*) FROM payment_rules JOIN rules USING (rule) JOIN payments USING (payment_key)"
        )
        assert of_rules.fetchall() == [(sum(len(row["rules"]) for row in decided),)]


def test_nobody_can_be_found_in_an_export(archive: Archive, tmp_path: Path) -> None:
    """No identifier is in any file; the same key gives the same masks, another key others."""
    names = {row[column] for row in archive.find(Question(limit=1000)).to_pylist() for column in IDS}
    masks = []
    for place, key in enumerate((KEY, KEY, "another", None)):
        export_star(archive, Question(), tmp_path / str(place), key)
        tables = [pq.read_table(tmp_path / str(place) / f"{table.name}.parquet") for table in STAR]
        values = {value for table in tables for column in table.columns for value in column.to_pylist()}
        assert not names & values
        masks.append(set(tables[0]["account_key"].to_pylist()))
    assert masks[0] == masks[1]
    assert len(masks[0]) == len({row["account_id"] for row in archive.find(Question(limit=1000)).to_pylist()})
    assert not masks[0] & masks[2]
    assert not masks[0] & masks[3]


def test_a_period_of_the_archive(archive: Archive, tmp_path: Path) -> None:
    """Only its payments are exported, and where nothing was exported, the error says how."""
    times = sorted(row["event_time"] for row in archive.find(Question(limit=1000)).to_pylist() if row["action"])
    middle = int(times[len(times) // 2].timestamp() * 1000)
    rows = export_star(archive, Question(since=middle), tmp_path, KEY)
    assert rows["payments"] == sum(time.timestamp() * 1000 >= middle for time in times)
    with pytest.raises(InputError, match="vedette archive export"), opened_star(tmp_path / "none"):
        pass


@pytest.mark.servers
def test_postgresql_has_the_same_star(archive: Archive, tmp_path: Path, postgres: str) -> None:
    """Types and rows are the same; an export replaces the one before, and views on its views stay."""
    url = postgres.replace("postgresql+psycopg://", "postgresql://")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for schema in ("vedette_star", "vedette_star_data"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        for turn, question in enumerate((Question(), Question(), Question(account="a1"))):
            rows = export_star(archive, question, tmp_path, KEY)
            load_star(tmp_path, url)
            for name, count in rows.items():
                found = connection.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("vedette_star", name))
                )
                assert found.fetchone() == (count,)
            if turn == 0:
                connection.execute(
                    "CREATE VIEW public.report AS SELECT sum(amount) AS total FROM vedette_star.payments"
                )
        with opened_star(tmp_path) as duck:
            total = duck.sql("SELECT sum(amount) FROM payments").fetchall()[0]
            first = duck.sql("SELECT * FROM payments ORDER BY event_time LIMIT 1").fetchall()[0]
        assert connection.execute("SELECT total FROM public.report").fetchone() == total
        found = connection.execute("SELECT * FROM vedette_star.payments ORDER BY event_time LIMIT 1").fetchone()
        assert found == first
        connection.execute("DROP VIEW public.report")
    with pytest.raises(UnavailableError, match="cannot be written to PostgreSQL"):
        load_star(tmp_path, "postgresql://nobody@127.0.0.1:1/none")
