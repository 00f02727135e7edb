"""What people answer by message, and what it does to an incident."""

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, select

from alerts.database import insert_new
from alerts.database.tables import messages, stopped
from alerts.incidents import store
from alerts.incidents.actions import Actions, Way
from alerts.incidents.incident import words
from alerts.incidents.routing import Routing
from vedette.errors import InputError

Verb = Literal["fraud", "fine", "mine", "stop", "start"]

_VERBS: dict[str, Verb] = {
    **dict.fromkeys(("fraud", "fraude", "yes", "si"), "fraud"),
    **dict.fromkeys(("ok", "fine", "false", "legit", "bien"), "fine"),
    **dict.fromkeys(("mine", "mio", "mia", "ack"), "mine"),
}
# The words that Twilio itself understands (https://help.twilio.com/articles/223134027).
_STOP = frozenset(("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"))
_START = frozenset(("start", "yes", "unstop"))
_ANSWER = re.compile(r"#?([0-9]{1,12})[\s:.,-]+([^\W\d_]+)[.!]?")


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody wants done, and with which incident."""

    verb: Verb
    incident: int = 0


def parse(text: str) -> Answer | None:
    """An answer such as `17 fraud`, `18 mine` or `STOP`; None if it is none of them."""
    said = text.strip().lower().replace("í", "i")
    if said in _STOP:
        return Answer("stop")
    if said in _START:
        return Answer("start")
    found = _ANSWER.fullmatch(said)
    verb = _VERBS.get(found[2]) if found else None
    return Answer(verb, int(found[1])) if found and verb else None


def apply(connection: Connection, routing: Routing, actions: Actions, sender: str, text: str, now: int) -> str:
    """Do what a message asks for, if its sender may, and say what became of it; empty: nothing is to be said.

    Only a number of the routing is answered, and it can act only on incidents it has been told of.

    Args:
        connection: In a transaction.
        routing: Whose number it is.
        actions: What they may do, and where it is recorded.
        sender: The number in E.164; WhatsApp's with its prefix.
        text: What they wrote.
        now: Milliseconds since 1970 UTC.
    """
    name = _name_of(routing, sender)
    if name is None:
        return ""
    answer = parse(text)
    if answer is None:
        return "Answer with a number and FRAUD, OK or MINE, like: 17 fraud"
    if answer.verb in ("stop", "start"):
        actions.audit.record(f"messages.{answer.verb}", f"recipient:{name}", {}, actor=name)
    if answer.verb == "stop":  # Twilio tells them itself, and would block our answer
        insert_new(connection, stopped, [{"address": sender.removeprefix("whatsapp:"), "at": now}])
        return ""
    if answer.verb == "start":
        connection.execute(delete(stopped).where(stopped.c.address == sender.removeprefix("whatsapp:")))
        return "You will get messages again."
    way: Way = "whatsapp" if sender.startswith("whatsapp:") else "sms"
    return _work(connection, actions, name, answer, now, way)


def _name_of(routing: Routing, sender: str) -> str | None:
    """The recipient who has this number."""
    channel, number = ("whatsapp" if sender.startswith("whatsapp:") else "sms"), sender.removeprefix("whatsapp:")
    for name, recipient in routing.recipients.items():
        if recipient.channel == channel and routing.targets[name].to.value == number:
            return name
    return None


def _work(connection: Connection, actions: Actions, name: str, answer: Answer, now: int, way: Way) -> str:
    """Acknowledge or close an incident on behalf of a recipient who knows of it."""
    told = select(messages.c.id).where(messages.c.incident_id == answer.incident, messages.c.recipient == name)
    if connection.execute(told.limit(1)).one_or_none() is None:
        return f"You have not been told of an incident {answer.incident}."
    note = "by message"
    try:
        if answer.verb == "mine":
            actions.acknowledge(connection, answer.incident, name, note, now, way)
        else:
            fraud = answer.verb == "fraud"
            actions.close(connection, answer.incident, fraud=fraud, who=name, note=note, now=now, way=way)
    except InputError:  # somebody was faster
        state = store.get(connection, answer.incident).state
        return f"Incident {answer.incident} was already closed: {words(state)}."
    return f"Incident {answer.incident}: {words(store.get(connection, answer.incident).state)}."
