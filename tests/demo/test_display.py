import io
from dataclasses import replace
from threading import Event

import pytest
from rich.console import Console

from alerts.incidents.incident import Incident
from demo.display import DisplayConsole, LiveDisplay, PlainDisplay
from demo.incidents import IncidentCounts
from demo.options import DemoOptions
from demo.run import Ending
from demo.status import AlertCounts, ChallengeCounts, Status, StreamCounts, WorkerMetrics
from demo.views import line, view
from vedette import Alert, Challenge
from vedette.settings import DecisionSettings, WorkerSettings

NOW = 1_700_000_000_000


def status(**changes: object) -> Status:
    """A moment with something of everything, with amounts in yen and dinars."""
    alert = Alert(
        alert_id="al-1", transaction_id="t-1", account_id="account-1", event_time=NOW, amount=12_345, currency="JPY",
        action="decline", score=0.97, expected_loss=500, reasons=["amount far above this account's usual"],
        merchant_id="m-1",
    )  # fmt: skip
    challenge = Challenge(
        challenge_id="c-1", transaction_id="t-2", account_id="account-2", amount=12_345, currency="KWD",
        payee="Shop", status="approved",
        factor="sms", issued_at=NOW, expires_at=NOW, settled_at=NOW,
    )  # fmt: skip
    incident = Incident(
        id=7, account_id="account-1", state="open", expected_loss=123_450, alerts=1, opened_at=NOW, updated_at=NOW
    )
    incidents = IncidentCounts(incidents=1, alerts=1, messages={"email": 1, "sms": 1}, costliest=[incident])
    made = Status(
        seconds=65,
        phase="streaming",
        stream=StreamCounts(1000, 7, NOW, 990, 512.0, (1.0, 2.0, None), {"approve": 989, "decline": 1}, 7),
        worker=WorkerMetrics(10, {"compute": 3.25}),
        challenges=ChallengeCounts(1, 1, [challenge]),
        alerts=AlertCounts(1, [alert], incidents, 1, 1, "[Vedette] account-1", "Vedette says something"),
        settled=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def drawn(moment: Status, width: int) -> str:
    """Return the view as text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(view(moment))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_amounts_have_their_currency_and_its_decimals_and_times_are_utc() -> None:
    """Yen have no decimals and dinars three; losses are in the ranking currency."""
    text = drawn(status(), 200)
    for expected in ("12,345 JPY", "12.345 KWD", "1,234.50 EUR", "2023-11-14 22:13:20 UTC", "costliest incidents"):
        assert expected in text


@pytest.mark.parametrize("width", [1, 10, 40, 80, 300])
def test_every_width_can_be_drawn(width: int) -> None:
    """A terminal too narrow for the tables still shows something, and no line is longer than the terminal."""
    lines = drawn(status(), width).splitlines()
    assert lines
    assert max(len(text) for text in lines) <= width


def test_the_view_is_drawn_again_only_when_it_has_changed() -> None:
    """A status equal to the last one writes nothing to the terminal."""
    console = DisplayConsole(file=io.StringIO(), force_terminal=True, width=100)
    display = LiveDisplay(console)
    settled = status(phase="settled")
    display.show(settled)
    written = console.file.tell()
    assert written > 0
    display.show(status(phase="settled"))
    assert console.file.tell() == written
    display.show(status(phase="settled", seconds=66))
    assert console.file.tell() > written
    display.close()


def test_a_plain_line_comes_at_once_when_the_phase_changes() -> None:
    """Within a phase lines come every few seconds; the end of a phase does not wait."""
    console = DisplayConsole(file=io.StringIO(), width=80)
    display = PlainDisplay(console)
    for moment in (status(), status(seconds=66), status(phase="settled"), status(phase="settled")):
        display.show(moment)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        f"demo: {line(status())}", f"demo: {line(status(phase='settled'))}"
    ]  # fmt: skip


class _Closed(io.StringIO):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        """Fail as a terminal does after a hang-up."""
        raise OSError(5, "Input/output error", text)


@pytest.mark.parametrize("kind", [LiveDisplay, PlainDisplay])
def test_a_closed_terminal_is_no_error(kind: type[LiveDisplay | PlainDisplay]) -> None:
    """The demo continues to its totals when its output is closed."""
    console = DisplayConsole(file=io.StringIO(), force_terminal=True)
    display = kind(console)
    console.file = _Closed()
    display.say("something")
    display.show(status())
    display.close()
    assert console.quiet


@pytest.mark.parametrize(
    ("options", "ends_after", "says"),
    [
        ({"leave": True}, 0.0, ""),
        ({}, 60.0, "ends by itself in 60 s. Ctrl-C ends it now"),
        ({"stay": True}, None, "stays up until Ctrl-C"),
    ],
)
def test_when_a_settled_demo_ends(options: dict[str, bool], ends_after: float | None, says: str) -> None:
    """It ends at once with --exit, never with --stay, and otherwise after a minute, which is announced once."""
    now, said, stopping = [100.0], list[str](), Event()
    made = DemoOptions(decisions=DecisionSettings(), worker=WorkerSettings(), **options)
    ending = Ending(made, stopping, said.append, lambda: now[0])
    assert ending.due() == (ends_after == 0)
    now[0] += 59.0
    assert ending.due() == (ends_after == 0)
    now[0] += 1.0
    assert ending.due() == (ends_after is not None)
    assert [text for text in said if says in text] == said
    assert len(said) == bool(says)
    stopping.set()
    assert ending.due()
