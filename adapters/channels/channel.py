"""The channel port: the interface of all ways of sending messages, and the outcomes of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adapters.channels.message import Message
from adapters.channels.target import ChannelName, Target
from vedette.clock import MINUTE, SECOND

LONGEST_WAIT_MS = 15 * MINUTE
"""The most that a provider's `Retry-After` is followed: a receiver must not silence a channel by asking for years."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted the message under this id."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The message was certainly not sent; it may be sent again, after `after_ms` if the provider requested a delay.

    `code` is the provider's code, here and in the other outcomes.
    """

    code: str
    reason: str
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class ChannelDown:
    """The channel cannot send any message: no connection, or a refused login. No message is at fault."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Permanent:
    """The provider refused this message and would refuse it again."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The message may or may not have been sent, so it must be looked up before it is sent again."""

    code: str
    reason: str


SendOutcome = Sent | Retry | ChannelDown | Permanent | Unknown


@dataclass(frozen=True, slots=True)
class DoubtfulMessage:
    """A message whose outcome is unknown, where it was sent, and when it was first handed over (ms since 1970 UTC)."""

    message: Message
    target: Target
    begun_at: int


class Channel(Protocol):
    """A way to send messages. Implementations never raise for errors of a provider: they return an outcome."""

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        ...

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Pass one message to the provider, once."""
        ...

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return the messages that the provider already has, by reference; none if it has no look-up.

        Raises:
            UnavailableError: The provider has a look-up but did not answer, so nothing is known yet.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def wait_ms(retry_after: str) -> int:
    """Return the milliseconds that a `Retry-After` header asks for, at most LONGEST_WAIT_MS; 0 if it has no seconds."""
    if not (retry_after.isascii() and retry_after.isdigit()):
        return 0
    return min(SECOND * int(retry_after[:9]), LONGEST_WAIT_MS)
