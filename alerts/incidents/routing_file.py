"""Reads the routing file: every mistake is found at the start and reported with line and column."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adapters.channels.addresses import is_email_address, is_phone_number
from adapters.channels.target import ChannelName, Target
from adapters.channels.webhook import signing_key
from adapters.urls import may_carry_secrets
from adapters.yaml_document import Document
from alerts.incidents.notification_budget import Zone, parse_span, parse_time
from alerts.incidents.rota import read_rota
from alerts.incidents.routing import ON_CALL, Recipient, Routing, RoutingForm, When
from vedette.errors import InputError
from vedette.money import to_minor
from vedette.settings_base import Secret
from vedette.text import read_text

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def read_routing(path: Path, languages: set[str]) -> Routing:
    """Return the routing of a file.

    Args:
        path: The YAML file. Paths in it are relative to its folder.
        languages: The languages in which messages can be written.

    Raises:
        SettingsError: The file has a mistake; the message has line and column.
    """
    document = Document(path)
    form = document.read(RoutingForm, renamed={"tell": "notify"})
    zone = _zone(document, form.timezone)
    recipients = {name: document.read(Recipient, "recipients", name) for name in form.recipients}
    targets = {name: _target(document, name, recipient) for name, recipient in recipients.items()}
    rota = read_rota(path.parent / form.rota, set(recipients)) if form.rota else None
    _check_words(document, form, languages)
    _check_recipients(document, recipients, targets, languages)
    _check_routes(document, form, with_rota=rota is not None)
    return Routing(form, recipients, targets, zone, rota)


def _zone(document: Document, name: str) -> Zone:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise document.error(["timezone"], f"there is no time zone {name!r}") from error


def _target(document: Document, name: str, recipient: Recipient) -> Target:
    keys = ["recipients", name]
    if not _NAME.fullmatch(name) or name == ON_CALL:
        raise document.error(
            keys, f"{name!r} cannot be the name of a recipient; use lower-case letters, digits, . _ and -"
        )
    if bool(recipient.to) == bool(recipient.to_file):
        raise document.error(keys, "a recipient has either `to` or `to_file`")
    to = recipient.to or _secret(document, [*keys, "to_file"], recipient.to_file)
    place = [*keys, "to" if recipient.to else "to_file"]
    _check_address(document, place, recipient.channel, to)
    if (recipient.channel == "webhook") != bool(recipient.secret_file):
        raise document.error(keys, "a webhook, and nothing else, has a `secret_file` with the key that signs it")
    key = _secret(document, [*keys, "secret_file"], recipient.secret_file) if recipient.secret_file else ""
    if key:
        _check(document, [*keys, "secret_file"], signing_key, key)
    return Target(Secret(to), Secret(key) if key else None)


def _check_address(document: Document, place: list[str], channel: ChannelName, to: str) -> None:
    if channel == "email" and not is_email_address(to):
        raise document.error(place, f"{to!r} is not one e-mail address; write it like fraud@example.com")
    if channel in ("sms", "whatsapp") and not is_phone_number(to):
        raise document.error(place, f'{to!r} is not in E.164; write it like "+14155550123", with its quotes')
    if channel == "webhook":
        url = urlsplit(to)
        if not may_carry_secrets(to):
            raise document.error(place, "a webhook's URL starts with https:// (http:// is for this machine alone)")
        if url.username or url.password:
            raise document.error(place, "a webhook is authenticated by its signature, not by a password in its URL")
    if channel == "sns" and not to.startswith("arn:"):
        raise document.error(place, f"{to!r} is not the ARN of an SNS topic")
    if channel == "apprise" and "://" not in to:
        raise document.error(place, "an Apprise URL has a scheme, like slack://")


def _secret(document: Document, place: list[str], name: str) -> str:
    try:
        return read_text(document.path.parent / name).strip()
    except InputError as error:
        raise document.error(place, error.args[0]) from error


def _check_words(document: Document, form: RoutingForm, languages: set[str]) -> None:
    """Check values beyond msgspec's types: times of day, languages, amounts and rates."""
    if form.language not in languages:
        problem = f"there is no language {form.language!r}; there are {', '.join(sorted(languages))}"
        raise document.error(["language"], problem)
    for position, text in enumerate(form.budget.digest_at):
        _check(document, ["budget", "digest_at", position], parse_time, text)
    for code, rate in form.ranking.rates.items():
        _check(document, ["ranking", "rates", code], _positive, rate)
    for position, route in enumerate(form.routes):
        place: list[str | int] = ["routes", position, "when", "amount_from"]
        _check(document, place, to_minor, route.when.amount_from, form.ranking.currency)


def _positive(rate: str) -> Decimal:
    try:
        value = Decimal(rate)
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and value > 0):
        raise ValueError(f"{rate!r} is not a rate: the value of one unit in the ranking's currency, such as 0.92")
    return value


def _check(document: Document, place: Sequence[str | int], read: Callable[..., object], *words: str) -> None:
    """Report a value that `read` cannot read, with its place in the file."""
    try:
        read(*words)
    except (ValueError, InputError) as error:
        raise document.error(place, str(error)) from error


def _check_recipients(
    document: Document, recipients: dict[str, Recipient], targets: dict[str, Target], languages: set[str]
) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, recipient in recipients.items():
        if recipient.language and recipient.language not in languages:
            problem = f"there is no language {recipient.language!r}; there are {', '.join(sorted(languages))}"
            raise document.error(["recipients", name, "language"], problem)
        if recipient.quiet:
            _check(document, ["recipients", name, "quiet"], parse_span, recipient.quiet)
        other = seen.setdefault((recipient.channel, targets[name].to.value), name)
        if other != name:  # otherwise one person would get everything twice
            raise document.error(["recipients", name], f"{name!r} and {other!r} have the same address")


def _check_routes(document: Document, form: RoutingForm, *, with_rota: bool) -> None:
    places: list[tuple[list[str | int], list[str]]] = [(["budget", "digest_to"], form.budget.digest_to)]
    for position, route in enumerate(form.routes):
        places.append((["routes", position, "notify"], route.notify))
        for step, escalation in enumerate(route.escalate):
            places.append((["routes", position, "escalate", step, "notify"], escalation.notify))
        waits = [escalation.after_minutes for escalation in route.escalate]
        if waits != sorted(set(waits)):
            raise document.error(
                ["routes", position, "escalate"], "each escalation must come later than the one before it"
            )
    for place, names in places:
        for position, name in enumerate(names):
            if name == ON_CALL and not with_rota:
                raise document.error([*place, position], "nobody is on call: name a `rota` file")
            if name != ON_CALL and name not in form.recipients:
                raise document.error([*place, position], f"there is no recipient {name!r}")
    if form.budget.incidents and not form.budget.digest_to:
        raise document.error(["budget"], "a budget needs `digest_to`: the recipients of the rest")
    if form.routes[-1].when != When():
        last = len(form.routes) - 1
        raise document.error(["routes", last], "the last route has no `when`, so that no alert is lost")
