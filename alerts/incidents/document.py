"""A YAML file whose mistakes are told with line and column."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from vedette.errors import SettingsError

T = TypeVar("T")

_UNKNOWN = re.compile("unknown field `(.*)`")


class Document:
    """A file read as mappings, lists and words, that remembers where everything stands.

    Args:
        path: The file.

    Raises:
        SettingsError: It cannot be read or is no YAML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path} is not UTF-8 text") from error
        except yaml.MarkedYAMLError as error:
            raise self._at(error.problem_mark, f"this is no YAML: {error.problem}") from error

    def read(self, kind: type[T], *keys: str) -> T:
        """The file, or what keys lead to in it, as an object of this type.

        Raises:
            SettingsError: A key is unknown or a value does not fit; the message has line and column.
        """
        plain = self._plain(self._root)
        for key in keys:
            plain = plain[key]
        try:
            return msgspec.convert(plain, kind, strict=False)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `")
            unknown = _UNKNOWN.search(message)
            raise self.error(
                [*keys, *_keys(place.rstrip("`")), *(unknown.groups() if unknown else ())], message
            ) from error

    def error(self, keys: Sequence[str | int], message: str) -> SettingsError:
        """A mistake at the place that keys and positions lead to, or as near to it as the file goes."""
        node, mark = self._root, self._root.start_mark if self._root else None
        for key in keys:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
            elif isinstance(node, yaml.MappingNode):
                found = next(((name, value) for name, value in node.value if name.value == key), None)
                if found is None:
                    break
                node = found[1]
                mark = found[0].start_mark if not isinstance(node, yaml.ScalarNode) else node.start_mark
                continue
            else:
                break
            mark = node.start_mark
        return self._at(mark, message)

    def _at(self, mark: yaml.Mark | None, message: str) -> SettingsError:
        place = f"{self.path}:{mark.line + 1}:{mark.column + 1}" if mark else str(self.path)
        return SettingsError(f"{place}: {message}")

    def _plain(self, node: yaml.Node | None) -> Any:
        """The node without anchors, aliases, tags and repeated keys, which would hide what a file says."""
        if node is None:
            return {}
        if node.tag.startswith("!"):
            raise self._at(node.start_mark, f"the tag {node.tag} has no meaning here")
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return None if node.tag.endswith(":null") else node.value
        plain: dict[str, Any] = {}
        for name, value in node.value:
            if name.value in plain:
                raise self._at(name.start_mark, f"the key {name.value!r} is repeated")
            plain[str(name.value)] = self._plain(value)
        return plain


def _keys(place: str) -> list[str | int]:
    """The parts of a place such as `$.routes[2].tell`, as msgspec writes it."""
    parts = place.removeprefix("$").replace("[", ".[").split(".")
    return [int(part[1:-1]) if part[1:-1].isdigit() and part.startswith("[") else part for part in parts if part]
