"""The policy: what to do about a payment, given its probability of fraud, its features and the institution's rules.

A policy is one YAML file; docs/policy.md describes it to its authors. Here are its form, its decision over a batch,
which looks at nothing but its arguments and treats each payment as if it came alone, and its loading.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
import pyarrow as pa
import yaml
from msgspec import Meta
from numpy.typing import NDArray

from features.limits import Allowance, Amounts
from streams.rules import Rule, RuleSet, parse_rule
from vedette.errors import PolicyError
from vedette.events import Action
from vedette.money import exponent, format_amount, to_minor

ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the mildest to the most severe."""

FORMAT = 1
"""The form of file that this version of Vedette reads."""

_TOTALS = (("day_total", "daily"), ("month_total", "monthly"))
"""The columns that limits are about, and the words for them."""

Flag = Literal["challenge", "review", "decline"]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Words = Annotated[str, Meta(min_length=1, max_length=200)]
Money = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]+)?$", description="in major units")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]

# How msgspec says where in a document something is wrong, and that a key is none of the form's.
_PLACE = re.compile(r"\[(\d+)\]|\.(\w+)")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; a misspelt key is an error."""


class Threshold(_Entry, frozen=True):
    """What must be reached, all of it; expected loss by currency, `other` for the currencies not named."""

    probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    expected_loss: dict[Annotated[str, Meta(pattern=r"^([A-Z]{3}|other)$")], Money] | None = None

    def __post_init__(self) -> None:
        if self.probability is None and self.expected_loss is None:
            raise ValueError("a threshold names a probability, an expected_loss or both")
        if self.expected_loss is not None and "other" not in self.expected_loss:
            raise ValueError("expected_loss must say what holds for other currencies, as in other: 20")
        for currency, amount in (self.expected_loss or {}).items():
            _check_places(amount, currency)

    def least_loss(self, currency: str) -> int:
        """The expected loss that must be reached, in minor units of a currency."""
        amounts = self.expected_loss or {"other": "0"}
        return to_minor(amounts.get(currency, amounts["other"]), currency)

    def reason(self, currency: str) -> str:
        """How it reads as a reason."""
        parts = [] if self.probability is None else [f"fraud probability of {self.probability:g} or more"]
        if self.expected_loss is not None:
            parts.append(f"expected loss of {format_amount(self.least_loss(currency), currency)} or more")
        return " and ".join(parts)


class Thresholds(_Entry, frozen=True):
    """By action; one entry reached is enough."""

    challenge: list[Threshold] = []
    review: list[Threshold] = []
    decline: list[Threshold] = []


class SqlRule(_Entry, frozen=True):
    """A rule as it is written."""

    name: Name
    when: Annotated[str, Meta(max_length=2000)]
    action: Flag
    reason: Words
    shadow: bool = False


class OwnLimit(_Entry, frozen=True):
    """What one account may pay instead; an amount that is left out is that of the others."""

    daily: Money | None = None
    monthly: Money | None = None


class Limit(_Entry, frozen=True):
    """What an account may pay in a UTC day or month; it holds for every account if no type is named."""

    name: Name
    currency: Currency
    action: Flag
    account_type: str | None = None
    daily: Money | None = None
    monthly: Money | None = None
    accounts: dict[str, OwnLimit] = {}

    def __post_init__(self) -> None:
        if self.daily is None and self.monthly is None:
            raise ValueError("a limit names a daily or a monthly amount or both")
        entries: list[Limit | OwnLimit] = [self, *self.accounts.values()]
        for entry in entries:
            for amount in (entry.daily, entry.monthly):
                _check_places(amount or "0", self.currency)

    def allowance(self) -> Allowance:
        """The same in minor units."""

        def minor(entry: "Limit | OwnLimit") -> Amounts:
            daily, monthly = entry.daily or self.daily, entry.monthly or self.monthly
            return (
                to_minor(daily, self.currency) if daily else None,
                to_minor(monthly, self.currency) if monthly else None,
            )

        own = {account: minor(entry) for account, entry in self.accounts.items()}
        return Allowance(self.currency, minor(self), self.account_type, own)


class AllowList(_Entry, frozen=True):
    """Values of a column, written in the policy or one a line in a file beside it."""

    name: Name
    column: Literal["account_id", "merchant_id", "payee", "country", "device_id"]
    reason: Words
    values: list[str] = []
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.file):
            raise ValueError("a list has either values or a file")


class BlockList(AllowList, frozen=True):
    """Likewise, with what is done about a payment on it."""

    action: Flag = "decline"


class Lists(_Entry, frozen=True):
    """The lists by kind."""

    allow: list[AllowList] = []
    block: list[BlockList] = []


class Degraded(_Entry, frozen=True):
    """Payments are decided without their history when the state store has been away for so long."""

    after_s: Annotated[float, Meta(gt=0, le=86_400)]


class PolicyForm(_Entry, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    name: Name
    version: Annotated[int, Meta(ge=1)]
    thresholds: Thresholds = Thresholds()
    rules: list[SqlRule] = []
    limits: list[Limit] = []
    lists: Lists = Lists()
    degraded: Degraded | None = None


@dataclass(frozen=True)
class Verdict:
    """What a policy says about a batch of n payments.

    Args:
        action: [n] index into ACTIONS.
        expected_loss: [n] calibrated probability times amount, in minor units.
        rules: By row, the names of the rules, limits and lists that acted; only flagged rows have an entry, and rows
            that an allow list kept from being flagged.
        reasons: By row, the words of those and of the threshold reached.
        shadow: By name of a shadow rule, on how many rows it was true, if on any.
    """

    action: NDArray[np.int8]
    expected_loss: NDArray[np.int64]
    rules: dict[int, list[str]]
    reasons: dict[int, list[str]]
    shadow: dict[str, int]


@dataclass(frozen=True)
class Policy:
    """A policy in force.

    Args:
        name: Name and version, such as `default@3`.
        form: Its file.
        rules: Its rules, parsed.
        listed: The values of its lists, by the list's name.
    """

    name: str
    form: PolicyForm
    rules: RuleSet
    listed: Mapping[str, frozenset[str]]

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that `decide` must be offered; it has amount and currency anyway."""
        lists = {entry.column for entry in (*self.form.lists.allow, *self.form.lists.block)}
        limits = {
            column for allowance in self.limits for column in (*allowance.columns, *(name for name, _ in _TOTALS))
        }
        return (self.rules.columns | lists | limits) - {"amount", "currency"}

    @property
    def patience_s(self) -> float:
        """How long payments wait for the state store; inf is for ever."""
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
    ) -> Verdict:
        """Decide on a batch of n payments.

        Thresholds, rules and limits each ask for an action, and the most severe is taken. A payment on an allow list
        is approved whatever they ask for, unless it is on a block list, which asks for an action as a rule does.

        Args:
            columns: At least `self.columns`, each an Arrow or NumPy array [n]: events as they are (balance in minor
                units), features as in the catalogue. NaN and NULL are missing.
            probability: [n] calibrated probability of fraud.
            amount: [n] in minor units.
            currency: [n] ISO 4217 codes, none missing.
        """
        expected_loss = np.rint(probability * amount).astype(np.int64)
        verdict = Verdict(np.zeros(len(amount), np.int8), expected_loss, {}, {}, {})
        encoded = currency.dictionary_encode()
        currencies: list[str] = encoded.dictionary.to_pylist()
        codes: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False)
        minor_units = np.array([10.0 ** exponent(code) for code in currencies])[codes]

        self._apply_thresholds(verdict, probability, currencies, codes)
        # Rules speak of money as features do, in major units; the quotient is the float nearest to the decimal.
        offered = {**columns, "amount": amount / minor_units, "currency": currency}
        if "balance" in self.rules.columns:
            offered["balance"] = np.asarray(columns["balance"], np.float64) / minor_units
        for rule, rows in self.rules.fired(offered):
            if rule.shadow:
                verdict.shadow[rule.name] = len(rows)
            else:
                _flag(verdict, rows, rule.action, rule.name, rule.reason)
        self._apply_limits(verdict, offered, minor_units)
        self._apply_lists(verdict, offered)
        return verdict

    def _apply_thresholds(
        self, verdict: Verdict, probability: NDArray[np.float64], currencies: list[str], codes: NDArray[np.int32]
    ) -> None:
        below = np.ones(len(codes), np.bool_)
        for action in reversed(ACTIONS[1:]):
            for threshold in getattr(self.form.thresholds, action):
                least = np.array([threshold.least_loss(code) for code in currencies], np.int64)
                reached = below & (verdict.expected_loss >= least[codes])
                if threshold.probability is not None:
                    reached &= probability >= threshold.probability
                rows = np.flatnonzero(reached)
                verdict.action[rows] = ACTIONS.index(action)
                below[rows] = False
                reasons = [threshold.reason(code) for code in currencies] if len(rows) else []
                for row in rows.tolist():
                    verdict.reasons[row] = [reasons[codes[row]]]

    def _apply_limits(self, verdict: Verdict, columns: Mapping[str, Any], minor_units: NDArray[np.float64]) -> None:
        for limit, allowance in zip(self.form.limits, self.limits, strict=True):
            allowed = allowance.of(columns)
            for (column, word), most in zip(_TOTALS, allowed.T, strict=True):
                # A total is a sum of whole minor units, so rounding removes what binary fractions added.
                rows = np.flatnonzero(np.rint(columns[column] * minor_units) > most)
                for amount in np.unique(most[rows]).tolist():
                    reason = f"over the {word} limit of {format_amount(int(amount), limit.currency)}"
                    _flag(verdict, rows[most[rows] == amount], ACTIONS.index(limit.action), limit.name, reason)

    def _apply_lists(self, verdict: Verdict, columns: Mapping[str, Any]) -> None:
        lists = self.form.lists
        values = {name: columns[name].tolist() for name in {entry.column for entry in (*lists.allow, *lists.block)}}

        def listed(entry: AllowList) -> list[int]:
            members, column = self.listed[entry.name], values[entry.column]
            return [] if members.isdisjoint(column) else [row for row, value in enumerate(column) if value in members]

        blocked = [(block, listed(block)) for block in lists.block]
        kept = {row for _, rows in blocked for row in rows}
        for allow in lists.allow:
            for row in listed(allow):
                if row not in kept and verdict.action[row] > 0:
                    verdict.action[row] = 0
                    verdict.rules[row], verdict.reasons[row] = [allow.name], [allow.reason]
        for block, rows in blocked:
            _flag(verdict, np.array(rows, np.intp), ACTIONS.index(block.action), block.name, block.reason)


