"""The client for coroutines."""

import asyncio
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from vedette.client import requests
from vedette.client.answers import Answer, BatchItem, LineResult, PreviewAnswer
from vedette.client.requests import GatewayRequest, Patience
from vedette.events import Label, Transaction


class AsyncGatewayClient:
    """Asks a gateway from one event loop, with the arguments and promises of GatewayClient; used with `async with`."""

    def __init__(
        self, url: str, api_key: str, *, patience_s: float = 10.0, timeout_s: float = 5.0, ca_file: str = "",
        certificate: str = "", certificate_key: str = "", connections: int = 32,
    ) -> None:  # fmt: skip
        self._url, self._patience_s = url.rstrip("/"), patience_s
        self._headers, self._timeout_s, self._connections = {"X-API-Key": api_key}, timeout_s, connections
        self._tls: ssl.SSLContext | bool = True
        if ca_file or certificate:
            self._tls = ssl.create_default_context(cafile=ca_file or None)
            if certificate:
                self._tls.load_cert_chain(certificate, certificate_key or None)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def decide(self, transaction: Transaction, *, deadline_ms: int | None = None) -> Answer:
        """Return the decision on a payment, perhaps a provisional one; see GatewayClient.decide."""
        return requests.answer_of(await self._ask(requests.decide(transaction, deadline_ms)))

    async def decide_batch(
        self, transactions: Sequence[Transaction], *, deadline_ms: int | None = None
    ) -> list[BatchItem]:
        """Return an answer for each of up to 100 payments, in order; see GatewayClient.decide_batch."""
        return requests.answers_of(await self._ask(requests.decide_batch(transactions, deadline_ms)))

    async def preview(self, transaction: Transaction) -> PreviewAnswer:
        """Return the decision that a payment would get now, without any effect."""
        return requests.preview_of(await self._ask(requests.preview(transaction)))

    async def look_up(self, transaction_id: str) -> Answer:
        """Return the newest decision on a recent payment."""
        return requests.answer_of(await self._ask(requests.look_up(transaction_id)))

    async def submit(self, transactions: Sequence[Transaction]) -> list[LineResult]:
        """Publish payments without waiting for decisions, and return a result for each."""
        return requests.results_of(await self._ask(requests.submit(transactions, "/v1/transactions")))

    async def label(self, labels: Sequence[Label]) -> list[LineResult]:
        """Publish labels, and return a result for each."""
        return requests.results_of(await self._ask(requests.submit(labels, "/v1/labels")))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._tls)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=self._timeout_s)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
        return self._session

    async def _ask(self, request: GatewayRequest) -> bytes:
        session, patience = self._opened(), Patience(self._patience_s)
        # The path is encoded already: as a string it would be normalised, and an id may contain any character.
        url = URL(self._url + request.path, encoded=True)
        while True:
            try:
                async with session.request(
                    request.method, url, data=request.body, headers=request.headers, allow_redirects=False
                ) as response:
                    status, body = response.status, await response.read()
                    retry_after = response.headers.get("Retry-After", "")
            except (TimeoutError, aiohttp.ClientError) as error:
                await asyncio.sleep(patience.pause_s(requests.no_answer(self._url, str(error) or type(error).__name__)))
                continue
            refused, after_s = requests.outcome(status, body, retry_after)
            if refused is None:
                return body
            await asyncio.sleep(patience.pause_s(refused, after_s))
