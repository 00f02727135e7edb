"""Everything else — Slack, Teams, PagerDuty, Opsgenie … — through Apprise URLs (https://github.com/caronc/apprise)."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from adapters.channels.channel import DoubtfulMessage, Permanent, SendOutcome, Sent, Unknown
from adapters.channels.message import Message
from adapters.channels.target import ChannelName, Target


class AppriseChannel:
    """Messages by Apprise URL.

    Apprise only reports whether a service accepted a message, so after a failure the message may have been sent. It is
    sent again with the same reference.

    Args:
        parallel: Maximum number of messages sent at the same time.
    """

    def __init__(self, parallel: int) -> None:
        self._threads = ThreadPoolExecutor(parallel, "apprise")

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "apprise"

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Pass one message to the service behind the URL."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _notify, message, target)

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return nothing: Apprise has no look-up."""
        del doubtful
        return {}

    async def close(self) -> None:
        """End its threads."""
        self._threads.shutdown()


def _notify(message: Message, target: Target) -> SendOutcome:
    import apprise  # noqa: PLC0415, slow to import, and most deployments have other channels

    service = apprise.Apprise.instantiate(target.to.value)
    if service is None:
        return Permanent("url", "Apprise does not know this kind of URL")
    try:
        taken = service.notify(body=message.text, title=message.subject, body_format=apprise.NotifyFormat.TEXT)
    except TypeError as error:  # raised by Apprise for a message it cannot carry
        return Permanent(type(error).__name__, "Apprise cannot carry the message")
    return (
        Sent(message.reference)
        if taken
        else Unknown("apprise", "the service did not confirm that it accepted the message")
    )
