"""The client for threads."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import urllib3

from vedette.client import requests
from vedette.client.answers import Answer, BatchItem, LineResult, PreviewAnswer
from vedette.client.requests import GatewayRequest, Patience
from vedette.events import Label, Transaction


class GatewayClient:
    """Asks a gateway; threads may share one. Close it, or use it with `with`.

    A request that finds nobody, is cut off, or is answered with 429 or 503 is sent again, byte for byte, until the
    patience ends. That is safe: the gateway gives the same id and body the same decision, and nothing is decided twice.

    Args:
        url: Of the gateway, such as https://gateway.bank.example.
        api_key: As `vedette access create` shows it.
        patience_s: Seconds for which a request is repeated; 0: it is sent once.
        timeout_s: Limit for one answer.
        ca_file: The authority that signed the gateway's certificate; empty: those of the system.
        certificate: File with the client's certificate, if the gateway requires one.
        certificate_key: File with its private key.
        connections: Most connections at once.
    """

    def __init__(
        self, url: str, api_key: str, *, patience_s: float = 10.0, timeout_s: float = 5.0, ca_file: str = "",
        certificate: str = "", certificate_key: str = "", connections: int = 32,
    ) -> None:  # fmt: skip
        self._url, self._patience_s = url.rstrip("/"), patience_s
        tls = {"ca_certs": ca_file or None, "cert_file": certificate or None, "key_file": certificate_key or None}
        self._pool = urllib3.PoolManager(
            headers={"X-API-Key": api_key}, timeout=timeout_s, retries=False, maxsize=connections, block=True,
            **({name: value for name, value in tls.items() if value}),  # type: ignore[arg-type]
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def decide(self, transaction: Transaction, *, deadline_ms: int | None = None) -> Answer:
        """Return the decision on a payment, perhaps a provisional one.

        Args:
            transaction: The payment.
            deadline_ms: Milliseconds until a provisional answer; None: as the gateway is set.

        Raises:
            ProblemError: The gateway refuses the payment, or was not ready for it in time.
            UnavailableError: No gateway answered in time.
        """
        return requests.answer_of(self._ask(requests.decide(transaction, deadline_ms)))

    def decide_batch(self, transactions: Sequence[Transaction], *, deadline_ms: int | None = None) -> list[BatchItem]:
        """Return an answer for each of up to 100 payments, in order; see decide. A refused one has its problem."""
        return requests.answers_of(self._ask(requests.decide_batch(transactions, deadline_ms)))

    def preview(self, transaction: Transaction) -> PreviewAnswer:
        """Return the decision that a payment would get now, without any effect; see decide for the errors."""
        return requests.preview_of(self._ask(requests.preview(transaction)))

    def look_up(self, transaction_id: str) -> Answer:
        """Return the newest decision on a recent payment; see decide for the errors."""
        return requests.answer_of(self._ask(requests.look_up(transaction_id)))

    def submit(self, transactions: Sequence[Transaction]) -> list[LineResult]:
        """Publish payments without waiting for decisions, and return a result for each; see decide for the errors."""
        return requests.results_of(self._ask(requests.submit(transactions, "/v1/transactions")))

    def label(self, labels: Sequence[Label]) -> list[LineResult]:
        """Publish labels, and return a result for each; see decide for the errors."""
        return requests.results_of(self._ask(requests.submit(labels, "/v1/labels")))

    def _ask(self, request: GatewayRequest) -> bytes:
        headers = {**self._pool.headers, **request.headers}
        patience = Patience(self._patience_s)
        while True:
            try:
                response = self._pool.request(
                    request.method, self._url + request.path, body=request.body, headers=headers
                )
            except urllib3.exceptions.HTTPError as error:
                time.sleep(patience.pause_s(requests.no_answer(self._url, error)))
                continue
            retry_after = response.headers.get("Retry-After", "")
            refused, after_s = requests.outcome(response.status, response.data, retry_after)
            if refused is None:
                return response.data
            time.sleep(patience.pause_s(refused, after_s))