def load_policy(path: Path, known_columns: Collection[str] | None = None) -> Policy:
    """Read a policy file.

    Args:
        path: The YAML file; the files that its lists name are looked for beside it.
        known_columns: The columns that payments will have; without them, unknown ones are not noticed.

    Raises:
        PolicyError: A file is missing or has a mistake; the message names the file, the line and the column.
    """
    source = _Source(path)
    form = source.form()
    names: set[str] = set()
    rules: list[Rule] = []
    listed: dict[str, frozenset[str]] = {}

    def name_once(name: str, *keys: str | int) -> None:
        if name in names:
            raise source.error((*keys, "name"), f"the name {name!r} is taken", "name every rule, limit and list apart")
        names.add(name)

    known = None if known_columns is None else {*known_columns, "amount", "currency"}
    for number, rule in enumerate(form.rules):
        name_once(rule.name, "rules", number)
        try:
            expression = parse_rule(rule.when, known)
        except PolicyError as error:
            keys = ("rules", number, "when")
            raise source.error(keys, f"rule {rule.name!r}: {error.args[0]}", error.remedy) from error
        rules.append(Rule(rule.name, ACTIONS.index(rule.action), rule.reason, rule.shadow, expression))
    for number, limit in enumerate(form.limits):
        name_once(limit.name, "limits", number)
    for kind, lists in (("allow", form.lists.allow), ("block", form.lists.block)):
        for number, entry in enumerate(lists):
            name_once(entry.name, "lists", kind, number)
            values = entry.values or source.lines(entry.file, "lists", kind, number, "file")
            listed[entry.name] = frozenset(values)
    return Policy(f"{form.name}@{form.version}", form, RuleSet(rules), listed)


