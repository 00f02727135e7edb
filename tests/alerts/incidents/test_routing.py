from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.incidents.routing import Route, Routing, RoutingForm, When
from alerts.incidents.routing_file import read_routing
from vedette.errors import SettingsError
from vedette.events import Action, Alert, Channel

GOOD = """\
format: 1
timezone: Europe/Madrid
recipients:
  desk: {channel: email, to: fraud@bank.example}
  ana: {channel: sms, to: "+34600000001", language: es, quiet: "22:00-07:00", most_per_hour: 20}
  ben: {channel: sms, to: "+34600000002"}
  lead: {channel: whatsapp, to: "+34600000003"}
  hook: {channel: webhook, to: "https://siem.example/vedette", secret_file: hook.key}
  chat: {channel: apprise, to_file: chat.url}
ranking: {currency: EUR, rates: {USD: "0.9", JPY: "0.006"}}
budget: {incidents: 100, digest_at: ["08:00", "16:00"], digest_to: [desk]}
rota: rota.yaml
routes:
  - when: {amount_from: 1000, action: [decline, review], channel: [transfer]}
    notify: [on-call, desk]
    urgent: true
    escalate: [{after_minutes: 15, notify: [lead]}, {after_minutes: 60, notify: [hook]}]
  - when: {country: [FR], segment: [private]}
    notify: [chat]
  - notify: [desk]
"""
ROTA = """\
format: 1
people: {ana: [ana], ben: [ben, chat]}
rotation: {start: 2026-03-02T08:00, days: 7, people: [ana, ben]}
stand_ins: [{start: 2026-03-04T00:00, end: 2026-03-05T00:00, who: ben}]
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Routing]:
    """Reads a routing and a rota given as text."""
    (tmp_path / "hook.key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    (tmp_path / "chat.url").write_text("json://chat.example/secret\n")

    def go(text: str = GOOD, rota: str = ROTA) -> Routing:
        (tmp_path / "routing.yaml").write_text(text)
        (tmp_path / "rota.yaml").write_text(rota)
        return read_routing(tmp_path / "routing.yaml", {"en", "es"})

    return go


def ms(text: str) -> int:
    """Milliseconds of an ISO moment."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_the_first_route_that_fits_decides(read: Callable[..., Routing], alert: Callable[..., Alert]) -> None:
    """It goes by amount in the ranking's currency, channel, country, segment and action; the last takes the rest."""
    routing = read()

    def told(**changes: object) -> list[str]:
        return routing.route([alert(**changes)]).notify

    large = {"amount": 100_000, "channel": "transfer", "action": "review"}
    assert told(**large) == ["on-call", "desk"]
    assert told(**large | {"action": "challenge"}) == ["desk"]
    assert told(**large | {"channel": "pos"}) == ["desk"]
    assert told(**large | {"amount": 99_999}) == ["desk"]
    assert told(**large | {"currency": "USD"}) == ["desk"]  # 900 euros
    assert told(**large | {"currency": "USD", "amount": 111_112}) == ["on-call", "desk"]
    assert told(amount=1, country="FR", segment="private") == ["chat"]
    assert told(amount=1, country="FR") == ["desk"]
    assert routing.route([alert(amount=1), alert(**large)]).urgent


def some_of(values: list[str]) -> st.SearchStrategy[list[str]]:
    """A condition: any of these values, or none, which matches all."""
    return st.lists(st.sampled_from(values), unique=True, max_size=3)


ACTIONS, CHANNELS, COUNTRIES, SEGMENTS = [*get_args(Action)], [*get_args(Channel)], ["FR", "ES"], ["private", "firm"]
WHENS = st.builds(
    When, action=some_of(ACTIONS), channel=some_of(CHANNELS), country=some_of(COUNTRIES), segment=some_of(SEGMENTS),
    amount_from=st.sampled_from(["0", "10", "20.50"]),
)  # fmt: skip
VALUES = st.fixed_dictionaries(
    {
        "action": st.sampled_from(ACTIONS),
        "channel": st.sampled_from([None, *CHANNELS]),
        "country": st.sampled_from([None, *COUNTRIES, "DE"]),
        "segment": st.sampled_from([None, *SEGMENTS]),
        "amount": st.sampled_from([0, 999, 1000, 2049, 2050]),
    }
)


def fits(when: When, alert: Alert) -> bool:
    """A simple implementation of a route's condition; amounts in hundredths."""
    return (
        alert.amount >= float(when.amount_from) * 100
        and (not when.action or alert.action in when.action)
        and (not when.channel or alert.channel in when.channel)
        and (not when.country or alert.country in when.country)
        and (not when.segment or alert.segment in when.segment)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whens=st.lists(WHENS, max_size=6), values=st.lists(VALUES, min_size=1, max_size=3))
def test_the_route_is_the_first_that_fits_any_of_the_alerts(
    whens: list[When], values: list[dict[str, object]], alert: Callable[..., Alert]
) -> None:
    """For any routes and alerts it is the one found by trying the routes in order."""
    routes = [Route(when=when, notify=[f"{number}"]) for number, when in enumerate([*whens, When()])]
    routing = Routing(RoutingForm(format=1, recipients={"x": {}}, routes=routes), {}, {}, UTC, None)
    alerts = [alert(**each) for each in values]
    assert routing.route(alerts) == next(route for route in routes if any(fits(route.when, each) for each in alerts))


