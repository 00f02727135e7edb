"""Rows of a file that a mapping leaves out, by reason."""

from collections import Counter

from models.guards.finding import Finding, Severity

MOST_REJECTED = 0.5
"""Share of rejected rows above which the mapping does not fit the file."""

EXAMPLES = 3
"""Number of rejected rows that a finding quotes."""


class Rejections:
    """Counts the rows that a mapping leaves out, by column and reason, and keeps the first few of each."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], list[str]] = {}

    @property
    def rows(self) -> int:
        """Return the number of rejected rows."""
        return self._counts.total()

    def add(self, line: int, column: str, value: str, reason: str) -> None:
        """Count one row."""
        self._counts[column, reason] += 1
        examples = self._examples.setdefault((column, reason), [])
        if len(examples) < EXAMPLES:
            examples.append(f"line {line} {value!r}" if value else f"line {line}")

    def findings(self, kept: int) -> list[Finding]:
        """Return one finding per reason, the most frequent first; errors if most rows were left out.

        Args:
            kept: Number of rows that were read.
        """
        severity: Severity = "error" if self.rows > MOST_REJECTED * (self.rows + kept) else "warning"
        return [
            Finding(
                severity=severity, check="rejected", column=column, rows=rows,
                message=f"{rows:,} of {self.rows + kept:,} rows left out: {column or 'the row'} {reason}, such as "
                + ", ".join(self._examples[column, reason]),
            )
            for (column, reason), rows in self._counts.most_common()
        ]  # fmt: skip
