"""Mappings: how the columns of a file become the canonical frame, as TOML data.

A mapping names a source for each canonical field it can fill. See docs/producers.md for the format with examples.
"""

import tomllib
from collections.abc import Callable, Container
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pandas as pd
from msgspec import Meta

from producers.dialect import Ambiguous, Dialect, check_dialect, check_thousands, check_zone
from producers.frame import SCHEMA
from vedette.clock import DAY, HOUR, SECOND, parse_time
from vedette.codes import country_code, currency_code, ip_address, merchant_category
from vedette.errors import InputError
from vedette.events import EXTRA, is_extra_name
from vedette.text import read_text

LABEL_DELAY_DAYS = 7.0
"""Days after which labels of a file arrive, if neither file nor mapping says so."""
MOST_FEATURE_DELAY = 30

FOLDER = Path(__file__).parent / "mappings"

TimeForm = Literal["datetime", "nanoseconds", "microseconds", "milliseconds", "seconds", "hours", "days"]
TIMES = ("event_time", "account_opened_at", "labelled_at")
AMOUNTS = ("amount", "balance")
NUMBERS = (*AMOUNTS, "lat", "lon")
CODES: dict[str, Callable[[str], str]] = {
    "currency": currency_code, "country": country_code, "mcc": merchant_category, "ip_address": ip_address,
}  # fmt: skip
UNITS: dict[str, float] = {
    "nanoseconds": 1e-6, "microseconds": 1e-3, "milliseconds": 1, "seconds": SECOND, "hours": HOUR, "days": DAY,
}  # fmt: skip
"""Length in milliseconds of each unit in which a time may be counted."""

# Keys that a source may have for each kind of field, in addition to the origin of the value.
_OF_TIMES = frozenset({"columns", "first_of", "row_number", "remove", "form", "formats", "zone", "ambiguous", "origin"})
_OF_NUMBERS = frozenset({"first_of", "remove", "decimal", "thousands", "unit", "negative"})
_OF_TRUTH = frozenset({"first_of", "remove", "values"})
_OF_TEXT = frozenset({"columns", "first_of", "join", "row_number", "prefix", "only", "remove", "values"})
_OF_CURRENCIES = _OF_TEXT | {"signs"}
_REQUIRED = frozenset(field.name for field in SCHEMA if not field.nullable)


class ColumnSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Source of one canonical field: exactly one of column, columns, first_of, constant and row_number.

    A column of nested rows is a path, such as `card.number` or `lines[0].amount`.
    """

    column: Annotated[str, Meta(description="one column of the file")] = ""
    columns: Annotated[
        list[str], Meta(description="several, joined by `join`; for a time: date and time, or year, month, day, time")
    ] = []
    first_of: Annotated[list[str], Meta(description="several, of which the first that is not empty counts")] = []
    constant: Annotated[str, Meta(description="the same value in every row")] = ""
    row_number: Annotated[bool, Meta(description="the number of the row, 1 being the first")] = False
    prefix: Annotated[str, Meta(description="prefix for an id")] = ""
    join: Annotated[str, Meta(description="separator between joined columns")] = "-"
    only: Annotated[str, Meta(description="values that do not start with this are left out")] = ""
    remove: Annotated[str, Meta(description="characters to remove, such as '$,'")] = ""
    decimal: Annotated[Literal[".", ","] | None, Meta(description="decimal separator of numbers")] = None
    thousands: Annotated[str | None, Meta(description="separator of thousands")] = None
    signs: Annotated[dict[str, str], Meta(description="currency by a sign that the value contains, such as '€'")] = {}
    values: Annotated[dict[str, str], Meta(description="replacement of each value; '' leaves it out")] = {}
    form: Annotated[TimeForm, Meta(description="format of a time")] = "datetime"
    formats: Annotated[
        list[str], Meta(description="written forms of a time, as in strptime; the first that fits counts")
    ] = []
    zone: Annotated[str | None, Meta(description="time zone of times without an offset")] = None
    ambiguous: Annotated[Ambiguous | None, Meta(description="meaning of a local time that comes twice")] = None
    origin: Annotated[str, Meta(description="the time from which seconds, hours or days are counted")] = "1970-01-01"
    unit: Annotated[Literal["major", "minor"], Meta(description="unit of an amount")] = "major"
    negative: Annotated[
        Literal["refund", "payment"],
        Meta(description="what a negative amount is; where it is a payment, a positive one is a deposit"),
    ] = "refund"
    optional: Annotated[bool, Meta(description="whether a file may lack the column")] = False

    def names(self) -> list[str]:
        """Return the columns it needs."""
        return [self.column] if self.column else (self.columns or self.first_of)


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of file."""

    name: str
    description: str
    fields: dict[str, ColumnSource]
    extra: Annotated[
        list[str] | dict[str, str],
        Meta(description="numeric columns to carry as extra.<name>; or a table of names and their columns"),
    ] = []
    label_delay_days: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="when the file does not say when labels arrived; features wait as long, in whole days"),
    ] = None
    file: Annotated[Dialect, Meta(description="how the file writes its rows")] = Dialect()
    where: Annotated[
        dict[str, str | list[str]],
        Meta(description="columns and the values that they must have; other rows are left out, not rejected"),
    ] = {}

    def columns(self) -> list[str]:
        """Return every column of the file that it needs, without duplicates."""
        needed = [name for source in self.fields.values() for name in source.names()]
        return list(dict.fromkeys([*needed, *self.extra_columns().values(), *self.where]))

    def feature_delay_days(self, default: int) -> int:
        """Return the days from a payment until its label takes effect in features, 1 to 30.

        Args:
            default: The deployment's, for a mapping that names no delay.
        """
        if self.label_delay_days is None:
            return default
        return min(max(ceil(self.label_delay_days), 1), MOST_FEATURE_DELAY)

    def for_file(self, present: Container[str]) -> "Mapping":
        """Return the mapping without the optional fields of which a file does not have every column."""
        fields = {
            name: source
            for name, source in self.fields.items()
            if not source.optional or all(column in present for column in source.names())
        }
        return self if len(fields) == len(self.fields) else msgspec.structs.replace(self, fields=fields)

    def extra_columns(self) -> dict[str, str]:
        """Return the column of the file that each value of Transaction.extra comes from, by its name."""
        return self.extra if isinstance(self.extra, dict) else {name: name for name in self.extra}


def mapping_names() -> list[str]:
    """Return the names of the mappings that come with Vedette."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_mapping(name_or_path: str) -> Mapping:
    """Return a mapping by its name, or from a TOML file (anything that ends in .toml).

    Raises:
        InputError: There is no such mapping, or it is not valid; the message gives the place in the file.
    """
    own = name_or_path.endswith(".toml")
    path = Path(name_or_path) if own else FOLDER / f"{name_or_path}.toml"
    if not own and name_or_path not in mapping_names():
        raise InputError(
            f"there is no mapping {name_or_path!r}",
            remedy=f"one of {', '.join(mapping_names())}, or the path of a .toml file",
        )
    where = f"mapping {name_or_path}"
    try:
        mapping = msgspec.convert(tomllib.loads(read_text(path)), Mapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{where}: {error}", remedy="docs/producers.md describes every key") from error
    _check(where, mapping)
    return _complete(mapping)


def _complete(mapping: Mapping) -> Mapping:
    """Return the mapping with the dialect's answers where its fields leave them open."""
    file = mapping.file
    fields = {
        name: msgspec.structs.replace(
            source,
            decimal=source.decimal or file.decimal,
            thousands=file.thousands if source.thousands is None else source.thousands,
            zone=source.zone or file.zone,
            ambiguous=source.ambiguous or file.ambiguous,
        )
        for name, source in mapping.fields.items()
    }
    signs = fields["currency"].signs
    for name in AMOUNTS:  # the sign that names the currency is no part of the number beside it
        if name in fields and signs and fields[name].names() == fields["currency"].names():
            fields[name] = msgspec.structs.replace(fields[name], remove=fields[name].remove + "".join(signs))
    return msgspec.structs.replace(mapping, fields=fields)


