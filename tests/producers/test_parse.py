from decimal import Decimal

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.mapping import ColumnSource
from producers.parse import amounts, numbers, text, truths
from producers.parse_times import date_parts, moments
from vedette.clock import format_time, parse_time
from vedette.errors import InputError
from vedette.money import to_minor

EURO = ColumnSource(column="x")


def expected(value: str | float, currency: str) -> int | None:
    """Return what vedette.money makes of an amount; None where it refuses."""
    try:
        return to_minor(value, currency)
    except InputError:
        return None


@given(
    st.lists(
        st.decimals(min_value=-(10**9), max_value=10**9, places=4) | st.decimals(allow_nan=False, allow_infinity=False),
        min_size=1,
    ),
    st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_amounts_as_text_are_what_money_makes_of_their_digits(values: list[Decimal], currency: str) -> None:
    """A whole column at once gives the minor units of the exact conversion of each value."""
    words = [f"{value:f}" for value in values if abs(value) < Decimal(10) ** 11]
    parsed = amounts(pa.array(words, pa.string()), EURO, pa.array([currency] * len(words), pa.string()))
    assert parsed.values.to_pylist() == [expected(word, currency) for word in words]


@given(st.lists(st.floats(allow_nan=False) | st.floats(-1000, 1000).map(lambda x: round(x, 3)), min_size=1))
def test_amounts_as_floats_are_what_money_makes_of_them(values: list[float]) -> None:
    """0.285 euro is 28 cents, as its shortest decimal form says, not 29 or whatever the binary product is."""
    parsed = amounts(pa.array(values, pa.float64()), EURO, pa.array(["EUR"] * len(values)))
    assert parsed.values.to_pylist() == [expected(value, "EUR") for value in values]
    assert parsed.bad.tolist() == [expected(value, "EUR") is None for value in values]


def test_each_row_is_scaled_by_its_own_currency() -> None:
    """Yen have no minor unit and Kuwaiti dinars have three places."""
    parsed = amounts(pa.array([1.5, 150.0, 1.5]), EURO, pa.array(["EUR", "JPY", "KWD"]))
    assert parsed.values.to_pylist() == [150, 150, 1500]


def test_minor_units_must_be_whole() -> None:
    """A column in cents does not silently lose fractions."""
    parsed = amounts(pa.array([100.0, 0.5, None]), ColumnSource(column="x", unit="minor"), pa.array(["EUR"] * 3))
    assert parsed.values.to_pylist() == [100, None, None]
    assert parsed.bad.tolist() == [False, True, False]


def test_signs_to_remove_are_removed_and_what_is_no_number_is_marked() -> None:
    """A currency sign and thousands separators are removed; words and infinities do not become amounts."""
    raw = pa.array(["$1,234.50", "$-9.00", "", None, "twelve", "inf", "1_000", "1e999"])
    parsed = amounts(raw, ColumnSource(column="x", remove="$,"), pa.array(["USD"] * 8))
    assert parsed.values.to_pylist() == [123450, -900, None, None, None, None, None, None]
    assert parsed.bad.tolist() == [False, False, False, False, True, True, True, True]


def test_not_a_number_counts_as_missing() -> None:
    """A NaN in a float column is what pandas writes for a missing value."""
    assert numbers(pa.array([1.0, float("nan"), None]), EURO).values.to_pylist() == [1.0, None, None]


@pytest.mark.parametrize(
    "raw",
    [
        pa.array(["2018-04-01 00:00:31", "2018-04-01T00:00:31Z", "2018-04-01T02:00:31+02:00"]),
        pa.array(["2018-04-01T00:00:31"] * 3),
        pa.array(["2018-04-01T00:00:31Z"] * 3),
        pa.array([1522540831] * 3, pa.timestamp("s")),
        pa.array([1522540831_000_000_000] * 3, pa.timestamp("ns")),
        pa.array([1522540831_000_000] * 3, pa.timestamp("us", "Europe/Vienna")),
    ],
    ids=["mixed", "naive", "utc", "seconds", "nanoseconds", "zoned"],
)
def test_every_way_to_write_a_moment_gives_the_same_milliseconds(raw: pa.Array) -> None:
    """Without an offset a time is UTC; with one it counts."""
    parsed = moments(raw, EURO)
    assert parsed.values.to_pylist() == [1522540831_000] * 3
    assert not parsed.bad.any()


@given(st.integers(0, 4_102_444_800_000))
def test_milliseconds_survive_text(milliseconds: int) -> None:
    """A moment written as text is read back exactly."""
    assert moments(pa.array([format_time(milliseconds)]), EURO).values.to_pylist() == [milliseconds]


@pytest.mark.parametrize(
    ("form", "value", "later"),
    [("milliseconds", 5, 5), ("seconds", 1.5, 1500), ("hours", 2, 7_200_000), ("days", 1, 86_400_000)],
)
def test_counts_start_at_the_origin(form: str, value: float, later: int) -> None:
    """Seconds, hours or days since a date."""
    source = ColumnSource(column="x", form=form, origin="2013-09-01")
    assert moments(pa.array([value]), source).values.to_pylist() == [parse_time("2013-09-01") + later]


def test_a_count_beyond_all_time_is_marked() -> None:
    """A number too large for any date is reported instead of overflowing."""
    parsed = moments(pa.array([1e308, 1e20, 1.0]), ColumnSource(column="x", form="hours"))
    assert parsed.values.to_pylist() == [None, None, 3_600_000]
    assert parsed.bad.tolist() == [True, True, False]


def test_what_is_no_moment_is_marked_alone() -> None:
    """One invalid date does not affect the others, and an empty one is missing."""
    parsed = moments(pa.array(["2018-04-01", "2018-02-30", "", "soon"]), EURO)
    assert parsed.values.to_pylist() == [parse_time("2018-04-01"), None, None, None]
    assert parsed.bad.tolist() == [False, True, False, True]


def test_a_date_is_put_together_from_its_parts() -> None:
    """Year, month, day and time of day are in separate columns."""
    parts = [pa.array([2002]), pa.array([9]), pa.array([1]), pa.array(["06:21"])]
    assert date_parts(parts).to_pylist() == ["2002-09-01 06:21"]
    assert date_parts(parts[:3]).to_pylist() == ["2002-09-01"]


@pytest.mark.parametrize("raw", [pa.array([1, 0, None]), pa.array(["Yes", "no", ""]), pa.array([True, False, None])])
def test_truth_has_many_spellings(raw: pa.Array) -> None:
    """1, Yes and true are fraud; 0, No and false are not; an empty text is unknown."""
    assert truths(raw, EURO).values.to_pylist() == [True, False, None]


def test_another_word_is_no_truth() -> None:
    """A word that is neither yes nor no is not read as either."""
    assert truths(pa.array(["maybe", "1"]), EURO).bad.tolist() == [True, False]


def test_ids_are_looked_up_filtered_and_prefixed() -> None:
    """`values` translates and marks the unknown, `only` filters, and `prefix` is prepended."""
    looked_up = text(pa.array(["a", "b", "c", None]), ColumnSource(column="x", values={"a": "pos", "b": ""}))
    assert looked_up.values.to_pylist() == ["pos", None, None, None]
    assert looked_up.bad.tolist() == [False, False, True, False]
    source = ColumnSource(column="x", only="M", prefix="id-")
    assert text(pa.array(["M1", "C2", None]), source).values.to_pylist() == ["id-M1", None, None]


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("$1,234.50", 123_450), ("1,234", 123_400), ("12,34,567.8", 123_456_780), ("-$1,000", -100_000), ("12.5", 1250),
        ("12,34", None), ("1,2345", None), (",123", None), ("1234,567", None), ("1.234,56", None), ("1,234,5", None),
    ],
)  # fmt: skip
def test_a_separator_that_is_removed_must_group_thousands(written: str, amount: int | None) -> None:
    """12,34 is not 1234.00: such a value is rejected; grouping by lakhs is accepted."""
    parsed = amounts(pa.array([written]), ColumnSource(column="a", remove="$,"), pa.array(["EUR"]))
    assert parsed.values.to_pylist() == [amount]
    assert parsed.bad.tolist() == [amount is None]


