"""A child process that ends with its parent, however the parent ends."""

import os
import socket
import subprocess
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from vedette.errors import UnavailableError

# The guard reads from a pipe that only the parent writes to. Its end means that the parent is gone, killed or not,
# whereupon the server is told to finish and, if it does not within ten seconds, made to. (Linux's
# PR_SET_PDEATHSIG would follow the thread that started the server, not the process.)
_GUARD = """
read -r _
kill -TERM "$1"
left=100
while kill -0 "$1" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
kill -KILL "$1"
"""

# Below the range from which kernels take ports for outgoing connections: there a client that keeps knocking at
# the port of a stopped server can end up connected to itself, and the server could not come back.
_PORTS = range(20_000, 32_000)


def free_ports(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody listens on, none of them one to avoid.

    Raises:
        UnavailableError: There are not that many.
    """
    found: list[int] = []
    start = os.getpid() * 31 % len(_PORTS)  # so that stacks started side by side look in different places
    with ExitStack() as held:
        for step in range(len(_PORTS)):
            if len(found) == count:
                return found
            port = _PORTS[(start + step) % len(_PORTS)]
            if port in avoid:
                continue
            if _bind(held.enter_context(socket.socket()), port):
                found.append(port)
    raise UnavailableError(f"no {count} free TCP ports between {_PORTS.start} and {_PORTS.stop}")


def port_is_free(port: int) -> bool:
    """Whether nobody listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        return _bind(probe, port)


def _bind(probe: socket.socket, port: int) -> bool:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections are no obstacle
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


class Child:
    """A server process in a session of its own, so that Ctrl-C reaches it only through its parent.

    Args:
        command: Program and arguments.
        log: File to which its output is appended.
        hold: File descriptors that it keeps open for as long as it lives, such as a lock.
    """

    def __init__(self, command: Sequence[str], *, log: Path, hold: Sequence[int] = ()) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
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
        """Exit code (negative: the signal that ended it), or None if it still runs after that many seconds."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss_guard()
        return code

    def kill(self) -> None:
        """End it without a chance to tidy up (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._dismiss_guard()

    def stop(self, *, within_s: float) -> None:
        """Ask it to end (SIGTERM), and kill it if it does not within that many seconds."""
        self._process.terminate()
        if self.exit_code(within_s=within_s) is None:
            self.kill()

    def _dismiss_guard(self) -> None:
        """The process has been waited for, so its id may soon be another's: nobody must signal it any more."""
        if self._guard.returncode is None:
            self._guard.kill()
            self._guard.communicate()
