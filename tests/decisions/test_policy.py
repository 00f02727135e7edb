import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.policy import Policy, PolicyResult
from decisions.policy_file import load_policy
from decisions.policy_form import ACTIONS
from decisions.rules import TEXT, parse_rule
from features.catalogue import NAMES
from vedette.errors import PolicyError
from vedette.events import Reason, Transaction
from vedette.wording import text_of

KNOWN = frozenset({*NAMES, *Transaction.__struct_fields__}) - {"extra"}
HEAD = "format: 1\nname: trial\nversion: 7\n"
NAN = float("nan")

Payment = dict[str, Any]
Write = Callable[..., Path]

MANY = """
thresholds:
  challenge: [{probability: 0.2}]
  review: [{probability: 0.5, expected_loss: {EUR: "50.00", other: 10}}]
  decline: [{probability: 0.9}, {expected_loss: {other: 1000}}]
rules:
  - {name: burst, when: account_count_10min >= 8, action: challenge, reason: many payments}
  - {name: far, when: speed_kmh > 900 AND country <> 'FR', action: review, reason: too fast}
  - {name: odd, when: "amount / NULLIF(account_mean_30d, 0) > 3", action: decline, reason: odd amount}
  - {name: quiet, when: NOT (is_night = 1), action: decline, reason: by day, shadow: true}
limits:
  - {name: small, account_type: prepaid, currency: EUR, daily: "100.00", monthly: 500, action: challenge}
"""
LISTS = """
lists:
  allow: [{name: staff, column: account_id, values: [a1], reason: our own}]
  block: [{name: sanctions, column: country, values: [KP, "NO"], reason: sanctioned}]
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a policy file under the trial's name and version, and return its path."""

    def _write(body: str, head: str = HEAD) -> Path:
        path = tmp_path / "policy.yaml"
        path.write_text(head + body, encoding="utf-8")
        return path

    return _write


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy with every kind of entry."""
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(HEAD + MANY + LISTS, encoding="utf-8")
    return load_policy(path, KNOWN)


def decide(policy: Policy, rows: list[Payment]) -> PolicyResult:
    """Decide on payments written as dicts; fields that are left out are missing."""
    columns = {}
    for name in policy.columns:
        values = [row.get(name) for row in rows]
        columns[name] = pa.array(values, pa.string()) if name in TEXT else np.array(values, np.float64)
    return policy.decide(
        columns,
        np.array([row.get("probability", 0.0) for row in rows], np.float64),
        np.array([row.get("amount", 0) for row in rows], np.int64),
        pa.array([row.get("currency", "EUR") for row in rows], pa.string()),
    )


def actions(policy: Policy, *rows: Payment) -> list[str]:
    """Return the actions on payments, in words."""
    return [ACTIONS[action] for action in decide(policy, list(rows)).action]


def rule(write: Write, when: str) -> Policy:
    """A policy of one rule, which asks for review."""
    body = f"rules:\n  - name: it\n    when: {json.dumps(when)}\n    action: review\n    reason: because\n"
    return load_policy(write(body), KNOWN)


FLOATS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(NAN), st.just(float("inf")))
PAYMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "probability": st.floats(0, 1),
            "amount": st.integers(0, 10**7),
            "currency": st.sampled_from(["EUR", "USD", "JPY", "KWD"]),
        },
        optional={
            "account_count_10min": st.integers(0, 12),
            "speed_kmh": FLOATS,
            "account_mean_30d": FLOATS,
            "is_night": st.sampled_from([0, 1, NAN]),
            "country": st.sampled_from([None, "FR", "KP", "NO", "DE"]),
            "account_id": st.sampled_from(["a1", "a2"]),
            "account_type": st.sampled_from([None, "prepaid", "debit"]),
            "day_total": st.floats(0, 300),
            "month_total": st.floats(0, 900),
        },
    ),
    min_size=1,
    max_size=12,
)


def test_actions_are_those_of_the_decision_event() -> None:
    """Severity is the order in which the vocabulary lists the actions."""
    assert ACTIONS == ("approve", "challenge", "review", "decline")


def _numeric(hint: object) -> bool:
    kinds = {kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)}
    return bool(kinds & {int, float})


def test_text_columns_are_the_text_fields_of_a_transaction() -> None:
    """A text field that is added to the event must not be read as a number by a rule."""
    text = {name for name, hint in get_type_hints(Transaction).items() if name != "extra" and not _numeric(hint)}
    assert text == TEXT


def test_default_policy_uses_only_columns_there_are() -> None:
    """The policy that ships loads against the catalogue, including limits and lists."""
    policy = load_policy(Path("decisions/policy.yaml"), KNOWN)
    assert policy.columns <= KNOWN
    assert policy.name == "default@1"


def test_default_policy_approves_an_ordinary_payment_and_declines_a_certain_fraud() -> None:
    """The thresholds that ship have both ends."""
    policy = load_policy(Path("decisions/policy.yaml"), KNOWN)
    assert actions(policy, {"probability": 0.001, "amount": 3000}, {"probability": 0.99, "amount": 3000}) == [
        "approve",
        "decline",
    ]


def test_expected_loss_is_probability_times_amount_in_minor_units(many: Policy) -> None:
    """Expected loss is rounded to whole minor units."""
    result = decide(many, [{"probability": 0.25, "amount": 1001}, {"probability": 0.5, "amount": 10**15}])
    assert result.expected_loss.tolist() == [250, 5 * 10**14]
    assert result.expected_loss.dtype == np.int64


def test_a_threshold_is_reached_at_its_value_and_needs_all_it_names(many: Policy) -> None:
    """A probability of 0.5 with a loss of 50.00 EUR is for review; a cent less is not."""
    rows = ({"probability": 0.5, "amount": 10_000}, {"probability": 0.5, "amount": 9_998}, {"probability": 0.1999})
    assert actions(many, *rows) == ["review", "challenge", "approve"]


def test_a_currency_not_named_takes_other_in_its_own_major_unit(many: Policy) -> None:
    """`other: 10` is 10 yen, 10.000 dinar and 10.00 dollars."""
    rows = [
        {"probability": 0.5, "amount": amount, "currency": currency}
        for currency, amount in (("JPY", 20), ("JPY", 18), ("KWD", 20_000), ("KWD", 19_998), ("USD", 2_000))
    ]
    assert actions(many, *rows) == ["review", "challenge", "review", "challenge", "review"]


def test_a_flagged_payment_says_why(many: Policy) -> None:
    """Rules, limits and the threshold reached are all reported, with values; approved payments have no entry."""
    row = {"probability": 0.5, "amount": 20_000, "account_count_10min": 9, "account_type": "prepaid", "day_total": 200}
    result = decide(many, [{}, row])
    assert result.rules == {1: ["burst", "small"]}
    assert (set(result.reasons), set(result.thresholds)) == ({1}, {1})
    assert [(reason.code, reason.text) for reason in result.reasons_of(1, [])] == [
        ("rule.burst", "many payments"),
        ("limit-daily", "200.00 EUR today, over the daily limit of 100.00 EUR"),
        ("threshold-both",
         "fraud probability of 50% and expected loss of 100.00 EUR; the policy reviews from 50% and 50.00 EUR"),
    ]  # fmt: skip
    assert ACTIONS[result.action[1]] == "review"


def test_what_decides_comes_first(many: Policy) -> None:
    """The model's reasons lead where its score reached a threshold, and follow where a rule alone has decided."""
    by_rule, by_score = {"account_count_10min": 9}, {"account_count_10min": 9, "probability": 0.5, "amount": 20_000}
    result = decide(many, [by_rule, by_score])
    said = Reason(code="device-new", text="first payment from this device", weight=1.0)
    assert [reason.code for reason in result.reasons_of(0, [said])] == ["rule.burst", "device-new"]
    assert [reason.code for reason in result.reasons_of(1, [said])] == ["device-new", "rule.burst", "threshold-both"]


