"""The policy: the action for a payment, given its probability of fraud, its features and the institution's rules.

A decision depends only on its arguments, and on no other payment of the batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.policy_form import ACTIONS, AllowList, PolicyForm, Threshold, own_reason
from decisions.rules import RuleSet
from features.limits import Allowance
from features.texts import distinct
from vedette.events import Reason
from vedette.money import exponent
from vedette.wording import Value, reason

_TOTALS = (("day_total", "daily"), ("month_total", "monthly"))
"""The columns that limits apply to, and the words for them."""


@dataclass(frozen=True)
class PolicyResult:
    """The result of a policy for a batch of n payments.

    Args:
        action: [n] index into ACTIONS.
        expected_loss: [n] calibrated probability times amount, in minor units.
        rules: By row, the names of the rules, limits and lists that applied. Only flagged rows have an entry, and rows
            that were not flagged because of an allow list.
        reasons: By row, the reasons of those.
        thresholds: By row, the reason of the threshold reached, if any.
        shadow_rules: By name of a shadow rule, the number of rows on which it was true, if any.
    """

    action: NDArray[np.int8]
    expected_loss: NDArray[np.int64]
    rules: dict[int, list[str]]
    reasons: dict[int, list[Reason]]
    thresholds: dict[int, Reason]
    shadow_rules: dict[str, int]

    def reasons_of(self, row: int, model: Sequence[Reason]) -> list[Reason]:
        """Return all reasons of a row: what decides comes first.

        The model's reasons lead if its score reached a threshold, whose own reason comes last; otherwise rules, limits
        and lists have decided, and lead.
        """
        own = self.reasons.get(row, [])
        if row in self.thresholds:
            return [*model, *own, self.thresholds[row]]
        return [*own, *model]


@dataclass(frozen=True)
class Policy:
    """A policy in force.

    Args:
        name: Name and version, such as `default@3`.
        form: Content of the policy file.
        rules: Its rules, parsed.
        listed: The values of its lists, by the list's name.
    """

    name: str
    form: PolicyForm
    rules: RuleSet
    listed: Mapping[str, frozenset[str]]

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that `decide` needs in addition to amount and currency."""
        lists = {entry.column for entry in (*self.form.lists.allow, *self.form.lists.block)}
        limits = {
            column for allowance in self.limits for column in (*allowance.columns, *(name for name, _ in _TOTALS))
        }
        return (self.rules.columns | lists | limits) - {"amount", "currency"}

    @property
    def patience_s(self) -> float:
        """Seconds that payments wait for the state store; inf means forever."""
        return self.form.degraded.after_s if self.form.degraded else math.inf

    @cached_property
    def limits(self) -> tuple[Allowance, ...]:
        """Its limits, in the order of the file."""
        return tuple(limit.allowance() for limit in self.form.limits)

    def decide(
        self,
        columns: Mapping[str, Any],
        probability: NDArray[np.float64],
        amount: NDArray[np.int64],
        currency: pa.Array,
    ) -> PolicyResult:
        """Decide on a batch of n payments.

        Thresholds, rules and limits each request an action, and the most severe one is taken. A payment on an allow
        list is approved regardless, unless it is on a block list, which requests an action like a rule.

        Args:
            columns: At least `self.columns`, each an Arrow or NumPy array [n]: fields of events unchanged (balance in
                minor units), features as in the catalogue. NaN and NULL are missing.
            probability: [n] calibrated probability of fraud.
            amount: [n] in minor units.
            currency: [n] ISO 4217 codes, none missing.
        """
        expected_loss = np.rint(probability * amount).astype(np.int64)
        result = PolicyResult(np.zeros(len(amount), np.int8), expected_loss, {}, {}, {}, {})
        currencies, codes = distinct(currency)
        minor_units: Any = np.array([10.0 ** exponent(code) for code in currencies])
        minor_units = minor_units if len(currencies) == 1 else minor_units[codes]

        self._apply_thresholds(result, probability, currencies, codes)
        # Rules use major units like features; the quotient is the float nearest to the decimal.
        offered = {**columns, "amount": amount / minor_units, "currency": currency}
        if "balance" in self.rules.columns:
            offered["balance"] = np.asarray(columns["balance"], np.float64) / minor_units
        for rule, rows in self.rules.fired(offered):
            if rule.shadow:
                result.shadow_rules[rule.name] = len(rows)
            else:
                _flag(result, rows, rule.action, rule.name, rule.reason)
        self._apply_limits(result, offered, minor_units)
        self._apply_lists(result, offered)
        return result

    def _apply_thresholds(
        self, result: PolicyResult, probability: NDArray[np.float64], currencies: list[str], codes: NDArray[np.int32]
    ) -> None:
        if not self._thresholds:
            return
        least = self._least_losses(tuple(currencies))
        least = least if len(least) == 1 else least[codes]
        reached = result.expected_loss[:, np.newaxis] >= least
        reached &= probability[:, np.newaxis] >= self._least_probabilities
        for row in np.flatnonzero(reached.any(axis=1)).tolist():
            action, threshold = self._thresholds[int(reached[row].argmax())]
            result.action[row] = action
            loss = int(result.expected_loss[row])
            currency = currencies[codes[row]]
            result.thresholds[row] = threshold.reason(ACTIONS[action], float(probability[row]), loss, currency)

    @cached_property
    def _thresholds(self) -> tuple[tuple[int, Threshold], ...]:
        """Return the thresholds with their action index, the most severe first; the first one reached applies."""
        return tuple(
            (ACTIONS.index(action), threshold)
            for action in reversed(ACTIONS[1:])
            for threshold in getattr(self.form.thresholds, action)
        )

    @cached_property
    def _least_probabilities(self) -> NDArray[np.float64]:
        """Return the required probabilities, float64[thresholds]; -inf where none is required."""
        asked = (threshold.probability for _, threshold in self._thresholds)
        return np.array([-np.inf if least is None else least for least in asked])

    def _least_losses(self, currencies: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the expected loss that each threshold requires, int64[currencies, thresholds], minor units."""
        known = self._known_least_losses
        for code in currencies:
            if code not in known:
                known[code] = [threshold.least_loss(code) for _, threshold in self._thresholds]
        return np.array([known[code] for code in currencies], np.int64).reshape(-1, len(self._thresholds))

    @cached_property
    def _known_least_losses(self) -> dict[str, list[int]]:
        return {}

    def _apply_limits(self, result: PolicyResult, columns: Mapping[str, Any], minor_units: NDArray[np.float64]) -> None:
        for limit, allowance in zip(self.form.limits, self.limits, strict=True):
            allowed = allowance.of(columns)
            if allowed is None:
                continue
            for (column, word), most in zip(_TOTALS, allowed.T, strict=True):
                # A total is a sum of whole minor units, so rounding removes the error of binary fractions.
                total = np.rint(columns[column] * minor_units)
                for row in np.flatnonzero(total > most).tolist():
                    values: dict[str, Value] = {
                        "total": int(total[row]),
                        "limit": int(most[row]),
                        "currency": limit.currency,
                    }
                    over = reason(f"limit-{word}", values)
                    _flag(result, np.array([row]), ACTIONS.index(limit.action), limit.name, over)

    def _apply_lists(self, result: PolicyResult, columns: Mapping[str, Any]) -> None:
        lists = self.form.lists
        if not (lists.allow or lists.block):
            return
        values = {name: columns[name].tolist() for name in {entry.column for entry in (*lists.allow, *lists.block)}}

        def listed(entry: AllowList) -> list[int]:
            members, column = self.listed[entry.name], values[entry.column]
            return [] if members.isdisjoint(column) else [row for row, value in enumerate(column) if value in members]

        blocked = [(block, listed(block)) for block in lists.block]
        kept = {row for _, rows in blocked for row in rows}
        for allow in lists.allow:
            for row in listed(allow):
                if row not in kept and result.action[row] > 0:
                    result.action[row] = 0
                    result.rules[row], result.reasons[row] = (
                        [allow.name],
                        [own_reason("list", allow.name, allow.reason)],
                    )
                    result.thresholds.pop(row, None)
        for block, rows in blocked:
            own = own_reason("list", block.name, block.reason)
            _flag(result, np.array(rows, np.intp), ACTIONS.index(block.action), block.name, own)


def _flag(result: PolicyResult, rows: NDArray[np.intp], action: int, name: str, reason: Reason) -> None:
    result.action[rows] = np.maximum(result.action[rows], action)
    for row in rows.tolist():
        result.rules.setdefault(row, []).append(name)
        result.reasons.setdefault(row, []).append(reason)
