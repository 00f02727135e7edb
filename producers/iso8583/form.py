"""How an institution writes the fields of its messages: one of two usual forms, with exceptions from a file."""

import codecs
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from iso8583 import specs
from msgspec import Meta

from vedette.errors import InputError
from vedette.text import read_text

Form = Mapping[str, Mapping[str, Any]]
"""The form of each field, as pyiso8583 describes it."""

_BASES: dict[str, Form] = {"ascii": specs.default_ascii, "binary": specs.default}
_NAME = re.compile(r"^(h|t|p|[1-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$")


class FieldForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The form of one field, where it differs; see the documentation of pyiso8583.

    Attributes:
        data_enc: `b` for binary and BCD data, or an encoding of text, such as ascii or cp500.
        len_enc: The same of its length, or `bcd`.
        len_type: Number of bytes of its length; 0: it has a fixed length.
        max_len: Its length, or the largest one.
        len_count: Whether it counts bytes or nibbles.
    """

    data_enc: str | None = None
    len_enc: str | None = None
    len_type: Annotated[int, Meta(ge=0, le=4)] | None = None
    max_len: Annotated[int, Meta(ge=0, le=9999)] | None = None
    len_count: Literal["bytes", "nibbles"] | None = None


class _FormFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base: Literal["ascii", "binary"]
    fields: dict[str, FieldForm] = {}


def load_form(name_or_path: str) -> Form:
    """Return a form: `ascii` (all of it is text), `binary` (bitmaps, PIN and chip data are bytes), or that of a file.

    Raises:
        InputError: There is no such form, or the file has a mistake.
    """
    if name_or_path in _BASES:
        return _BASES[name_or_path]
    if not name_or_path.endswith(".toml"):
        raise InputError(
            f"there is no form {name_or_path!r} of ISO 8583", remedy="ascii, binary, or the path of a .toml file"
        )
    try:
        found = msgspec.convert(tomllib.loads(read_text(Path(name_or_path))), _FormFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{name_or_path}: {error}", remedy="docs/iso8583.md describes every key") from error
    form = dict(_BASES[found.base])
    for name, given in found.fields.items():
        if not _NAME.match(name):
            raise InputError(f"{name_or_path}: there is no field {name!r}", remedy="h, t, p, or 1 to 128")
        for encoding in (given.data_enc, given.len_enc):
            _check_encoding(f"{name_or_path}: [fields.{name}]", encoding)
        form[name] = {**form[name], **msgspec.to_builtins(given)}
    return form


def _check_encoding(where: str, encoding: str | None) -> None:
    if encoding is None or encoding in ("b", "bcd"):
        return
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise InputError(
            f"{where} encoding {encoding!r} is unknown", remedy="b, bcd, or one such as ascii or cp500"
        ) from error
