"""Text files written by users: policies, lists, mappings, settings, routes, secrets."""

import codecs
from pathlib import Path

from vedette.errors import InputError

_OTHER_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file without the byte order mark that some editors put at its start.

    With the mark, the first entry of a list or the first key of a file would have a different name.

    Raises:
        InputError: The file cannot be read or is not UTF-8 text; the message names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, name: str) -> str:
    """Return UTF-8 text without a byte order mark.

    Args:
        content: Bytes of a file from its start.
        name: Name of the file in messages.

    Raises:
        InputError: The content is not UTF-8 text.
    """
    if content.startswith(_OTHER_MARKS):
        raise InputError(f"{name} is UTF-16 or UTF-32 text", remedy="save it as UTF-8 (in Excel: CSV UTF-8)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text ({error.reason}, byte {error.start})", remedy="save it as UTF-8"
        ) from error
