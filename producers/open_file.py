"""Opening of files that contain rows as lines: decompressed, decoded, and refused where they are something else."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from vedette.errors import InputError

COMPRESSED = (".gz", ".zst")
_SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
}
_SIGNED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's mark
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def kind_of(path: Path) -> str:
    """Return the end of a file's name in lower case, without that of its compression, such as ".csv"."""
    name = path.name.lower()
    for end in COMPRESSED:
        name = name.removesuffix(end)
    return Path(name).suffix


def refuse_spreadsheet(path: Path) -> None:
    """Check that a file is no spreadsheet, by its name.

    Raises:
        InputError: It is one; the remedy says how to export it.
    """
    if path.suffix.lower() in _SPREADSHEETS:
        raise _spreadsheet(path, "a spreadsheet")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open the bytes of a file, decompressed if its name ends in .gz or .zst.

    Raises:
        InputError: It cannot be read, is damaged, or is a spreadsheet.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".gz":
            raw: io.RawIOBase = cast("io.RawIOBase", gzip.open(path))  # noqa: SIM115, closed with its reader below
        elif suffix == ".zst":
            raw = cast("io.RawIOBase", pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
        else:
            raw = path.open("rb", buffering=0)
        with io.BufferedReader(raw, 1 << 20) as file:
            start = file.peek(4)[:4]
            for signature, what in _SIGNATURES.items():
                if start.startswith(signature):
                    raise _spreadsheet(path, what)
            for signature, end in _SIGNED.items():
                if start.startswith(signature):
                    raise InputError(f"{path} is compressed", remedy=f"let its name end in {end}")
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        if suffix == ".zst" and error.errno is None:
            raise InputError(f"{path} is not a whole zstd file: {error}") from error
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def lines_of(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the lines of text as UTF-8, without a byte order mark; a mark overrides the encoding.

    Bytes that are not of the encoding are passed on as they are, so that only their own line is refused.
    """
    start = cast("io.BufferedReader", file).peek(4)[:4]
    for mark, marked in _MARKS:
        if start.startswith(mark):
            encoding = marked
            if mark == codecs.BOM_UTF8:
                file.read(len(mark))
            break
    if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii"):
        yield from file
        return
    with io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="\n") as text:
        try:
            for line in text:
                yield line.encode("utf-8", errors="surrogateescape")
        except UnicodeError as error:
            raise InputError(
                f"the file is not {encoding} text: {error}", remedy="give its encoding in [file]"
            ) from error


def _spreadsheet(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is {what}, which is not read",
        remedy="save the sheet as CSV (in Excel: CSV UTF-8), or unpack the archive",
    )
