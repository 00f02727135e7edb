"""What the catalogue says about a feature."""

from typing import Literal

import msgspec

Sensitivity = Literal["none", "behaviour", "location"]
Freshness = Literal["exact", "delayed", "live"]


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the feature matrix. All columns are float64; NaN is a missing value."""

    name: str
    meaning: str
    unit: str
    sources: tuple[str, ...]
    reason: str
    """Wording of a reason: a str.format template over `value` and, for values in seconds, `span` in words."""
    window: str = ""
    freshness: Freshness = "exact"
    """exact: up to the payment, from its account's own state; delayed: of others, up to the label delay before it;
    live: of others, up to the payment or as near to it as their owners have come."""
    sensitivity: Sensitivity = "behaviour"
    version: int = 1
    missing: str = "never missing"
