"""Who is on call: a rotation of people, and the days on which somebody stands in."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.yaml_document import Document
from alerts.incidents.notification_budget import Zone, local, turn


class _RotaStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of the file."""


class Rotation(_RotaStruct, frozen=True, kw_only=True):
    """The people take turns of `days` days from `start` on."""

    start: str
    days: Annotated[int, Meta(ge=1)] = 7
    people: Annotated[list[str], Meta(min_length=1)]


class StandIn(_RotaStruct, frozen=True, kw_only=True):
    """`who` is on call from `start` to `end` instead of the person whose turn it is."""

    start: str
    end: str
    who: str


class Rota(_RotaStruct, frozen=True, kw_only=True):
    """The rota file; its times are local times of the routing's zone."""

    format: Annotated[int, Meta(ge=1, le=1)]
    people: Annotated[dict[str, list[str]], Meta(min_length=1)]
    rotation: Rotation
    stand_ins: list[StandIn] = []

    def on_duty(self, now: int, zone: Zone) -> list[str]:
        """Return the recipients of the person on call at a time (ms since 1970 UTC)."""
        moment = local(now, zone).replace(tzinfo=None)
        for stand_in in self.stand_ins:
            if _moment(stand_in.start) <= moment < _moment(stand_in.end):
                return self.people[stand_in.who]
        rotation = self.rotation
        return self.people[turn(_moment(rotation.start), rotation.days, rotation.people, now, zone)]


def read_rota(path: Path, recipients: set[str]) -> Rota:
    """Return the rota of a file, all of whose names are known.

    Raises:
        SettingsError: The file has a mistake; the message has line and column.
    """
    document = Document(path)
    rota = document.read(Rota)
    for person, names in rota.people.items():
        for position, name in enumerate(names):
            if name not in recipients:
                raise document.error(["people", person, position], f"there is no recipient {name!r} in the routing")
        if not names:
            raise document.error(["people", person], f"{person!r} has no recipient")
    for position, name in enumerate(rota.rotation.people):
        if name not in rota.people:
            raise document.error(["rotation", "people", position], f"{name!r} is not among the people")
    _check_moment(document, ["rotation", "start"], rota.rotation.start)
    _check_stand_ins(document, rota)
    return rota


def _check_stand_ins(document: Document, rota: Rota) -> None:
    for position, stand_in in enumerate(rota.stand_ins):
        if stand_in.who not in rota.people:
            raise document.error(["stand_ins", position, "who"], f"{stand_in.who!r} is not among the people")
        begin = _check_moment(document, ["stand_ins", position, "start"], stand_in.start)
        if begin >= _check_moment(document, ["stand_ins", position, "end"], stand_in.end):
            raise document.error(["stand_ins", position, "end"], "it ends before it starts")


def _check_moment(document: Document, place: Sequence[str | int], text: str) -> datetime:
    try:
        return _moment(text)
    except ValueError as error:
        raise document.error(place, str(error)) from error


def _moment(text: str) -> datetime:
    """Return a local date and time.

    Raises:
        ValueError: The text is not a date and time, or has an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo:
        raise ValueError(f"{text!r} has an offset, and times here are those of the routing's zone")
    return moment
