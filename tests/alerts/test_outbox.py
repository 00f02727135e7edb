"""The outbox on both databases: claiming, settling, purging and recovery."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select

from adapters.channels.message import Message
from adapters.database import open_database, sole_sender
from adapters.kafka_consumer import KafkaMessage
from alerts.notify import daily_totals, outbox
from alerts.notify.outbox import MessageCount
from alerts.notify.retry_policy import OutboxChange
from alerts.tables import account_days, messages, rejects
from vedette.errors import StateError
from vedette.settings import DatabaseSettings

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
    """Put messages in, each due one millisecond after the one before."""
    with engine.begin() as connection:
        assert outbox.add(connection, [outbox.Outgoing(say(n), NOW + n) for n in range(count)], NOW) == count


def tally(engine: Engine) -> list[MessageCount]:
    """Count the messages by status."""
    with engine.begin() as connection:
        return outbox.tally(connection)


def test_a_key_is_told_once_per_recipient_and_channel(engine: Engine, say: Callable[[int], Message]) -> None:
    """The database itself refuses a second one, before and after it was sent."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        (entry,) = outbox.claim(connection, "email", NOW, 1)
        outbox.settle(connection, [(entry, OutboxChange("sent", None, 1, provider_id="x"))], NOW)
        assert outbox.add(connection, [outbox.Outgoing(say(n), NOW) for n in (0, 1, 1)], NOW) == 0
    assert tally(engine) == [MessageCount("email", "pending", 1), MessageCount("email", "sent", 1)]


def test_what_is_due_is_claimed_oldest_first_and_once(engine: Engine, say: Callable[[int], Message]) -> None:
    """What one claim took, another does not get; messages due later stay; another channel has its own."""
    fill(engine, say, 5)
    with engine.begin() as connection:
        assert outbox.claim(connection, "sms", NOW + 9, 9) == []
        first = outbox.claim(connection, "email", NOW + 3, 2)
        second = outbox.claim(connection, "email", NOW + 3, 9)
    assert [entry.message.key for entry in first] == ["key-0", "key-1"]
    assert [entry.message.key for entry in second] == ["key-2", "key-3"]
    assert {(entry.status, entry.attempts, entry.begun_at) for entry in first} == {("sending", 1, NOW + 3)}