def test_amounts_are_compared_in_one_currency(read: Callable[..., Routing]) -> None:
    """Minor units are converted by rate and by the places of both currencies; an unknown currency counts at par."""
    routing = read()
    assert routing.value_of(1000, "EUR") == 1000
    assert routing.value_of(1000, "USD") == 900
    assert routing.value_of(1000, "JPY") == 600
    assert routing.value_of(1000, "CHF") == 1000
    assert routing.value_of(1000, "KWD") == 100


def test_on_call_is_whoever_is_on_duty(read: Callable[..., Routing]) -> None:
    """On call follows the rotation, with stand-ins; a recipient named twice is notified once."""
    routing = read()
    names = ["on-call", "desk", "ana"]
    assert routing.resolve(names, ms("2026-03-03T12:00:00+01:00")) == ["ana", "desk"]
    assert routing.resolve(names, ms("2026-03-04T12:00:00+01:00")) == ["ben", "chat", "desk", "ana"]
    assert routing.resolve(names, ms("2026-03-10T12:00:00+01:00")) == ["ben", "chat", "desk", "ana"]


def test_secrets_come_from_files_and_are_never_shown(read: Callable[..., Routing]) -> None:
    """The URL and the key are read, and no representation holds them."""
    routing = read()
    assert routing.targets["chat"].to.value == "json://chat.example/secret"
    assert "chat.example" not in repr(routing.targets)
    assert "sixteen" not in repr(routing.targets)


@pytest.mark.parametrize(
    ("old", "new", "place", "named"),
    [
        ("format: 1", "format: 2", "1:9", "<= 1"),
        ("Europe/Madrid", "Europe/Nowhere", "2:11", "Europe/Nowhere"),
        ("fraud@bank.example", "fraud", "4:30", "'fraud' is not one e-mail address"),
        ('"+34600000001"', '"0415"', "5:27", "not in E.164"),
        ("language: es", "language: fr", "5:53", "no language 'fr'"),
        ('"22:00-07:00"', '"22:00"', "5:64", "not a span of the day"),
        ("most_per_hour: 20", "most_per_day: 20", "5:93", "unknown field"),
        ('"+34600000002"', '"+34600000001"', "6:3", "same address"),
        ("https://siem", "http://siem", "8:32", "https://"),
        (", secret_file: hook.key", "", "8:3", "secret_file"),
        ("chat.url", "nowhere.url", "9:37", "cannot be read"),
        ('USD: "0.9"', 'USD: "-1"', "10:39", "not a rate"),
        ('"16:00"', '"26:00"', "11:47", "hour must be"),
        ("digest_to: [desk]", "digest_to: []", "11:1", "digest_to"),
        ("rota: rota.yaml", "# no rota", "15:14", "nobody is on call"),
        ("amount_from: 1000", "amount_from: much", "14:25", "not a number"),
        ("[decline, review]", "[decline, ignore]", "14:49", "Invalid enum value 'ignore'"),
        ("notify: [lead]}, {", "notify: [boss]}, {", "17:45", "no recipient 'boss'"),
        ("after_minutes: 60", "after_minutes: 5", "17:5", "must come later"),
        ("  - notify: [desk]\n", "  - when: {country: [ES]}\n    notify: [desk]\n", "20:5", "no alert is lost"),
        ("ranking:", "ranking: {}\nranking:", "11:1", "repeated"),
        ("    notify: [chat]", "    tell: [chat]", "19:5", "`tell` is now called `notify`"),
        ("recipients:", "recipients: [", "5:3", "not YAML"),
        ("to: fraud@", "to: !x fraud@", "4:30", "tag"),
        ("ranking:", "more: &a [*a]\nranking:", "10:7", "anchors and aliases"),
        ("ranking:", "? [a]\n: b\nranking:", "10:3", "a key must be a word"),
    ],
)
def test_a_mistake_is_told_with_line_and_column(
    read: Callable[..., Routing], old: str, new: str, place: str, named: str
) -> None:
    """Whatever is wrong in the file, the error says where and what."""
    assert old in GOOD
    with pytest.raises(SettingsError) as refused:
        read(GOOD.replace(old, new, 1))
    assert f"routing.yaml:{place}: " in str(refused.value)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "place", "named"),
    [
        ("ana: [ana]", "ana: [eve]", "2:16", "no recipient 'eve'"),
        ("ana: [ana]", "ana: []", "2:10", "has no recipient"),
        ("people: [ana, ben]}", "people: [ana, eve]}", "3:60", "not among the people"),
        ("who: ben", "who: eve", "4:67", "not among the people"),
        ("end: 2026-03-05", "end: 2026-03-03", "4:44", "ends before it starts"),
        ("days: 7", "days: 0", "3:43", ">= 1"),
        ("start: 2026-03-02T08:00", "start: 2026-03-02T08:00Z", "3:19", "has an offset"),
    ],
)
def test_a_mistake_in_the_rota_is_told_likewise(
    read: Callable[..., Routing], old: str, new: str, place: str, named: str
) -> None:
    """The rota is checked with the routing at the start, not when somebody is to be notified."""
    assert old in ROTA
    with pytest.raises(SettingsError) as refused:
        read(rota=ROTA.replace(old, new, 1))
    assert f"rota.yaml:{place}: " in str(refused.value)
    assert named in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error contains the path."""
    with pytest.raises(SettingsError, match=r"nowhere\.yaml cannot be read"):
        read_routing(tmp_path / "nowhere.yaml", {"en"})
