"""The outbox on both databases: what is claimed, settled, purged and recovered."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select

from alerts.database import open_database, sole_sender
from alerts.database.tables import account_days, messages, rejects
from alerts.notify import days, outbox
from alerts.notify.message import Message
from alerts.notify.outbox import Tally
from alerts.notify.sender import Change
from alerts.notify.source import Record
from vedette.errors import StateError
from vedette.settings import IncidentSettings

NOW = 1_700_000_000_000


@pytest.fixture
def say() -> Callable[[int], Message]:
    """Makes a message."""

    def make(number: int) -> Message:
        return Message(
            key=f"key-{number}", recipient="desk", channel="email", reference=f"R{number}", created_at=NOW, text="text"
        )

    return make


def fill(engine: Engine, say: Callable[[int], Message], count: int) -> None:
    """Put messages in, each due a millisecond after the one before."""
    with engine.begin() as connection:
        assert outbox.add(connection, [(say(n), NOW + n) for n in range(count)], NOW) == count


def tally(engine: Engine) -> list[Tally]:
    """What there is."""
    with engine.begin() as connection:
        return outbox.tally(connection)


def test_a_key_is_told_once_per_recipient_and_channel(engine: Engine, say: Callable[[int], Message]) -> None:
    """The database itself refuses a second one, before and after it was sent."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        (entry,) = outbox.claim(connection, "email", NOW, 1)
        outbox.settle(connection, [(entry, Change("sent", None, 1, provider_id="x"))], NOW)
        assert outbox.add(connection, [(say(0), NOW), (say(1), NOW), (say(1), NOW)], NOW) == 0
    assert tally(engine) == [Tally("email", "pending", 1), Tally("email", "sent", 1)]


def test_what_is_due_is_claimed_oldest_first_and_once(engine: Engine, say: Callable[[int], Message]) -> None:
    """What one claim has taken, another does not get; what is not due yet stays; another channel has its own."""
    fill(engine, say, 5)
    with engine.begin() as connection:
        assert outbox.claim(connection, "sms", NOW + 9, 9) == []
        first = outbox.claim(connection, "email", NOW + 3, 2)
        second = outbox.claim(connection, "email", NOW + 3, 9)
    assert [entry.message.key for entry in first] == ["key-0", "key-1"]
    assert [entry.message.key for entry in second] == ["key-2", "key-3"]
    assert {(entry.status, entry.attempts, entry.begun_at) for entry in first} == {("sending", 1, NOW + 3)}


def test_what_was_being_sent_is_unknown_after_a_crash(engine: Engine, say: Callable[[int], Message]) -> None:
    """It comes back only when it may be looked up, as unknown, with the time it was first handed over."""
    fill(engine, say, 1)
    with engine.begin() as connection:
        outbox.claim(connection, "email", NOW, 1)
    with engine.begin() as connection:
        assert outbox.recover(connection, NOW + 5000, NOW + 1) == 1
        assert outbox.claim(connection, "email", NOW + 4999, 1) == []
        assert outbox.claim(connection, "email", NOW + 5000, 1) == []
        (entry,) = outbox.doubtful(connection, "email", NOW + 5000, 1)
        assert (entry.status, entry.attempts, entry.begun_at) == ("unknown", 1, NOW)
        assert connection.execute(select(messages.c.doubts)).scalar_one() == 1


def test_what_is_in_doubt_is_looked_up_and_never_sent(engine: Engine, say: Callable[[int], Message]) -> None:
    """What is due is sent, what is in doubt is looked up, and neither waits for the other."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        outbox.claim(connection, "email", NOW, 1)
        outbox.recover(connection, NOW, NOW)
        (doubtful,) = outbox.doubtful(connection, "email", NOW + 9, 9)
        assert (doubtful.message.key, doubtful.status) == ("key-0", "unknown")
        (sent,) = outbox.claim(connection, "email", NOW + 9, 9)
        assert (sent.message.key, sent.status) == ("key-1", "sending")


def test_the_text_of_a_sent_message_is_dropped(engine: Engine, say: Callable[[int], Message]) -> None:
    """What was sent is kept, what it said is not; a dead letter keeps its text."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        sent, failed = outbox.claim(connection, "email", NOW + 9, 2)
        changes = [(sent, Change("sent", None, 1)), (failed, Change("failed", None, 1, code="550"))]
        outbox.settle(connection, changes, NOW)
        bodies = dict(connection.execute(select(messages.c.status, messages.c.body)).all())
    assert bodies["sent"] is None
    assert bodies["failed"]


