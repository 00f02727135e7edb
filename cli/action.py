"""The choice of an action on the command line."""

from enum import StrEnum


class ActionName(StrEnum):
    """Action of a standing decision."""

    approve = "approve"
    challenge = "challenge"
    review = "review"
    decline = "decline"
