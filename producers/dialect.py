"""How a file writes its rows: the `[file]` section of a mapping."""

import codecs
from typing import Annotated, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from vedette.clock import parse_time
from vedette.errors import InputError

FileFormat = Literal["csv", "parquet", "json-lines", "xml", "iso8583"]
Ambiguous = Literal["reject", "earlier", "later", "order"]


class Dialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a file; what it says about numbers and times holds for all fields that do not say otherwise."""

    format: Annotated[FileFormat | None, Meta(description="kind of file; by default the end of its name says it")] = (
        None
    )
    delimiter: Annotated[str, Meta(description="character between the values of a CSV line, such as ';' or '\\t'")] = (
        ","
    )
    quote: Annotated[str, Meta(description="character around values of a CSV line; '' means there is none")] = '"'
    encoding: Annotated[str, Meta(description="encoding of the text; a byte order mark in the file overrides it")] = (
        "utf-8"
    )
    names: Annotated[list[str], Meta(description="names of the columns of a CSV file without a header line")] = []
    record: Annotated[str, Meta(description="name of the XML element that is one payment")] = ""
    each: Annotated[
        str, Meta(description="path to the parts of a record, if each of them is a payment, such as NtryDtls.TxDtls")
    ] = ""
    form: Annotated[
        str, Meta(description="how fields of ISO 8583 are written: ascii, binary, or a .toml file with exceptions")
    ] = "ascii"
    near: Annotated[
        str,
        Meta(
            description="date of about the messages of ISO 8583, which have no years; by default, of the file's change"
        ),
    ] = ""
    card_key_file: Annotated[str, Meta(description="file with the key under which card numbers become account ids")] = (
        "card-key"
    )
    skip_lines: Annotated[int, Meta(ge=0, description="lines before the header")] = 0
    decimal: Annotated[Literal[".", ","], Meta(description="decimal separator of numbers")] = "."
    thousands: Annotated[str, Meta(description="separator of thousands in numbers")] = ""
    zone: Annotated[str, Meta(description="time zone of times without an offset, such as Europe/Madrid")] = "UTC"
    ambiguous: Annotated[
        Ambiguous, Meta(description="which of both instants a local time of the hour that comes twice means")
    ] = "reject"


def check_dialect(where: str, dialect: Dialect) -> None:
    """Check what the types of a dialect cannot say.

    Raises:
        InputError: A separator is not one character, or there is no such encoding or time zone.
    """
    for key, text, may_be_empty in (("delimiter", dialect.delimiter, False), ("quote", dialect.quote, True)):
        if not (text.isascii() and len(text) == 1 and text not in "\r\n") and not (may_be_empty and not text):
            raise InputError(f"{where} {key} is {text!r}", remedy="give one ASCII character")
    if dialect.delimiter == dialect.quote:
        raise InputError(f"{where} delimiter and quote are both {dialect.quote!r}", remedy="give two characters")
    if len(dialect.names) != len(set(dialect.names)):
        raise InputError(f"{where} names has a name twice", remedy="name every column differently")
    if dialect.format == "xml" and not dialect.record:
        raise InputError(f"{where} lacks record", remedy="name the XML element that is one payment")
    check_thousands(where, dialect.thousands, dialect.decimal)
    check_zone(where, dialect.zone)
    if dialect.near:
        try:
            parse_time(dialect.near)
        except InputError as error:
            raise InputError(f"{where} near: {error.args[0]}", remedy=error.remedy) from error
    try:
        known = codecs.lookup(dialect.encoding)
    except LookupError as error:
        raise InputError(
            f"{where} encoding {dialect.encoding!r} is unknown", remedy="such as utf-8, windows-1252 or iso-8859-15"
        ) from error
    if not getattr(known, "_is_text_encoding", True):
        raise InputError(f"{where} encoding {dialect.encoding!r} is no encoding of text", remedy="such as utf-8")


def check_thousands(where: str, thousands: str, decimal: str) -> None:
    """Check that a number can be read with these separators.

    Raises:
        InputError: The separator of thousands is longer than a character, or also the decimal one.
    """
    if len(thousands) > 1 or thousands.isdigit():
        raise InputError(f"{where} thousands is {thousands!r}", remedy="give one character, such as '.'")
    if thousands == decimal:
        raise InputError(f"{where} thousands and decimal are both {decimal!r}", remedy="give the other one as well")


def check_zone(where: str, zone: str) -> None:
    """Check that the time zone database of this machine has a zone.

    Raises:
        InputError: It has not.
    """
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), zone)
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise InputError(
            f"{where} zone {zone!r} is not in the time zone database", remedy="such as UTC or Europe/Madrid"
        ) from error
