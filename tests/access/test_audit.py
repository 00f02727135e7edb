import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from access.audit import Audit, open_audit, show, verify
from access.audit.record import anchor_path
from tests.command import vedette
from tests.conftest import wait_for
from vedette.errors import InputError, SettingsError, StateError
from vedette.settings import AuditSettings
from vedette.settings_base import Secret

NOW = 1_700_000_000_000


class Stopped:
    """A clock that stands still."""

    def now_ms(self) -> int:
        """Return the same time every time."""
        return NOW


@pytest.fixture
def settings(tmp_path: Path) -> AuditSettings:
    """A log of this test's own; the anchor follows at once."""
    return AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32), sync_ms=0)


@pytest.fixture
def audit(settings: AuditSettings) -> Iterator[Audit]:
    """An open audit log."""
    with open_audit(settings, Stopped(), "mfa") as opened:
        yield opened


def write(settings: AuditSettings, count: int) -> list[bytes]:
    """Write this many records and return the lines of the log."""
    with open_audit(settings, Stopped(), "mfa") as audit:
        for i in range(count):
            audit.record("challenge.issued", f"challenge:{i}", {"factor": "totp"})
    return Path(settings.path).read_bytes().splitlines(keepends=True)


def test_what_was_recorded_is_shown_and_whole(settings: AuditSettings, audit: Audit) -> None:
    """Records come back in order, numbered from 1, each naming the hash before it, and verify finds all of them."""
    audit.record("access.created", "credential:c1", {"role": "auditor"}, actor="cli")
    audit.record("call.started", "account:7", {})
    first, second = show(settings)
    assert (first.n, first.at, first.actor, first.event) == (1, NOW, "cli", "access.created")
    assert (first.subject, first.details) == ("credential:c1", {"role": "auditor"})
    assert (second.n, second.prev, second.actor) == (2, first.hash, "mfa")
    verdict = verify(settings)
    assert (verdict.ok, verdict.records, verdict.head) == (True, 2, f"2:{second.hash}")


def test_records_are_chosen(settings: AuditSettings, audit: Audit) -> None:
    """Records are filtered by the beginning of the event, by subject and by actor, and limited to the latest."""
    for i in range(4):
        audit.record("call.started", f"account:{i % 2}", {}, actor="ann")
        audit.record("access.used", "credential:1", {}, actor="bob")
    assert {r.event for r in show(settings, event="call.")} == {"call.started"}
    assert [r.n for r in show(settings, subject="account:1")] == [3, 7]
    assert [r.n for r in show(settings, actor="bob", last=2)] == [6, 8]


def test_a_log_goes_on_after_a_restart(settings: AuditSettings) -> None:
    """A reopened log continues where it ended."""
    write(settings, 3)
    write(settings, 2)
    assert verify(settings).records == 5


@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_changed_record_is_named(settings: AuditSettings, at: int) -> None:
    """Whichever byte of a record is changed, verify names that record as the first broken one."""
    lines = write(settings, 5)
    for place in range(len(lines[at])):
        byte = b"#" if lines[at][place : place + 1] != b"#" else b"%"
        changed = [*lines[:at], lines[at][:place] + byte + lines[at][place + 1 :], *lines[at + 1 :]]
        Path(settings.path).write_bytes(b"".join(changed))
        verdict = verify(settings)
        assert (verdict.ok, verdict.broken) == (False, at + 1)


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
        (lambda lines: lines[:4], 5),
        (lambda lines: lines[:0], 1),
    ],
    ids=["first left out", "one left out", "two swapped", "one doubled", "last cut off", "emptied"],
)
def test_a_missing_record_is_named(
    settings: AuditSettings, spoil: Callable[[list[bytes]], list[bytes]], broken: int
) -> None:
    """Records that are removed, moved, duplicated or truncated are found, and the first wrong place is named."""
    Path(settings.path).write_bytes(b"".join(spoil(write(settings, 5))))
    verdict = verify(settings)
    assert (verdict.ok, verdict.broken) == (False, broken)


