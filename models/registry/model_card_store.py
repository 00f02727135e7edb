"""Attachments of a version in the registry: its card and the particulars that people have entered."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from models.folder import read_contract
from models.registry.card import PURPOSE, card, html
from models.registry.store import Registry, Version
from vedette.control import ModelRef

CARD_MARKDOWN, CARD_HTML = "card.md", "card.html"
_PARTICULARS = "particulars.json"


class Particulars(msgspec.Struct, frozen=True, kw_only=True):
    """Details of a version that are not in its folder.

    Attributes:
        previous: The champion at the time of registration, with which the version is compared.
        purpose: Purpose of the model.
        answers: Answers to items of the card's checklists, by id.
    """

    previous: ModelRef | None = None
    purpose: str = PURPOSE
    answers: dict[str, str] = {}


def register(registry: Registry, folder: Path, at: int) -> Version:
    """Register a folder as a version, with its card.

    Raises:
        ModelError: The folder is incomplete, or does not match the feature catalogue in force.
    """
    version = registry.register(folder, at)
    if registry.attached(version, _PARTICULARS) is None:
        champion = registry.holder("champion")
        _keep(registry, version, Particulars(previous=champion.ref if champion else None))
        refresh(registry, version)
    return version


def fill_in(registry: Registry, version: Version, *, purpose: str = "", answers: Mapping[str, str]) -> None:
    """Store particulars of a version; earlier answers to other items stay.

    Raises:
        InputError: An answer names an unknown item.
    """
    before = particulars(registry, version)
    said = msgspec.structs.replace(
        before, purpose=purpose or before.purpose, answers={**before.answers, **answers}
    )  # fmt: skip
    _file(registry, version, said)
    _keep(registry, version, said)


def refresh(registry: Registry, version: Version) -> None:
    """Rewrite the card, as after a change of the version's standing."""
    _file(registry, registry.find(str(version.number)), particulars(registry, version))


def particulars(registry: Registry, version: Version) -> Particulars:
    """Return the stored particulars of a version."""
    return msgspec.json.decode(registry.attached(version, _PARTICULARS) or "{}", type=Particulars)


def _keep(registry: Registry, version: Version, said: Particulars) -> None:
    registry.attach(version, {_PARTICULARS: msgspec.json.encode(said).decode()})


def _file(registry: Registry, version: Version, said: Particulars) -> None:
    previous = registry.folder(registry.find(str(said.previous))) if said.previous else None
    text = card(
        version,
        registry.folder(version),
        previous=read_contract(previous) if previous else None,
        changes=registry.changes(),
        answers=said.answers,
        purpose=said.purpose,
    )
    registry.attach(version, {CARD_MARKDOWN: text, CARD_HTML: html(f"Model card {version.ref}", text)})
