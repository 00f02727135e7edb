"""Settings of card numbers."""

from typing import Annotated, Literal

from msgspec import Meta

from vedette.settings_base import Secret, Section


class CardSettings(Section, frozen=True):
    """`[cards]`: identifiers that are card numbers, in the gateway, the bridge, replays and the worker alike."""

    numbers: Annotated[
        Literal["refuse", "tokenise", "accept"],
        Meta(description="what happens to them; `accept` only where ids merely look like card numbers"),
    ] = "refuse"
    key: Annotated[
        Secret | None,
        Meta(description="key of their tokens, the same everywhere: `vedette identity keygen`; also of ISO 8583"),
    ] = None
    dead_letter_key: Annotated[
        Secret | None,
        Meta(description="key that encrypts dead letters with card numbers; without it only a masked copy is kept"),
    ] = None
