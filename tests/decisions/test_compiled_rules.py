import math
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.compiled_rules import NotCompilableError, compile_rule
from decisions.rules import TEXT, Rule, RuleSet, parse_rule

NUMBERS = ("amount", "speed_kmh", "is_night")
WORDS = ("merchant_id", "payee")
KNOWN = {*NUMBERS, *WORDS}
EDGES = (None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 0.02, 0.1, 500.5, 2.0**53, -1e15, 5e-324, 1e308)

number = st.sampled_from(EDGES) | st.floats(allow_nan=False)
word = st.sampled_from((None, "", "ecom", "ES", "it's"))
constant = st.sampled_from(
    ("0", "1", "-5", "0.02", "0.1", "500.5", "1e3", "9007199254740993", "12345678901234567890", "1e-320")
)
written = st.sampled_from(("''", "'ecom'", "'ES'", "'it''s'"))
comparison = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
simple = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(NUMBERS), comparison, constant | st.sampled_from(NUMBERS)),
    st.builds("{} {} {}".format, constant, comparison, st.sampled_from(NUMBERS)),
    st.builds("{} {} {}".format, st.sampled_from(WORDS), st.sampled_from(("=", "<>")), written),
    st.builds("{} {}".format, st.sampled_from((*NUMBERS, *WORDS)), st.sampled_from(("IS NULL", "IS NOT NULL"))),
    st.builds("{} BETWEEN {} AND {}".format, st.sampled_from(NUMBERS), constant, constant),
    st.builds("{} {} ({}, {})".format, st.sampled_from(NUMBERS), st.sampled_from(("IN", "NOT IN")), constant, constant),
    st.builds("{} {} ({}, {})".format, st.sampled_from(WORDS), st.sampled_from(("IN", "NOT IN")), written, written),
)
rule = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=6,
)
row = st.fixed_dictionaries({**dict.fromkeys(NUMBERS, number), **dict.fromkeys(WORDS, word)})


def by_polars(expression: pl.Expr, rows: list[dict[str, Any]]) -> list[bool | None]:
    """Return what Polars says of each row; NaN and infinity are NULL before it sees them."""
    frame = pl.DataFrame(
        [
            pl.Series(
                name, [_null_unless_finite(row[name]) for row in rows], pl.Float64 if name in NUMBERS else pl.String
            )
            for name in (*NUMBERS, *WORDS)
        ]
    )
    return frame.select(expression.alias("result")).to_series().to_list()


def _null_unless_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows as the columns that a policy gets."""
    numbers = {name: np.array([math.nan if row[name] is None else row[name] for row in rows]) for name in NUMBERS}
    return numbers | {name: pa.array([row[name] for row in rows], pa.string()) for name in WORDS}


@given(sql=rule, rows=st.lists(row, min_size=1, max_size=20))
def test_a_compiled_rule_says_what_polars_says(sql: str, rows: list[dict[str, Any]]) -> None:
    """True, false and NULL are the same for every row, whatever is missing or infinite in it."""
    expression = parse_rule(sql, KNOWN)
    said = by_polars(expression, rows)
    condition = compile_rule(expression, TEXT)
    offered = {
        name: np.where(np.isfinite(values), values, np.nan) if name in NUMBERS else values
        for name, values in columns(rows).items()
    }
    true, false = condition.true(offered).tolist(), condition.false(offered).tolist()
    assert [True if t else False if f else None for t, f in zip(true, false, strict=True)] == said


@given(rules=st.lists(rule | st.just("amount * 2 > speed_kmh"), min_size=1, max_size=4), rows=st.lists(row, max_size=8))
def test_rules_of_both_kinds_fire_where_polars_says(rules: list[str], rows: list[dict[str, Any]]) -> None:
    """A set of compiled and other rules keeps the order of the file and finds exactly the rows that are true."""
    parsed = [Rule(str(place), 1, "", False, parse_rule(sql, KNOWN)) for place, sql in enumerate(rules)]
    wanted = {
        rule.name: [place for place, value in enumerate(by_polars(rule.expression, rows)) if value] for rule in parsed
    }
    fired = {rule.name: found.tolist() for rule, found in RuleSet(parsed).fired(columns(rows))}
    assert fired == {name: found for name, found in wanted.items() if found}


@pytest.mark.parametrize(
    "sql",
    ["amount * 2 > 1", "amount / NULLIF(speed_kmh, 0) > 1", "payee LIKE 'e%'", "COALESCE(amount, 0) > 1",
     "CASE WHEN is_night = 1 THEN amount > 5 ELSE amount > 9 END", "amount = 1 AND ABS(speed_kmh) > 2",
     "amount IN (1, NULL)"],
)  # fmt: skip
def test_other_forms_are_left_to_polars(sql: str) -> None:
    """Arithmetic, functions and patterns are not compiled, not even in part."""
    with pytest.raises(NotCompilableError):
        compile_rule(parse_rule(sql, KNOWN), TEXT)
