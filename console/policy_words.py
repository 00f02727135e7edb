"""A policy in words, in the reader's language."""

from collections.abc import Sequence

from console.view import Words, money
from decisions.policy import Policy
from decisions.policy_form import ByLanguage, Limit, Threshold
from features.catalogue import CATALOGUE
from vedette.money import to_minor

_MEANINGS = {feature.name: feature.meaning for feature in CATALOGUE}


def threshold_words(t: Words, threshold: Threshold) -> str:
    """Return what a payment must reach."""
    parts = []
    if threshold.probability is not None:
        parts.append(t("words_probability", share=f"{100 * threshold.probability:g}"))
    if threshold.expected_loss is not None:
        others = threshold.expected_loss["other"]
        named = [
            money(to_minor(amount, currency), currency)
            for currency, amount in threshold.expected_loss.items()
            if currency != "other"
        ]
        parts.append(t("words_loss", amounts=", ".join([*named, t("words_other", amount=others)])))
    return t("list_and").join(parts)


def limit_words(t: Words, limit: Limit) -> str:
    """Return whom a limit concerns, and how much it allows."""
    who = t("words_accounts_of", kind=limit.account_type) if limit.account_type else t("words_all_accounts")
    spans = ((limit.daily, "words_daily"), (limit.monthly, "words_monthly"))
    amounts = [
        t(key, amount=money(to_minor(amount, limit.currency), limit.currency)) for amount, key in spans if amount
    ]
    own = t("words_own_limits", count=len(limit.accounts)) if limit.accounts else ""
    return f"{who}: {t('list_and').join(amounts)}{'; ' + own if own else ''}"


def reason_words(reason: str | ByLanguage, language: str) -> str:
    """Return the reason of a rule or list in a language, if it is given in it."""
    return reason if isinstance(reason, str) else reason.get(language) or next(iter(reason.values()), "")


def column_meanings(policy: Policy, rule: str) -> Sequence[tuple[str, str]]:
    """Return the features that a rule of a policy reads, each with its meaning."""
    found = next(each for each in policy.rules.rules if each.name == rule)
    return [(name, _MEANINGS[name]) for name in sorted(found.columns) if name in _MEANINGS]
