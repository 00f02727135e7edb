"""Who decides on a batch: the champion, and a challenger for a share of the accounts; each is the other's shadow."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.hashing import hash_strings
from streams.scoring import Judge, Opinion, alert, with_vendor
from vedette.errors import ModelError
from vedette.events import Alert, Decision

_BUCKETS = 1_000_000
_NOBODY = -1


@dataclass(frozen=True)
class Tally:
    """How many payments a model scored, and how many of them the policy would flag or has flagged on its word."""

    scored: int
    flagged: int


@dataclass(frozen=True)
class Scored:
    """What a panel makes of n transactions.

    Attributes:
        decisions: One each.
        alerts: Of the flagged ones.
        log: Makes columns for the feature log, for which nobody waits: `role` and `model` that decided, `action`, and
            `shadow_model`, `shadow_score`, `shadow_action` of the other of the two (empty, NaN and -1 without one).
        score: float64[n], the scores that counted.
        about: Who was in force.
        rules: Shadow rule → times it was true.
        tallies: By role, `champion` first.
        failure: Why the challenger could not score; the champion has decided all of the batch then.
    """

    decisions: list[Decision]
    alerts: list[Alert]
    log: Callable[[], dict[str, pa.Array]]
    score: NDArray[np.float64]
    about: dict[str, str]
    rules: dict[str, int]
    tallies: dict[str, Tally] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True)
class Panel:
    """The judges in force together; one panel decides on a whole batch, and every decision names who made it.

    Attributes:
        champion: Decides.
        challenger: Scores every payment too, and decides for a share of the accounts.
        share: From 0 to 1.
    """

    champion: Judge
    challenger: Judge | None = None
    share: float = 0.0

    @property
    def about(self) -> dict[str, str]:
        """Who is in force."""
        challenger = {"challenger": self.challenger.scorer.version} if self.challenger else {}
        return {**self.champion.about, **challenger}

    @property
    def extra(self) -> tuple[str, ...]:
        """Vendor features that any of the models takes."""
        others = self.challenger.scorer.extra if self.challenger else ()
        return tuple(sorted({*self.champion.scorer.extra, *others}))

    def matrix(self, features: NDArray[np.float64], extra: list[dict[str, float]]) -> NDArray[np.float64]:
        """The features, and the vendor features that any of the models takes, float64[n, features + extra]."""
        return with_vendor(features, self.extra, extra)

    def judge(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]], *, degraded: bool
    ) -> Scored:
        """Score and decide.

        Args:
            batch: n transactions, columns as the fields of Transaction.
            features: float64[n, features] in catalogue order.
            extra: Vendor features of each transaction.
            degraded: Whether the features were computed without state.
        """
        first = self.champion.opinion(batch, features, extra)
        mine = np.zeros(len(batch), np.bool_)
        second, theirs, failure = None, [], ""
        if self.challenger:
            try:
                second = _finite(self.challenger.opinion(batch, features, extra))
                mine = in_share(batch.column("account_id"), self.challenger.scorer.version, self.share)
                theirs = self.challenger.decisions(batch, second, np.flatnonzero(mine), degraded=degraded)
            except Exception as error:  # noqa: BLE001 — a model on trial may fail in any way, and must not stop the stream
                second, theirs, failure = None, [], f"{type(error).__name__}: {error}"
                mine = np.zeros(len(batch), np.bool_)
        ours = self.champion.decisions(batch, first, np.flatnonzero(~mine), degraded=degraded)
        decisions = _merged(mine, ours, theirs) if theirs else ours
        score, action = _by(mine, second or first, first)
        return Scored(
            decisions=decisions,
            alerts=[alert(decisions[row], batch, row) for row in np.flatnonzero(action).tolist()],
            log=lambda: {
                "role": pa.array(np.where(mine, "challenger", "champion"), pa.string()),
                "model": pa.array([decision.model for decision in decisions], pa.string()),
                "action": pa.array(action),
                **self._shadow(mine, first, second),
            },
            score=score,
            about=self.about,
            rules=first.verdict.shadow,
            tallies={"champion": _tally(first)} | ({"challenger": _tally(second)} if second else {}),
            failure=failure,
        )

    def _shadow(self, mine: NDArray[np.bool_], first: Opinion, second: Opinion | None) -> dict[str, pa.Array]:
        """What the one of the two that does not decide would have given."""
        if second is None or self.challenger is None:
            score, action = np.full(len(mine), np.nan), np.full(len(mine), _NOBODY, np.int64)
            model = np.full(len(mine), "")
        else:
            score, action = _by(mine, first, second)
            model = np.where(mine, self.champion.scorer.version, self.challenger.scorer.version)
        return {
            "shadow_model": pa.array(model, pa.string()),
            "shadow_score": pa.array(score),
            "shadow_action": pa.array(action),
        }


class Judges(Protocol):
    """Whoever knows which panel is in force."""

    @property
    def panel(self) -> Panel:
        """In force now."""

    def seen(self, scored: Scored) -> None:
        """Hear what a batch came to."""


@dataclass(frozen=True)
class Fixed:
    """A panel that never changes."""

    panel: Panel

    def seen(self, scored: Scored) -> None:
        """Nothing follows from it."""


def in_share(account: pa.Array, salt: str, share: float) -> NDArray[np.bool_]:
    """Which accounts a rollout reaches: the same ones for ever, others with another salt, more with a larger share.

    Args:
        account: Account ids, text[n].
        salt: The challenger's version.
        share: From 0 to 1.
    """
    bucket = hash_strings(pc.binary_join_element_wise(account, salt, "|")) % np.uint64(_BUCKETS)
    inside: NDArray[np.bool_] = bucket < round(share * _BUCKETS)
    return inside


def _finite(opinion: Opinion) -> Opinion:
    if not np.isfinite(opinion.score).all():
        raise ModelError("a score is no number")
    return opinion


def _by(mine: NDArray[np.bool_], inside: Opinion, outside: Opinion) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and actions of one opinion on some rows and of another on the rest."""
    action = np.where(mine, inside.verdict.action, outside.verdict.action)
    return np.where(mine, inside.score, outside.score), action.astype(np.int64)


def _merged(mine: NDArray[np.bool_], ours: list[Decision], theirs: list[Decision]) -> list[Decision]:
    """Decisions in the order of the rows again."""
    ours_next, theirs_next = iter(ours), iter(theirs)
    return [next(theirs_next if by_challenger else ours_next) for by_challenger in mine.tolist()]


def _tally(opinion: Opinion) -> Tally:
    return Tally(len(opinion.score), int(np.count_nonzero(opinion.verdict.action)))
