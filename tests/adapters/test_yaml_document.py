"""YAML files that people write, and the mistakes in them."""

from pathlib import Path

import msgspec
import pytest

from adapters.yaml_document import Document
from vedette.errors import PolicyError, SettingsError

# Nine levels, each with ten times the one before: a billion items, were it expanded.
BOMB = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """What a file says."""

    name: str
    amounts: list[float] = []


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        pytest.param("a: &x [*x]", ":1:4", "anchors and aliases are not taken", id="refers-to-itself"),
        pytest.param("a: &x 1", ":1:4", "anchors and aliases are not taken", id="anchor-alone"),
        pytest.param("a: *x", ":1:4", "anchors and aliases are not taken", id="alias-alone"),
        pytest.param(BOMB, ":1:5", "anchors and aliases are not taken", id="alias-bomb"),
        pytest.param("? [a]\n: b", ":1:3", "a key must be a word", id="list-as-key"),
        pytest.param("? {a: b}\n: c", ":1:3", "a key must be a word", id="mapping-as-key"),
        pytest.param("name: a\nname: b", ":2:1", "'name' is repeated", id="repeated-key"),
        pytest.param("name: !!python/object:os.system x\n", "", "has no meaning", id="tag-of-python"),
        pytest.param("name: !x y", ":1:7", "the tag !x has no meaning here", id="own-tag"),
        pytest.param("name: [", ":1:8", "this is not YAML", id="unfinished"),
        pytest.param("name: a\n\x00", ":2:1", "not YAML: the character U+0000", id="control-character"),
        pytest.param('name: "a\\0"', ":1:7", "U+0000 cannot be used", id="escaped-nul"),
        pytest.param('name: a\namounts: ["\\udc00"]', ":2:11", "U+DC00 cannot be used", id="lone-surrogate"),
        pytest.param('"\\ud83d": a', ":1:1", "U+D83D cannot be used", id="lone-surrogate-in-a-key"),
        pytest.param('name: "\\UFFFFFFFF"', ":1:10", "does not exist", id="beyond-unicode"),
        pytest.param("[" * 50_000, ":1:52", "nested too deeply", id="nested-lists"),
        pytest.param("{a: " * 900, ":1:202", "nested too deeply", id="nested-mappings"),
        pytest.param("".join(" " * i + "a:\n" for i in range(300)), ":51:51", "nested too deeply", id="nested-lines"),
        pytest.param("name: a\nnmae: a", ":2:7", "unknown field `nmae`", id="unknown-key"),
        pytest.param("name: a\namounts: [1, x]", ":2:14", "Expected `float`", id="wrong-type"),
        pytest.param("- a", ":1:1", "Expected `object`", id="list-at-the-top"),
        pytest.param("", "", "missing required field `name`", id="empty"),
    ],
)
@pytest.mark.parametrize("error", [SettingsError, PolicyError])
def test_mistake_is_reported_with_its_place(
    tmp_path: Path, text: str, place: str, why: str, error: type[Exception]
) -> None:
    """Whatever is wrong with a file, the error has the requested type and names file, line, column and mistake."""
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error) as caught:
        Document(path, error=error).read(Form)  # type: ignore[arg-type]
    assert f"{path}{place}" in str(caught.value)
    assert why in str(caught.value)


def test_scalars_are_text(tmp_path: Path) -> None:
    """What YAML would read as a boolean, a date, or an octal, sexagesimal or binary number stays text as written."""
    path = tmp_path / "file.yaml"
    path.write_text("words: [NO, 0123, 12:30, 0b1, 2026-01-01, 1.50, 'null']\n", encoding="utf-8")
    assert Document(path).read(dict[str, list[str]]) == {
        "words": ["NO", "0123", "12:30", "0b1", "2026-01-01", "1.50", "null"]
    }
