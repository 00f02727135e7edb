"""Reasons for a high score in words: what is unusual about a payment, and what would be usual.

The model's contributions (TreeSHAP) say which topics raise the score; a topic is stated only if the payment is unusual
in it, for the account or among all payments (models.statements). What is absent, zero or ordinary is no reason, however
much it adds to the score.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.scorer import Scorer
from models.statements import Facts, Values, vendor_statement
from models.topics import TOPICS, statement, topic_of
from vedette.events import EXTRA, Reason
from vedette.wording import reason

LEAST = 0.1
"""Contribution to the log-odds below which a topic is no reason: it changes a probability of 50% by 2.5 points."""


def reasons(scorer: Scorer, rows: NDArray[np.float64], currencies: Sequence[str], top: int = 3) -> list[list[Reason]]:
    """Return the strongest reasons for each row's score.

    Args:
        scorer: The model.
        rows: float64 [k, features of the catalogue + extra], as for `Scorer.predict`.
        currencies: The currency of each row.
        top: Maximum number of reasons per row.

    Returns:
        Per row, the strongest first; fewer than `top` if fewer topics raise the score and are unusual.
    """
    if not len(rows):
        return []
    order, starts, topics = _grouped(scorer.names)
    contributions = scorer.contributions(rows)[:, order]
    # A sum over columns, so that a row's reasons are the same in whatever batch it comes.
    together = np.add.reduceat(contributions, starts, axis=1)
    strongest = np.argsort(-together, axis=1, kind="stable").tolist()
    weights = together.tolist()
    values = rows.tolist()
    result: list[list[Reason]] = []
    for row, ranked in enumerate(strongest):
        facts = Facts(values[row], scorer.usual, currencies[row])
        said: list[tuple[str, Values]] = []
        worded: list[Reason] = []
        for place in ranked:
            weight = weights[row][place]
            if weight < LEAST or len(said) == top:
                break
            topic = topics[place]
            if isinstance(topic, str):
                found = vendor_statement(topic, values[row][scorer.column(topic)], scorer.usual)
            else:
                found = statement(TOPICS[topic], facts)
            if found and found not in said:
                said.append(found)
                worded.append(reason(*found, weight))
        result.append(worded)
    return result


@functools.cache
def _grouped(names: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[int | str, ...]]:
    """Return the columns in the order of their topics, where each topic starts, and the topics.

    A topic is an index into TOPICS, or the name of a vendor feature.
    """
    known = topic_of(names)
    topics: list[int | str] = [name if name.startswith(EXTRA) else known.get(name, -1) for name in names]
    order = sorted(
        (column for column in range(len(names)) if topics[column] != -1), key=lambda column: str(topics[column])
    )
    starts = [place for place, column in enumerate(order) if not place or topics[column] != topics[order[place - 1]]]
    return np.array(order, np.intp), np.array(starts, np.intp), tuple(topics[order[start]] for start in starts)