def _check(where: str, mapping: Mapping) -> None:
    check_dialect(f"{where}: [file]", mapping.file)
    unknown = [name for name in mapping.fields if name not in SCHEMA.names]
    if unknown:
        raise InputError(f"{where}: there is no field {unknown[0]!r}", remedy=f"one of {', '.join(SCHEMA.names)}")
    for field in SCHEMA:
        if not field.nullable and field.name not in mapping.fields:
            raise InputError(f"{where}: [fields] lacks {field.name}", remedy="every transaction needs it")
    if "merchant_id" not in mapping.fields and "payee" not in mapping.fields:
        raise InputError(f"{where}: [fields] names no counterparty", remedy="give merchant_id or payee")
    if len(mapping.extra) != len(set(mapping.extra)):
        raise InputError(f"{where}: `extra` has a name twice", remedy=f"each becomes one column {EXTRA}<name>")
    for name in mapping.extra:
        if not is_extra_name(name):
            raise InputError(
                f"{where}: no model can have a feature called {EXTRA + name!r}",
                remedy='give it a name without white space and without ",:[]{}<>, such as '
                f"extra = {{ risk_score = {name!r} }}",
            )
    for name, source in mapping.fields.items():
        _check_source(f"{where}: [fields.{name}]", name, source)
        if name in TIMES:
            _check_time(f"{where}: [fields.{name}]", source)
        check_thousands(
            f"{where}: [fields.{name}]",
            mapping.file.thousands if source.thousands is None else source.thousands,
            source.decimal or mapping.file.decimal,
        )


def _check_source(where: str, name: str, source: ColumnSource) -> None:
    given = [
        bool(source.column), bool(source.columns), bool(source.first_of), bool(source.constant), source.row_number,
    ]  # fmt: skip
    if sum(given) != 1:
        raise InputError(
            f"{where} has {sum(given)} sources", remedy="give one of column, columns, first_of, constant, row_number"
        )
    allowed = _allowed_keys(name)
    for key in ColumnSource.__struct_fields__:
        if key not in allowed and getattr(source, key) != getattr(_PLAIN, key):
            raise InputError(f"{where}: {key!r} has no meaning for {name}", remedy=f"{name} takes {', '.join(allowed)}")
    try:
        parse_time(source.origin)
    except InputError as error:
        raise InputError(f"{where} origin: {error}") from error
    if source.constant and name in CODES:
        try:
            CODES[name](source.constant)
        except InputError as error:
            raise InputError(f"{where} constant: {error.args[0]}", remedy=error.remedy) from error


def _check_time(where: str, source: ColumnSource) -> None:
    if source.columns and not source.formats and len(source.columns) not in {2, 3, 4}:
        raise InputError(
            f"{where} has {len(source.columns)} columns",
            remedy="a time consists of date and time, or of year, month, day and, optionally, time of day",
        )
    if source.zone is not None:
        check_zone(where, source.zone)
    if source.formats and source.form != "datetime":
        raise InputError(f"{where} has both form and formats", remedy="a count has no written form: give one of them")
    for form in source.formats:
        try:
            pd.to_datetime(pd.Series(["-"]), format=form, errors="coerce")
            complete = all(any(f"%{letter}" in form for letter in letters) for letters in ("Yy", "mbB", "d"))
        except ValueError:
            complete = False
        if not complete:
            raise InputError(
                f"{where} formats: {form!r} does not describe a time",
                remedy="it needs at least year, month and day, such as '%d.%m.%Y %H:%M:%S'",
            )


_PLAIN = ColumnSource()


def _allowed_keys(name: str) -> list[str]:
    keys = _OF_TEXT
    if name in TIMES:
        keys = _OF_TIMES
    elif name in NUMBERS:
        keys = _OF_NUMBERS - ({"negative"} if name in AMOUNTS else {"unit", "negative"})
        keys |= {"negative"} if name == "amount" else set()
    elif name == "fraud":
        keys = _OF_TRUTH
    elif name == "currency":
        keys = _OF_CURRENCIES
    return ["column", "constant", *sorted(keys | (set() if name in _REQUIRED else {"optional"}))]