def test_retry_revives_dead_letters_and_nothing_else(engine: Engine, say: Callable[[int], Message]) -> None:
    """A failed one is sent anew, a doubtful one looked up; what is under way or sent is left alone."""
    fill(engine, say, 4)
    with engine.begin() as connection:
        sent, failed, doubtful, _under_way = outbox.claim(connection, "email", NOW + 9, 4)
        outbox.settle(
            connection,
            [
                (sent, Change("sent", None, 1)),
                (failed, Change("failed", None, 1)),
                (doubtful, Change("unknown", None, 30)),
            ],
            NOW,
        )
        assert outbox.retry(connection, [], NOW) == 2
        assert outbox.retry(connection, [], NOW) == 0
    assert tally(engine) == [
        Tally("email", "pending", 1),
        Tally("email", "sending", 1),
        Tally("email", "sent", 1),
        Tally("email", "unknown", 1),
    ]


def test_only_what_was_sent_long_ago_is_purged(engine: Engine, say: Callable[[int], Message]) -> None:
    """Dead letters wait for a person and what is pending for its turn, however old."""
    fill(engine, say, 3)
    with engine.begin() as connection:
        sent, failed = outbox.claim(connection, "email", NOW + 1, 2)
        outbox.settle(connection, [(sent, Change("sent", None, 1)), (failed, Change("failed", None, 1))], NOW)
        assert outbox.purge(connection, NOW) == 0
        assert outbox.purge(connection, NOW + 1) == 1
    assert tally(engine) == [Tally("email", "failed", 1), Tally("email", "pending", 1)]


def test_rejects_are_kept_whole_and_once(engine: Engine) -> None:
    """What is no alert is kept with its place, however often it is seen."""
    row = {"topic": "alerts", "partition": 3, "offset": 17, "reason": "junk", "value": b"\x00junk", "seen_at": NOW}
    with engine.begin() as connection:
        for _ in range(2):
            outbox.reject(connection, [row])
        assert connection.execute(rejects.select()).all() == [("alerts", 3, 17, "junk", b"\x00junk", NOW)]


def test_one_process_sends_from_a_database(database: IncidentSettings) -> None:
    """The second is refused while the first has it, and let in afterwards."""
    first, second = open_database(database), open_database(database)
    with sole_sender(first) as still_sole:
        still_sole()
        with pytest.raises(StateError, match="another process sends"), sole_sender(second):
            pass
    with sole_sender(second):
        pass
    first.dispose()
    second.dispose()


def test_days_are_counted_once_per_decision(engine: Engine) -> None:
    """Delivered again, decided provisionally before or finally afterwards, nothing is added; junk is passed over."""
    body = b'{"account_id":"a","event_time":1700000000000,"amount":%d,"currency":"EUR","action":"%s"%s}'
    records = [
        Record("decisions", 0, 0, body % (100, b"approve", b"")),
        Record("decisions", 0, 1, body % (7, b"challenge", b"")),
        Record("decisions", 0, 2, body % (7, b"decline", b',"follows":"challenge-1"')),
        Record("decisions", 0, 3, b"junk"),
        Record("decisions", 0, 4, body % (100, b"review", b',"degraded":true')),
    ]
    for part in (records[:2], records, records):
        with engine.begin() as connection:
            days.count(connection, part)
    with engine.begin() as connection:
        (row,) = connection.execute(account_days.select()).all()
        assert (row.account_id, row.payments, row.amount, row.flagged) == ("a", 2, 107, 7)
        assert days.picture(connection, "a", NOW).startswith(b"\x89PNG")
        assert days.picture(connection, "b", NOW) == b""
        days.forget(connection)
        assert len(connection.execute(account_days.select()).all()) == 1
