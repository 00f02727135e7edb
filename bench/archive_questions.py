"""The process that asks the archive, as `vedette find` does: the tables are opened for each question.

Run as `python -m bench.archive_questions JSON` with `accounts`, `days` and payments `proven`; prints the milliseconds
of each question.
"""

import json
import os
import sys
import time

from archive.search import Archive, Question
from bench.archive_proofs import proof
from vedette import VedetteError
from vedette.clock import DAY
from vedette.settings import ArchiveSettings, Settings
from vedette.settings_file import load_settings


def main() -> None:
    """Ask each question once."""
    asked = json.loads(sys.argv[1])
    whole = load_settings(None, os.environ)
    settings = whole.archive
    accounts = [Question(account=account) for account in asked["accounts"]]
    days = [Question(flagged=True, since=day, until=day + DAY) for day in asked["days"]]
    _answer(settings, accounts[0])  # libraries are loaded by the first question
    print(
        json.dumps(
            {
                "account_ms": [_answer(settings, question) for question in accounts],
                "day_ms": [_answer(settings, question) for question in days],
                "prove_ms": _proof_ms(whole, asked["proven"]),
            }
        )
    )


def _proof_ms(settings: Settings, transactions: list[str]) -> list[float]:
    """Prove the decision on each payment, twice on the first, which loads model and kernels."""
    took = []
    for transaction in [transactions[0], *transactions]:
        started = time.perf_counter()
        found = proof(settings, transaction)
        took.append(1000 * (time.perf_counter() - started))
        if not found.same:
            raise VedetteError(f"the decision on {transaction} is not the same: {found.problem or found.differences}")
    return took[1:]


def _answer(settings: ArchiveSettings, question: Question) -> float:
    started = time.perf_counter()
    with Archive(settings) as archive:
        found = archive.find(question)
    took = time.perf_counter() - started
    if not len(found):
        raise VedetteError(f"nothing found for {question}")
    return 1000 * took


if __name__ == "__main__":
    main()