def test_a_log_written_anew_under_the_key_differs_from_a_noted_head(settings: AuditSettings) -> None:
    """Not even somebody with the key can rewrite what was noted elsewhere, or truncate it together with the anchor."""
    write(settings, 5)
    head = verify(settings).head
    assert verify(settings, head=head).ok
    for count, broken in ((7, 5), (4, 5)):
        Path(settings.path).unlink()
        anchor_path(settings).unlink()
        with open_audit(settings, Stopped(), "mfa") as audit:
            for i in range(count):
                audit.record("challenge.approved", f"challenge:{i}", {})
        assert verify(settings).ok
        verdict = verify(settings, head=head)
        assert (verdict.ok, verdict.broken) == (False, broken)


def test_a_missing_or_forged_anchor_is_noticed(settings: AuditSettings) -> None:
    """A log without its anchor may have been truncated, and an anchor that was changed is refused."""
    write(settings, 3)
    anchor = anchor_path(settings)
    kept = anchor.read_bytes()
    anchor.unlink()
    assert "no anchor" in verify(settings).reason
    with pytest.raises(StateError, match="lost its anchor"):
        open_audit(settings, Stopped(), "mfa")
    anchor.write_bytes(kept.replace(b'"n":3', b'"n":2'))
    with pytest.raises(InputError, match="was changed"):
        verify(settings)
    with pytest.raises(StateError, match="anchor"):
        open_audit(settings, Stopped(), "mfa")


@pytest.mark.parametrize(
    "spoil",
    [lambda lines: lines[:-1], lambda lines: [*lines[:-1], lines[-1].replace(b"totp", b"none")]],
    ids=["cut", "changed"],
)
def test_nothing_is_added_to_a_spoilt_log(settings: AuditSettings, spoil: Callable[[list[bytes]], list[bytes]]) -> None:
    """A log whose end was truncated or changed is not opened, so no new anchor can hide it."""
    Path(settings.path).write_bytes(b"".join(spoil(write(settings, 3))))
    with pytest.raises(StateError, match=r"was changed.*vedette audit verify"):
        open_audit(settings, Stopped(), "mfa")
    assert not verify(settings).ok


def test_a_log_cut_while_it_is_open_takes_no_more(settings: AuditSettings, audit: Audit) -> None:
    """A log that is truncated while it is open refuses further records."""
    audit.record("a.b", "c:1", {}, actor="d")
    os.truncate(settings.path, 0)
    with pytest.raises(StateError, match="was cut"):
        audit.record("a.b", "c:1", {}, actor="d")


def test_what_a_power_failure_left_half_written_is_cut_off(settings: AuditSettings) -> None:
    """An incomplete line after the anchor, of a record that was never confirmed, is replaced by the next record."""
    lines = write(settings, 2)
    with Path(settings.path).open("ab") as file:
        file.write(lines[1][:40])
    assert verify(settings).broken == 3
    write(settings, 1)
    assert (verify(settings).ok, verify(settings).records) == (True, 3)


_WRITER = """
import sys
from access.audit import open_audit
from vedette.clock import SystemClock
from vedette.settings import AuditSettings
from vedette.settings_base import Secret
with open_audit(AuditSettings(path=sys.argv[1], key=Secret("k" * 32), sync_ms=1), SystemClock(), "mfa") as audit:
    for i in range(int(sys.argv[2])):
        audit.record("challenge.issued", f"challenge:{i}", {}, actor=sys.argv[3])
        print(i, flush=True)
"""


