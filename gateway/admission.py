"""Admission: which payments are refused before they are published, because their decisions would come too late."""

from gateway.backlog import Backlog
from gateway.problems import problem

_LEAST = 64
"""Payments that may always be undecided: one batch of the worker is no overload."""
_SHRINK = 0.8
_GROW = 8.0


class Admission:
    """Bounds the payments without a decision, so that the wait of those that are accepted stays within the deadline.

    The bound adapts as the congestion window of TCP does: it shrinks by a factor in each window of time in which a
    decision came late, and grows by a step in each other one. It starts at its maximum, so a pause of the worker that
    is over within a second refuses nothing. All times are monotonic, in seconds.

    Args:
        most: Maximum number of payments, both of those that wait and of those without a decision.
        deadline_s: The deadline of payments that name none; half of it is late.
        behind_s: Age of the oldest payment without a decision above which nothing more is accepted.
    """

    def __init__(self, most: int, deadline_s: float, behind_s: float) -> None:
        self._most, self._late_s, self._behind_s = most, deadline_s / 2, behind_s
        self._least = min(_LEAST, most)
        self._late = False
        self._window_s: float | None = None
        self.room = float(most)
        self.lag_s = 0.0
        """Seconds by which the event loop runs behind; written by the task that measures it."""

    def observe(self, wait_s: float, now_s: float) -> None:
        """Take note of a decision.

        Args:
            wait_s: Seconds from the publishing of its payment.
            now_s: The time.
        """
        self._window_s = now_s if self._window_s is None else self._window_s
        self._late |= wait_s > self._late_s
        windows = (now_s - self._window_s) / self._late_s
        if windows < 1:
            return
        if self._late:
            self.room = max(self._least, self.room * _SHRINK)
        else:
            self.room = min(self._most, self.room + _GROW * int(windows))
        self._late, self._window_s = False, now_s

    def check_waiting(self, waiting: int) -> None:
        """Check that one more request may wait.

        Args:
            waiting: Requests that wait.

        Raises:
            ProblemError: 503.
        """
        if waiting >= self._most:
            raise problem(
                "too-many-in-flight", 503, f"{waiting} payments wait for their decisions", retry_after_s=1,
                remedy="send it again later under the same id",
            )  # fmt: skip

    def check_new(self, backlog: Backlog, waiting: int, now_s: float) -> None:
        """Check that one more payment may be published.

        Args:
            backlog: The payments without a decision.
            waiting: Requests that wait.
            now_s: The time.

        Raises:
            ProblemError: 503.
        """
        age_s = backlog.age_s(now_s)
        if age_s > self._behind_s:
            raise problem(
                "stream-behind", 503, f"the oldest payment without a decision came {age_s:.0f} s ago", retry_after_s=5,
                remedy="send it again later under the same id",
            )  # fmt: skip
        undecided = backlog.undecided(now_s)
        # A loop that runs behind with little to do is kept waiting by others, which refusing would not help.
        behind = self.lag_s > self._late_s and max(undecided, waiting) >= self._least
        if undecided >= self.room or behind:
            raise problem(
                "overloaded", 503, f"{undecided} payments are undecided, and decisions would come too late",
                retry_after_s=1, remedy="send it again later under the same id",
            )  # fmt: skip
