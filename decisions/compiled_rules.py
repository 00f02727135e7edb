"""Rules as NumPy operations, for the usual forms of rules.

Polars defines what a rule means; it costs half a millisecond for each batch, however small the batch is. Comparisons of
columns with columns and constants, joined by AND, OR and NOT, are therefore compiled once into array operations that
give the same truth values. Every other form is left to Polars.

SQL has three truth values. An expression is compiled into two functions, one that returns where it is true and one that
returns where it is false; where it is neither, it is NULL. A missing number is NaN, for which every comparison below is
neither true nor false.
"""

import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.texts import truth

Truth = NDArray[np.bool_]
Columns = Mapping[str, Any]
"""Columns by name: float64[n] with NaN for NULL, or an Arrow array of text."""

Where = Callable[[Columns], Truth]


class Condition(NamedTuple):
    """A compiled boolean expression.

    Attributes:
        true: Returns where it is true.
        false: Returns where it is false.
    """

    true: Where
    false: Where


class NotCompilableError(Exception):
    """The expression has a form that is left to Polars."""


_Compare = Callable[[Any, Any], Truth]
_Number = Callable[[Columns], Any]


def _unequal(left: Any, right: Any) -> Truth:
    unequal: Truth = np.less(left, right) | np.greater(left, right)  # unlike !=, not true for NaN
    return unequal


# For each comparison, the one that is true where it is false.
_COMPARISONS: dict[str, tuple[_Compare, _Compare]] = {
    "Eq": (np.equal, _unequal),
    "NotEq": (_unequal, np.equal),
    "Lt": (np.less, np.greater_equal),
    "LtEq": (np.less_equal, np.greater),
    "Gt": (np.greater, np.less_equal),
    "GtEq": (np.greater_equal, np.less),
}


def compile_rule(expression: pl.Expr, text: frozenset[str]) -> Condition:
    """Compile the expression of a rule.

    Args:
        expression: Expression parsed by Polars, already checked against the allowed forms.
        text: Names of the text columns.

    Raises:
        NotCompilableError: The expression has a form that is left to Polars.
    """
    return _condition(json.loads(expression.meta.serialize(format="json")), text)


def _condition(node: Any, text: frozenset[str]) -> Condition:  # noqa: PLR0911, one return for each form
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "Or" as operator, "right": right}}:
            return _joined(operator, _condition(left, text), _condition(right, text))
        case {"BinaryExpr": {"left": left, "op": str(operator), "right": right}} if operator in _COMPARISONS:
            return _comparison(operator, left, right, text)
        case {"Function": {"input": [left, right], "function": {"Sql": {"Binary": str(operator)}}}} if (
            operator in _COMPARISONS
        ):
            return _comparison(operator, left, right, text)
        case {"Function": {"input": [inner], "function": {"Boolean": "Not"}}}:
            condition = _condition(inner, text)
            return Condition(condition.false, condition.true)
        case {"Cast": {"expr": inner, "dtype": {"Literal": "Boolean"}}}:
            return _condition(inner, text)
        case {"Function": {"input": [{"Column": str(name)}], "function": {"Boolean": "IsNull"}}}:
            return _missing(name, text)
        case {"Function": {"input": [{"Column": str(name)}], "function": {"Boolean": "IsNotNull"}}}:
            missing = _missing(name, text)
            return Condition(missing.false, missing.true)
        case {"Function": {"input": [{"Column": str(name)}, values], "function": {"Sql": {"IsIn": _}}}}:
            return _member(name, values, text)
        case _:
            raise NotCompilableError


def _joined(operator: str, left: Condition, right: Condition) -> Condition:
    def both(first: Where, second: Where, columns: Columns) -> Truth:
        return first(columns) & second(columns)

    def either(first: Where, second: Where, columns: Columns) -> Truth:
        return first(columns) | second(columns)

    if operator == "And":
        return Condition(partial(both, left.true, right.true), partial(either, left.false, right.false))
    return Condition(partial(either, left.true, right.true), partial(both, left.false, right.false))


def _comparison(operator: str, left: Any, right: Any, text: frozenset[str]) -> Condition:
    if isinstance(left, dict) and left.get("Column") in text:
        return _text_comparison(operator, left["Column"], right)
    first, second = _number(left, text), _number(right, text)
    true, false = _COMPARISONS[operator]

    def compare(how: _Compare, columns: Columns) -> Truth:
        return how(first(columns), second(columns))

    return Condition(partial(compare, true), partial(compare, false))


def _text_comparison(operator: str, name: str, right: Any) -> Condition:
    value = _constant(right)
    if operator not in ("Eq", "NotEq") or not isinstance(value, str):
        raise NotCompilableError
    scalar = pa.scalar(value, pa.string())

    def compare(how: Any, columns: Columns) -> Truth:
        return truth(how(columns[name], scalar))

    equal, unequal = partial(compare, pc.equal), partial(compare, pc.not_equal)
    return Condition(equal, unequal) if operator == "Eq" else Condition(unequal, equal)


def _missing(name: str, text: frozenset[str]) -> Condition:
    if name in text:
        return Condition(
            lambda columns: truth(columns[name].is_null()), lambda columns: truth(columns[name].is_valid())
        )
    return Condition(lambda columns: np.isnan(columns[name]), lambda columns: ~np.isnan(columns[name]))


def _member(name: str, values: Any, text: frozenset[str]) -> Condition:
    members = pl.select(_deserialized(values)).to_series()
    members = members.explode() if isinstance(members.dtype, pl.List) else members
    if members.null_count():
        raise NotCompilableError
    if name in text:
        wanted = pa.array(members.to_list(), pa.string())
        return Condition(
            lambda columns: truth(pc.is_in(columns[name], wanted)),
            lambda columns: ~truth(pc.is_in(columns[name], wanted)) & truth(columns[name].is_valid()),
        )
    numbers = members.cast(pl.Float64).to_numpy()

    def among(columns: Columns) -> Truth:
        return (columns[name][:, np.newaxis] == numbers).any(axis=1)  # type: ignore[no-any-return]

    return Condition(among, lambda columns: ~among(columns) & ~np.isnan(columns[name]))


def _number(node: Any, text: frozenset[str]) -> _Number:
    """Return a function for a column's values or a constant; other numbers are not compiled."""
    match node:
        case {"Column": str(name)} if name not in text:
            return lambda columns: columns[name]
        case {"Literal": _}:
            value = _constant(node)
            if isinstance(value, float):
                return lambda _: value
            raise NotCompilableError
        case _:
            raise NotCompilableError


def _constant(node: Any) -> float | str | None:
    """Return the value of a literal as Polars sees it next to a column of float64 or text."""
    match node:
        case {"Literal": {"Scalar": {"String": str(value)}}}:
            return value
        case {"Literal": {"Dyn": {"Int": _} | {"Float": _}}} | {"Literal": {"Scalar": {"Decimal": _}}}:
            return float(pl.select(_deserialized(node).cast(pl.Float64)).item())
        case _:
            return None


def _deserialized(node: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json")
