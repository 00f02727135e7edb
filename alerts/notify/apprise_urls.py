"""Everything else — Slack, Teams, PagerDuty, Opsgenie … — through Apprise URLs (https://github.com/caronc/apprise)."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.channel import Outcome, Permanent, Question, Sent, Unknown
from alerts.notify.message import Message


class AppriseChannel:
    """Messages by Apprise URL.

    Apprise says whether a service took a message and no more, so any failure is a doubt: the message is sent again,
    with the same reference in it.

    Args:
        parallel: How many are under way at once.
    """

    def __init__(self, parallel: int) -> None:
        self._threads = ThreadPoolExecutor(parallel, "apprise")

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "apprise"

    async def send(self, message: Message, target: Target) -> Outcome:
        """Hand one message to the service behind the URL."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _notify, message, target)

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Nothing: Apprise cannot ask."""
        del questions
        return {}

    async def close(self) -> None:
        """End its threads."""
        self._threads.shutdown()


def _notify(message: Message, target: Target) -> Outcome:
    import apprise  # noqa: PLC0415, slow to import, and most deployments have other channels

    service = apprise.Apprise.instantiate(target.to.value)
    if service is None:
        return Permanent("url", "Apprise does not know this kind of URL")
    try:
        taken = service.notify(body=message.text, title=message.subject, body_format=apprise.NotifyFormat.TEXT)
    except TypeError as error:  # what Apprise raises for a message it cannot carry
        return Permanent(type(error).__name__, "Apprise cannot carry the message")
    return Sent(message.reference) if taken else Unknown("apprise", "the service did not say that it took the message")
