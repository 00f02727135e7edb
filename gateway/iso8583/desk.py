"""The answer to one message of a card switch: the decision as response code (DE 39)."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.decision_gateway import DecisionGateway
from gateway.metrics import GatewayMetrics
from producers.iso8583.form import Form
from producers.iso8583.message import ADVICES, REQUESTS, CardMessage, NotAPaymentError, decode, encode, record_of
from producers.iso8583.transaction import transaction_of
from vedette.card_numbers import CardNumbers, CardTokens
from vedette.client import ProblemError
from vedette.clock import Clock
from vedette.errors import InputError
from vedette.settings_gateway import Iso8583Settings

if TYPE_CHECKING:
    from vedette.events import Action

APPROVED, INVALID, FORMAT_ERROR, INOPERATIVE, DUPLICATE = "00", "12", "30", "91", "94"
_NETWORK = "0800"
_CODES = {409: DUPLICATE, 422: FORMAT_ERROR, 429: INOPERATIVE, 503: INOPERATIVE}
"""Response code for what the gateway refuses by HTTP with this status."""
_REPEATED = frozenset(
    {"h", "2", "3", "4", "7", "11", "12", "13", "15", "32", "33", "37", "41", "42", "49", "70", "90", "95"}
)  # fmt: skip
"""Fields by which the switch finds its request again."""


class CardDesk:
    """Answers messages.

    Args:
        settings: Form, deadline and response codes.
        gateway: Decides.
        charge: Counts a payment of a peer; raises ProblemError if they are too many.
        form: How fields are written.
        tokens: Makes account ids.
        cards: What happens to other identifiers that are card numbers.
        clock: The clock.
        metrics: Counts what happens.
    """

    def __init__(
        self, settings: Iso8583Settings, gateway: DecisionGateway, charge: Callable[[str, int], None], form: Form,
        tokens: CardTokens, cards: CardNumbers, clock: Clock, metrics: GatewayMetrics,
    ) -> None:  # fmt: skip
        self._settings, self._gateway, self._charge = settings, gateway, charge
        self._form, self._tokens, self._cards = form, tokens, cards
        self._clock, self._metrics = clock, metrics
        self._codes: dict[Action, str] = {
            "approve": settings.approve, "challenge": settings.challenge, "review": settings.review,
            "decline": settings.decline,
        }  # fmt: skip

    async def answer(self, raw: bytes, peer: str, started: float) -> bytes | None:
        """Return the answer to a message; None: it asks nothing.

        Args:
            raw: The message.
            peer: Address of the switch.
            started: When it came, by time.perf_counter.

        Raises:
            InputError: It cannot be read at all.
        """
        message = decode(raw, self._form)
        if message.type == _NETWORK:
            code = APPROVED
        elif message.type in REQUESTS:
            code = await self._code(message, peer, started)
        elif message.type[2:3] in ("0", "2"):  # another request
            code = INVALID
        else:
            return None
        self._metrics.card_messages.labels(message.type, code).inc()
        return encode(_reply(message, code), self._form)

    async def _code(self, message: CardMessage, peer: str, started: float) -> str:
        try:
            record = record_of(message, self._tokens, self._clock.now_ms())
            transaction = self._cards.admit(transaction_of(record))
            self._charge(f"iso8583 {peer}", 1)
            deadline_s = self._settings.deadline_ms / 1000
            if message.type in ADVICES or transaction.kind == "reversal":  # it says what has happened already
                await self._gateway.accept(transaction, deadline_s)
                return APPROVED
            return self._codes[(await self._gateway.decide(transaction, deadline_s, started)).action]
        except NotAPaymentError:
            return INVALID
        except InputError:
            return FORMAT_ERROR
        except ProblemError as refused:
            return _CODES[refused.problem.status]
        finally:
            self._metrics.card_latency.observe(time.perf_counter() - started)


def _reply(message: CardMessage, code: str) -> CardMessage:
    """Return the answer to a request or advice; that to a repeated one has the type of the first one's."""
    kind = message.type
    fields = {name: text for name, text in message.fields.items() if name in _REPEATED}
    # A repeat differs from the first message in the last digit: 0101 is answered like 0100, with 0110.
    return CardMessage({**fields, "t": f"{kind[:2]}{int(kind[2]) + 1}{int(kind[3]) // 2 * 2}", "39": code})
