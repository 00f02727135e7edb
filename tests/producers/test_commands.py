import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from producers.files import write_parquet
from producers.simulation import Simulation
from producers.simulator import simulate
from tests.card_messages import CARD, KEY, framed, message, reversal
from vedette.card_numbers import CardTokens, masked
from vedette.settings_base import Secret

Read = Callable[..., list[Any]]
DEADLINE_S = 60


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `vedette` with these arguments, in a separate folder."""

    def run(*arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", *arguments],
            env=os.environ | environ | more,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some 400,000 transactions, which take seconds to send."""
    path = tmp_path / "file.parquet"
    write_parquet(path, simulate(Simulation(days=40)))
    return path


@pytest.mark.runs("replay")
def test_replay_sends_a_file_and_counts_what_it_rejects(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, read_topic: Read
) -> None:
    """The summary, the reject file and the broker agree."""
    (tmp_path / "x.csv").write_text(
        "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"
        "1,2018-04-01 00:00:31,596,3156,57.16,1,1\n"
        "2,2018-04-01 00:00:32,596,3156,much,0,0\n",
        encoding="utf-8",
    )
    process = start("replay", "x.csv", "--mapping", "handbook", "--json")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert json.loads(out) == {
        "transactions": 1,
        "labels": 1,
        "first_event_time": 1522540831000,
        "last_event_time": 1522540831000,
        "interrupted": False,
        "rejected": 1,
    }
    assert "TX_AMOUNT,much" in (tmp_path / "x.rejects.csv").read_text(encoding="utf-8")
    assert "1 rows were rejected; see x.rejects.csv" in err
    assert (len(read_topic("transactions")), len(read_topic("labels"))) == (1, 1)


@pytest.mark.parametrize("numbers", ["refuse", "tokenise"])
def test_replay_sends_no_card_number(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, read_topic: Read, numbers: str
) -> None:
    """Accounts that are card numbers are refused, and masked among the rejected rows, or are sent as tokens."""
    (tmp_path / "x.csv").write_text(
        "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"
        f"1,2018-04-01 00:00:31,{CARD},3156,57.16,1,1\n2,2018-04-01 00:00:32,596,3156,57.16,0,0\n",
        encoding="utf-8",
    )
    key = Secret(text="the key of card numbers of this test")
    process = start(
        "replay", "x.csv", "--mapping", "handbook", "--json",
        VEDETTE_CARDS__NUMBERS=numbers, VEDETTE_CARDS__KEY=key.value,
    )  # fmt: skip
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    sent = read_topic("transactions")
    accounts = {json.loads(message.value())["account_id"] for message in sent}
    if numbers == "tokenise":
        assert accounts == {"596", CardTokens(key).account_of(CARD)}
    else:
        assert accounts == {"596"}
        rejected = (tmp_path / "x.rejects.csv").read_text(encoding="utf-8")
        assert f'CUSTOMER_ID,{masked(CARD)},"is a card number' in rejected
        assert CARD not in rejected
    assert CARD not in out + err + str([(message.key(), message.value()) for message in sent])


def test_replay_sends_messages_of_iso_20022_and_iso_8583(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, read_topic: Read
) -> None:
    """Transfers of a pain.001 and requests of a card switch are on the broker, without any card's number."""
    samples = Path(__file__).parent / "samples"
    (tmp_path / "pain001.xml").write_bytes((samples / "pain001.xml").read_bytes())
    (tmp_path / "cards.iso8583").write_bytes(framed(message(), reversal(), message(t="0110", f39="00"), b"rubbish"))
    (tmp_path / "card-key").write_text(KEY, encoding="ascii")
    reports = []
    for name, mapping in (("pain001.xml", "pain001"), ("cards.iso8583", "iso8583")):
        process = start("replay", name, "--mapping", mapping, "--json")
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        reports.append((json.loads(out)["transactions"], json.loads(out)["rejected"]))
    assert reports == [(2, 1), (2, 1)]
    values = [sent.value().decode() for sent in read_topic("transactions")]
    assert sorted(json.loads(value).get("kind", "payment") for value in values) == [
        "authorisation", "payment", "payment", "reversal",
    ]  # fmt: skip
    assert CARD not in "".join(values)


def test_simulate_writes_a_file(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Options reach the simulation."""
    process = start(
        "simulate", "--customers", "50", "--terminals", "200", "--days", "3", "--seed", "9",
        "--scenario", "card_testing=4", "--output", "x.parquet",
    )  # fmt: skip
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    table = pq.read_table(tmp_path / "x.parquet")
    assert f"{table.num_rows:,} transactions in x.parquet" in err
    assert set(table["scenario"].to_pylist()) == {None, "card_testing"}


def test_simulate_publishes(start: Callable[..., subprocess.Popen[str]], read_topic: Read) -> None:
    """The simulated payments are on the broker."""
    process = start("simulate", "--customers", "50", "--terminals", "200", "--days", "2", "--publish", "--json")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert json.loads(out)["transactions"] == len(read_topic("transactions")) > 0


@pytest.mark.parametrize("pace", [["--flat-out"], ["--speed", "36000"]])
def test_ctrl_c_reports_exactly_what_the_broker_has(
    start: Callable[..., subprocess.Popen[str]], file: Path, read_topic: Read, pace: list[str]
) -> None:
    """An interrupted replay ends with 130 and a count that is the number of messages on the topics."""
    process = start("replay", str(file), "--mapping", "vedette", "--json", "--no-progress", *pace)
    deadline = time.monotonic() + DEADLINE_S
    while not read_topic("transactions"):
        assert time.monotonic() < deadline, "nothing was sent"
        assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    report = json.loads(out)
    assert process.returncode == 130, err
    assert report["interrupted"]
    assert len(read_topic("transactions")) == report["transactions"] < pq.read_metadata(file).num_rows
    assert len(read_topic("labels")) == report["labels"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "gone.csv", "--mapping", "handbook"], "there is no file gone.csv"),
        (["replay", "x.csv", "--mapping", "nope"], "there is no mapping 'nope'"),
        (["replay", "x.csv", "--mapping", "ulb", "--speed", "2", "--flat-out"], "contradict"),
        (["replay", "x.csv", "--mapping", "ulb", "--labels", "later"], "later"),
        (["simulate"], "--output FILE or --publish"),
        (["simulate", "--publish", "--scenario", "teleport"], "teleport"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    start: Callable[..., subprocess.Popen[str]], arguments: list[str], said: str
) -> None:
    """There is no traceback, and the value is named."""
    process = start(*arguments)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert err.startswith("vedette: ")
    assert said in err