def test_a_rule_speaks_every_language_that_its_policy_gives(write: Write) -> None:
    """In the log a reason has the first language of the policy; readers see their own language."""
    policy = load_policy(write("rules: [{name: x, when: amount > 1, action: review, reason: {en: large, es: grande}}]"))
    (reason,) = decide(policy, [{"amount": 1_000}]).reasons[0]
    assert reason == Reason(code="rule.x", text="large", weight=0.0, texts={"en": "large", "es": "grande"})
    assert [text_of(reason, language) for language in ("en", "es", "fr")] == ["large", "grande", "large"]


def test_a_limit_holds_for_its_account_type_and_currency_alone(many: Policy) -> None:
    """The limit itself may be spent, but not a cent more; other accounts and currencies are not affected."""
    row = {"account_type": "prepaid", "day_total": 100.01, "month_total": 100.01}
    free = ({"day_total": 100.0}, {"account_type": "debit"}, {"account_type": None}, {"currency": "USD"})
    rows = [row, *(row | change for change in free), row | {"day_total": 1.0, "month_total": 500.01}]
    assert actions(many, *rows) == ["challenge", *["approve"] * 4, "challenge"]


def test_a_total_that_binary_fractions_push_above_its_limit_is_not_over_it(many: Policy) -> None:
    """A sum of cents equal to the limit, slightly above it as a float, is within it."""
    total = 100.00000000000001
    assert total > 100
    assert actions(many, {"account_type": "prepaid", "day_total": total}) == ["approve"]


