from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.mapping import Source
from producers.parse import amounts, date_parts, moments, numbers, text, truths
from vedette.clock import format_time, parse_time
from vedette.errors import InputError
from vedette.money import to_minor

EURO = Source(column="x")


def expected(value: str | float, currency: str) -> int | None:
    """What vedette.money makes of an amount; None where it refuses."""
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
    """A whole column at once gives the minor units that the one exact conversion gives for each value."""
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
    """A column said to hold cents does not lose fractions in silence."""
    parsed = amounts(pa.array([100.0, 0.5, None]), Source(column="x", unit="minor"), pa.array(["EUR"] * 3))
    assert parsed.values.to_pylist() == [100, None, None]
    assert parsed.bad.tolist() == [False, True, False]


def test_signs_to_remove_are_removed_and_what_is_no_number_is_marked() -> None:
    """A currency sign and thousands separators come off; words and infinities do not become amounts."""
    raw = pa.array(["$1,234.50", "$-9.00", "", None, "twelve", "inf", "1_000", "1e999"])
    parsed = amounts(raw, Source(column="x", remove="$,"), pa.array(["USD"] * 8))
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
    source = Source(column="x", form=form, origin="2013-09-01")
    assert moments(pa.array([value]), source).values.to_pylist() == [parse_time("2013-09-01") + later]


def test_a_count_beyond_all_time_is_marked() -> None:
    """A number too large for any date is reported instead of overflowing."""
    parsed = moments(pa.array([1e308, 1e20, 1.0]), Source(column="x", form="hours"))
    assert parsed.values.to_pylist() == [None, None, 3_600_000]
    assert parsed.bad.tolist() == [True, True, False]


def test_what_is_no_moment_is_marked_alone() -> None:
    """One bad date does not spoil the others, and an empty one is missing."""
    parsed = moments(pa.array(["2018-04-01", "2018-02-30", "", "soon"]), EURO)
    assert parsed.values.to_pylist() == [parse_time("2018-04-01"), None, None, None]
    assert parsed.bad.tolist() == [False, True, False, True]


def test_a_date_is_put_together_from_its_parts() -> None:
    """Year, month, day and time of day in columns of their own."""
    parts = [pa.array([2002]), pa.array([9]), pa.array([1]), pa.array(["06:21"])]
    assert date_parts(parts).to_pylist() == ["2002-09-01 06:21"]
    assert date_parts(parts[:3]).to_pylist() == ["2002-09-01"]


@pytest.mark.parametrize("raw", [pa.array([1, 0, None]), pa.array(["Yes", "no", ""]), pa.array([True, False, None])])
def test_truth_has_many_spellings(raw: pa.Array) -> None:
    """1, Yes and true are fraud; 0, No and false are not; nothing is unknown."""
    assert truths(raw, EURO).values.to_pylist() == [True, False, None]


def test_another_word_is_no_truth() -> None:
    """What is neither yes nor no is not taken for either."""
    assert truths(pa.array(["maybe", "1"]), EURO).bad.tolist() == [True, False]


def test_ids_are_looked_up_filtered_and_prefixed() -> None:
    """`values` translates and marks the unknown, `only` leaves out, `prefix` is put in front."""
    looked_up = text(pa.array(["a", "b", "c", None]), Source(column="x", values={"a": "pos", "b": ""}))
    assert looked_up.values.to_pylist() == ["pos", None, None, None]
    assert looked_up.bad.tolist() == [False, False, True, False]
    source = Source(column="x", only="M", prefix="id-")
    assert text(pa.array(["M1", "C2", None]), source).values.to_pylist() == ["id-M1", None, None]
