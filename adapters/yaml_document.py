"""A YAML file whose mistakes are reported with line and column."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from vedette.errors import InputError, SettingsError, VedetteError
from vedette.text import read_text

T = TypeVar("T")

# msgspec's error path, and its message about a key that the type does not have.
_PLACE = re.compile(r"\[(\d+)\]|\.(\w+)")
_UNKNOWN = re.compile("unknown field `(.*)`")


# The implicit tags of a loader; any other tag in a file would be expected to have an effect.
_STANDARD = "tag:yaml.org,2002:"
_TAGS = {"str", "null", "bool", "int", "float", "timestamp", "merge", "value", "map", "seq"}

_DEEPEST = 50
"""Maximum nesting of lists and mappings. No form needs ten levels; Python's stack ends at some hundreds."""

# Escapes can produce both; no database, topic or UTF-8 text can hold a surrogate, and few can hold a NUL.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not accepted."""


class _Loader(yaml.SafeLoader):
    """A loader that refuses anchors before anything refers to them, deep nesting, and text that is not Unicode."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs lack it
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedError(problem="anchors and aliases are not taken", problem_mark=event.start_mark)
        if self._depth > _DEEPEST:
            raise _RefusedError(problem="lists and mappings are nested too deeply", problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and (found := _UNWRITABLE.search(node.value)):
            problem = f"the character U+{ord(found[0]):04X} cannot be used in a text"
            raise _RefusedError(problem=problem, problem_mark=node.start_mark)
        return node

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError) as error:  # raised by chr, to which PyYAML passes the number of an escape
            problem = "an escape names a character that does not exist"
            raise _RefusedError(problem=problem, problem_mark=self.get_mark()) from error


class Document:
    """A file of mappings, lists and text that knows the position of everything in it.

    All scalars are text, so that no amount becomes a float and no country a truth value. Anchors, aliases, tags,
    repeated keys and keys that are not scalars are refused, because they obscure the content. So are deep nesting, and
    escapes of characters that are not text.

    Args:
        path: The file.
        error: Type of the errors.
        remedy: Remedy for mistakes in the form.
        text: Content of the file, if it is known already.

    Attributes:
        root: Its node, which has marks; None if it is empty.

    Raises:
        SettingsError: The file cannot be read or is not YAML; or the type of `error`.
    """

    def __init__(
        self, path: Path, *, error: type[VedetteError] = SettingsError, remedy: str = "", text: str | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self._error = error
        self._remedy = remedy
        try:
            content = read_text(path) if text is None else text
            self.root = yaml.compose(content, Loader=_Loader)
            self._content = self._plain(self.root)
        except InputError as problem:
            raise error(problem.args[0], remedy=problem.remedy) from problem
        except _RefusedError as problem:
            raise self._at(problem.problem_mark, f"{problem.problem}", "write the value again") from problem
        except yaml.MarkedYAMLError as problem:
            raise self._at(problem.problem_mark, f"this is not YAML: {problem.problem}") from problem
        except yaml.reader.ReaderError as problem:
            *lines, line = content[: problem.position].split("\n")
            place = len(lines) + 1, len(line) + 1
            raise self._placed(place, f"this is not YAML: the character U+{problem.character:04X}") from problem

    def read(self, kind: type[T], *keys: str, renamed: Mapping[str, str] | None = None) -> T:
        """Return the file, or the content at some keys, as an object of this type.

        Args:
            kind: The type.
            *keys: Keys that lead to the content.
            renamed: New names of keys that older files have.

        Raises:
            SettingsError: A key is unknown or a value does not fit; the message has line and column.
        """
        plain = self._content
        for key in keys:
            plain = plain[key]
        try:
            return msgspec.convert(plain, kind, strict=False)
        except msgspec.ValidationError as problem:
            message, _, place = str(problem).partition(" - at `$")
            found: list[str | int] = [int(index) if index else key for index, key in _PLACE.findall(place)]
            unknown = _UNKNOWN.search(message)
            if unknown and (new := (renamed or {}).get(unknown[1])):
                message = f"`{unknown[1]}` is now called `{new}`"
            raise self.error(
                [*keys, *found, *(unknown.groups() if unknown else ())], message, self._remedy
            ) from problem

    def error(self, keys: Sequence[str | int], message: str, remedy: str = "") -> VedetteError:
        """Return an error with the place of keys and positions, or the nearest existing place."""
        node, mark = self.root, self.root.start_mark if self.root else None
        for key in keys:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                mark = node.start_mark
            elif isinstance(node, yaml.MappingNode):
                found = next(((name, value) for name, value in node.value if name.value == key), None)
                if found is None:
                    break
                name, node = found
                mark = (node if isinstance(node, yaml.ScalarNode) else name).start_mark
            else:
                break
        return self._at(mark, message, remedy)

    def _at(self, mark: yaml.Mark | None, message: str, remedy: str = "") -> VedetteError:
        return self._placed((mark.line + 1, mark.column + 1) if mark else None, message, remedy)

    def _placed(self, place: tuple[int, int] | None, message: str, remedy: str = "") -> VedetteError:
        where = ":".join(map(str, (self.path, *(place or ()))))
        error = self._error(f"{where}: {message}", remedy=remedy)
        error.place = place
        return error

    def _plain(self, node: yaml.Node | None) -> Any:
        """Return the node as dicts, lists, text and None."""
        if node is None:
            return {}
        if node.tag.removeprefix(_STANDARD) not in _TAGS:
            raise self._at(node.start_mark, f"the tag {node.tag} has no meaning here")
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return None if node.tag.endswith(":null") else node.value
        plain: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._at(name.start_mark, "a key must be a word")
            if name.value in plain:
                raise self._at(name.start_mark, f"the key {name.value!r} is repeated")
            plain[name.value] = self._plain(value)
        return plain