@pytest.mark.parametrize(
    ("written", "amount"),
    [("1.234,56", 123_456), ("12,34", 1234), ("1.234", 123_400), ("12.34", None), ("1,234.5", None)],
)
def test_a_decimal_comma_is_declared(written: str, amount: int | None) -> None:
    """With decimal = "," a point only groups thousands."""
    parsed = amounts(pa.array([written]), ColumnSource(column="a", remove=".", decimal=","), pa.array(["EUR"]))
    assert parsed.values.to_pylist() == [amount]


def test_without_removal_a_decimal_comma_leaves_no_place_for_points() -> None:
    """A point would be read as a decimal one."""
    parsed = amounts(pa.array(["1.234", "5,5"]), ColumnSource(column="a", decimal=","), pa.array(["EUR"] * 2))
    assert (parsed.values.to_pylist(), parsed.bad.tolist()) == ([None, 550], [True, False])


def test_truth_may_be_a_number_with_a_fraction_or_words_of_ones_own() -> None:
    """Spreadsheets write 1.0; entries of `values` apply, also to numbers and booleans, and '' is unknown."""
    plain = truths(pa.array(["1.0", "0.0", "N", "t", "2"]), ColumnSource(column="f"))
    assert plain.values.to_pylist() == [True, False, False, True, None]
    assert plain.bad.tolist() == [False] * 4 + [True]
    source = ColumnSource(column="f", values={"FRAUD": "yes", "OK": "0", "open": ""})
    own = truths(pa.array(["FRAUD", "OK", "open", "1"]), source)
    assert own.values.to_pylist() == [True, False, None, None]
    assert own.bad.tolist() == [False] * 3 + [True]
    turned = ColumnSource(column="f", values={"false": "yes", "true": "no"})
    assert truths(pa.array([True, False]), turned).values.to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("form", "count"),
    [
        ("nanoseconds", 1_522_540_831_000_000_000), ("microseconds", 1_522_540_831_000_000),
        ("milliseconds", 1_522_540_831_000), ("seconds", 1_522_540_831),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_text", [False, True])
def test_every_unit_of_time_is_counted_to_the_millisecond(form: str, count: int, as_text: bool) -> None:
    """As text or number, the moment is the same."""
    raw = pa.array([str(count) if as_text else count])
    source = msgspec.convert({"column": "t", "form": form}, ColumnSource)
    assert moments(raw, source).values.to_pylist() == [1_522_540_831_000]
