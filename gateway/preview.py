"""Asking the preview service, which decides with the worker's own functions and changes nothing."""

from typing import Any

import aiohttp
import msgspec

from gateway.problems import problem
from vedette.client import ProblemError
from vedette.errors import SettingsError
from vedette.events import Decision, Transaction
from vedette.settings_gateway import PreviewSettings

_TIMEOUT_S = 5.0
_AGAIN_S = 2


class PreviewService:
    """The preview service, as the gateway sees it; used in one event loop.

    Args:
        settings: Where it is, and the token.

    Raises:
        SettingsError: The URL is not one of HTTP.
    """

    def __init__(self, settings: PreviewSettings) -> None:
        self._token = settings.token
        self._url = (settings.url or f"http://{settings.host}:{settings.port}").rstrip("/") + "/preview"
        if not self._url.startswith(("http://", "https://")):
            raise SettingsError(f"[preview] url {settings.url!r} is not a URL", remedy="write it like http://host:8481")
        self._session: aiohttp.ClientSession | None = None

    async def decide(self, transaction: Transaction) -> Decision:
        """Return the decision that the worker would make now.

        Raises:
            ProblemError: 409, the payment was decided before; 422, the worker would set it aside; 503, there is no
                service, or it has no answer.
        """
        if self._token is None:
            raise problem(
                "preview-off", 503, "this gateway has no preview service",
                remedy="the operator runs `vedette preview run` and sets [preview] token_file for both",
            )  # fmt: skip
        status, body = await self._post(msgspec.json.encode(transaction), self._token.value)
        if status == 200:
            return msgspec.json.decode(body, type=Decision)
        if status == 409:
            raise problem(
                "decided-before", 409, f"transaction {transaction.transaction_id!r} has been decided before",
                field="transaction_id", value=transaction.transaction_id,
                remedy="`GET /v1/decisions/{id}` gives its decision; preview a payment under a new id",
            )  # fmt: skip
        if status == 422:
            raise problem("invalid-event", 422, _detail(body), remedy="`vedette schema` prints the form of every event")
        raise _away()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, token: str) -> tuple[int, bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=32))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, await answer.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise _away() from error


def _detail(body: bytes) -> str:
    try:
        content: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "the event cannot be read"
    return str(content.get("detail", "")) if isinstance(content, dict) else ""


def _away() -> ProblemError:
    return problem(
        "preview-away", 503, "the preview service does not answer now; decisions are not affected",
        retry_after_s=_AGAIN_S, remedy="send it again later",
    )  # fmt: skip
