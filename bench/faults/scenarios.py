"""Every fault as a scenario: it does the fault to a deployment, sees to it that the worker says so, and lets it finish.

A scenario returns the seconds until the next payment was taken in, counted from the moment from which that was possible
again: a worker was started anew, or the part that was away was back. It raises VedetteError if something that must hold
during the fault does not; what the run has left behind is compared afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.faults import parts, workers
from bench.faults.deployment import Deployment

Strike = Callable[[Deployment], float]


@dataclass(frozen=True)
class Scenario:
    """A fault, numbered as in the manual."""

    fault: int
    what: str
    strike: Strike
    pair: bool = False
    """Whether it needs a Redis with replica and Sentinel."""
    alone: bool = True
    """Whether there is one worker at a time, which then has a name in the group and need not be missed first."""


SCENARIOS = (
    Scenario(1, "worker killed in the middle of a batch, three times", workers.killed),
    Scenario(2, "worker killed after publishing, before the write to Redis", workers.killed_before_write),
    Scenario(3, "worker killed after the write to Redis, before the offset", workers.killed_before_offset),
    Scenario(4, "one worker's batches are slow, another runs on", workers.slow, alone=False),
    Scenario(5, "the pipeline raises on state that cannot be read", parts.unreadable_state),
    Scenario(6, "poison of every kind on every topic", workers.poisoned),
    Scenario(7, "workers join and leave in a burst", workers.rebalanced, alone=False),
    Scenario(8, "broker killed and restarted", parts.broker_killed),
    Scenario(9, "Redis killed and restarted, twice", parts.redis_killed),
    Scenario(9, "Redis killed for long, payments decided without history", parts.redis_killed_for_long),
    Scenario(9, "Redis frozen for long, likewise", parts.redis_frozen_for_long),
    Scenario(9, "Redis fails over to its replica", parts.redis_failed_over, pair=True),
    Scenario(10, "Redis out of memory", parts.redis_full),
    Scenario(14, "every message delivered ten times, shuffled", workers.repeated_tenfold),
    Scenario(15, "producers' clocks an hour ahead and behind", workers.skewed),
    Scenario(18, "an answer that never comes", parts.redis_hangs),
    Scenario(19, "a frozen worker wakes up after its partitions have moved", workers.zombie, alone=False),
    Scenario(20, "model corrupt, missing, or of other features", parts.wrong_model),
)
