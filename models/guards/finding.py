"""A finding of a data check."""

from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of the data.

    Attributes:
        severity: An error stops the training; a warning does not.
        check: Name of the rule.
        column: Column with the fault.
        rows: Number of rows with the fault.
        message: Description with an example.
    """

    severity: Severity
    check: str
    column: str
    rows: int
    message: str
