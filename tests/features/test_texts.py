"""Columns of text."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.texts import distinct, equal, truth

TEXTS = st.lists(st.none() | st.sampled_from(["EUR", "USD", "", "é"]))


@given(TEXTS, st.sampled_from(["EUR", "", "é", "JPY"]))
def test_equal_marks_the_same_texts_and_no_null(texts: list[str | None], text: str) -> None:
    """This also holds in a slice, and where all values are null."""
    column = pa.array(["EUR", *texts], pa.string())[1:]
    assert equal(column, text).tolist() == [value == text for value in texts]


@given(st.lists(st.sampled_from(["EUR", "USD", "é"])))
def test_distinct_texts_and_their_places_give_the_column_again(texts: list[str]) -> None:
    """This holds for one text, several or none; each is listed once, in order of appearance."""
    found, index = distinct(pa.array(["JPY", *texts], pa.string())[1:])
    assert found == list(dict.fromkeys(texts))
    assert [found[place] for place in index.tolist()] == texts


def test_null_is_not_true() -> None:
    """Nulls count as false."""
    assert truth(pa.array([True, None, False])).tolist() == [True, False, False]
    assert truth(pa.array([True, False])).tolist() == [True, False]
