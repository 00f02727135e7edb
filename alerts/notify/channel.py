"""The channel port: what every way of reaching people must be able to say about a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.message import Message


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider took the message and named it so."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The message has certainly not gone; it may be sent again, not before `after_ms` if the provider said so."""

    code: str
    reason: str
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Permanent:
    """The provider refused this message and would refuse it again; `code` is the provider's own."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The message may or may not have gone, so it must be looked up before any second send."""

    code: str
    reason: str


Outcome = Sent | Retry | Permanent | Unknown


@dataclass(frozen=True, slots=True)
class Question:
    """A message in doubt, where it went, and when it was handed over (ms since 1970 UTC)."""

    message: Message
    target: Target
    begun_at: int


class Channel(Protocol):
    """A way to reach people. Implementations never raise for what a provider does: they return an Outcome."""

    @property
    def name(self) -> ChannelName:
        """Which messages this channel carries."""
        ...

    async def send(self, message: Message, target: Target) -> Outcome:
        """Hand one message to the provider, once."""
        ...

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Those messages that the provider already has, by reference; none where it cannot be asked.

        Raises:
            UnavailableError: The provider can be asked but did not answer, so nothing is known yet.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
