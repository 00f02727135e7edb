"""Routing of notifications: the schema of the routing file, and the decisions based on it."""

from datetime import time
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from adapters.channels.target import ChannelName, Target
from alerts.incidents.notification_budget import Zone, parse_span, parse_time
from alerts.incidents.rota import Rota
from vedette.events import Action, Alert, Channel, Country, Currency
from vedette.money import exponent, to_minor

ON_CALL = "on-call"
"""Placeholder in `notify` for the recipients of the person on call."""

_FIELDS = ("action", "channel", "country", "segment")  # of an alert that a route may ask about


class _RoutingStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of the file."""


class Recipient(_RoutingStruct, frozen=True, kw_only=True):
    """One way to reach somebody.

    Attributes:
        channel: The channel.
        to: An e-mail address, a phone number, a URL or the ARN of a topic.
        to_file: A file that contains `to`, where that is a secret.
        secret_file: A file that contains the key that signs a webhook.
        language: The language of the messages.
        quiet: Hours in which only urgent messages are sent, such as 22:00-07:00.
        most_per_hour: The largest number of messages per hour; the rest goes into a digest. 0: no limit.
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


class When(_RoutingStruct, frozen=True, kw_only=True):
    """Conditions on an alert; an omitted field matches every alert."""

    action: list[Action] = []
    amount_from: str = "0"
    channel: list[Channel] = []
    country: list[Country] = []
    segment: list[str] = []


class Escalation(_RoutingStruct, frozen=True, kw_only=True):
    """Recipients to notify when nobody has acknowledged an incident for some time."""

    after_minutes: Annotated[int, Meta(ge=1)]
    notify: Annotated[list[str], Meta(min_length=1)]


class Route(_RoutingStruct, frozen=True, kw_only=True):
    """Recipients of matching alerts; the first matching route applies.

    Attributes:
        when: The alerts that it matches.
        notify: Names of recipients; `on-call` stands for the person on call.
        urgent: Messages are sent in quiet hours too, before others, and are retried sooner.
        escalate: Escalations in order of time; each counts from the first message.
    """

    when: When = When()
    notify: Annotated[list[str], Meta(min_length=1)]
    urgent: bool = False
    escalate: list[Escalation] = []


class Ranking(_RoutingStruct, frozen=True, kw_only=True):
    """The currency in which losses are compared, and the value of a unit of other currencies in it."""

    currency: Currency = "EUR"
    rates: dict[str, str] = {}


class Budget(_RoutingStruct, frozen=True, kw_only=True):
    """The number of incidents a day that are notified one by one (0: all). The rest is in digests at these times."""

    incidents: Annotated[int, Meta(ge=0)] = 0
    digest_at: Annotated[tuple[str, ...], Meta(min_length=1)] = ("08:00",)
    digest_to: list[str] = []

    @property
    def times(self) -> list[time]:
        """Times of day of the digests."""
        return [parse_time(text) for text in self.digest_at]


class RoutingForm(_RoutingStruct, frozen=True, kw_only=True):
    """The content of the routing file."""

    format: Annotated[int, Meta(ge=1, le=1)]
    timezone: str = "UTC"
    language: str = "en"
    recipients: Annotated[
        dict[str, dict[str, Any]], Meta(min_length=1)
    ]  # each is read by itself, so that errors name its place
    ranking: Ranking = Ranking()
    budget: Budget = Budget()
    rota: str = ""
    routes: Annotated[list[Route], Meta(min_length=1)]


class Routing:
    """The routing, with its secrets read and its names resolved."""

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
        """The channels that recipients have."""
        return {recipient.channel for recipient in self.recipients.values()}

    @property
    def currency(self) -> str:
        """The currency in which losses are compared."""
        return self._form.ranking.currency

    @property
    def language_default(self) -> str:
        """The language of recipients that name no other."""
        return self._form.language

    def language(self, recipient: str) -> str:
        """Return the language of a recipient."""
        return self.recipients[recipient].language or self._form.language

    def value_of(self, amount: int, currency: str) -> int:
        """Convert minor units of a currency to those of the ranking's; a currency without a rate counts at par."""
        ranking = self._form.ranking.currency
        if currency == ranking:
            return amount
        rate = self._rates.get(currency, Decimal(1))
        return round((Decimal(amount) * rate).scaleb(exponent(ranking) - exponent(currency)))

    def route(self, alerts: list[Alert]) -> Route:
        """Return the first route that matches any of these alerts."""
        return self.routes[min(self._first(alert) for alert in alerts)]

    def resolve(self, names: list[str], now: int) -> list[str]:
        """Return recipients in order, each once, with whoever is on call at a moment (ms since 1970 UTC)."""
        found: dict[str, None] = {}
        for name in names:
            on_call = name == ON_CALL and self._rota
            found |= dict.fromkeys(self._rota.on_duty(now, self.zone) if on_call and self._rota else [name])
        return list(found)

    def _first(self, alert: Alert) -> int:
        amount = self.value_of(alert.amount, alert.currency)
        for position, (minimum, conditions) in enumerate(self._conditions):
            if amount < minimum:
                continue
            for field, allowed in conditions:
                if getattr(alert, field) not in allowed:
                    break
            else:
                return position
        raise AssertionError("the last route matches every alert")


def _conditions(route: Route, currency: str) -> tuple[int, list[tuple[str, frozenset[str]]]]:
    """Return the conditions of a route: the minimum amount, and the allowed values of each field that it names."""
    fields = [(field, frozenset(getattr(route.when, field))) for field in _FIELDS if getattr(route.when, field)]
    return to_minor(route.when.amount_from, currency), fields
