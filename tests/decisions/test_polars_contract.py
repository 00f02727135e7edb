"""What decisions/rules.py relies on in the form that Polars gives a serialised expression."""

import json
import tomllib
from importlib.metadata import version
from typing import Any

import polars as pl
import pytest

from decisions.rules import parse_rule
from tests.conftest import ROOT

COLUMN = {"Column": "amount"}
ONE = {"Literal": {"Dyn": {"Int": 1}}}


def serialised(sql: str) -> Any:
    """Return an expression as rules.py sees it."""
    return json.loads(pl.sql_expr(sql).meta.serialize(format="json"))


def compared(operator: str) -> dict[str, Any]:
    """Return a comparison with a whole number."""
    return {"BinaryExpr": {"left": COLUMN, "op": operator, "right": ONE}}


def function(name: Any, *inputs: Any) -> dict[str, Any]:
    """Return a function call."""
    return {"Function": {"input": list(inputs), "function": name}}


def test_polars_is_a_release_whose_form_is_known() -> None:
    """The package requires the installed minor release: a newer one has to pass these tests first."""
    assert version("polars").startswith("2.1.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "polars>=2.1,<2.2" in project["dependencies"]


@pytest.mark.parametrize(
    ("sql", "form"),
    [
        ("amount = 1", compared("Eq")),
        ("amount <> 1", function({"Boolean": "Not"}, compared("Eq"))),
        ("amount >= 1", compared("GtEq")),
        ("amount BETWEEN 1 AND 1", {"BinaryExpr": {"left": compared("GtEq"), "op": "And", "right": compared("LtEq")}}),
        ("amount = 1 OR amount = 1", {"BinaryExpr": {"left": compared("Eq"), "op": "Or", "right": compared("Eq")}}),
        (
            "NOT (amount = 1)",
            function(
                {"Boolean": "Not"},
                {"Cast": {"expr": compared("Eq"), "dtype": {"Literal": "Boolean"}, "options": "Strict"}},
            ),
        ),
        ("amount IS NULL", function({"Boolean": "IsNull"}, COLUMN)),
        ("COALESCE(amount, 1)", function("Coalesce", COLUMN, ONE)),
        ("amount > 5.5", function({"Sql": {"Binary": "Gt"}}, COLUMN, {"Literal": {"Scalar": {"Decimal": [55, 2, 1]}}})),
        ("amount LIKE 'a%'", function({"StringExpr": "StartsWith"}, COLUMN, {"Literal": {"Scalar": {"String": "a"}}})),
        (
            "REGEXP_LIKE(amount, 'x')",
            function(
                {"StringExpr": {"Contains": {"literal": False, "strict": True}}},
                COLUMN,
                {"Literal": {"Scalar": {"String": "x"}}},
            ),
        ),
        (
            "1 / NULLIF(amount, 0)",
            function(
                {"Sql": {"Binary": "Div"}},
                ONE,
                {
                    "Ternary": {
                        "predicate": {
                            "BinaryExpr": {"left": COLUMN, "op": "Eq", "right": {"Literal": {"Dyn": {"Int": 0}}}}
                        },
                        "truthy": {"Literal": {"Scalar": {"Null": "Null"}}},
                        "falsy": COLUMN,
                    }
                },
            ),
        ),
    ],
)
def test_expression_is_serialised_as_expected(sql: str, form: Any) -> None:
    """Each kind of node that the check knows has the form that it matches on."""
    assert serialised(sql) == form


def test_list_of_values_is_a_series_and_its_test_is_named() -> None:
    """The values of IN are a literal series, which holds no column, and the function keeps its name and options."""
    form = serialised("payee IN ('a', 'b')")["Function"]
    assert form["function"] == {"Sql": {"IsIn": {"nulls_equal": False}}}
    assert form["input"][0] == {"Column": "payee"}
    assert form["input"][1]["Literal"].keys() == {"Series"}


def test_parsed_rule_is_what_was_checked() -> None:
    """What is evaluated is the expression whose form was checked, not the text it came from."""
    expression = parse_rule("amount > 1 AND payee IN ('a')", None)
    assert sorted(expression.meta.root_names()) == ["amount", "payee"]
    rows = pl.DataFrame({"amount": [0.0, 2.0, 2.0], "payee": ["a", "a", "b"]})
    assert rows.select_seq(expression.alias("result"))["result"].to_list() == [False, True, False]
