"""The choice of a kind of transaction on the command line."""

from enum import StrEnum


class KindName(StrEnum):
    """Kind of transaction."""

    payment = "payment"
    withdrawal = "withdrawal"
    deposit = "deposit"
    refund = "refund"
    reversal = "reversal"
    authorisation = "authorisation"
    completion = "completion"
