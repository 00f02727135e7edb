"""What is kept beside a version in the registry: its card, and what people have said about it."""

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
    """What the folder does not know of its version.

    Attributes:
        previous: The champion when it was registered, with which it is compared.
        purpose: What it is for.
        answers: To items of the card's checklists, by id.
    """

    previous: ModelRef | None = None
    purpose: str = PURPOSE
    answers: dict[str, str] = {}


def register(registry: Registry, folder: Path, at: int) -> Version:
    """Take a folder in as a version, with its card.

    Raises:
        ModelError: The folder is not whole, or does not fit this version's features.
    """
    version = registry.register(folder, at)
    if registry.attached(version, _PARTICULARS) is None:
        champion = registry.holder("champion")
        _keep(registry, version, Particulars(previous=champion.ref if champion else None))
        refresh(registry, version)
    return version


def fill_in(registry: Registry, version: Version, *, purpose: str = "", answers: Mapping[str, str]) -> None:
    """Take down what people say about a version; what was said before about other items stays.

    Raises:
        InputError: There is an answer to an item that is none.
    """
    before = particulars(registry, version)
    said = msgspec.structs.replace(
        before, purpose=purpose or before.purpose, answers={**before.answers, **answers}
    )  # fmt: skip
    _file(registry, version, said)
    _keep(registry, version, said)


def refresh(registry: Registry, version: Version) -> None:
    """Write the card anew, as after a change of what the version is used for."""
    _file(registry, registry.find(str(version.number)), particulars(registry, version))


def particulars(registry: Registry, version: Version) -> Particulars:
    """What was said about a version."""
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
