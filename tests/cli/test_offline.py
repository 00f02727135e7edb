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
        ("schema transaction", "account_id"),
        ("settings", "[kafka]"),
        ("settings --markdown", "bootstrap_servers"),
        ("features list", "account_count_1d"),
        ("features show account_count_1d", "account_count_1d"),
        ("features docs", "account_count_1d"),
        (f"policy check {POLICY}", "is valid"),
        ("mfa keygen", ":"),
        ("stack down", "no stack is running"),
    ],
)
def test_a_command_that_needs_no_server_does_its_work(line: str, says: str, tmp_path: Path) -> None:
    """In an empty folder and without any server the command ends with 0 and prints what it should."""
    done = vedette(*line.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_a_benchmark_ends_with_one_json_object(tmp_path: Path) -> None:
    """With --json the last line of a benchmark is its result."""
    done = vedette("bench", "profile", "--seconds", "0.1", "--json", cwd=tmp_path)
    assert len(json.loads(done.stdout.splitlines()[-1])["sizes"]) == 6


def test_the_model_and_the_policy_that_ship_are_found_from_any_folder(tmp_path: Path) -> None:
    """Without an explicit model or policy, commands use the ones that ship, also outside a checkout."""
    for line in (
        "simulate --customers 20 --terminals 20 --days 5 --output payments.parquet",
        "score payments.parquet --mapping vedette --explain none --top 1",
        "backfill payments.parquet --mapping vedette --output frame.parquet",
    ):
        done = vedette(*line.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
