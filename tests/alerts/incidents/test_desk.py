from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, select

from alerts.incidents import IncidentDesk, QueueFilter, store
from alerts.incidents.desk import ClaimedError
from alerts.incidents.store import HOLD, UNDO
from alerts.incidents.work import VIEWING
from alerts.tables import events
from tests.conftest import NOW, Dial
from vedette.clock import MINUTE
from vedette.errors import InputError
from vedette.events import Alert

MakeAlert = Callable[..., Alert]


class AuditLines:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def record(self, event: str, subject: str, _details: Any, *, actor: str = "") -> None:
        """See Audit."""
        self.lines.append((event, subject, actor))


@pytest.fixture
def audit() -> AuditLines:
    """The audit log of the desk."""
    return AuditLines()


@pytest.fixture
def desk(engine: Engine, audit: AuditLines, dial: Dial) -> IncidentDesk:
    """A desk on an empty database of each kind."""
    return IncidentDesk(engine, audit, dial)  # type: ignore[arg-type]


@pytest.fixture
def opened(engine: Engine, alert: MakeAlert, dial: Dial) -> Callable[..., list[int]]:
    """Opens an incident for each expected loss, of the accounts a0, a1, …, and returns their numbers."""

    def make(*losses: int, account: str = "a") -> list[int]:
        numbers = []
        for number, loss in enumerate(losses):
            made = alert(number, alert_id=f"{account}-{number}", account_id=f"{account}{number}", expected_loss=loss)
            with engine.begin() as connection:
                numbers += store.join(connection, [made], lambda each: each.expected_loss, dial.now)
        return numbers

    return make


def due(engine: Engine) -> list[int]:
    """Return when the pending labels are due."""
    with engine.connect().execution_options(reads=True) as connection:
        return list(connection.scalars(select(events.c.due_at)))


def test_of_two_people_one_gets_the_incident(desk: IncidentDesk, opened: Callable[..., list[int]]) -> None:
    """Twenty times, two people claim at the same moment: one gets the incident, and the other is told who has it."""
    for number in opened(*range(100, 120)):
        ready = Barrier(2)

        def take(who: str, number: int = number, ready: Barrier = ready) -> str:
            ready.wait()
            try:
                desk.claim(number, who)
            except ClaimedError as error:
                return error.who
            return "won"

        with ThreadPoolExecutor(2) as threads:
            answers = dict(zip(("ana", "ben"), threads.map(take, ("ana", "ben")), strict=True))
        (winner,) = (who for who, answer in answers.items() if answer == "won")
        (other,) = (answer for answer in answers.values() if answer != "won")
        assert other == winner
        assert desk.show(number).incident.owner == winner


def test_next_gives_two_people_different_incidents(desk: IncidentDesk, opened: Callable[..., list[int]]) -> None:
    """The largest expected loss comes first, and incidents that somebody works on are skipped."""
    small, large, middle = opened(5, 900, 70)
    taken = [desk.claim_next(QueueFilter(), who) for who in ("ana", "ben", "ana", "ben")]
    assert [each and each.id for each in taken] == [large, middle, small, None]


def test_a_claim_lapses_and_a_look_extends_it(desk: IncidentDesk, dial: Dial, opened: Callable[..., list[int]]) -> None:
    """Nobody else gets it while its page is open; ten minutes after the last activity anybody can take it."""
    (number,) = opened(5)
    desk.claim(number, "ana")
    dial.now += 9 * MINUTE
    desk.look(number, "ana")
    dial.now += 9 * MINUTE
    with pytest.raises(ClaimedError, match="ana works on incident"):
        desk.claim(number, "ben")
    dial.now += MINUTE
    assert desk.claim(number, "ben").owner == "ben"
    with pytest.raises(ClaimedError):
        desk.close(number, fraud=True, who="ana")


def test_viewers_are_shown_while_their_page_is_open(
    desk: IncidentDesk, dial: Dial, opened: Callable[..., list[int]]
) -> None:
    """Each page that was open within the last half minute counts."""
    (number,) = opened(5)
    desk.look(number, "ana")
    dial.now += VIEWING // 2
    assert desk.look(number, "ben")[1] == ["ana", "ben"]
    dial.now += VIEWING // 2
    assert desk.show(number).viewers == ["ben"]