class _Source:
    """A YAML file that can tell where in it something stands. All its scalars are text, so no amount is a float."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except FileNotFoundError as error:
            raise PolicyError(f"policy file {path} does not exist") from error
        except yaml.MarkedYAMLError as error:
            raise self._at(error.problem_mark, f"{error.problem}") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PolicyError(f"policy file {path} cannot be read: {error}") from error
        self._plain = self._read(self._root, set())

    def form(self) -> PolicyForm:
        """The file's content, checked against its form."""
        try:
            return msgspec.convert(self._plain, PolicyForm, strict=False)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            keys: list[str | int] = [int(index) if index else key for index, key in _PLACE.findall(place)]
            if unknown := _UNKNOWN.fullmatch(message):
                keys.append(unknown[1])
            raise self.error(keys, message[0].lower() + message[1:], "docs/policy.md describes the form") from error

    def lines(self, name: str, *keys: str | int) -> Iterator[str]:
        """The lines of a list file without comments and blanks; `keys` lead to where it is named."""
        try:
            text = (self._path.parent / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(keys, f"list file {name!r} cannot be read: {error}") from error
        return (line for raw in text.splitlines() if (line := raw.partition("#")[0].strip()))

    def error(self, keys: Sequence[str | int], message: str, remedy: str = "") -> PolicyError:
        """An error at the place that keys and positions lead to, or as near to it as the file goes."""
        node = self._root
        mark = node.start_mark if node else None
        for key in keys:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                mark = node.start_mark
            elif isinstance(node, yaml.MappingNode):
                found = [(name, value) for name, value in node.value if name.value == key]
                if not found:
                    break
                name, node = found[0]
                mark = (node if isinstance(node, yaml.ScalarNode) else name).start_mark
        return self._at(mark, message, remedy)

    def _at(self, mark: yaml.Mark | None, message: str, remedy: str = "") -> PolicyError:
        place = f"{self._path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{self._path}"
        return PolicyError(f"{place}: {message}", remedy=remedy)

    def _read(self, node: yaml.Node | None, seen: set[int]) -> Any:
        """The node as dicts, lists and text; YAML would let a key be repeated or a node be its own child."""
        if node is None:
            return {}
        if id(node) in seen:
            raise self._at(node.start_mark, "a policy has no anchors and aliases", "write the value again")
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, seen) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return node.value
        plain: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._at(name.start_mark, "a key must be a word")
            if name.value in plain:
                raise self._at(name.start_mark, f"the key {name.value!r} is repeated")
            plain[name.value] = self._read(value, seen)
        return plain


def _check_places(amount: str, currency: str) -> None:
    """Refuse an amount with more decimal places than its currency has, which rounding would change silently."""
    if currency != "other" and Decimal(amount).scaleb(exponent(currency)) % 1:
        raise ValueError(f"{amount} {currency} has more than the {exponent(currency)} decimal places of its currency")


def _flag(verdict: Verdict, rows: NDArray[np.intp], action: int, name: str, reason: str) -> None:
    verdict.action[rows] = np.maximum(verdict.action[rows], action)
    for row in rows.tolist():
        verdict.rules.setdefault(row, []).append(name)
        verdict.reasons.setdefault(row, []).append(reason)
