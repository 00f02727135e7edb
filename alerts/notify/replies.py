"""Replies by message: parsing, their effect on incidents, and the answers in the recipient's language."""

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, select

from adapters.database import insert_new
from alerts.incidents import store
from alerts.incidents.actions import Actions, Via
from alerts.incidents.routing import Routing
from alerts.notify.rendering import Renderer
from alerts.tables import messages, stopped
from vedette.errors import InputError

Verb = Literal["fraud", "legitimate", "acknowledge", "stop", "start"]

_VERBS: dict[str, Verb] = {
    **dict.fromkeys(("fraud", "fraude", "yes", "si"), "fraud"),
    **dict.fromkeys(("ok", "fine", "false", "legit", "bien"), "legitimate"),
    **dict.fromkeys(("mine", "mio", "mia", "ack"), "acknowledge"),
}
# The words that Twilio itself understands (https://help.twilio.com/articles/223134027).
_STOP = frozenset(("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"))
_START = frozenset(("start", "yes", "unstop"))
_REPLY = re.compile(r"#?([0-9]{1,12})[\s:.,-]+([^\W\d_]+)[.!]?")


@dataclass(frozen=True, slots=True)
class Reply:
    """A requested action and its incident."""

    verb: Verb
    incident: int = 0


def parse(text: str) -> Reply | None:
    """Return a reply such as `17 fraud`, `18 mine` or `STOP`; None if the text is not a reply."""
    folded = text.strip().lower().replace("í", "i")
    if folded in _STOP:
        return Reply("stop")
    if folded in _START:
        return Reply("start")
    found = _REPLY.fullmatch(folded)
    verb = _VERBS.get(found[2]) if found else None
    return Reply(verb, int(found[1])) if found and verb else None


@dataclass(frozen=True, slots=True)
class ReplyHandler:
    """Performs the actions of replies, if permitted.

    Only a number of the routing gets an answer, and it can act only on incidents that it was notified of.

    Args:
        routing: Numbers and languages of recipients.
        renderer: Renders the answers.
        actions: Acts on incidents, and records the actions.
    """

    routing: Routing
    renderer: Renderer
    actions: Actions

    def apply(self, connection: Connection, sender: str, text: str, now: int) -> str:
        """Perform the action that a message requests, and return the answer; empty: there is none.

        Args:
            connection: In a transaction.
            sender: The number in E.164; WhatsApp's with its prefix.
            text: The message.
            now: Milliseconds since 1970 UTC.
        """
        name = self._name_of(sender)
        if name is None:
            return ""
        reply, address = parse(text), sender.removeprefix("whatsapp:")
        if reply is None:
            return self._say(name, "reply_help")
        if reply.verb in ("stop", "start"):
            self.actions.audit.record(f"messages.{reply.verb}", f"recipient:{name}", {}, actor=name)
        if reply.verb == "stop":  # Twilio confirms that itself, and would block an answer
            insert_new(connection, stopped, [{"address": address, "at": now}])
            return ""
        if reply.verb == "start":
            connection.execute(delete(stopped).where(stopped.c.address == address))
            return self._say(name, "reply_start")
        via: Via = "whatsapp" if sender.startswith("whatsapp:") else "sms"
        return self._act(connection, name, reply, now, via)

    def _say(self, name: str, key: str, **values: object) -> str:
        return self.renderer.phrase(self.routing.language(name), key, **values)

    def _name_of(self, sender: str) -> str | None:
        """Return the recipient who has this number."""
        channel, number = ("whatsapp" if sender.startswith("whatsapp:") else "sms"), sender.removeprefix("whatsapp:")
        for name, recipient in self.routing.recipients.items():
            if recipient.channel == channel and self.routing.targets[name].to.value == number:
                return name
        return None

    def _act(self, connection: Connection, name: str, reply: Reply, now: int, via: Via) -> str:
        """Acknowledge or close an incident on behalf of a recipient who was notified of it."""
        number, note = reply.incident, "by message"
        sent = select(messages.c.id).where(messages.c.incident_id == number, messages.c.recipient == name)
        if connection.execute(sent.limit(1)).one_or_none() is None:
            return self._say(name, "reply_unknown", number=number)
        key = "reply_done"
        try:
            if reply.verb == "acknowledge":
                self.actions.acknowledge(connection, number, name, note, now, via)
            else:
                fraud = reply.verb == "fraud"
                self.actions.close(connection, number, fraud=fraud, who=name, note=note, now=now, via=via)
        except InputError:  # another person was faster
            key = "reply_closed"
        state = self._say(name, f"state_{store.get(connection, number).state}")
        return self._say(name, key, number=number, state=state)
