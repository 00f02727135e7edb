"""Parameters of models on the command line: NAME=VALUE, or several values to choose among."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.zoo.entry import Parameter


def choices(texts: "Iterable[str]") -> "dict[str, list[Parameter]]":
    """Return the values of each parameter from texts such as `max_depth=3,6`.

    Raises:
        InputError: A text has no value, or its value is neither a number nor true or false.
    """
    import msgspec

    from vedette.errors import InputError

    found: dict[str, list[Parameter]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"{text!r} has no value", remedy=f"write it like {name}=3")
        try:
            found[name] = [msgspec.json.decode(value, type=bool | int | float) for value in values.split(",")]
        except msgspec.MsgspecError as error:
            raise InputError(f"{text!r}: {error}", remedy="give numbers, or true and false") from error
    return found
