import pytest

from decisions.policy_difference import difference, text_difference
from decisions.policy_entries import with_entry, without_entry
from decisions.policy_record import policy_files, policy_of
from tests.conftest import ROOT
from vedette.control import POLICY_FILE
from vedette.errors import InputError, PolicyError

SHIPPED = policy_files(ROOT / "decisions/policy.yaml")
LISTED = {
    POLICY_FILE: """format: 1
name: mine
version: 1
lists:
  allow:
    - {name: own, column: account_id, values: [a1, a2], reason: ours}  # all of them
  block:
    - name: mules
      column: payee
      reason: known mule
      values:
        - p1  # from the police
        - 'p 2'
    - {name: shops, column: merchant_id, file: shops.txt, reason: bad shop}
""",
    "shops.txt": "# bad ones\nm1\nm2  # seen in May",
}


def entries(files: dict[str, str], name: str) -> set[str]:
    """Return what a list holds."""
    return set(policy_of(files).listed[name])


def test_every_kind_of_change_is_told() -> None:
    """Thresholds, rules added, removed and changed, limits, lists and the rest, each once with both sides."""
    text = SHIPPED[POLICY_FILE]
    changed = (
        text.replace("version: 1", "version: 2")
        .replace("    - probability: 0.95\n", "    - probability: 0.9\n")
        .replace("account_count_10min >= 8", "account_count_10min >= 6")
        .replace("  - name: unusual-hour", "  - name: odd-hour")
        .replace("daily: 2500", "daily: 2000")
        .replace("allow: []", "allow:\n    - {name: own, column: account_id, values: [a1], reason: ours}")
        .replace("otherwise: review", "otherwise: decline")
        + "degraded: {after_s: 30}\nscored_kinds: [refund]\n"
    )
    found = difference(policy_of(SHIPPED), policy_of({POLICY_FILE: changed}))
    told = [(each.part, each.name, each.field, each.before, each.after) for each in found]
    assert told[0] == ("threshold", "decline", "", "probability: 0.95", "")
    assert told[1] == ("threshold", "decline", "", "", "probability: 0.9")
    assert ("rule", "burst", "when", "account_count_10min >= 8", "account_count_10min >= 6") in told
    assert {(each[1], bool(each[3]), bool(each[4])) for each in told if each[0] == "rule" and not each[2]} == {
        ("unusual-hour", True, False), ("odd-hour", False, True),
    }  # fmt: skip
    assert ("limit", "prepaid-limits", "daily", "2500", "2000") in told
    assert ("degraded", "", "", "", "after_s: 30.0") in told
    assert ("kinds", "", "", "", "refund") in told
    assert next(each for each in told if each[0] == "allow")[4].startswith("name: own")
    assert len([each for each in told if each[0] == "fallback"]) == 1
    assert len(told) == 10
    assert difference(policy_of(SHIPPED), policy_of(SHIPPED)) == []


def test_entries_are_told_wherever_they_are_written() -> None:
    """A value that moves from the policy into a file is no change; one that comes or goes is."""
    moved = LISTED[POLICY_FILE].replace("values: [a1, a2]", "file: own.txt")
    after = policy_of(LISTED | {POLICY_FILE: moved, "own.txt": "a2\na3\n"})
    (file, values) = difference(policy_of(LISTED), after)
    assert (file.field, file.after) == ("file", "own.txt")
    assert (values.field, values.before, values.after) == ("values", "a1", "a3")


def test_the_text_shows_changed_lines_with_some_around() -> None:
    """By file, a new file as well; lines far from a change are left out."""
    after = SHIPPED | {POLICY_FILE: SHIPPED[POLICY_FILE].replace("version: 1", "version: 2"), "new.txt": "m1\n"}
    found = text_difference(SHIPPED, after)
    assert [(line.mark, line.text) for line in found["new.txt"] if line.mark == "+"] == [("+", "m1")]
    marked = [(line.mark, line.text) for line in found[POLICY_FILE] if line.mark in "+-"]
    assert marked == [("-", "version: 1"), ("+", "version: 2")]
    assert len(found[POLICY_FILE]) < 12
    assert text_difference(SHIPPED, SHIPPED) == {}


@pytest.mark.parametrize("name", ["own", "mules", "shops"])
def test_an_entry_comes_and_goes(name: str) -> None:
    """However the list is written; comments stay, and adding and removing again leads to the same entries."""
    before = entries(LISTED, name)
    more = with_entry(LISTED, name, "it's: new", "by Ana\nBo")
    assert entries(more, name) == before | {"it's: new"}
    for comment in ("# all of them", "# from the police", "# bad ones", "# seen in May"):
        assert any(comment in text for text in more.values()), comment
    assert entries(without_entry(more, name, "it's: new"), name) == before
    for value in sorted(before):
        assert entries(without_entry(more, name, value), name) == (before | {"it's: new"}) - {value}
    others = {"own", "mules", "shops"} - {name}
    assert all(entries(more, other) == entries(LISTED, other) for other in others)


def test_a_note_goes_along_in_a_file() -> None:
    """In one line, whatever was typed."""
    assert "m9  # by Ana Bo\n" in with_entry(LISTED, "shops", "m9", "by Ana\nBo")["shops.txt"]


@pytest.mark.parametrize("value", ["", " ", "a#b", "a\nb", "x" * 129, "a\0"])
def test_what_cannot_be_an_entry_is_refused(value: str) -> None:
    """The list stays as it is."""
    with pytest.raises(InputError, match="entry"):
        with_entry(LISTED, "shops", value)


def test_lists_that_cannot_be_changed() -> None:
    """An unknown list, a known entry, one that is not there, the last one, and a text that is not YAML."""
    with pytest.raises(InputError, match="no list 'x'"):
        with_entry(LISTED, "x", "a")
    with pytest.raises(InputError, match="already"):
        with_entry(LISTED, "own", "a1")
    with pytest.raises(InputError, match="does not have"):
        without_entry(LISTED, "own", "a9")
    with pytest.raises(InputError, match="only entry"):
        without_entry(without_entry(LISTED, "own", "a1"), "own", "a2")
    with pytest.raises(PolicyError) as refused:
        with_entry({POLICY_FILE: "lists: ]"}, "own", "a1")
    assert refused.value.place == (1, 8)


def test_a_mistake_knows_its_place() -> None:
    """Line and column of the policy that the message names."""
    with pytest.raises(PolicyError, match=r"policy.yaml:22:11: .*account_count") as refused:
        policy_of({POLICY_FILE: SHIPPED[POLICY_FILE].replace("speed_kmh > 1200", "account_count_10m > 1")})
    assert refused.value.place == (22, 11)
