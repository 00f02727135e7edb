"""The process: the web app in front, and behind it three threads: intake, clerk and messenger."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

Loop = Callable[[threading.Event], None]
"""Works until the event is set."""

_JOIN_S = 30.0


class _Server(uvicorn.Server):
    """Leaves signals to its owner, who has more to end than the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


def serve(app: FastAPI, loops: Mapping[str, Loop], *, host: str, port: int, proxies: list[str]) -> None:
    """Serve the app and run the loops until SIGTERM, SIGINT, or until a loop fails; call it from the main thread.

    Args:
        app: The web app.
        loops: By name, what runs beside it.
        host: Address to listen on.
        port: Port to listen on.
        proxies: Addresses whose X-Forwarded-For is believed.

    Raises:
        VedetteError: What a loop failed with.
    """
    stop = threading.Event()
    failures: list[Exception] = []
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, server_header=False, forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(config)

    def run(loop: Loop) -> None:
        try:
            loop(stop)
        except Exception as error:  # noqa: BLE001, it is raised again below
            failures.append(error)
            server.should_exit = True

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        server.should_exit = True

    threads = [threading.Thread(target=run, args=(loop,), name=name) for name, loop in loops.items()]
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, end) for number in signals}
    try:
        for thread in threads:
            thread.start()
        server.run()
    finally:
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(_JOIN_S)
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failures:
        raise failures[0]
