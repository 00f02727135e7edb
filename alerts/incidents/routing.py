"""Who is told of what: the form of the routing file, and what follows from it."""

from datetime import time
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from alerts.incidents.attention import Zone, parse_span, parse_time
from alerts.incidents.rota import Rota
from vedette.events import Action, Alert, Channel, Country, Currency
from vedette.money import exponent, to_minor
from vedette.settings import Secret

ChannelName = Literal["email", "sms", "whatsapp", "webhook", "sns", "apprise"]

ON_CALL = "on-call"
"""In `tell`, stands for the recipients of whoever is on call."""

_FIELDS = ("action", "channel", "country", "segment")  # of an alert that a route may ask about


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the file is made of."""


class Recipient(_Form, frozen=True, kw_only=True):
    """One way to reach somebody.

    Attributes:
        channel: How.
        to: Where: an address, a number, a URL, a topic's ARN.
        to_file: A file that holds that instead, where it is a secret.
        secret_file: The key that signs a webhook.
        language: Of what they read.
        quiet: Hours in which only urgent messages are sent, such as 22:00-07:00.
        most_per_hour: Beyond so many messages, the rest goes into their digest; 0: no limit.
    """

    channel: ChannelName
    to: str = ""
    to_file: str = ""
    secret_file: str = ""
    language: str = ""
    quiet: str = ""
    most_per_hour: Annotated[int, Meta(ge=0)] = 0

    @property
    def span(self) -> tuple[time, time] | None:
        """The quiet hours."""
        return parse_span(self.quiet) if self.quiet else None


class When(_Form, frozen=True, kw_only=True):
    """What an alert must be; what is left out may be anything."""

    action: list[Action] = []
    amount_from: str = "0"
    channel: list[Channel] = []
    country: list[Country] = []
    segment: list[str] = []


class Escalation(_Form, frozen=True, kw_only=True):
    """Whom to tell when nobody has acknowledged for so long."""

    after_minutes: Annotated[int, Meta(ge=1)]
    tell: Annotated[list[str], Meta(min_length=1)]


class Route(_Form, frozen=True, kw_only=True):
    """Whom to tell of which alerts; the first route that fits decides.

    Attributes:
        when: Which alerts it is about.
        tell: Names of recipients; `on-call` stands for whoever is.
        urgent: Quiet hours do not hold it back.
        escalate: In the order of time; each counts from the first message.
    """

    when: When = When()
    tell: Annotated[list[str], Meta(min_length=1)]
    urgent: bool = False
    escalate: list[Escalation] = []


class Ranking(_Form, frozen=True, kw_only=True):
    """The currency that losses are compared in, and what a unit of the others is worth in it."""

    currency: Currency = "EUR"
    rates: dict[str, str] = {}


class Budget(_Form, frozen=True, kw_only=True):
    """How many incidents a day are told one by one; 0: all. The rest is in digests at these times of day."""

    incidents: Annotated[int, Meta(ge=0)] = 0
    digest_at: Annotated[tuple[str, ...], Meta(min_length=1)] = ("08:00",)
    digest_to: list[str] = []

    @property
    def times(self) -> list[time]:
        """Of the digests."""
        return [parse_time(text) for text in self.digest_at]


class RoutingForm(_Form, frozen=True, kw_only=True):
    """The file as it is written."""

    format: Annotated[int, Meta(ge=1, le=1)]
    timezone: str = "UTC"
    language: str = "en"
    recipients: Annotated[dict[str, dict[str, Any]], Meta(min_length=1)]  # each is read by itself, to know its place
    ranking: Ranking = Ranking()
    budget: Budget = Budget()
    rota: str = ""
    routes: Annotated[list[Route], Meta(min_length=1)]


class Target(msgspec.Struct, frozen=True):
    """Where a recipient's messages go; never printed, since an address may hold a token."""

    to: Secret
    key: Secret | None


class Routing:
    """The file, with its secrets read and its names resolved."""

    def __init__(
        self,
        form: RoutingForm,
        recipients: dict[str, Recipient],
        targets: dict[str, Target],
        zone: Zone,
        rota: Rota | None,
    ) -> None:
        self.recipients = recipients
        self.budget = form.budget
        self.routes = form.routes
        self.zone = zone
        self.targets = targets
        self._form = form
        self._rota = rota
        self._rates = {code: Decimal(rate) for code, rate in form.ranking.rates.items()}
        self._conditions = [_conditions(route, form.ranking.currency) for route in form.routes]

    @property
    def channels(self) -> set[ChannelName]:
        """The channels that anybody is reached by."""
        return {recipient.channel for recipient in self.recipients.values()}

    @property
    def currency(self) -> str:
        """The currency that losses are compared in."""
        return self._form.ranking.currency

    @property
    def language_default(self) -> str:
        """What those read who have named nothing else."""
        return self._form.language

    def language(self, recipient: str) -> str:
        """What a recipient reads."""
        return self.recipients[recipient].language or self._form.language

    def worth(self, amount: int, currency: str) -> int:
        """Minor units of a currency in minor units of the ranking's; a currency without a rate counts at par."""
        mine = self._form.ranking.currency
        if currency == mine:
            return amount
        rate = self._rates.get(currency, Decimal(1))
        return round((Decimal(amount) * rate).scaleb(exponent(mine) - exponent(currency)))

    def route(self, alerts: list[Alert]) -> Route:
        """The first route that fits any of these alerts."""
        return self.routes[min(self._first(alert) for alert in alerts)]

    def resolve(self, names: list[str], now: int) -> list[str]:
        """Recipients in their order, each once, with whoever is on call at a moment (ms since 1970 UTC)."""
        found: dict[str, None] = {}
        for name in names:
            on_call = name == ON_CALL and self._rota
            found |= dict.fromkeys(self._rota.on_duty(now, self.zone) if on_call and self._rota else [name])
        return list(found)

    def _first(self, alert: Alert) -> int:
        amount = self.worth(alert.amount, alert.currency)
        for position, (least, conditions) in enumerate(self._conditions):
            if amount < least:
                continue
            for field, allowed in conditions:
                if getattr(alert, field) not in allowed:
                    break
            else:
                return position
        raise AssertionError("the last route fits every alert")


def _conditions(route: Route, currency: str) -> tuple[int, list[tuple[str, frozenset[str]]]]:
    """What a route asks of an alert: the least amount, and of each field it names the values that fit."""
    named = [(field, frozenset(getattr(route.when, field))) for field in _FIELDS if getattr(route.when, field)]
    return to_minor(route.when.amount_from, currency), named
