"""Who is on call: a rotation of people, and the days on which somebody stands in."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from alerts.incidents.attention import Zone, local, turn
from alerts.incidents.document import Document


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the file is made of."""


class Rotation(_Form, frozen=True, kw_only=True):
    """From `start` on, each of `people` in turn, for `days` each."""

    start: str
    days: Annotated[int, Meta(ge=1)] = 7
    people: Annotated[list[str], Meta(min_length=1)]


class StandIn(_Form, frozen=True, kw_only=True):
    """`who` is on call from `start` to `end`, whoever's turn it is."""

    start: str
    end: str
    who: str


class Rota(_Form, frozen=True, kw_only=True):
    """The file; its times are those of the routing's zone."""

    format: Annotated[int, Meta(ge=1, le=1)]
    people: Annotated[dict[str, list[str]], Meta(min_length=1)]
    rotation: Rotation
    stand_ins: list[StandIn] = []

    def on_duty(self, now: int, zone: Zone) -> list[str]:
        """The recipients of whoever is on call at a moment (ms since 1970 UTC)."""
        moment = local(now, zone).replace(tzinfo=None)
        for each in self.stand_ins:
            if _moment(each.start) <= moment < _moment(each.end):
                return self.people[each.who]
        rotation = self.rotation
        return self.people[turn(_moment(rotation.start), rotation.days, rotation.people, now, zone)]


def read_rota(path: Path, recipients: set[str]) -> Rota:
    """The rota of a file, all of whose names are known.

    Raises:
        SettingsError: The file has a mistake, told with line and column.
    """
    document = Document(path)
    rota = document.read(Rota)
    for person, told in rota.people.items():
        for position, name in enumerate(told):
            if name not in recipients:
                raise document.error(["people", person, position], f"there is no recipient {name!r} in the routing")
        if not told:
            raise document.error(["people", person], f"{person!r} has no recipient")
    for position, name in enumerate(rota.rotation.people):
        if name not in rota.people:
            raise document.error(["rotation", "people", position], f"{name!r} is not among the people")
    _check_moment(document, ["rotation", "start"], rota.rotation.start)
    _check_stand_ins(document, rota)
    return rota


def _check_stand_ins(document: Document, rota: Rota) -> None:
    for position, each in enumerate(rota.stand_ins):
        if each.who not in rota.people:
            raise document.error(["stand_ins", position, "who"], f"{each.who!r} is not among the people")
        begin = _check_moment(document, ["stand_ins", position, "start"], each.start)
        if begin >= _check_moment(document, ["stand_ins", position, "end"], each.end):
            raise document.error(["stand_ins", position, "end"], "it ends before it starts")


def _check_moment(document: Document, place: Sequence[str | int], text: str) -> datetime:
    try:
        return _moment(text)
    except ValueError as error:
        raise document.error(place, str(error)) from error


def _moment(text: str) -> datetime:
    """A date and time of day on the team's clocks.

    Raises:
        ValueError: It is none, or has an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo:
        raise ValueError(f"{text!r} has an offset, and times here are those of the routing's zone")
    return moment
