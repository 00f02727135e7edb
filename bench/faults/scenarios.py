"""Every fault as a scenario: it injects the fault, checks that the worker reports it, and lets the run finish.

A scenario returns the seconds until the next payment was applied, counted from the moment at which that was possible
again: a worker was restarted, or a server that was down was back. It raises VedetteError if a claim about the time of
the fault does not hold; the output of the run is compared afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.faults import dependency_faults, gateway_faults, worker_faults
from bench.faults.deployment import Deployment
from streams.history.run_output import Difference

Strike = Callable[[Deployment], float]
Compare = Callable[[Deployment], Difference]


@dataclass(frozen=True)
class FaultScenario:
    """A fault, numbered as in the manual."""

    fault: int
    what: str
    strike: Strike
    pair: bool = False
    """Whether the scenario needs a Redis with replica and Sentinel."""
    compare: Compare | None = None
    """Compares the output of a run with payments of its own; None: it is compared with an undisturbed run."""
    alone: bool = True
    """Whether there is one worker at a time; it then has a static name in the group and needs no session time-out."""


_LOG = gateway_faults.against_log

SCENARIOS = (
    FaultScenario(1, "worker killed in the middle of a batch, three times", worker_faults.killed),
    FaultScenario(2, "worker killed after publishing, before the write to Redis", worker_faults.killed_before_write),
    FaultScenario(3, "worker killed after the write to Redis, before the offset", worker_faults.killed_before_offset),
    FaultScenario(4, "one worker's batches are slow, another runs on", worker_faults.slow, alone=False),
    FaultScenario(5, "the pipeline raises on state that cannot be read", dependency_faults.unreadable_state),
    FaultScenario(6, "poison of every kind on every topic", worker_faults.poisoned),
    FaultScenario(7, "workers join and leave in a burst", worker_faults.rebalanced, alone=False),
    FaultScenario(8, "broker killed and restarted", dependency_faults.broker_killed),
    FaultScenario(9, "Redis killed and restarted, twice", dependency_faults.redis_killed),
    FaultScenario(9, "Redis killed for long: decisions without history", dependency_faults.redis_killed_for_long),
    FaultScenario(9, "Redis frozen for long: decisions without history", dependency_faults.redis_frozen_for_long),
    FaultScenario(9, "Redis fails over to its replica", dependency_faults.redis_failed_over, pair=True),
    FaultScenario(10, "Redis out of memory", dependency_faults.redis_full),
    FaultScenario(14, "every message delivered ten times, shuffled", worker_faults.repeated_tenfold),
    FaultScenario(15, "producers' clocks an hour ahead and behind", worker_faults.skewed),
    FaultScenario(18, "an answer that never comes", dependency_faults.redis_hangs),
    FaultScenario(19, "a frozen worker wakes up after its partitions have moved", worker_faults.zombie, alone=False),
    FaultScenario(20, "model corrupt, missing, or of other features", dependency_faults.wrong_model),
    FaultScenario(21, "gateway killed with 100 requests in flight", gateway_faults.gateway_killed, compare=_LOG),
    FaultScenario(22, "worker killed with 100 requests in flight", gateway_faults.worker_killed, compare=_LOG),
    FaultScenario(23, "broker restarted with 100 requests in flight", gateway_faults.broker_restarted, compare=_LOG),
    FaultScenario(24, "two gateways asked for one id at once", gateway_faults.asked_twice_at_once, compare=_LOG),
)
