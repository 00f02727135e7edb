"""The challenge service under hostile clients: latency of an honest challenge, and memory of the service.

`vedette mfa run` runs as in production, with a separate broker and Redis. A process of attackers keeps connections of
five kinds open: large bodies without a key, deeply nested JSON, heads and bodies that arrive byte by byte, and event
streams of one session. Meanwhile honest challenges are issued and answered through the API.
"""

import asyncio
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import psutil

from access.admin import create as create_credential
from access.keyring import keyring_of, new_key
from access.roles import Role
from adapters.redis import connect
from bench.measurement import Measurement, Setup
from challenges.codes import app_of, new_secret
from challenges.records import Account
from challenges.store import ChallengeStore
from stack.local import LocalStack
from stack.process import free_ports
from stack.topics import apply
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.settings_file import load_settings

_ANSWER_S = 30.0
_START_S = 60.0
_SETTLED_S = 5.0  # after a start
_LARGE = 31_000_000
_NESTED = b'{"a":' * 12_000


@dataclass(frozen=True)
class HostileResult(Measurement):
    """Results of the benchmark.

    Args:
        clients: Number of parallel hostile clients.
        idle_cpu: Cores that the idle service uses.
        quiet_p95_ms: 95th percentile of issuing and answering a challenge without attackers, in milliseconds.
        p50_ms: Median with attackers.
        p95_ms: 95th percentile with attackers.
        challenges: Number of challenges issued and answered during the attack.
        not_approved: Number of them that were not approved.
        rss_before_mb: Memory of the service before the attack.
        rss_highest_mb: Peak memory of the service during the attack.
    """

    clients: int
    idle_cpu: float
    quiet_p95_ms: float
    p50_ms: float
    p95_ms: float
    challenges: int
    not_approved: int
    rss_before_mb: float
    rss_highest_mb: float


def measure(setup: Setup, *, clients: int, seconds: float) -> HostileResult:
    """Attack a service started for this benchmark."""
    with LocalStack(setup.directory / "stack", setup.broker, setup.redis) as stack:
        (port,) = free_ports(1)
        environment = _environment(setup.directory, stack, port)
        settings = load_settings(None, environment)
        apply(settings)
        key = create_credential(settings, "bench", Role.APP, (), days=1).api_key
        with (
            closing(_Customers(settings, port, key)) as customers,
            _service(environment, setup.directory / "service.log", port) as process,
        ):
            setup.say("idle")
            time.sleep(_SETTLED_S)
            idle = _cores(process, seconds / 2)
            setup.say("honest challenges alone")
            quiet = customers.challenge(seconds / 2)
            before = process.memory_info().rss
            setup.say(f"honest challenges among {clients} hostile clients")
            with _attackers(port, customers.call_session(), clients):
                seen = customers.challenge(seconds, lambda: process.memory_info().rss)
    return HostileResult(
        clients=clients,
        idle_cpu=round(idle, 4),
        quiet_p95_ms=_p95(quiet.took_ms),
        p50_ms=round(statistics.median(seen.took_ms), 1),
        p95_ms=_p95(seen.took_ms),
        challenges=len(seen.took_ms),
        not_approved=seen.not_approved,
        rss_before_mb=round(before / 1e6, 1),
        rss_highest_mb=round(max(seen.rss, default=0) / 1e6, 1),
    )


@dataclass
class _Seen:
    """Observations of honest customers."""

    took_ms: list[float]
    rss: list[int]
    not_approved: int = 0


