"""Health and readiness of a worker, and the parts it waits for."""

from enum import StrEnum


class Step(StrEnum):
    """Steps that the threads of the worker perform on batches."""

    COMPUTE = "compute"
    FINISH = "finish"


class Attempt(StrEnum):
    """Attempts that a step repeats until Redis or the broker is available."""

    CLAIM = "claim partitions"
    LOAD = "load state"
    PUBLISH = "publish"
    WRITE = "write state"


class Health:
    """Content of /healthz and /readyz. Steps are recorded separately, so none hides what another one waits for."""

    def __init__(self) -> None:
        self.assigned = False
        """Whether the worker owns partitions."""
        self.without_history = False
        """Whether payments are decided without history, because Redis has been unavailable for too long."""
        self.refusal: str | None = None
        """Reason why the latest control record was refused; None once one has been put into force."""
        self._waiting: dict[Step, Attempt] = {}

    def waits(self, step: Step, attempt: Attempt) -> None:
        """Record that a step waits."""
        self._waiting[step] = attempt

    def proceeds(self, step: Step) -> None:
        """Record that a step no longer waits."""
        self._waiting.pop(step, None)

    @property
    def waiting_for(self) -> str | None:
        """The part that the worker waits for, or None."""
        if waiting := list(self._waiting.values()):
            return waiting[0]
        return "Redis" if self.without_history else None
