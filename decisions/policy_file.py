"""Reading of policy files: every mistake is reported with line and column before the policy decides a payment."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from adapters.yaml_document import Document
from decisions.policy import Policy
from decisions.policy_form import ACTIONS, PolicyForm, own_reason
from decisions.rules import Rule, RuleSet, parse_rule
from vedette.codes import country_code
from vedette.errors import InputError, PolicyError
from vedette.text import read_text


def load_policy(
    path: Path, known_columns: Collection[str] | None = None, files: Mapping[str, str] | None = None
) -> Policy:
    """Read a policy file.

    Args:
        path: The YAML file; the files that its lists name are looked for next to it.
        known_columns: The columns that payments will have; without them, unknown columns are not detected.
        files: Content by file name of the policy and of the files that its lists name; None: they are read.

    Raises:
        PolicyError: A file is missing or has a mistake; the message names the file, the line and the column.
    """
    text = None if files is None else files.get(path.name, "")
    document = Document(path, error=PolicyError, remedy="docs/policy.md describes the form", text=text)
    form = document.read(PolicyForm)
    names: set[str] = set()
    rules: list[Rule] = []
    listed: dict[str, frozenset[str]] = {}

    def name_once(name: str, *keys: str | int) -> None:
        if name in names:
            raise document.error(
                (*keys, "name"), f"the name {name!r} is taken", "give every rule, limit and list a different name"
            )
        names.add(name)

    known = None if known_columns is None else {*known_columns, "amount", "currency"}
    for number, rule in enumerate(form.rules):
        name_once(rule.name, "rules", number)
        try:
            expression = parse_rule(rule.when, known)
        except PolicyError as error:
            keys = ("rules", number, "when")
            raise document.error(keys, f"rule {rule.name!r}: {error.args[0]}", error.remedy) from error
        rules.append(
            Rule(
                rule.name,
                ACTIONS.index(rule.action),
                own_reason("rule", rule.name, rule.reason),
                rule.shadow,
                expression,
            )
        )
    for number, limit in enumerate(form.limits):
        name_once(limit.name, "limits", number)
    for kind, lists in (("allow", form.lists.allow), ("block", form.lists.block)):
        for number, entry in enumerate(lists):
            name_once(entry.name, "lists", kind, number)
            values = entry.values or _lines(document, files, entry.file, "lists", kind, number, "file")
            try:
                listed[entry.name] = frozenset(_spelling(entry.column, value) for value in values)
            except InputError as error:
                where = ("lists", kind, number, "values" if entry.values else "file")
                raise document.error(where, f"list {entry.name!r}: {error.args[0]}", error.remedy) from error
    return Policy(f"{form.name}@{form.version}", form, RuleSet(rules), listed)


def list_lines(text: str) -> Iterator[str]:
    """Yield the lines of a list file without comments and blanks."""
    return (line for raw in text.splitlines() if (line := raw.partition("#")[0].strip()))


def _lines(document: Document, files: Mapping[str, str] | None, name: str, *keys: str | int) -> Iterator[str]:
    """Yield the entries of a list file; `keys` is the place of the list in the policy."""
    if files is not None:
        if name not in files:
            raise document.error(keys, f"list file: {name} does not come with the policy")
        return list_lines(files[name])
    try:
        text = read_text(document.path.parent / name)
    except InputError as error:
        raise document.error(keys, f"list file: {error.args[0]}", error.remedy) from error
    return list_lines(text)


def _spelling(column: str, value: str) -> str:
    """Return the canonical spelling of a list value."""
    return country_code(value) if column == "country" else value.strip()
