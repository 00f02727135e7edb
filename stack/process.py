"""A child process that ends with its parent, however the parent ends."""

import os
import socket
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from threading import Lock

from vedette.errors import UnavailableError

# The guard reads from a pipe that only the parent writes to. The end of the pipe means that the parent has ended,
# killed or not. The server then gets SIGTERM and, if it still runs after ten seconds, SIGKILL. (Linux's
# PR_SET_PDEATHSIG would follow the thread that started the server, not the process.)
_GUARD = """
read -r _
kill -TERM "$1"
left=100
while kill -0 "$1" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
kill -KILL "$1"
"""

# Below the range from which kernels take ports for outgoing connections: within it, a client that keeps retrying the
# port of a stopped server can end up connected to itself, and the server could not start again.
_PORTS = range(20_000, 32_000)

# A server may take seconds until it listens. Until then its port looks free, so no port is given out twice.
_given: set[int] = set()
_giving = Lock()


def free_ports(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Return distinct free TCP ports of 127.0.0.1 that this process has not asked for before, except those to avoid.

    Raises:
        UnavailableError: There are too few.
    """
    found: list[int] = []
    start = os.getpid() * 31 % len(_PORTS)  # so that stacks started in parallel start from different ports
    with ExitStack() as held, _giving:
        for step in range(len(_PORTS)):
            if len(found) == count:
                _given.update(found)
                return found
            port = _PORTS[(start + step) % len(_PORTS)]
            if port in avoid or port in _given:
                continue
            if _bind(held.enter_context(socket.socket()), port):
                found.append(port)
    raise UnavailableError(f"no {count} free TCP ports between {_PORTS.start} and {_PORTS.stop}")


def port_is_free(port: int) -> bool:
    """Return whether a TCP port of 127.0.0.1 is free."""
    with socket.socket() as probe:
        return _bind(probe, port)


def _bind(probe: socket.socket, port: int) -> bool:
    probe.setsockopt(
        socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
    )  # as servers do: closed connections do not block the port
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


class Child:
    """A server process in a separate session, so that Ctrl-C reaches it only through its parent.

    Args:
        command: Program and arguments.
        log: File to which its output is appended; None: it goes where this process's output goes.
        hold: File descriptors that it keeps open until it ends, such as a lock.
        environ: Its environment; None: that of this process.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path | None, hold: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        with log.open("ab") if log else nullcontext() as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                env=environ,
                pass_fds=hold,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.exit_code(within_s=0.0) is None

    def exit_code(self, *, within_s: float) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None if it still runs after that time."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss_guard()
        return code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill it without a chance to clean up (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._dismiss_guard()

    def stop(self, *, within_s: float) -> None:
        """Ask it to end (SIGTERM), and kill it if it does not end in time."""
        self._process.terminate()
        if self.exit_code(within_s=within_s) is None:
            self.kill()

    def _dismiss_guard(self) -> None:
        """Mark the process as waited for: its id may be reused, so it must not be signalled any more."""
        if self._guard.returncode is None:
            self._guard.kill()
            self._guard.communicate()