def test_an_allow_list_approves_and_a_block_list_overrides_it(many: Policy) -> None:
    """Allow overrides thresholds and rules, block overrides allow, and both are reported."""
    bad = {"probability": 0.95, "account_count_10min": 9}
    rows: list[Payment] = [
        bad | {"account_id": "a1"},
        bad | {"account_id": "a1", "country": "KP"},
        {"account_id": "a1"},
    ]
    result = decide(many, rows)
    assert [ACTIONS[action] for action in result.action] == ["approve", "decline", "approve"]
    assert result.rules == {0: ["staff"], 1: ["burst", "sanctions"]}
    assert [(reason.code, reason.text) for reason in result.reasons_of(0, [])] == [("list.staff", "our own")]


def test_norway_is_a_country_and_not_false(write: Write) -> None:
    """YAML reads NO as a boolean, which does not affect a list."""
    body = "lists: {block: [{name: b, column: country, values: [NO], reason: r}]}"
    assert actions(load_policy(write(body)), {"country": "NO"}, {"country": "FR"}) == ["decline", "approve"]


def test_a_list_may_be_a_file_beside_the_policy(write: Write, tmp_path: Path) -> None:
    """It has one value a line; comments and blank lines are ignored."""
    (tmp_path / "bad.txt").write_text("# mules\nacc-1\n\n  acc-2  # since May\n", encoding="utf-8")
    body = "lists: {block: [{name: mules, column: payee, file: bad.txt, reason: mule, action: review}]}"
    rows = ({"payee": "acc-1"}, {"payee": "acc-2"}, {"payee": "mules"}, {"payee": None})
    assert actions(load_policy(write(body)), *rows) == ["review", "review", "approve", "approve"]


def test_money_in_rules_is_in_major_units(write: Write) -> None:
    """Amount and balance are compared as people write them, whatever the currency's minor unit."""
    policy = rule(write, "amount = 12.34 OR balance < 5")
    rows = (
        {"amount": 1234},
        {"amount": 12_340, "currency": "KWD"},
        {"amount": 1234, "currency": "JPY"},
        {"balance": 499},
        {"balance": 500},
    )
    assert actions(policy, *rows) == ["review", "review", "approve", "review", "approve"]


@pytest.mark.parametrize(
    "when",
    [
        "speed_kmh > 900",
        "speed_kmh <> 3",
        "NOT (speed_kmh > 900)",
        "NOT (speed_kmh < 900)",
        "speed_kmh NOT IN (1, 2)",
        "speed_kmh / NULLIF(distance_km, 0) > 0.5",
        "speed_kmh > distance_km",
        "ABS(speed_kmh) + 1 > 0.5",
        "country <> 'FR' AND speed_kmh > 0",
        "country NOT LIKE 'F%' AND speed_kmh > 0",
        "CASE WHEN speed_kmh > 0 THEN is_night = 1 END",
    ],
)
@pytest.mark.parametrize("missing", [None, NAN, float("inf"), float("-inf")])
def test_a_rule_over_a_missing_value_does_not_fire(write: Write, when: str, missing: float | None) -> None:
    """NULL, NaN and infinity make a comparison unknown, negated or not."""
    assert actions(rule(write, when), {"speed_kmh": missing, "distance_km": 1, "is_night": 1}) == ["approve"]


def test_division_by_zero_does_not_fire(write: Write) -> None:
    """NULLIF makes zero over zero, and anything over zero, unknown."""
    policy = rule(write, "distance_km / NULLIF(speed_kmh, 0) > 1")
    rows = ({"distance_km": 0, "speed_kmh": 0}, {"distance_km": 9, "speed_kmh": 0}, {"distance_km": 9, "speed_kmh": 3})
    assert actions(policy, *rows) == ["approve", "approve", "review"]


