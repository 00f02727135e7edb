"""The demo from beginning to end."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from challenges.state_machine import LIFETIME
from demo.console import console_processes, console_sign_in
from demo.customers import Invite, answering
from demo.display import Display
from demo.environment import DemoEnvironment, DemoProcess, card_settings, set_up
from demo.incidents import read_incidents
from demo.options import DemoOptions
from demo.outcome import Delivered, Outcome, conclude, inconsistencies
from demo.producer import StreamProducer
from demo.source import open_source
from demo.status import Status, StatusCollector
from demo.topic_watch import TopicWatch
from demo.warmup import kept, warm_up
from producers.files import RejectFile
from producers.replay import stop_on_interrupt
from vedette.card_numbers import CardNumbers
from vedette.clock import SECOND

_LOOK_S = 0.1
_SETTLED_LOOK_S = 0.5
_STANDSTILL_S = 30.0


@dataclass(frozen=True)
class Result:
    """Result of a demo."""

    outcome: Outcome
    wrong: str
    """Description of an inconsistency in one sentence; empty if the totals are consistent."""


def run_demo(options: DemoOptions, environment: Collection[str], display: Display) -> Result:
    """Run the demo; everything it started has ended when it returns or raises.

    Args:
        options: Options of the demo.
        environment: Names of this process's environment variables, see set_up.
        display: Shows the progress.

    Raises:
        InputError: The file, its mapping or the period do not fit.
        UnavailableError: A part is not installed or does not start.
        KeyboardInterrupt: Ctrl-C before the stream began, or a second one.
    """
    with _interruptible(), _directory(options.directory) as (directory, keep):
        wrong, outcome = _run(directory, options, environment, display)
        if wrong:
            keep.set()
            wrong = f"{wrong}; data and logs are in {directory}"
    return Result(outcome, wrong)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and the end of the terminal stop the demo like Ctrl-C, so that it cleans up."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _directory(wanted: Path | None) -> Iterator[tuple[Path, Event]]:
    """Yield the directory, and an event that keeps a temporary one; it is also kept if something fails."""
    keep = Event()
    directory = (wanted or Path(tempfile.mkdtemp(prefix="vedette-demo-"))).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory, keep
    except Exception:
        keep.set()
        raise
    finally:
        if wanted is None and not keep.is_set():
            shutil.rmtree(directory)


def _run(directory: Path, options: DemoOptions, environment: Collection[str], display: Display) -> tuple[str, Outcome]:
    with RejectFile(directory / "rejects.csv") as rejects:
        cards = card_settings()
        source = open_source(options, rejects, CardNumbers(cards))
        display.say("starting broker, Redis, mail server and SMS endpoint")
        with (
            set_up(directory, options, environment, cards) as running,
            running.process("notify") as notify,  # these two start while the history is processed
            running.process("mfa run") as challenges,
            nullcontext(()) if options.leave else console_processes(running) as pages,
        ):
            display.say("processing the history; a first run also compiles the feature kernels, which takes longer")
            history = kept(source.history, running.settings)
            count = warm_up(history, running.settings, display.warming)
            display.say(f"{count:,} earlier transactions are in the features' state; starting the worker")
            with running.process("worker") as worker:
                running.wait_for_worker(worker, display.say)
                if pages:
                    display.say(console_sign_in(running))
                with (
                    stop_on_interrupt() as stopping,
                    answering(
                        running.settings, running.sms, _invitation(options, display), stopping, display.say
                    ) as customers,
                ):
                    producer = StreamProducer(
                        running.settings, source, rate=options.per_second, limit=options.limit, stopping=stopping,
                        customers=customers,
                    )  # fmt: skip
                    return _stream(running, (worker, notify, challenges, *pages), producer, options, display, stopping)


def _invitation(options: DemoOptions, display: Display) -> Invite | None:
    """Return the callback that invites the user to answer a challenge; None if the demo ends at once."""
    if options.leave:
        return None
    return lambda link, code: display.say(f"a customer's page is yours for a minute, the code is {code}: {link}")


def _stream(
    running: DemoEnvironment,
    processes: Sequence[DemoProcess],
    producer: StreamProducer,
    options: DemoOptions,
    display: Display,
    stopping: Event,
) -> tuple[str, Outcome]:
    """Run the stream to its end, stop the processes, and read the remaining output."""
    watch = TopicWatch(running.settings, producer.sent.sent_at)
    collector = StatusCollector(running, producer.sent, watch)

    def failure() -> str:
        return next((process.ended for process in processes if process.ended), running.failure)

    with ThreadPoolExecutor(2, "demo") as threads:
        publishing, reading = threads.submit(producer.run), threads.submit(watch.run)
        try:
            failed = _follow(collector, publishing, reading, failure, display, Ending(options, stopping, display.say))
            stopping.set()
            display.say("stopping")
            for process in reversed(processes):  # they finish their work before anything is counted
                process.stop()
            if running.failure:
                watch.abandoned.set()
        except BaseException:
            watch.abandoned.set()
            raise
        finally:
            stopping.set()
            watch.ending.set()
    for thread in (publishing, reading):
        if (error := thread.exception()) and not failed:
            raise error
    incidents = read_incidents(running.database)
    delivered = Delivered([mail.message_id for mail in running.mail.mails], [sms.body for sms in running.team_sms])
    outcome = conclude(producer.sent, watch.seen, incidents, delivered)
    wrong = inconsistencies(outcome, producer.sent, watch.seen, incidents, delivered)
    return ", so ".join(part for part in (failed, wrong) if part), outcome


class Ending:
    """Determines when a settled demo ends, and announces it.

    Args:
        options: Options of the demo.
        stopping: Set by Ctrl-C.
        say: Shows a sentence.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        options: DemoOptions,
        stopping: Event,
        say: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._linger_s = options.linger_s
        self._stopping = stopping
        self._say = say
        self._monotonic = monotonic
        self._since: float | None = None

    def due(self) -> bool:
        """Return whether the demo must end; call it only once everything is settled."""
        if self._since is None:
            self._since = self._monotonic()
            if self._linger_s is None:
                self._say("everything is settled; the demo stays up until Ctrl-C, as --stay asks")
            elif self._linger_s:
                self._say(
                    f"everything is settled; the demo ends by itself in {self._linger_s:g} s. "
                    "Ctrl-C ends it now, and with --stay it stays up"
                )
        lingered = self._linger_s is not None and self._monotonic() - self._since >= self._linger_s
        return lingered or self._stopping.is_set()


def _follow(
    collector: StatusCollector, publishing: "Future[None]", reading: "Future[None]", failure: Callable[[], str],
    display: Display, ending: Ending,
) -> str:  # fmt: skip
    """Show the stream until all is settled, progress stops, or a part has failed; return the failure."""
    pause = Event()
    progress, moved_at = None, time.monotonic()
    while True:
        status = collector.collect(published=publishing.done())
        display.show(status)
        if failed := failure():
            return failed
        if reading.done() or (publishing.done() and publishing.exception()):
            return ""  # the exception is raised once both threads have ended
        if status.complete and ending.due():
            return ""
        if status.progress != progress or status.settled:
            progress, moved_at = status.progress, time.monotonic()
        elif time.monotonic() - moved_at > (patience := _patience(status)):
            return f"nothing has moved for {patience:g} s"
        pause.wait(_SETTLED_LOOK_S if status.complete else _LOOK_S)


def _patience(status: Status) -> float:
    """Return the seconds without progress that count as a failure, allowing for customers who do not answer."""
    answering = status.challenges.settled < status.challenges.issued
    return _STANDSTILL_S + (LIFETIME / SECOND if answering else 0)
