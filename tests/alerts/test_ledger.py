import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.notify.ledger import Ledger, Reject, Tally, read_tally
from alerts.notify.message import Message, Renderer
from alerts.notify.sender import Change
from vedette.errors import InputError, StateError
from vedette.events import Alert

NOW = 1_700_000_000_000


@pytest.fixture
def pair(alert: Callable[..., Alert]) -> list[Message]:
    """One alert for two people."""
    renderer = Renderer()
    return [renderer.render(alert(), "email", name, NOW) for name in ("a@b.example", "c@b.example")]


def test_a_repeated_alert_adds_nothing(ledger: Ledger, pair: list[Message]) -> None:
    """Alert, channel and recipient are the key: recording again changes neither count nor status."""
    assert ledger.record(pair, [], NOW) == 2
    ledger.begin(pair[0], NOW)
    ledger.settle(pair[0], Change("sent", None, provider_id="x"), 1, NOW)
    assert ledger.record(pair, [], NOW + 5) == 0
    assert ledger.tally() == [Tally("email", "pending", 1), Tally("email", "sent", 1)]


def test_a_message_comes_back_as_it_was(ledger: Ledger, pair: list[Message]) -> None:
    """What is sent is what was recorded, oldest first, and only once it is due."""
    ledger.record(pair, [], NOW)
    assert ledger.next("email", NOW - 1) is None
    assert ledger.next("sms", NOW) is None
    entry = ledger.next("email", NOW)
    assert entry is not None
    assert (entry.message, entry.status, entry.attempts) == (pair[0], "pending", 0)


def test_what_was_being_sent_is_unknown_after_a_crash(tmp_path: Path, pair: list[Message]) -> None:
    """A new process finds the message it may have sent as unknown, due when it may be looked up."""
    with Ledger(tmp_path / "l") as ledger:
        ledger.record(pair, [], NOW)
        ledger.begin(pair[0], NOW)
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.recover(NOW + 5000, NOW) == 1
        assert ledger.tally() == [Tally("email", "pending", 1), Tally("email", "unknown", 1)]
        ledger.settle(pair[1], Change("sent", None), 1, NOW)
        assert ledger.next("email", NOW + 4999) is None
        entry = ledger.next("email", NOW + 5000)
        assert entry is not None
        assert (entry.message, entry.status, entry.attempts) == (pair[0], "unknown", 1)


def test_the_text_of_a_sent_message_is_dropped(tmp_path: Path, pair: list[Message]) -> None:
    """Once sent, the ledger keeps that it was sent and not what it said."""
    with Ledger(tmp_path / "l") as ledger:
        ledger.record(pair, [], NOW)
        ledger.settle(pair[0], Change("sent", None), 1, NOW)
    db = sqlite3.connect(tmp_path / "l")
    bodies = dict(db.execute("SELECT recipient, body IS NULL FROM messages"))
    db.close()
    assert bodies == {"a@b.example": 1, "c@b.example": 0}


def test_rejects_are_kept_with_their_place_and_reason(tmp_path: Path) -> None:
    """A message that is no alert is kept whole, once, however often it is seen."""
    reject = Reject("alerts", 3, 17, "not an alert", b"\x00junk")
    with Ledger(tmp_path / "l") as ledger:
        for _ in range(2):
            ledger.record([], [reject], NOW)
        assert ledger.tally() == [Tally("rejects", "rejected", 1)]
    db = sqlite3.connect(tmp_path / "l")
    rows = db.execute("SELECT * FROM rejects").fetchall()
    db.close()
    assert rows == [("alerts", 3, 17, "not an alert", b"\x00junk", NOW)]


def test_a_failed_record_leaves_nothing(ledger: Ledger, pair: list[Message]) -> None:
    """Messages and rejects of a batch are written all or not at all."""
    broken = Reject("alerts", 0, 0, None, None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record(pair, [broken], NOW)
    assert ledger.tally() == []


def test_two_processes_cannot_send_from_one_ledger(tmp_path: Path) -> None:
    """The second is refused while the first has it, and let in afterwards."""
    with Ledger(tmp_path / "l"), pytest.raises(StateError, match="another process"):
        Ledger(tmp_path / "l")
    with Ledger(tmp_path / "l"):
        pass


def test_the_tally_can_be_read_beside_the_sender(tmp_path: Path, pair: list[Message]) -> None:
    """Counting needs no lock, sees what is committed, and says when there is no ledger."""
    with pytest.raises(InputError, match="no ledger"):
        read_tally(tmp_path / "l")
    with Ledger(tmp_path / "l") as ledger:
        ledger.record(pair, [], NOW)
        assert read_tally(tmp_path / "l") == ledger.tally() == [Tally("email", "pending", 2)]
    assert read_tally(tmp_path / "l") == [Tally("email", "pending", 2)]


def test_a_path_that_cannot_be_a_ledger_is_named(tmp_path: Path) -> None:
    """A directory in its place, or a file where its directory should be, is a StateError, not a traceback."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "directory", tmp_path / "file" / "ledger"):
        with pytest.raises(StateError, match="cannot be opened"):
            Ledger(path)


def test_a_ledger_keeps_its_identity(tmp_path: Path) -> None:
    """The same file has the same identity for ever, another one has another."""
    found = []
    for name in ("one", "one", "two"):
        with Ledger(tmp_path / name) as ledger:
            found.append(ledger.identity)
    assert found[0] == found[1] != found[2]


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    """Neither sending nor counting touches a file that a newer Vedette, or another program, wrote."""
    db = sqlite3.connect(tmp_path / "l")
    db.execute("PRAGMA user_version = 99")
    db.close()
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one\n" * 20)
    for path, reason in ((tmp_path / "l", "version 99"), (tmp_path / "text", "not a database")):
        with pytest.raises(StateError, match=reason):
            Ledger(path)
        with pytest.raises(StateError, match=reason):
            read_tally(path)
