"""Mappings: how the columns of somebody's file become the canonical frame, as TOML data.

A mapping names a source for each canonical field it can fill. See docs/producers.md for the format with examples.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from producers.frame import SCHEMA
from vedette.clock import DAY, HOUR, SECOND, parse_time
from vedette.errors import InputError
from vedette.events import EXTRA

FOLDER = Path(__file__).parent / "mappings"

TimeForm = Literal["datetime", "milliseconds", "seconds", "hours", "days"]
TIMES = ("event_time", "account_opened_at", "labelled_at")
UNITS: dict[str, int] = {"milliseconds": 1, "seconds": SECOND, "hours": HOUR, "days": DAY}


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one canonical field comes from: exactly one of column, columns, constant and row_number."""

    column: Annotated[str, Meta(description="one column of the file")] = ""
    columns: Annotated[
        list[str], Meta(description="several, joined by `join`; for a date: year, month, day, time")
    ] = []
    constant: Annotated[str, Meta(description="the same value in every row")] = ""
    row_number: Annotated[bool, Meta(description="the number of the row, 1 being the first")] = False
    prefix: Annotated[str, Meta(description="put before an id")] = ""
    join: Annotated[str, Meta(description="put between joined columns")] = "-"
    only: Annotated[str, Meta(description="a value that does not start with this is left out")] = ""
    remove: Annotated[str, Meta(description="characters to take out, such as '$,'")] = ""
    values: Annotated[dict[str, str], Meta(description="what each value becomes; '' leaves it out")] = {}
    form: Annotated[TimeForm, Meta(description="how a moment is written")] = "datetime"
    origin: Annotated[str, Meta(description="the moment that seconds, hours or days count from")] = "1970-01-01"
    unit: Annotated[Literal["major", "minor"], Meta(description="of an amount")] = "major"

    def names(self) -> list[str]:
        """The columns it needs."""
        return [self.column] if self.column else self.columns


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of file."""

    name: str
    about: str
    fields: dict[str, Source]
    extra: Annotated[list[str], Meta(description="numeric columns to carry along as extra.<name>")] = []
    label_delay_days: Annotated[float, Meta(ge=0, description="when the file does not say when labels arrived")] = 7.0

    def columns(self) -> list[str]:
        """Every column of the file it needs, once each."""
        needed = [name for source in self.fields.values() for name in source.names()]
        return list(dict.fromkeys([*needed, *self.extra]))


def mapping_names() -> list[str]:
    """The mappings that come with Vedette."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_mapping(name_or_path: str) -> Mapping:
    """A mapping by its name, or from a TOML file of one's own (anything that ends in .toml).

    Raises:
        InputError: There is no such mapping, or it is not valid; the message says where in the file.
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
        mapping = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Mapping)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{where}: {error}", remedy="docs/producers.md describes every key") from error
    _check(where, mapping)
    return mapping


def _check(where: str, mapping: Mapping) -> None:
    unknown = [name for name in mapping.fields if name not in SCHEMA.names]
    if unknown:
        raise InputError(f"{where}: there is no field {unknown[0]!r}", remedy=f"one of {', '.join(SCHEMA.names)}")
    for field in SCHEMA:
        if not field.nullable and field.name not in mapping.fields:
            raise InputError(f"{where}: [fields] lacks {field.name}", remedy="every transaction needs it")
    if "merchant_id" not in mapping.fields and "payee" not in mapping.fields:
        raise InputError(f"{where}: [fields] names no counterparty", remedy="give merchant_id or payee")
    for name in mapping.extra:
        if not name or len(mapping.extra) != len(set(mapping.extra)):
            raise InputError(f"{where}: `extra` has an empty or repeated name", remedy=f"each becomes {EXTRA}<name>")
    for name, source in mapping.fields.items():
        _check_source(f"{where}: [fields.{name}]", source)
        if name in TIMES and source.columns and len(source.columns) not in {3, 4}:
            raise InputError(
                f"{where}: [fields.{name}] has {len(source.columns)} columns",
                remedy="a moment is made of year, month, day and, if there is one, time",
            )


def _check_source(where: str, source: Source) -> None:
    given = [bool(source.column), bool(source.columns), bool(source.constant), source.row_number]
    if sum(given) != 1:
        raise InputError(
            f"{where} has {sum(given)} sources", remedy="give one of column, columns, constant, row_number"
        )
    try:
        parse_time(source.origin)
    except InputError as error:
        raise InputError(f"{where} origin: {error}") from error
