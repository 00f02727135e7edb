"""Posts what is due: signed, to checked addresses, with pauses that grow while an endpoint does not take it."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar

import aiohttp
from sqlalchemy import Connection, Engine

from access.keyring import Keyring
from adapters.channels.channel import wait_ms
from adapters.channels.webhook import sign, signing_key
from adapters.public_addresses import PrivateAddressError, PublicResolver, check_host
from gateway.webhooks import outbox
from gateway.webhooks.endpoints import WebhookEndpoint, secret_of
from gateway.webhooks.metrics import WebhookMetrics
from gateway.webhooks.outbox import AttemptResult, ClaimedDelivery
from vedette import __version__
from vedette.clock import HOUR, MINUTE, SECOND, Clock
from vedette.errors import StateError
from vedette.settings import WebhookSettings

ATTEMPT_PAUSES_MS = (5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR)
"""Pauses between the attempts of one delivery, as Standard Webhooks suggests; after the last it is a dead letter."""

_FIRST_SETBACK_MS, _LONGEST_SETBACK_MS = SECOND, 5 * MINUTE
_PARALLEL = 8
_LOOK_S = 0.2
_READ = 4096
_MARGIN_MS = 10 * SECOND

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Answered:
    """What became of an attempt: HTTP status or 0, what to show, and the pause that the receiver asks for."""

    status: int
    code: str
    wait_ms: int = 0
    forbidden: bool = False

    @property
    def sets_back(self) -> bool:
        """Whether it says that the endpoint as a whole does not work at present."""
        return self.status == 0 or self.status >= 500 or self.status in (408, 425, 429)


class WebhookSender:
    """Sends the outbox; several processes may do so at once.

    Args:
        engine: The database.
        keyring: Decrypts the secrets.
        settings: Time-outs, and whether private addresses are allowed.
        clock: The clock.
        random: Source of jitter.
        metrics: Counts attempts.
        log: A structlog logger.
    """

    def __init__(
        self, engine: Engine, keyring: Keyring, settings: WebhookSettings, *, clock: Clock, random: Random,
        metrics: WebhookMetrics, log: Any,
    ) -> None:  # fmt: skip
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._keyring, self._settings = keyring, settings
        self._clock, self._random, self._metrics, self._log = clock, random, metrics, log
        self._lease_ms = round(settings.timeout_s * SECOND) + _MARGIN_MS
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: Callable[[], bool]) -> None:
        """Send until `stop` returns true; attempts under way are finished.

        Raises:
            StateError: The database does not answer.
        """
        async with self._session() as session:
            try:
                while not stop():
                    for endpoint in await self._read(lambda c: outbox.ready(c, self._clock.now_ms())):
                        if endpoint.id not in self._busy:
                            self._busy[endpoint.id] = asyncio.create_task(self._serve(endpoint, session, stop))
                    await asyncio.sleep(_LOOK_S)
                    self._reap()
            finally:
                await asyncio.gather(*self._busy.values(), return_exceptions=True)
                self._busy.clear()

    def _reap(self) -> None:
        for id_, task in list(self._busy.items()):
            if task.done():
                del self._busy[id_]
                task.result()

    def _session(self) -> aiohttp.ClientSession:
        own = self._settings
        context = ssl.create_default_context(cafile=own.ca_file or None)
        connector = aiohttp.TCPConnector(
            resolver=None if own.allow_private else PublicResolver(), use_dns_cache=False, ssl=context,
            limit=0, limit_per_host=_PARALLEL,
        )  # fmt: skip
        return aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=own.timeout_s), trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
            headers={"User-Agent": f"Vedette/{__version__}", "Content-Type": "application/json"},
        )  # fmt: skip

    async def _serve(self, endpoint: WebhookEndpoint, session: aiohttp.ClientSession, stop: Callable[[], bool]) -> None:
        """Send to one endpoint until nothing is due or it fails; a slow one holds up no other."""
        try:
            secret = await self._read(lambda c: secret_of(c, endpoint.id, self._keyring))
        except StateError as error:
            reason = str(error)
            await self._write(lambda c: outbox.pause(c, endpoint.id, reason))
            return
        failures = endpoint.failures
        while not stop():
            claimed = await self._write(partial(self._claim, endpoint.id, 1 if failures else _PARALLEL))
            if not claimed:
                return
            key = signing_key(secret)
            answers = await asyncio.gather(*(self._post(endpoint, each, key, session) for each in claimed))
            failures = await self._settle(endpoint, failures, list(zip(claimed, answers, strict=True)))
            if failures:
                return

    def _claim(self, endpoint_id: str, limit: int, connection: Connection) -> list[ClaimedDelivery]:
        now = self._clock.now_ms()
        return outbox.claim(connection, endpoint_id, now, limit, now + self._lease_ms)

    async def _post(
        self, endpoint: WebhookEndpoint, claimed: ClaimedDelivery, key: bytes, session: aiohttp.ClientSession
    ) -> _Answered:
        headers = sign(claimed.event_id, self._clock.now_ms() // SECOND, claimed.body, key)
        try:
            if not self._settings.allow_private:
                check_host(endpoint.url)
            async with session.post(endpoint.url, data=claimed.body, headers=headers, allow_redirects=False) as answer:
                await answer.content.read(_READ)  # so that the connection can be used again
                return _Answered(answer.status, str(answer.status), wait_ms(answer.headers.get("Retry-After", "")))
        except PrivateAddressError:
            return _Answered(0, "private-address", forbidden=True)
        except aiohttp.ClientConnectorError as error:
            if isinstance(getattr(error, "os_error", None), PrivateAddressError):  # one of a certificate has none
                return _Answered(0, "private-address", forbidden=True)
            return _Answered(0, type(error).__name__)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:  # ValueError: a URL that the client refuses
            return _Answered(0, type(error).__name__)

    async def _settle(
        self, endpoint: WebhookEndpoint, failures: int, answers: list[tuple[ClaimedDelivery, _Answered]]
    ) -> int:
        """Write what became of attempts, and return how many have failed in a row."""
        now = self._clock.now_ms()
        results = [self._result(claimed, answered, now) for claimed, answered in answers]
        bad = [answered for _, answered in answers if answered.sets_back]
        failures = failures + 1 if bad else 0
        pause_ms = min(_FIRST_SETBACK_MS << min(failures, 20), _LONGEST_SETBACK_MS) if bad else 0
        retry_at = now + max([self._jittered(pause_ms), *(answered.wait_ms for answered in bad)]) if bad else 0
        because = next((_why_paused(answered) for _, answered in answers if _why_paused(answered)), "")

        def write(connection: Connection) -> None:
            outbox.settle(connection, results, now)
            if failures or endpoint.failures:
                outbox.set_back(connection, endpoint.id, failures, retry_at)
            if because:
                outbox.pause(connection, endpoint.id, because)

        await self._write(write)
        for result in results:
            outcome = {"sent": "sent", "failed": "dead"}.get(result.status, "retry")
            self._metrics.attempts.labels(outcome).inc()
        if bad and failures == 1:
            self._log.warning("webhook does not answer", webhook=endpoint.id, code=bad[0].code)
        if because:
            self._log.error("webhook paused", webhook=endpoint.id, reason=because)
        return failures or int(bool(because))

    def _result(self, claimed: ClaimedDelivery, answered: _Answered, now: int) -> AttemptResult:
        if 200 <= answered.status < 300:
            return AttemptResult(id=claimed.id, status="sent", due_at=None, code=answered.code)
        if answered.forbidden:  # nothing was contacted; it waits until the endpoint is resumed
            return AttemptResult(id=claimed.id, status="pending", due_at=now, code=answered.code)
        if claimed.attempts > len(ATTEMPT_PAUSES_MS):
            return AttemptResult(id=claimed.id, status="failed", due_at=None, code=answered.code)
        pause_ms = max(self._jittered(ATTEMPT_PAUSES_MS[claimed.attempts - 1]), answered.wait_ms)
        return AttemptResult(id=claimed.id, status="pending", due_at=now + pause_ms, code=answered.code)

    def _jittered(self, pause_ms: int) -> int:
        return round(pause_ms * self._random.uniform(0.8, 1.2))

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        def run() -> _T:
            with self._reading.connect() as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def _write(self, work: Callable[[Connection], _T]) -> _T:
        def run() -> _T:
            with self._engine.begin() as connection:
                return work(connection)

        return await asyncio.to_thread(run)


def _why_paused(answered: _Answered) -> str:
    if answered.forbidden:
        return "its name leads to a private address, which [webhooks] allow_private does not permit"
    return "it answered 410 Gone" if answered.status == 410 else ""