class _Customers:
    """Honest customers, one after the other, each with a separate account."""

    def __init__(self, settings: Settings, port: int, api_key: str) -> None:
        self._port, self._headers = port, {"X-API-Key": api_key, "Content-Type": "application/json"}
        self._keys = keyring_of(settings.mfa)
        self._redis = connect(settings.redis)
        self._store = ChallengeStore(self._redis, settings.redis.prefix)
        self._count = 0

    def challenge(self, seconds: float, rss: Callable[[], int] | None = None) -> _Seen:
        """Issue and answer challenges for some time; at most eight a second, as the API allows one credential."""
        seen, until = _Seen([], []), time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            seen.not_approved += not self._approved()
            took = time.monotonic() - began
            seen.took_ms.append(took * 1000)
            if rss:
                seen.rss.append(rss())
            time.sleep(max(0.0, 0.25 - took))
        return seen

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()

    def call_session(self) -> str:
        """Return the cookie of a customer's call check page, whose streams the attackers open."""
        _, answer, _ = self._ask("/v1/call-links", {"account_id": "attacker"})
        _, _, cookie = self._ask("/" + answer["url"].split("/", 3)[3], None)
        return cookie.partition(";")[0]

    def _approved(self) -> bool:
        self._count += 1
        account, secret = f"honest-{self._count}", new_secret(os.urandom)
        sealed = self._keys.seal(secret, f"totp {account}", os.urandom)
        self._store.replace_account(Account(account_id=account), Account(account_id=account, totp=sealed))
        payment = {"amount": 100, "currency": "EUR", "payee": "shop"}
        status, issued, _ = self._ask("/v1/challenges", payment | {"transaction_id": account, "account_id": account})
        if status != http.HTTPStatus.CREATED:
            return False
        answer = {"factor": "totp", "value": app_of(secret).now(), "shown": payment}
        _, outcome, _ = self._ask(f"/v1/challenges/{issued['challenge_id']}/answer", answer)
        return outcome.get("result") == "approved"

    def _ask(self, path: str, body: object) -> "tuple[int, dict[str, str], str]":
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S)
        try:
            connection.request("POST", path, json.dumps(body) if body else None, self._headers if body else {})
            response = connection.getresponse()
            text = response.read()
            parsed = json.loads(text) if text.startswith(b"{") else {}
            return response.status, parsed, response.headers.get("Set-Cookie", "")
        finally:
            connection.close()


@contextmanager
def _attackers(port: int, cookie: str, clients: int) -> Iterator[None]:
    """Run the attackers in a separate process, so that they do not slow down the measurement."""
    process = multiprocessing.get_context("spawn").Process(target=_attack, args=(port, cookie, clients), daemon=True)
    process.start()
    try:
        time.sleep(2.0)  # until all have begun
        yield
    finally:
        process.kill()
        process.join()


def _attack(port: int, cookie: str, clients: int) -> None:
    kinds = cycle((_large, _nested, _slow_head, _slow_body, _stream))

    async def all_at_once() -> None:
        await asyncio.gather(*(_again(kind, port, cookie) for kind, _ in zip(kinds, range(clients), strict=False)))

    asyncio.run(all_at_once())


Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Coroutine[None, None, None]]


async def _again(attack: Attack, port: int, cookie: str) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await attack(reader, writer, cookie)
            finally:
                writer.close()
        except OSError:
            await asyncio.sleep(0.05)


def _post(length: int) -> bytes:
    return (
        f"POST /v1/challenges HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def _large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    del cookie
    writer.write(_post(_LARGE))
    for _ in range(_LARGE // 65_536):
        writer.write(b"[" * 65_536)
        await writer.drain()
    await reader.read()


async def _nested(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    del cookie
    writer.write(_post(len(_NESTED)) + _NESTED)
    await reader.read(4096)


async def _slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    del reader, cookie
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def _slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    del reader, cookie
    writer.write(_post(60_000))
    for _ in range(60_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.2)


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str) -> None:
    writer.write(f"GET /call/events HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode())
    while await reader.read(65_536):
        pass
    await asyncio.sleep(0.5)  # as a browser does


def _environment(directory: Path, stack: LocalStack, port: int) -> dict[str, str]:
    keys, audit = directory / "keys", directory / "audit.key"
    keys.write_text(new_key("bench", os.urandom))
    audit.write_text(os.urandom(32).hex())
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "REDIS__URL": stack.redis_url,
        "DATABASE__URL": f"sqlite:///{directory / 'alerts.sqlite'}",
        "AUDIT__PATH": str(directory / "audit.jsonl"),
        "AUDIT__KEY_FILE": str(audit),
        "MFA__KEYS_FILE": str(keys),
        "MFA__PORT": str(port),
        "MFA__PUBLIC_URL": f"http://localhost:{port}",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
    return inherited | {f"VEDETTE_{name}": value for name, value in own.items()}


@contextmanager
def _service(environment: dict[str, str], log: Path, port: int) -> Iterator[psutil.Process]:
    command = (sys.executable, "-c", "from cli.main import main; main()", "mfa", "run")
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_until_ready(port, log)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)) as connection:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise UnavailableError(f"the service is not ready after {_START_S:g} s", remedy=f"see {log}")


def _cores(process: psutil.Process, seconds: float) -> float:
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


def _p95(took_ms: list[float]) -> float:
    return round(statistics.quantiles(took_ms, n=20)[-1], 1) if len(took_ms) > 1 else 0.0
