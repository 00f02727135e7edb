"""What differs between two policies, part by part, for people who approve a change."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from decisions.policy import Policy

Part = Literal["threshold", "rule", "limit", "allow", "block", "degraded", "fallback", "kinds"]


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A difference.

    Attributes:
        part: Where it is.
        name: Name of the rule, limit or list; action of the threshold; empty for the other parts.
        field: What of it differs; empty if all of it was added or removed.
        before: As it was, in the words of the file; empty if it was added.
        after: As it is; empty if it was removed.
    """

    part: Part
    name: str = ""
    field: str = ""
    before: str = ""
    after: str = ""


def difference(before: Policy, after: Policy) -> list[PolicyChange]:
    """Return what differs between two policies, in the order of the file."""
    old, new = before.form, after.form
    found: list[PolicyChange] = []
    for action in ("challenge", "review", "decline"):
        were, are = (_texts(getattr(form.thresholds, action)) for form in (old, new))
        found += [PolicyChange(part="threshold", name=action, before=text) for text in were if text not in are]
        found += [PolicyChange(part="threshold", name=action, after=text) for text in are if text not in were]
    found += _named("rule", old.rules, new.rules)
    found += _named("limit", old.limits, new.limits)
    found += _listed("allow", before, after)
    found += _listed("block", before, after)
    others: list[tuple[Part, Any, Any]] = [
        ("kinds", old.scored_kinds, new.scored_kinds),
        ("degraded", old.degraded, new.degraded),
        ("fallback", old.fallback, new.fallback),
    ]
    found += [
        PolicyChange(part=part, before=_text(was), after=_text(now)) for part, was, now in others if was != now
    ]  # fmt: skip
    return found


class TextLine(msgspec.Struct, frozen=True):
    """A line of a difference as text: `+`, `-`, a space or `@` for a gap, and the line."""

    mark: str
    text: str


def text_difference(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[TextLine]]:
    """Return the changed lines of each file with three lines around them, by the file's name."""
    found = {}
    for name in sorted({*before, *after}):
        was, now = (files.get(name, "").splitlines() for files in (before, after))
        lines = list(difflib.unified_diff(was, now, n=3))
        if lines:
            found[name] = [TextLine(line[0], line[1:] if line[0] != "@" else line) for line in lines[2:]]
    return found


def _listed(part: Literal["allow", "block"], before: Policy, after: Policy) -> list[PolicyChange]:
    """Return what differs between the lists of a kind, and between their entries wherever these are written."""
    was, now = (getattr(policy.form.lists, part) for policy in (before, after))
    found = _named(part, was, now, skipped=("values",))
    known = {entry.name for entry in was}
    for name in [entry.name for entry in now if entry.name in known]:
        gone, come = before.listed[name] - after.listed[name], after.listed[name] - before.listed[name]
        if gone or come:
            found.append(PolicyChange(part=part, name=name, field="values", before=_some(gone), after=_some(come)))
    return found


def _named(
    part: Part, before: Iterable[Any], after: Iterable[Any], skipped: tuple[str, ...] = ()
) -> list[PolicyChange]:
    was, now = ({entry.name: entry for entry in entries} for entries in (before, after))
    found = [PolicyChange(part=part, name=name, before=_text(was[name])) for name in was if name not in now]
    for name, entry in now.items():
        if name not in was:
            found.append(PolicyChange(part=part, name=name, after=_text(entry)))
            continue
        found += [
            PolicyChange(
                part=part, name=name, field=field, before=_text(getattr(was[name], field)),
                after=_text(getattr(entry, field)),
            )
            for field in entry.__struct_fields__
            if field not in skipped and getattr(was[name], field) != getattr(entry, field)
        ]  # fmt: skip
    return found


def _texts(entries: Iterable[Any]) -> list[str]:
    return [_text(entry) for entry in entries]


def _text(value: Any) -> str:
    """Return a part of a policy in one line, without what is not given."""
    if value is None:
        return ""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        given = [f"{key}: {_text(each)}" for key, each in plain.items() if each not in (None, "", [], {}, False)]
        return ", ".join(given)
    if isinstance(plain, list):
        return "; ".join(_text(each) for each in plain)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


_SOME = 20


def _some(values: Iterable[str]) -> str:
    listed = sorted(values)
    more = f" … ({len(listed)})" if len(listed) > _SOME else ""
    return ", ".join(listed[:_SOME]) + more