def test_missing_values_can_be_asked_for(write: Write) -> None:
    """IS NULL and COALESCE handle missing values explicitly."""
    policy = rule(write, "device_id IS NULL AND COALESCE(speed_kmh, 5) = 5")
    assert actions(policy, {}, {"device_id": "d"}, {"speed_kmh": 6}) == ["review", "approve", "approve"]


def test_text_rules_work_on_any_arrow_text(write: Write) -> None:
    """Dictionary-encoded and all-missing columns are read like plain text."""
    policy = rule(write, "country IN ('FR', 'DE') OR channel ILIKE 'ECOM'")
    columns = {"country": pa.array(["FR", None, "US"]).dictionary_encode(), "channel": pa.array([None, None, None])}
    result = policy.decide(columns, np.zeros(3), np.zeros(3, np.int64), pa.array(["EUR"] * 3))
    assert result.action.tolist() == [2, 0, 0]


def test_an_empty_batch_is_decided_too(many: Policy) -> None:
    """No payments, no result, no error."""
    result = decide(many, [])
    assert result.action.shape == result.expected_loss.shape == (0,)


@given(PAYMENTS)
def test_a_decision_does_not_depend_on_the_rest_of_its_batch(many: Policy, payments: list[Payment]) -> None:
    """Each payment alone gets the decision that it gets among others, including the reasons."""
    together = decide(many, payments)
    for row, payment in enumerate(payments):
        alone = decide(many, [payment])
        assert alone.action[0] == together.action[row]
        assert alone.rules.get(0) == together.rules.get(row)
        assert alone.reasons.get(0) == together.reasons.get(row)
        assert alone.thresholds.get(0) == together.thresholds.get(row)


@given(PAYMENTS, st.floats(0, 1))
def test_severity_never_falls_when_probability_rises(many: Policy, payments: list[Payment], rise: float) -> None:
    """A likelier fraud, and so a larger expected loss, never gets a milder action."""
    before = decide(many, payments)
    likelier = [row | {"probability": row["probability"] + (1 - row["probability"]) * rise} for row in payments]
    assert (decide(many, likelier).action >= before.action).all()