def writer(settings: AuditSettings, count: int, actor: str) -> "subprocess.Popen[str]":
    """A process that writes records and reports each one."""
    command = [sys.executable, "-c", _WRITER, settings.path, str(count), actor]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_and_threads_write_one_chain(settings: AuditSettings, audit: Audit) -> None:
    """Two other processes and four threads write at the same time, and every record is in one unbroken chain."""
    others = [writer(settings, 300, actor) for actor in ("ann", "bob")]

    def work(number: int) -> None:
        for i in range(100):
            audit.record("call.started", f"account:{i}", {}, actor=f"thread-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(other.communicate()[1], other.returncode) for other in others] == [(None, 0)] * 2
    audit.sync()
    assert (verify(settings).ok, verify(settings).records) == (True, 1000)
    assert [r.subject for r in show(settings, actor="bob")] == [f"challenge:{i}" for i in range(300)]


def test_what_was_recorded_survives_a_kill(settings: AuditSettings) -> None:
    """A writer killed at any moment leaves an intact log with every record that was confirmed to it."""
    said = 0
    for _ in range(3):
        with writer(settings, 100_000, "ann") as killed:
            assert killed.stdout is not None
            heard = [killed.stdout.readline() for _ in range(200)]
            killed.send_signal(signal.SIGKILL)
            heard += killed.stdout.readlines()
        said += len([line for line in heard if line.endswith("\n")])
    with open_audit(settings, Stopped(), "mfa"):
        pass
    verdict = verify(settings)
    assert verdict.ok
    assert verdict.records >= said >= 600


_FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
""" + _WRITER.replace("sys.argv[2]", "1000")  # fmt: skip


def test_a_full_disk_stops_the_log_whole(settings: AuditSettings) -> None:
    """When a record no longer fits on the disk, the writer gets an error, and no part of the record remains."""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", _FULL, settings.path, "5000", "ann"], capture_output=True, text=True, check=False
    )
    assert "cannot be written" in done.stderr
    verdict = verify(settings)
    assert verdict.ok
    assert verdict.records == len(done.stdout.splitlines()) > 5


def test_the_anchor_follows_by_itself(settings: AuditSettings, audit: Audit) -> None:
    """The anchor reaches the last record without any further call."""
    audit.record("a.b", "c:1", {}, actor="d")
    path = anchor_path(settings)
    wait_for(lambda: path.exists() and json.loads(path.read_bytes())["n"] == 1)


def test_long_texts_are_cut(settings: AuditSettings, audit: Audit) -> None:
    """A text from outside is shortened to a fixed length."""
    audit.record("a.b", "s" * 9999, {"x": "ä" * 9999}, actor="a" * 9999)
    (record,) = show(settings)
    assert {len(record.subject), len(record.actor), len(record.details["x"])} == {256}


@pytest.mark.parametrize("key", [None, Secret("short")])
def test_a_log_needs_a_key(settings: AuditSettings, key: Secret | None) -> None:
    """Without a key of 32 bytes there is no log, and the error says how to create one."""
    with pytest.raises(SettingsError, match="openssl rand"):
        open_audit(msgspec.structs.replace(settings, key=key), Stopped(), "mfa")


def test_what_is_no_log_is_refused(settings: AuditSettings) -> None:
    """A missing file, a line that is not a record and an invalid head are each named."""
    with pytest.raises(InputError, match="there is no audit log"):
        verify(settings)
    Path(settings.path).write_bytes(b"hello\n")
    with pytest.raises(InputError, match="line 1"):
        show(settings)
    with pytest.raises(InputError, match="'5' is not the head"):
        verify(settings, head="5")


@pytest.mark.runs("audit verify", "audit show")
def test_the_command(settings: AuditSettings, tmp_path: Path) -> None:
    """`vedette audit verify` ends with 0 for an intact log and 1 for a broken one; `show` prints its records."""
    lines = write(settings, 3)
    environment = {"VEDETTE_AUDIT__PATH": settings.path, "VEDETTE_AUDIT__KEY": "k" * 32}
    run = partial(vedette, "audit", cwd=tmp_path, environment=environment)
    assert json.loads(run("verify", "--json").stdout)["records"] == 3
    assert "challenge:1" in run("show").stdout
    assert [json.loads(line)["n"] for line in run("show", "--last", "2", "--json").stdout.splitlines()] == [2, 3]
    Path(settings.path).write_bytes(b"".join([lines[0], lines[2]]))
    broken = run("verify")
    assert broken.returncode == 1
    assert "record 2 is missing" in broken.stdout
