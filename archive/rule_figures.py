"""How each rule, limit and list of policies has done, by what became known of the payments on which it acted."""

from typing import TYPE_CHECKING

import msgspec

from archive.search import Question

if TYPE_CHECKING:
    from archive.search import Archive

_FIGURES = """
SELECT rule, currency, count(*) AS hits, count(*) FILTER (len(rules) = 1) AS alone,
    count(*) FILTER (fraud) AS frauds, count(*) FILTER (NOT fraud) AS false_alarms,
    coalesce(sum(amount) FILTER (fraud), 0)::BIGINT AS stopped,
    coalesce(sum(amount) FILTER (NOT fraud), 0)::BIGINT AS held
FROM (SELECT unnest(rules) AS rule, rules, currency, fraud, amount FROM payments)
GROUP BY rule, currency ORDER BY rule, currency
"""


class RuleFigures(msgspec.Struct, kw_only=True):
    """What a rule did.

    Attributes:
        rule: Its name.
        hits: Payments on which it acted.
        alone: Those on which no other rule did.
        frauds: Hits that are known to be fraud.
        false_alarms: Hits that are known to be honest.
        stopped: Amount of the frauds, minor units by currency.
        held: Amount of the false alarms, minor units by currency.
    """

    rule: str
    hits: int = 0
    alone: int = 0
    frauds: int = 0
    false_alarms: int = 0
    stopped: dict[str, int] = {}
    held: dict[str, int] = {}


def rule_figures(archive: "Archive", since: int) -> dict[str, RuleFigures]:
    """Return the figures of each rule, limit and list that acted, by name.

    Args:
        archive: The archive.
        since: First event time, milliseconds since 1970 UTC.
    """
    found: dict[str, RuleFigures] = {}
    for row in archive.ask(Question(since=since), _FIGURES).to_pylist():
        figures = found.setdefault(row["rule"], RuleFigures(rule=row["rule"]))
        for name in ("hits", "alone", "frauds", "false_alarms"):
            setattr(figures, name, getattr(figures, name) + row[name])
        for name in ("stopped", "held"):
            if row[name]:
                getattr(figures, name)[row["currency"]] = row[name]
    return found