def test_what_was_being_sent_is_unknown_after_a_crash(engine: Engine, say: Callable[[int], Message]) -> None:
    """It is returned only where it can be looked up, as unknown, with the time of the first hand-over."""
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
    """Due messages are sent and unknown ones are looked up, and neither waits for the other."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        outbox.claim(connection, "email", NOW, 1)
        outbox.recover(connection, NOW, NOW)
        (doubtful,) = outbox.doubtful(connection, "email", NOW + 9, 9)
        assert (doubtful.message.key, doubtful.status) == ("key-0", "unknown")
        (sent,) = outbox.claim(connection, "email", NOW + 9, 9)
        assert (sent.message.key, sent.status) == ("key-1", "sending")


def test_the_text_of_a_sent_message_is_dropped(engine: Engine, say: Callable[[int], Message]) -> None:
    """A sent message is kept without its text; a dead letter keeps its text."""
    fill(engine, say, 2)
    with engine.begin() as connection:
        sent, failed = outbox.claim(connection, "email", NOW + 9, 2)
        changes = [(sent, OutboxChange("sent", None, 1)), (failed, OutboxChange("failed", None, 1, code="550"))]
        outbox.settle(connection, changes, NOW)
        bodies = dict(connection.execute(select(messages.c.status, messages.c.body)).all())
    assert bodies["sent"] is None
    assert bodies["failed"]


def test_retry_revives_dead_letters_and_nothing_else(engine: Engine, say: Callable[[int], Message]) -> None:
    """A failed message is sent again and an unknown one is looked up; those in progress or sent stay unchanged."""
    fill(engine, say, 4)
    with engine.begin() as connection:
        sent, failed, doubtful, _under_way = outbox.claim(connection, "email", NOW + 9, 4)
        outbox.settle(
            connection,
            [
                (sent, OutboxChange("sent", None, 1)),
                (failed, OutboxChange("failed", None, 1)),
                (doubtful, OutboxChange("unknown", None, 30)),
            ],
            NOW,
        )
        assert outbox.retry(connection, [], NOW) == 2
        assert outbox.retry(connection, [], NOW) == 0
    assert tally(engine) == [
        MessageCount("email", "pending", 1),
        MessageCount("email", "sending", 1),
        MessageCount("email", "sent", 1),
        MessageCount("email", "unknown", 1),
    ]


def test_only_what_was_sent_long_ago_is_purged(engine: Engine, say: Callable[[int], Message]) -> None:
    """Dead letters wait for a person and pending messages for their turn, however old they are."""
    fill(engine, say, 3)
    with engine.begin() as connection:
        sent, failed = outbox.claim(connection, "email", NOW + 1, 2)
        outbox.settle(
            connection, [(sent, OutboxChange("sent", None, 1)), (failed, OutboxChange("failed", None, 1))], NOW
        )
        assert outbox.purge(connection, NOW) == 0
        assert outbox.purge(connection, NOW + 1) == 1
    assert tally(engine) == [MessageCount("email", "failed", 1), MessageCount("email", "pending", 1)]


def test_rejects_are_kept_whole_and_once(engine: Engine) -> None:
    """A record that is not an alert is stored once with its position, however often it is read."""
    row = {"topic": "alerts", "partition": 3, "offset": 17, "reason": "junk", "value": b"\x00junk", "seen_at": NOW}
    with engine.begin() as connection:
        for _ in range(2):
            outbox.reject(connection, [row])
        assert connection.execute(rejects.select()).all() == [("alerts", 3, 17, "junk", b"\x00junk", NOW)]


def test_one_process_sends_from_a_database(database: DatabaseSettings) -> None:
    """The second process is refused while the first holds the lock, and admitted afterwards."""
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
    """Repeated, degraded and following decisions add nothing; messages that no worker writes are skipped."""
    body = b'{"account_id":"a","event_time":1700000000000,"amount":%d,"currency":"EUR","action":"%s"%s}'
    records = [
        KafkaMessage("decisions", 0, 0, body % (100, b"approve", b"")),
        KafkaMessage("decisions", 0, 1, body % (7, b"challenge", b"")),
        KafkaMessage("decisions", 0, 2, body % (7, b"decline", b',"follows":"challenge-1"')),
        KafkaMessage("decisions", 0, 3, b"junk"),
        KafkaMessage("decisions", 0, 4, body % (100, b"review", b',"degraded":true')),
        *(
            KafkaMessage("decisions", 0, 5 + number, (body % (1, b"approve", b"")).replace(*change))
            for number, change in enumerate(
                (
                    (b'"a"', b'"a\\u0000"'),
                    (b'"a"', b'"\xff"'),
                    (b'"a"', b'""'),
                    (b'"a"', b'"%s"' % (65 * b"a")),
                    (b"1700000000000", b"9" * 30),
                    (b"1700000000000", b"-1"),
                    (b":1,", b":%d," % 10**30),
                    (b":1,", b":-1,"),
                    (b'"EUR"', b'"EURO"'),
                    (b"}", b',"more":' + b"[" * 100_000),
                )
            )
        ),
    ]
    for part in (records[:2], records, records):
        with engine.begin() as connection:
            daily_totals.count(connection, part)
    with engine.begin() as connection:
        (row,) = connection.execute(account_days.select()).all()
        assert (row.account_id, row.payments, row.amount, row.flagged) == ("a", 2, 107, 7)
        assert daily_totals.chart(connection, "a", NOW).startswith(b"\x89PNG")
        assert daily_totals.chart(connection, "b", NOW) == b""
        daily_totals.forget(connection)
        assert len(connection.execute(account_days.select()).all()) == 1
