"""Rate limits counted in this process only, for a service that must not depend on Redis."""

from collections import OrderedDict, deque

from access.rate_limit import RateLimit

_SUBJECTS = 10_000
"""Maximum number of subjects; the least recently active is dropped first."""


class ProcessRateLimiter:
    """Sliding windows like those of RateLimiter, in memory and bounded; see access.ports.CallLimiter."""

    def __init__(self) -> None:
        self._events: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def wait_ms(self, limit: RateLimit, subject: str, now: int) -> int:
        """Count a call of a subject and return 0, or return the milliseconds until one is allowed."""
        key = (limit.name, subject)
        events = self._events.setdefault(key, deque(maxlen=limit.count))
        self._events.move_to_end(key)
        if len(self._events) > _SUBJECTS:
            self._events.popitem(last=False)
        if len(events) == limit.count and (wait := events[0] + limit.window_ms - now) > 0:
            return wait
        events.append(now)
        return 0