def test_closing_is_undone_within_a_minute(
    desk: IncidentDesk, engine: Engine, dial: Dial, audit: AuditLines, opened: Callable[..., list[int]]
) -> None:
    """Its labels wait until then; after an undo they are gone, and the incident belongs to the same person again."""
    (number,) = opened(5)
    desk.close(number, fraud=True, who="ana")
    assert due(engine) == [NOW + HOLD] * 2  # a label, and the incident
    dial.now += UNDO - 1
    assert desk.show(number).undo_until == NOW + UNDO
    with pytest.raises(InputError, match="ben has not closed"):
        desk.undo(number, "ben")
    assert desk.undo(number, "ana").state == "acknowledged"
    assert due(engine) == []
    claim = desk.show(number).claim
    assert claim is not None
    assert claim.who == "ana"
    assert [event for event, _, _ in audit.lines] == ["incident.confirmed", "incident.reopened"]
    desk.close(number, fraud=False, who="ana")
    assert len(due(engine)) == 2


def test_closing_is_not_undone_later(
    desk: IncidentDesk, engine: Engine, dial: Dial, opened: Callable[..., list[int]]
) -> None:
    """After a minute its labels may have been published; an attempt to undo changes nothing."""
    (number,) = opened(5)
    desk.close(number, fraud=True, who="ana")
    dial.now += UNDO
    with pytest.raises(InputError, match="more than a minute ago"):
        desk.undo(number, "ana")
    assert len(due(engine)) == 2
    assert desk.show(number).undo_until is None


def test_closing_is_not_undone_over_a_new_incident(
    desk: IncidentDesk, engine: Engine, alert: MakeAlert, dial: Dial, opened: Callable[..., list[int]]
) -> None:
    """An account has at most one open incident."""
    (number,) = opened(5)
    desk.close(number, fraud=True, who="ana")
    with engine.begin() as connection:
        store.join(connection, [alert(9, account_id="a0")], lambda each: each.expected_loss, dial.now)
    with pytest.raises(InputError, match="new open incident"):
        desk.undo(number, "ana")


def test_many_are_closed_together_but_not_what_others_work_on(
    desk: IncidentDesk, engine: Engine, opened: Callable[..., list[int]]
) -> None:
    """Each closed incident has its labels; each other one has a reason why it is still open."""
    numbers = opened(5, 6, 7)
    desk.claim(numbers[1], "ben")
    result = desk.close_many([*numbers, 999], fraud=False, who="ana", note="a test merchant")
    assert [each.id for each in result.closed] == [numbers[0], numbers[2]]
    assert result.skipped == {
        numbers[1]: f"ben works on incident {numbers[1]}",
        999: "incident 999 does not exist, so nobody can claim it",
    }
    assert len(due(engine)) == 4


def test_the_queue_is_filtered(desk: IncidentDesk, dial: Dial, opened: Callable[..., list[int]]) -> None:
    """It is filtered by assignee, account, loss, age and state; the sums cover all matches."""
    first, second, third = opened(50, 700, 9)
    dial.now += MINUTE
    (late,) = opened(80, account="100%_")
    desk.claim(second, "ana")
    desk.close(third, fraud=True, who="ana")

    def numbers(**wanted: Any) -> list[int]:
        return [entry.incident.id for entry in desk.queue(QueueFilter(**wanted), "ana", limit=9).entries]

    assert numbers() == [second, late, first]
    assert numbers(order="due") == [first, second, late]
    assert numbers(order="newest") == [late, second, first]
    assert numbers(holder="me") == [second]
    assert numbers(holder="nobody") == [late, first]
    assert numbers(holder="others") == []
    assert numbers(standing="closed", holder="me") == [third]
    assert numbers(standing="all", min_loss=60) == [second, late]
    assert numbers(account="100%") == [late]
    assert numbers(opened_before=NOW + 1) == [second, first]
    page = desk.queue(QueueFilter(), "ana", limit=1, offset=1)
    assert (page.total, page.loss, [entry.incident.id for entry in page.entries]) == (3, 830, [late])
    assert desk.arrivals(third) == (1, 80)


def test_notes_are_kept_with_their_authors(
    desk: IncidentDesk, audit: AuditLines, opened: Callable[..., list[int]]
) -> None:
    """An empty or very long note is refused; the audit log records that there is a note, but not its text."""
    (number,) = opened(5)
    desk.note(number, who="ana", text=" called the customer ")
    for text in (" ", "x" * 4001, "a\0b"):
        with pytest.raises(InputError, match="a note has"):
            desk.note(number, who="ana", text=text)
    with pytest.raises(InputError, match="no incident 99"):
        desk.note(99, who="ana", text="hello")
    assert [(note.who, note.text) for note in desk.show(number).notes] == [("ana", "called the customer")]
    assert audit.lines == [("incident.noted", f"incident:{number}", "ana")]
