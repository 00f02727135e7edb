"""Account limits per UTC day and month, and the fraction of them that a payment uses up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.catalogue import NAMES
from features.columns import column
from features.texts import equal
from vedette.money import exponent

Amounts = tuple[int | None, int | None]
"""Daily and monthly limit in minor units; None means unlimited."""

_TOTALS = slice(NAMES.index("day_total"), NAMES.index("month_total") + 1)
_TO_LIMITS = slice(NAMES.index("day_to_limit"), NAMES.index("month_to_limit") + 1)


@dataclass(frozen=True)
class Allowance:
    """The limits of the accounts of a type, or of all, in one currency; payments in other currencies do not count.

    Args:
        currency: ISO 4217 code.
        amounts: The limits.
        account_type: Type of the accounts concerned; None means all.
        accounts: Limits of individual accounts by id, which replace `amounts` for accounts concerned.
    """

    currency: str
    amounts: Amounts
    account_type: str | None = None
    accounts: Mapping[str, Amounts] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns that `of` needs."""
        own = {"account_id"} if self.accounts else set()
        return frozenset({"currency"} | own | ({"account_type"} if self.account_type is not None else set()))

    def of(self, columns: Mapping[str, pa.Array]) -> NDArray[np.float64] | None:
        """Return the limits of n payments, or None if none of them is concerned.

        Returns:
            float64[n, 2], daily and monthly, minor units; inf means unlimited.
        """
        concerned = equal(columns["currency"], self.currency)
        if self.account_type is not None and concerned.any():
            concerned = concerned & equal(columns["account_type"], self.account_type)
        if not concerned.any():
            return None
        allowed = np.full((len(concerned), 2), np.inf)
        allowed[concerned] = _floats(self.amounts)
        if self.accounts:
            known = pa.array(list(self.accounts), pa.string())
            which = pc.index_in(columns["account_id"], value_set=known).fill_null(-1).to_numpy(zero_copy_only=False)
            own = concerned & (which >= 0)
            allowed[own] = np.array([_floats(amounts) for amounts in self.accounts.values()])[which[own]]
        return allowed


def fill_limits(features: NDArray[np.float64], batch: pa.RecordBatch, limits: Sequence[Allowance]) -> None:
    """Fill the columns that compare totals with limits, in place.

    Args:
        features: float64[n, features], the totals filled.
        batch: n transactions, columns as the fields of Transaction; an absent one is missing.
        limits: Limits in force; where several concern a payment, the lowest applies.
    """
    columns = {name: column(batch, name) for name in frozenset().union(*(limit.columns for limit in limits))}
    allowed = [(limit.of(columns), limit.currency) for limit in limits]
    # Divided as the kernel divides totals, so that a total of exactly the limit gives exactly 1.
    major = [amounts / 10.0 ** exponent(currency) for amounts, currency in allowed if amounts is not None]
    if not major:
        features[:, _TO_LIMITS] = np.nan
        return
    lowest = np.minimum.reduce(major)
    with np.errstate(divide="ignore", invalid="ignore"):  # a limit of 0 is exceeded without bound
        features[:, _TO_LIMITS] = np.where(np.isinf(lowest), np.nan, features[:, _TOTALS] / lowest)


def _floats(amounts: Amounts) -> tuple[float, float]:
    daily, monthly = (np.inf if amount is None else float(amount) for amount in amounts)
    return daily, monthly
