"""Wiring of the listener for card switches."""

from collections.abc import Callable
from typing import Any

from adapters.http_tls import TlsFiles
from gateway.decision_gateway import DecisionGateway
from gateway.iso8583.desk import CardDesk
from gateway.iso8583.listener import CardListener
from gateway.metrics import GatewayMetrics
from producers.iso8583.form import load_form
from vedette.card_numbers import CardNumbers, CardTokens
from vedette.clock import Clock
from vedette.settings_gateway import Iso8583Settings


def card_listener(
    own: Iso8583Settings, gateway: DecisionGateway, charge: Callable[[str, int], None], tls: TlsFiles | None,
    tokens: CardTokens, cards: CardNumbers, clock: Clock, metrics: GatewayMetrics, log: Any,
) -> CardListener:  # fmt: skip
    """Return the listener, whose socket is open.

    Args:
        own: Its settings.
        gateway: Decides.
        charge: Counts payments of a peer.
        tls: None: plain TCP.
        tokens: Makes account ids.
        cards: What happens to other identifiers that are card numbers.
        clock: The clock.
        metrics: Counts what happens.
        log: A structlog logger.

    Raises:
        SettingsError: The address cannot be listened on.
        InputError: The form has a mistake.
    """
    desk = CardDesk(own, gateway, charge, load_form(own.form), tokens, cards, clock, metrics)
    return CardListener(own, desk.answer, tls.context() if tls else None, log)
