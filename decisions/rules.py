"""Rules in SQL: each is a boolean expression over the columns of one payment, evaluated over a batch.

Polars parses an expression once, when the policy is loaded. The parsed expression is then compared with a list of
allowed forms, so that a rule can neither use other payments of its batch (which would make a decision depend on how
Kafka batches the stream), nor read the clock, nor fail on a later payment, nor yield NaN, which Polars considers
greater than every number.
"""

import contextlib
import difflib
import io
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from decisions.compiled_rules import NotCompilableError, Where, compile_rule
from vedette.codes import country_code, currency_code, merchant_category
from vedette.errors import InputError, PolicyError
from vedette.events import Channel, Reason

TEXT = frozenset(
    {
        "transaction_id", "account_id", "currency", "merchant_id", "payee", "mcc", "channel", "country", "device_id",
        "ip_address", "account_type", "kind", "original_id",
    }
)  # fmt: skip
"""The text columns. All others are numbers, evaluated as float64: whole numbers are exact up to 2**53."""

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

# Rows on which a new rule is tried, so that a type error or an invalid pattern is found when the policy is loaded.
_TRIAL_TEXT = (None, "", "x", "1")
_TRIAL_NUMBERS = (None, 0.0, 1.5, -1e15)


@dataclass(frozen=True)
class Rule:
    """One rule, ready to be evaluated.

    Args:
        name: Unique within its policy.
        action: Index into ACTIONS that it requests.
        reason: Reason shown to analysts.
        shadow: Whether it is only counted.
        expression: Result of `parse_rule` for its SQL.
    """

    name: str
    action: int
    reason: Reason
    shadow: bool
    expression: pl.Expr

    @property
    def columns(self) -> frozenset[str]:
        """The columns its expression reads."""
        return frozenset(self.expression.meta.root_names())


class RuleSet:
    """Rules that are evaluated together: most as array operations, the others by Polars."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.columns = frozenset().union(*(rule.columns for rule in rules))
        self._compiled: dict[int, Where] = {}
        for number, rule in enumerate(rules):
            with contextlib.suppress(NotCompilableError):
                self._compiled[number] = compile_rule(rule.expression, TEXT).true
        others = [number for number in range(len(rules)) if number not in self._compiled]
        self._expressions = {number: rules[number].expression.alias(str(number)) for number in others}
        self._order = sorted(frozenset().union(*(rules[number].columns for number in others)))
        self._columns = sorted(frozenset().union(*(rules[number].columns for number in self._compiled)))

    def fired(self, columns: Mapping[str, Any]) -> list[tuple[Rule, NDArray[np.intp]]]:
        """Return the rules that are true on any row, in the order of the file, each with these rows.

        A rule whose value is NULL is not true.

        Args:
            columns: At least `self.columns`, each an Arrow or NumPy array with one value per row; NaN and infinity
                count as NULL.
        """
        true = self._by_polars(columns) if self._expressions else {}
        offered = {name: _prepared(name, columns[name]) for name in self._columns}
        true |= {number: where(offered).nonzero()[0] for number, where in self._compiled.items()}
        return [(rule, true[number]) for number, rule in enumerate(self.rules) if len(true[number])]

    def _by_polars(self, columns: Mapping[str, Any]) -> dict[int, NDArray[np.intp]]:
        arrays = [_arrow(name, columns[name]) for name in self._order]
        frame = pl.DataFrame(pa.RecordBatch.from_arrays(arrays, self._order))
        # One after the other: at a few microseconds per rule, a thread pool costs more than it saves.
        results = frame.select_seq(list(self._expressions.values())).get_columns()
        # A null makes the result an array of objects, in which it counts as false.
        return {
            number: np.flatnonzero(result.to_numpy().astype(np.bool_))
            for number, result in zip(self._expressions, results, strict=True)
        }


def parse_rule(sql: str, known_columns: Collection[str] | None) -> pl.Expr:
    """Return the expression of a rule's SQL.

    Args:
        sql: A boolean expression, such as `is_night = 1 AND account_count_1h >= 5`.
        known_columns: The available columns; None defers the check to the evaluation.

    Raises:
        PolicyError: The SQL does not parse, names an unknown column, is not boolean, or contains a forbidden form.
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
                remedy=f"did you mean {' or '.join(near)}?" if near else "docs/policy.md lists the columns",
            )
    _try(expression, columns)
    return expression


def _arrow(name: str, values: Any) -> pa.Array:
    """Return a column in the form for Polars: text or float64, null where it is missing, NaN or infinite."""
    kind = pa.string() if name in TEXT else pa.float64()
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, kind, mask=~np.isfinite(values))
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == kind else array.cast(kind)


def _prepared(name: str, values: Any) -> Any:
    """Return a column in the form for compiled rules: Arrow text, or float64 with NaN where missing or infinite."""
    if name in TEXT:
        return _arrow(name, values)
    numbers = np.asarray(values, np.float64)
    finite = np.isfinite(numbers)
    return numbers if np.logical_and.reduce(finite) else np.where(finite, numbers, np.nan)


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
    """Compare an expression, in Polars' JSON form, with the allowed forms of a rule.

    The list is of allowed forms: an unknown form of a later Polars is refused, never accepted.
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
            _check_codes(left, right)
            _check_codes(right, left)
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            for part in (predicate, truthy, falsy):
                _check(part)
        case {"Cast": {"expr": inner, "dtype": {"Literal": "Boolean"}}}:  # NOT includes one
            _check(inner)
        case {"Function": {"input": list(inputs), "function": function}}:
            _check_function(_function_name(function), inputs)
        case _:
            name = node if isinstance(node, str) else next(iter(node))
            raise PolicyError(f"it uses what a rule may not ({name})", remedy=_ALLOWED)


def _channel(text: str) -> str:
    channel = text.strip().lower()
    if channel not in _CHANNELS:
        raise InputError(f"{text!r} is not a channel", remedy=f"one of {', '.join(_CHANNELS)}")
    return channel


_CHANNELS: tuple[str, ...] = get_args(Channel)
_CODES: Mapping[str, Callable[[str], str]] = {
    "channel": _channel, "country": country_code, "currency": currency_code, "mcc": merchant_category,
}  # fmt: skip


def _check_function(name: str, inputs: list[Any]) -> None:
    if name not in _FUNCTIONS:
        raise PolicyError(f"it uses what a rule may not ({name})", remedy=_ALLOWED)
    if name in _DIVISIONS and not _never_zero(inputs[1]):
        raise PolicyError("it divides by what may be zero", remedy="divide by NULLIF(…, 0)")
    if name == "StringExpr.Contains" and "Literal" not in inputs[1]:
        raise PolicyError("its pattern is a column", remedy="write the pattern as text in single quotes")
    for part in inputs:
        _check(part)
    if name == "Sql.IsIn":
        _check_codes(*inputs)


def _check_codes(column: Any, constant: Any) -> None:
    """Refuse to compare a column of codes with an impossible value: country = 'kp' would never be true."""
    match column, constant:
        case {"Column": str(name)}, {"Literal": _} if name in _CODES:
            literal = pl.Expr.deserialize(io.StringIO(json.dumps(constant)), format="json")
            for text in pl.select(literal).to_series().explode().to_list():
                if not isinstance(text, str):
                    continue
                try:
                    code = _CODES[name](text)
                except InputError as error:
                    raise PolicyError(f"no payment has the {name} {text!r}", remedy=error.remedy) from error
                if code != text:
                    raise PolicyError(f"no payment has the {name} {text!r}", remedy=f"write '{code}'")


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
