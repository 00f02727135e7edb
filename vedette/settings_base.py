"""What all sections of settings share: secrets, and the strictness about keys."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from vedette.errors import InputError, SettingsError
from vedette.text import read_text

Port = Annotated[int, Meta(ge=0, le=65535)]


class Secret(msgspec.Struct, frozen=True):
    """A value that is never printed: a text, or the contents of a file, read each time the value is asked for.

    Attributes:
        text: The value itself; empty if it is in a file.
        file: Path of the file that contains the value; surrounding white space is not part of it.
        key: The settings key that names the file, for error messages.
    """

    text: str = ""
    file: str = ""
    key: str = ""

    @property
    def value(self) -> str:
        """Return the secret.

        Raises:
            SettingsError: The file cannot be read or is empty.
        """
        if not self.file:
            return self.text
        try:
            text = read_text(Path(self.file)).strip()
        except InputError as error:
            raise SettingsError(f"{self.key}: {error.args[0]}", remedy=error.remedy) from error
        if not text:
            raise SettingsError(f"{self.key}: {self.file} is empty")
        return text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and a misspelt key is an error."""
