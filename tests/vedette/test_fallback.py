"""The policy's answer for payments that are not decided in time."""

from pathlib import Path

import pytest

from decisions.policy_file import load_policy
from vedette.errors import PolicyError
from vedette.fallback import Fallback, FallbackCase

HEAD = "format: 1\nname: own\nversion: 1\n"


def test_the_first_case_that_covers_a_payment_counts() -> None:
    """Channel and amount must both match; a currency that is not named has the amount of `other`."""
    fallback = Fallback(
        cases=[
            FallbackCase(action="approve", channels=["pos"], up_to={"EUR": "50", "JPY": "6000", "other": "0"}),
            FallbackCase(action="decline", channels=["atm"]),
        ],
        otherwise="challenge",
    )
    assert fallback.action_for(5_000, "EUR", "pos") == "approve"
    assert fallback.action_for(5_001, "EUR", "pos") == "challenge"
    assert fallback.action_for(6_000, "JPY", "pos") == "approve"
    assert fallback.action_for(1, "USD", "pos") == "challenge"
    assert fallback.action_for(1, "EUR", "atm") == "decline"
    assert fallback.action_for(1, "EUR", None) == "challenge"


def test_a_policy_without_the_section_asks_people(tmp_path: Path) -> None:
    """A payment is approved only if the policy says so."""
    (tmp_path / "policy.yaml").write_text(HEAD)
    assert load_policy(tmp_path / "policy.yaml").form.fallback.action_for(0, "EUR", "pos") == "review"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("{action: approve, up_to: {EUR: 50}}", "other currencies"),
        ("{action: approve, up_to: {EUR: 50.005, other: 0}}", "decimal places"),
        ("{action: approve, up_to: {EUX: 50, other: 0}}", "ISO 4217"),
        ("{action: allow}", "allow"),
        ("{action: approve, channel: [pos]}", "channel"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, case: str, words: str) -> None:
    """A misspelt or missing key of a case is an error in the policy."""
    (tmp_path / "policy.yaml").write_text(f"{HEAD}fallback:\n  cases:\n    - {case}\n")
    with pytest.raises(PolicyError, match=words):
        load_policy(tmp_path / "policy.yaml")