@given(PAYMENTS)
def test_a_shadow_rule_changes_nothing_but_its_count(shadowed: tuple[Policy, Policy], payments: list[Payment]) -> None:
    """With and without shadow rules, actions, rules and reasons are the same."""
    with_shadow, without = (decide(policy, payments) for policy in shadowed)
    assert with_shadow.action.tolist() == without.action.tolist()
    assert with_shadow.rules == without.rules
    assert with_shadow.reasons == without.reasons
    assert with_shadow.shadow_rules == {"every": len(payments)}
    assert without.shadow_rules == {}


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Policy, Policy]:
    """The same policy with a shadow rule that is always true, and without any."""
    directory = tmp_path_factory.mktemp("shadow")
    every = "  - {name: every, when: amount >= 0, action: decline, reason: all, shadow: true}\n"
    quiet = "  - {name: quiet, when: NOT (is_night = 1), action: decline, reason: by day, shadow: true}\n"
    bare = MANY.replace(quiet, "")
    policies = []
    for name, body in (("with", bare.replace("limits:", every + "limits:")), ("without", bare)):
        (directory / name).write_text(HEAD + body + LISTS, encoding="utf-8")
        policies.append(load_policy(directory / name, KNOWN))
    return policies[0], policies[1]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("amount > 1; DROP TABLE accounts", "is not an SQL expression"),
        ("SELECT 1", "is not an SQL expression"),
        ("amount >", "is not an SQL expression"),
        ("", "is not an SQL expression"),
        ("amount IN (SELECT amount FROM payments)", "is not an SQL expression"),
        ("read_csv('/etc/passwd') = amount", "is not an SQL expression"),
        ("__import__('os').system('true') = amount", "is not an SQL expression"),
        ("RANDOM() > amount", "is not an SQL expression"),
        ("amount > (SELECT 1)", "what a rule may not"),
        ("EXISTS (SELECT 1) AND amount > 1", "what a rule may not"),
        ("MAX(amount) > 1", "what a rule may not (Agg)"),
        ("amount > SUM(amount) / 2", "what a rule may not"),
        ("COUNT(*) > amount", "what a rule may not"),
        ("ROW_NUMBER() OVER (ORDER BY amount) > 1", "what a rule may not"),
        ("MAX(amount) OVER (PARTITION BY country) > 1", "what a rule may not (Over)"),
        ("COLUMNS('a.*') > 1", "what a rule may not (Selector)"),
        ('"^a.*$" > 1', "what a rule may not (Selector)"),
        ("UNNEST(amount) > 1", "what a rule may not (Explode)"),
        ("amount > 1 amount", "what a rule may not (Alias)"),
        ("amount < NOW()", "what a rule may not (Literal)"),
        ("amount < 1e999", "what a rule may not (Literal)"),
        ("LN(amount) > 1", "what a rule may not (Log)"),
        ("SQRT(amount) > 1", "what a rule may not (Pow.Sqrt)"),
        ("CAST(amount AS INT) = 1", "what a rule may not (Cast)"),
        ("amount IS DISTINCT FROM 1", "what a rule may not (BinaryExpr)"),
        ("payee.amount > 1", "what a rule may not (StructExpr.FieldByName)"),
        ("amount / balance > 1", "divides by what may be zero"),
        ("amount % 0 = 1", "divides by what may be zero"),
        ("REGEXP_LIKE(payee, merchant_id)", "pattern is a column"),
        ("REGEXP_LIKE(payee, '[')", "cannot be evaluated"),
        ("country > 5", "cannot be evaluated"),
        ("mcc IN (5812, 5813)", "cannot be evaluated"),
        ("is_night", "not true or false"),
        ("amount + 1", "not true or false"),
        ("1 = 1", "names no column"),
        ("amount" + "+1" * 990 + " > 1", "nested too deeply"),
    ],
)
def test_what_is_no_rule_about_one_payment_is_refused(when: str, why: str) -> None:
    """Statements, files, clocks, randomness, other rows, and what could fail or be NaN later are refused on loading."""
    with pytest.raises(PolicyError) as caught:
        parse_rule(when, KNOWN)
    assert why in str(caught.value)


@given(st.text(st.sampled_from("aA01 .,()'\"*+-/%=<>!;_^~|&NOTINSELECT[]{}\\\n"), max_size=40))
def test_any_text_is_a_rule_or_a_policy_error(text: str) -> None:
    """Whatever is written as a rule, the only possible error is a PolicyError."""
    with contextlib.suppress(PolicyError):
        assert parse_rule(text, KNOWN).meta.root_names()


