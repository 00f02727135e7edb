"""Rules in SQL: each a true-or-false expression over one payment's columns, all evaluated at once over a batch.

Polars parses an expression once, when the policy is loaded. What it parsed is then compared with a list of what a
rule may contain, so that a rule can neither look at other payments of its batch (which would make a decision depend
on how Kafka cut the stream), nor read the clock, nor fail on some later payment, nor yield NaN, which Polars deems
greater than every number.
"""

import difflib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from vedette.errors import PolicyError

TEXT = frozenset(
    {
        "transaction_id", "account_id", "currency", "merchant_id", "payee", "mcc", "channel", "country", "device_id",
        "ip_address", "account_type",
    }
)  # fmt: skip
"""The columns that hold text. All others are numbers, evaluated as float64: whole numbers are exact up to 2**53."""

_ALLOWED = (
    "a rule may use = <> < <= > >=, AND OR NOT, IN, BETWEEN, LIKE, ILIKE, IS NULL, CASE, + - *, / and % by a number or "
    "by NULLIF(…, 0), ABS, ROUND, FLOOR, CEIL, LEAST, GREATEST, COALESCE, NULLIF, LOWER, UPPER, LENGTH, STARTS_WITH, "
    "ENDS_WITH and REGEXP_LIKE with a fixed pattern"
)
_OPERATORS = frozenset({"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "And", "Or", "Plus", "Minus", "Multiply"})
_FUNCTIONS = frozenset(
    {
        "Abs", "Ceil", "Coalesce", "Floor", "MaxHorizontal", "MinHorizontal",
        "Boolean.IsNotNull", "Boolean.IsNull", "Boolean.Not",
        "Sql.IsIn", "Sql.Round",
        "Sql.Binary.Eq", "Sql.Binary.NotEq", "Sql.Binary.Lt", "Sql.Binary.LtEq", "Sql.Binary.Gt", "Sql.Binary.GtEq",
        "Sql.Binary.Plus", "Sql.Binary.Minus", "Sql.Binary.Mul",
        "Sql.Binary.Div", "Sql.Binary.IntDiv", "Sql.Binary.Rem",
        "StringExpr.Contains", "StringExpr.EndsWith", "StringExpr.LenChars", "StringExpr.Lowercase",
        "StringExpr.StartsWith", "StringExpr.Uppercase",
    }
)  # fmt: skip
_DIVISIONS = frozenset({"Sql.Binary.Div", "Sql.Binary.IntDiv", "Sql.Binary.Rem"})
_CONSTANTS = ("String", "Boolean", "Null", "Decimal", "Int", "UInt", "Float")

# Rows on which a new rule is tried, so that a clash of types or a broken pattern shows when the policy is loaded.
_TRIAL_TEXT = (None, "", "x", "1")
_TRIAL_NUMBERS = (None, 0.0, 1.5, -1e15)


@dataclass(frozen=True)
class Rule:
    """One rule, ready to be evaluated.

    Args:
        name: Unique within its policy.
        action: Index into ACTIONS that it asks for.
        reason: Words for people.
        shadow: Whether it is only counted.
        expression: What `parse_rule` made of its SQL.
    """

    name: str
    action: int
    reason: str
    shadow: bool
    expression: pl.Expr

    @property
    def columns(self) -> frozenset[str]:
        """The columns its expression reads."""
        return frozenset(self.expression.meta.root_names())


class RuleSet:
    """Rules that are evaluated together."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.columns = frozenset().union(*(rule.columns for rule in rules))
        self._order = sorted(self.columns)
        self._expressions = [rule.expression.alias(str(number)) for number, rule in enumerate(rules)]

    def fired(self, columns: Mapping[str, Any]) -> list[tuple[Rule, NDArray[np.intp]]]:
        """Which rules are true somewhere, in the order of the file, each with the rows where they are.

        A rule whose value is NULL is not true.

        Args:
            columns: At least `self.columns`, each an Arrow or NumPy array with one value a row; NaN and infinity
                count as NULL.
        """
        if not self.rules:
            return []
        arrays = [_arrow(name, columns[name]) for name in self._order]
        frame = pl.DataFrame(pa.RecordBatch.from_arrays(arrays, self._order))
        # One after the other: at a few microseconds a rule, handing them to a thread pool costs more than it saves.
        results = frame.select_seq(self._expressions).get_columns()
        return [
            (rule, np.flatnonzero(result.to_numpy().astype(np.bool_)))  # null, an object there, is false
            for rule, result in zip(self.rules, results, strict=True)
            if result.any()
        ]


def parse_rule(sql: str, known_columns: Collection[str] | None) -> pl.Expr:
    """The expression that a rule's SQL stands for.

    Args:
        sql: A boolean expression, such as `is_night = 1 AND account_count_1h >= 5`.
        known_columns: The columns there will be; None leaves that to whoever evaluates.

    Raises:
        PolicyError: It does not parse, names an unknown column, is not true or false, or contains what a rule may not.
    """
    try:
        expression = pl.sql_expr(sql)
        _check(json.loads(expression.meta.serialize(format="json")))
        columns = sorted(set(expression.meta.root_names()))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise PolicyError(f"{sql!r} is not an SQL expression: {_first_line(error)}", remedy=_ALLOWED) from error
    except RecursionError as error:
        raise PolicyError("the expression is nested too deeply", remedy="split it into several rules") from error
    if not columns:
        raise PolicyError(f"{sql!r} names no column, so it is the same for every payment")
    for column in columns:
        if known_columns is not None and column not in known_columns:
            near = difflib.get_close_matches(column, known_columns, n=3)
            raise PolicyError(
                f"there is no column {column!r}",
                remedy=f"did you mean {' or '.join(near)}?" if near else "docs/policy.md tells which columns there are",
            )
    _try(expression, columns)
    return expression


def _arrow(name: str, values: Any) -> pa.Array:
    """A column as rules see it: text or float64, null where it is missing, NaN or infinite."""
    kind = pa.string() if name in TEXT else pa.float64()
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, kind, mask=~np.isfinite(values))
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == kind else array.cast(kind)


def _try(expression: pl.Expr, columns: Sequence[str]) -> None:
    trial = pl.DataFrame(
        [
            pl.Series(name, _TRIAL_TEXT, pl.String) if name in TEXT else pl.Series(name, _TRIAL_NUMBERS, pl.Float64)
            for name in columns
        ]
    )
    try:
        result = trial.select_seq(expression.alias("result")).to_series()
    except pl.exceptions.PolarsError as error:
        raise PolicyError(
            f"it cannot be evaluated: {_first_line(error)}", remedy="text is written in single quotes, numbers without"
        ) from error
    if result.dtype != pl.Boolean:
        raise PolicyError("its value is not true or false", remedy="compare it with something, as in is_night = 1")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


def _check(node: Any) -> None:
    """Compare an expression, in the JSON form Polars gives it, with what a rule may contain.

    A list of what may be, not of what may not: an unknown form of a later Polars is refused, never let through.
    """
    match node:
        case {"Column": str()}:
            pass
        case {"Literal": {"Dyn": {"Int": _}} | {"Series": _}}:
            pass
        case {"Literal": {"Dyn": {"Float": float(value)}}} if math.isfinite(value):
            pass
        case {"Literal": {"Scalar": dict(scalar)}} if next(iter(scalar)).startswith(_CONSTANTS):
            pass
        case {"BinaryExpr": {"left": left, "op": str(operator), "right": right}} if operator in _OPERATORS:
            _check(left)
            _check(right)
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            for part in (predicate, truthy, falsy):
                _check(part)
        case {"Cast": {"expr": inner, "dtype": {"Literal": "Boolean"}}}:  # NOT comes with one
            _check(inner)
        case {"Function": {"input": list(inputs), "function": function}}:
            _check_function(_function_name(function), inputs)
        case _:
            name = node if isinstance(node, str) else next(iter(node))
            raise PolicyError(f"it uses what a rule may not ({name})", remedy=_ALLOWED)


def _check_function(name: str, inputs: list[Any]) -> None:
    if name not in _FUNCTIONS:
        raise PolicyError(f"it uses what a rule may not ({name})", remedy=_ALLOWED)
    if name in _DIVISIONS and not _never_zero(inputs[1]):
        raise PolicyError("it divides by what may be zero", remedy="divide by NULLIF(…, 0)")
    if name == "StringExpr.Contains" and "Literal" not in inputs[1]:
        raise PolicyError("its pattern is a column", remedy="write the pattern as text in single quotes")
    for part in inputs:
        _check(part)


def _function_name(function: Any) -> str:
    """`Sql.Binary.Div` for {"Sql": {"Binary": "Div"}}; options, which Polars writes in lower case, are left out."""
    parts = []
    while isinstance(function, dict):
        name, function = next(iter(function.items()))
        parts.append(name)
    if isinstance(function, str):
        parts.append(function)
    return ".".join(part for part in parts if part[0].isupper())


def _never_zero(divisor: Any) -> bool:
    match divisor:
        case {"Literal": {"Dyn": {"Int": value} | {"Float": value}}}:
            return bool(value != 0)
        case {"Literal": {"Scalar": {"Decimal": [value, *_]}}}:
            return bool(value != 0)
        case {
            "Ternary": {
                "predicate": {"BinaryExpr": {"left": tested, "op": "Eq", "right": {"Literal": {"Dyn": {"Int": 0}}}}},
                "truthy": {"Literal": {"Scalar": {"Null": _}}},
                "falsy": value,
            }
        }:
            return bool(tested == value)
        case _:
            return False
