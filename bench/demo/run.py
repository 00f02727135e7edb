"""The demo from beginning to end."""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from alerts.mfa.engine import LIFETIME
from bench.demo.customers import Invite, answering
from bench.demo.desk import look
from bench.demo.feed import Feed
from bench.demo.options import Options
from bench.demo.outcome import Outcome, Received, conclude, wrong_sums
from bench.demo.screen import Screen
from bench.demo.snapshot import Camera, Snapshot
from bench.demo.source import open_source
from bench.demo.stage import Process, Stage, set_up
from bench.demo.warm import warm_up
from bench.demo.watch import Watch
from producers.files import RejectFile
from producers.replay import stop_on_interrupt
from vedette.clock import SECOND

_LOOK_S = 0.1
_STANDSTILL_S = 30.0


@dataclass(frozen=True)
class Result:
    """How a demo ended."""

    outcome: Outcome
    wrong: str
    """What is wrong, in one sentence; empty if the sums are right."""


def run_demo(options: Options, environment: Collection[str], screen: Screen) -> Result:
    """Run the demo; everything it started has ended when it returns or raises.

    Args:
        options: What is asked for.
        environment: Names of the environment variables around, see set_up.
        screen: Shows what goes on.

    Raises:
        InputError: The file, its mapping or the span do not fit.
        UnavailableError: A part is not installed or does not start.
        KeyboardInterrupt: Ctrl-C before the stream began, or a second one.
    """
    with _place(options.directory) as (directory, keep):
        wrong, outcome = _play(directory, options, environment, screen)
        if wrong:
            keep.set()
            wrong = f"{wrong}; data and logs are in {directory}"
    return Result(outcome, wrong)


@contextmanager
def _place(wanted: Path | None) -> Iterator[tuple[Path, Event]]:
    """The directory, and what to set to keep a temporary one; it is also kept if something fails."""
    keep = Event()
    directory = (wanted or Path(tempfile.mkdtemp(prefix="vedette-demo-"))).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory, keep
    except Exception:
        keep.set()
        raise
    finally:
        if wanted is None and not keep.is_set():
            shutil.rmtree(directory)


def _play(directory: Path, options: Options, environment: Collection[str], screen: Screen) -> tuple[str, Outcome]:
    with RejectFile(directory / "rejects.csv") as rejects:
        source = open_source(options, rejects)
        screen.say("starting broker, Redis, mail server and SMS endpoint")
        with set_up(directory, options, environment) as stage:
            screen.say("taking in history (a first run also compiles the feature kernels, about a minute)")
            taken = warm_up(source.history, stage.settings, screen.warming)
            screen.say(f"{taken:,} earlier transactions are in the features' state; starting the worker")
            with (
                stage.process("worker") as worker,
                stage.process("notify") as notify,
                stage.process("mfa run") as challenges,
            ):
                stage.wait_for_worker(worker, screen.say)
                with (
                    stop_on_interrupt() as stopping,
                    answering(stage.settings, stage.sms, _inviting(options, screen), stopping, screen.say) as customers,
                ):
                    feed = Feed(
                        stage.settings, source, rate=options.per_second, limit=options.most, stopping=stopping,
                        customers=customers,
                    )  # fmt: skip
                    return _stream(stage, (worker, notify, challenges), feed, options, screen, stopping)


def _inviting(options: Options, screen: Screen) -> Invite | None:
    """How the person who watches is asked to answer a challenge; not at all where the demo is to end by itself."""
    if options.leave:
        return None
    return lambda link, code: screen.say(f"a customer's page is yours for a minute, the code is {code}: {link}")


def _stream(
    stage: Stage, processes: Sequence[Process], feed: Feed, options: Options, screen: Screen, stopping: Event
) -> tuple[str, Outcome]:
    """Let the stream run to its end, stop the processes, and read what is left."""
    watch = Watch(stage.settings, feed.sent.left_at)
    camera = Camera(stage, feed.sent, watch, options)

    def failure() -> str:
        return next((process.ended for process in processes if process.ended), stage.broken)

    with ThreadPoolExecutor(2, "demo") as threads:
        feeding, reading = threads.submit(feed.run), threads.submit(watch.run)
        try:
            failed = _look_on(camera, feeding, reading, failure, screen, lambda: options.leave or stopping.is_set())
            stopping.set()
            screen.say("stopping")
            for process in reversed(processes):  # what they had begun is finished before anything is counted
                process.stop()
            if stage.broken:
                watch.abandoned.set()
        except BaseException:
            watch.abandoned.set()
            raise
        finally:
            stopping.set()
            watch.ending.set()
    for thread in (feeding, reading):
        if (error := thread.exception()) and not failed:
            raise error
    worked = look(stage.alerts)
    received = Received([mail.message_id for mail in stage.mail.mails], [sms.body for sms in stage.team_sms])
    outcome = conclude(feed.sent, watch.seen, worked, received)
    wrong = wrong_sums(outcome, feed.sent, watch.seen, worked, received)
    return ", so ".join(part for part in (failed, wrong) if part), outcome


def _look_on(
    camera: Camera, feeding: "Future[None]", reading: "Future[None]", failure: Callable[[], str], screen: Screen,
    may_leave: Callable[[], bool],
) -> str:  # fmt: skip
    """Show the stream until all is done, nothing moves any more, or a part has failed; says which, if it did."""
    pause = Event()
    reached, moved_at = None, time.monotonic()
    while True:
        snapshot = camera.take(published=feeding.done())
        screen.show(snapshot)
        if failed := failure():
            return failed
        if reading.done() or (feeding.done() and feeding.exception()):
            return ""  # the exception is raised once both threads have ended
        if snapshot.complete and may_leave():
            return ""
        if snapshot.progress != reached or snapshot.settled:
            reached, moved_at = snapshot.progress, time.monotonic()
        elif time.monotonic() - moved_at > (patience := _patience(snapshot)):
            return f"nothing has moved for {patience:g} s"
        pause.wait(_LOOK_S)


def _patience(snapshot: Snapshot) -> float:
    """Seconds after which a standstill is a failure; a customer who does not answer is waited for."""
    answering = snapshot.settled_challenges < snapshot.challenges
    return _STANDSTILL_S + (LIFETIME / SECOND if answering else 0)
