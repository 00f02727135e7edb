from decimal import Decimal
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette import Transaction
from vedette.clock import SystemClock, format_time, parse_time
from vedette.errors import InputError
from vedette.events import EVENTS, MAX_AMOUNT, MAX_TIME, Kind, json_schema
from vedette.money import exponent, format_amount, to_minor
from vedette.settings import TopicSettings
from vedette.topics import Name, topics

LEAST = {
    "transaction_id": "t1",
    "account_id": "a1",
    "amount": 1250,
    "currency": "EUR",
    "event_time": 1_522_540_800_000,
    "merchant_id": "m1",
}


def decode(**changes: object) -> Transaction:
    """A transaction decoded from JSON with some fields changed."""
    return msgspec.json.decode(msgspec.json.encode(LEAST | changes), type=Transaction)


def test_six_fields_make_a_transaction() -> None:
    """The first five fields and one counterparty are enough."""
    assert decode().amount == 1250
    assert not decode().missing()
    assert not decode(merchant_id=None, payee="p1").missing()
    assert "merchant_id" in decode(merchant_id=None).missing()


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_a_transaction_needs_depends_on_its_kind(kind: Kind) -> None:
    """Money that leaves the account needs a counterparty, and a reversal its payment; all else is optional."""
    alone = decode(merchant_id=None, kind=kind)
    assert ("merchant_id" in alone.missing()) == (kind in {"payment", "withdrawal", "authorisation", "completion"})
    assert ("original_id" in alone.missing()) == (kind == "reversal")
    assert not decode(kind=kind, original_id="t0").missing()


@pytest.mark.parametrize("field", ["transaction_id", "account_id", "amount", "currency", "event_time"])
def test_a_missing_required_field_is_named(field: str) -> None:
    """Without a required field the error names it."""
    rest = {name: value for name, value in LEAST.items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(msgspec.json.encode(rest), type=Transaction)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 12.5),
        ("amount", -1),
        ("amount", MAX_AMOUNT + 1),
        ("amount", "12"),
        ("event_time", MAX_TIME + 1),
        ("event_time", "2018-04-01"),
        ("currency", "EURO"),
        ("channel", "carrier pigeon"),
        ("lat", 91.0),
        ("lon", -181.0),
        ("transaction_id", ""),
        ("account_id", "a" * 65),
        ("extra", {"V1": "high"}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(field: str, value: object) -> None:
    """Wrong types and values out of range are refused, and the error names the field."""
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(**{field: value})


def test_unknown_fields_are_kept_out() -> None:
    """A field that Vedette does not know is ignored and not passed on."""
    assert b"card_number" not in msgspec.json.encode(decode(card_number="4111"))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_schema(event: type) -> None:
    """Each event's JSON Schema has an id, a title and properties with every field."""
    schema = json_schema(event)
    assert schema["title"] == event.__name__
    assert set(schema["properties"]) == set(event.__struct_fields__)


def test_the_schema_asks_for_one_counterparty() -> None:
    """The published schema of a transaction requires merchant or payee, unless money is returned."""
    first, second, third = json_schema(Transaction)["anyOf"]
    assert (first, second) == ({"required": ["merchant_id"]}, {"required": ["payee"]})
    assert third["properties"]["kind"]["enum"] == ["deposit", "refund", "reversal"]


@given(st.integers(0, 10**15), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_minor_units_survive_the_way_through_major_ones(minor: int, currency: str) -> None:
    """An amount in minor units is the same after its exact decimal in major units."""
    assert to_minor(Decimal(minor).scaleb(-exponent(currency)), currency) == minor


def test_amounts_are_rounded_half_to_even_and_floats_by_their_decimal() -> None:
    """0.1 is exactly ten cents, and half a cent is rounded to the even neighbour."""
    assert to_minor(0.1, "EUR") == 10
    assert [to_minor(text, "EUR") for text in ("0.005", "0.015", "-0.025")] == [0, 2, -2]


@pytest.mark.parametrize("amount", ["", "ten", "nan", "inf", "1e30"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    """Text, NaN, infinity and impossibly large numbers are refused by name."""
    with pytest.raises(InputError, match=amount or "''"):
        to_minor(amount, "EUR")


def test_amounts_are_shown_in_their_currency() -> None:
    """An amount for people has the decimal places of its currency."""
    assert [format_amount(123_450, code) for code in ("EUR", "JPY", "KWD")] == [
        "1,234.50 EUR",
        "123,450 JPY",
        "123.450 KWD",
    ]


@given(st.integers(0, MAX_TIME))
def test_times_survive_being_written(milliseconds: int) -> None:
    """A time written as ISO 8601 and read again is the same millisecond."""
    assert parse_time(format_time(milliseconds)) == milliseconds


def test_a_date_is_midnight_utc_and_nonsense_is_refused() -> None:
    """Without time and offset a date means midnight UTC; an invalid date is named."""
    assert parse_time("2018-08-29") == parse_time("2018-08-29T02:00:00+02:00") == 1_535_500_800_000
    with pytest.raises(InputError, match="yesterday"):
        parse_time("yesterday")


def test_the_system_clock_tells_milliseconds() -> None:
    """The system clock counts milliseconds since 1970 and never goes back."""
    first, second = SystemClock().now_ms(), SystemClock().now_ms()
    assert parse_time("2020-01-01") < first <= second < MAX_TIME


def test_topics_share_their_partitions_and_control_is_compacted() -> None:
    """All topics but control have the configured partitions, so that one worker owns the same number of each."""
    all_topics = {topic.name: topic for topic in topics(TopicSettings(partitions=6, prefix="x."))}
    control = all_topics.pop("x." + Name.CONTROL)
    assert {topic.partitions for topic in all_topics.values()} == {6}
    assert len(all_topics) == len(Name) - 1
    assert control.partitions == 1
    assert control.config["cleanup.policy"] == "compact"