@pytest.mark.parametrize(
    ("body", "place", "why"),
    [
        ("rules: [", ":4:9", "expected the node content"),
        ("ruels: []", ":4:1", "unknown field `ruels`"),
        ("version: 8", ":4:1", "'version' is repeated"),
        ("rules:\n  - &a {name: x, when: amount > 1, action: review, reason: r}\n  - *a", ":5:5", "anchors"),
        ("? [a]\n: b", ":4:3", "a key must be a word"),
        ("rules:\n  - name: x\n    when: amount > 1\n    action: reject\n    reason: r", ":7:13", "'reject'"),
        ("rules:\n  - name: x\n    when: amount > 1\n    action: approve\n    reason: r", ":7:13", "'approve'"),
        ("rules:\n  - name: x\n    when: amount > 1\n    action: review", ":5:5", "missing required field `reason`"),
        ("rules:\n  - name: x\n    when: speed > 1\n    action: review\n    reason: r", ":6:11", "mean speed_kmh"),
        ("thresholds: {challenge: [{probability: 2}]}", ":4:40", "<= 1.0"),
        ("thresholds: {challenge: [{probability: nan}]}", ":4:40", ">= 0.0"),
        ("thresholds: {challenge: [{}]}", ":4:26", "names a probability"),
        ("thresholds: {approve: [{probability: 0.1}]}", ":4:14", "unknown field `approve`"),
        ("thresholds:\n  review:\n    - expected_loss: {EUR: 5}", ":6:7", "other currencies"),
        ("thresholds: {review: [{expected_loss: {EUR: 0.001, other: 1}}]}", ":4:23", "2 decimal places"),
        ("thresholds: {review: [{expected_loss: {JPY: 1.5, other: 1}}]}", ":4:23", "0 decimal places"),
        ("thresholds: {review: [{expected_loss: {EUR: -5, other: 1}}]}", ":4:24", "regex"),
        ("degraded: {after_s: 0}", ":4:21", "> 0"),
        ("limits: [{name: l, currency: EUR, action: review}]", ":4:10", "daily or a monthly"),
        ("lists: {allow: [{name: l, column: amount, values: [a], reason: r}]}", ":4:35", "'amount'"),
        ("lists: {allow: [{name: l, column: payee, reason: r}]}", ":4:17", "values or a file"),
        ("lists: {allow: [{name: l, column: payee, file: none.txt, reason: r}]}", ":4:48", "none.txt cannot be read"),
        (
            """rules: [{name: x, when: amount > 1, action: review, reason: r}]
limits: [{name: x, currency: EUR, daily: 1, action: review}]""",
            ":5:17",
            "the name 'x' is taken",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(write: Write, body: str, place: str, why: str) -> None:
    """The error names file, line, column and mistake."""
    path = write(body)
    with pytest.raises(PolicyError) as caught:
        load_policy(path, KNOWN)
    assert f"{path}{place}: " in str(caught.value)
    assert why in str(caught.value)


def test_patience_is_without_end_unless_it_is_given(write: Write) -> None:
    """Payments wait for the state store as long as the policy says, and forever if it says nothing."""
    assert load_policy(write("degraded: {after_s: 2.5}"), KNOWN).patience_s == 2.5
    assert load_policy(write(""), KNOWN).patience_s == math.inf


def test_a_newer_form_is_refused(write: Write) -> None:
    """A policy of another format is refused."""
    with pytest.raises(PolicyError, match=r":1:9: Expected `int` <= 1"):
        load_policy(write("", head="format: 2\nname: trial\nversion: 7\n"))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A policy that is not there is an error of the policy."""
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        load_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\x00", b"- a\n", b"text"])
def test_what_is_no_policy_is_told(tmp_path: Path, content: bytes) -> None:
    """Empty, binary and other files are refused in one sentence."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"policy\.yaml"):
        load_policy(path)


def test_a_country_on_a_list_is_brought_to_the_spelling_of_payments(write: Write, tmp_path: Path) -> None:
    """A list in lower case, or with other codes of ISO 3166, blocks the country it means."""
    policy = load_policy(
        write("lists: {block: [{name: s, column: country, values: [kp, IRN, '643'], reason: sanctioned}]}")
    )
    assert policy.listed["s"] == {"KP", "IR", "RU"}
    (tmp_path / "c.txt").write_text("kp\nzz # no such country\n", encoding="utf-8")
    body = "lists:\n  block:\n    - {name: s, column: country, file: c.txt, reason: x}\n"
    with pytest.raises(PolicyError, match=r"policy\.yaml:6:\d+: list 's': 'zz' is not an ISO 3166-1 country"):
        load_policy(write(body))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("limits: [{name: l, currency: EUE, daily: 5, action: decline}]", "'EUE' is not an ISO 4217 currency"),
        ("thresholds: {review: [{expected_loss: {EUE: 5, other: 5}}]}", "'EUE' is not an ISO 4217 currency"),
    ],
)
def test_a_currency_that_no_payment_has_is_refused(write: Write, body: str, why: str) -> None:
    """A limit in a misspelt currency would never apply."""
    with pytest.raises(PolicyError, match=why):
        load_policy(write(body))


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("country = 'kp'", "write 'KP'"),
        ("'kp' <> country", "write 'KP'"),
        ("amount > 5 AND NOT country IN ('KP', 'ir')", "write 'IR'"),
        ("currency = 'eur'", "write 'EUR'"),
        ("currency = 'EUE'", "no payment has the currency 'EUE'"),
        ("mcc = '742'", "write '0742'"),
        ("channel = 'Ecom'", "write 'ecom'"),
        ("channel = 'wire'", "no payment has the channel 'wire'"),
    ],
)
def test_a_rule_that_no_payment_can_meet_is_refused(when: str, why: str) -> None:
    """A rule on a code that payments never carry is a mistake: it would silently never fire."""
    with pytest.raises(PolicyError, match=why):
        parse_rule(when, KNOWN)
    assert parse_rule("LOWER(country) = 'kp' OR country = payee OR country IN ('KP', NULL)", KNOWN) is not None
