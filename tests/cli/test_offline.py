"""Commands that need no server."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

import decisions
from cli.main import app
from tests.command import vedette

POLICY = str(Path(str(decisions.__file__)).with_name("policy.yaml"))


def paths(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the names that lead to the command and to all below it."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*path, name))


def test_the_help_of_every_command_is_printed() -> None:
    """`--help` works for all commands and groups."""
    every = list(paths(typer.main.get_command(app)))
    assert len(every) > 60
    results = {path: CliRunner().invoke(app, [*path, "--help"]) for path in every}
    assert not [path for path, result in results.items() if result.exit_code or "Usage" not in result.output]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param("schema transaction", "account_id", marks=pytest.mark.runs("schema")),
        pytest.param("settings", "[kafka]", marks=pytest.mark.runs("settings")),
        pytest.param("settings --markdown", "bootstrap_servers", marks=pytest.mark.runs("settings")),
        pytest.param("features list", "account_count_1d", marks=pytest.mark.runs("features list")),
        pytest.param("features show account_count_1d", "account_count_1d", marks=pytest.mark.runs("features show")),
        pytest.param("features docs", "account_count_1d", marks=pytest.mark.runs("features docs")),
        pytest.param(f"policy check {POLICY}", "is valid", marks=pytest.mark.runs("policy check")),
        pytest.param("mfa keygen", ":", marks=pytest.mark.runs("mfa keygen")),
        pytest.param("identity keygen", "", marks=pytest.mark.runs("identity keygen")),
        pytest.param("features compile", "", marks=pytest.mark.runs("features compile")),
        pytest.param("notify preview", "Ref ", marks=pytest.mark.runs("notify preview")),
        pytest.param("stack down", "no stack is running", marks=pytest.mark.runs("stack down")),
    ],
)
def test_a_command_that_needs_no_server_does_its_work(line: str, says: str, tmp_path: Path) -> None:
    """In an empty folder and without any server the command ends with 0 and prints what it should."""
    done = vedette(*line.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.runs("bench profile")
def test_a_benchmark_ends_with_one_json_object(tmp_path: Path) -> None:
    """With --json the last line of a benchmark is its result."""
    done = vedette("bench", "profile", "--seconds", "0.1", "--json", cwd=tmp_path)
    assert len(json.loads(done.stdout.splitlines()[-1])["sizes"]) == 6


@pytest.mark.runs("simulate", "score", "backfill")
def test_the_model_and_the_policy_that_ship_are_found_from_any_folder(tmp_path: Path) -> None:
    """Without an explicit model or policy, commands use the ones that ship, also outside a checkout."""
    for line in (
        "simulate --customers 20 --terminals 20 --days 5 --output payments.parquet",
        "score payments.parquet --mapping vedette --explain none --top 1",
        "backfill payments.parquet --mapping vedette --output frame.parquet",
    ):
        done = vedette(*line.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
