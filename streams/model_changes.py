"""Changes of the models in service: in the registry, on the control topic and on the cards; by command or on a page."""

from collections.abc import Callable
from typing import Literal

from models.registry import Registry, promotion
from models.registry.model_card_store import refresh
from streams.control_publisher import publish
from vedette.control import Models
from vedette.errors import InputError, VedetteError
from vedette.settings import Settings

OnChanged = Callable[[Models], None]
Gap = Literal["", "withdrawn", "unpublished", "differs"]


def change_models(
    settings: Settings, registry: Registry, act: Callable[[Registry], Models], *, published: bool = True,
    on_changed: OnChanged = lambda _: None,
) -> Models:  # fmt: skip
    """Change what is in service: in the registry, in the workers, and then on the cards, which takes seconds.

    Args:
        settings: Settings of the broker.
        registry: The registry.
        act: A change of models.registry.promotion.
        published: Whether workers are to follow at once.
        on_changed: Called once the change has been made, before the cards.

    Raises:
        InputError: The change is not possible.
        ModelError: The version cannot score.
        UnavailableError: The registry or the broker does not answer; in the latter case the registry has the change,
            and `publish_again` makes the workers follow.
    """
    models = act(registry)
    if published:
        publish(settings, models)
    on_changed(models)
    refresh_cards(registry, models)
    return models


def roll_back(
    settings: Settings, registry: Callable[[], Registry], followed: Models | None, *, approver: str, reason: str,
    at: int, on_changed: OnChanged = lambda _: None,
) -> Models:  # fmt: skip
    """Return to the previous champion; a trial ends.

    The workers are notified first, from the record that they follow; then the registry records the change.

    Args:
        settings: Settings of the broker.
        registry: Opens the registry.
        followed: The record that the workers follow; None: unknown, so the registry comes first.
        approver: Who approves.
        reason: Why.
        at: Milliseconds since 1970 UTC.
        on_changed: Called once the workers have been notified.

    Raises:
        InputError: There is no previous champion, or the registry did not record the change.
        UnavailableError: The broker does not answer.
    """
    if followed is None or followed.previous is None:
        return change_models(
            settings, registry(),
            lambda opened: promotion.rollback(opened, approver=approver, reason=reason, at=at), on_changed=on_changed,
        )  # fmt: skip
    models = promotion.rolled_back(followed, approver=approver, reason=reason, at=at)
    publish(settings, models)
    on_changed(models)
    try:
        opened = registry()
        recorded = promotion.rollback(opened, approver=approver, reason=reason, at=at)
    except VedetteError as error:
        raise InputError(
            f"the workers return to {models.champion}, but the registry did not record it: {error}",
            remedy="run the command again when the registry answers",
        ) from error
    if recorded.champion != models.champion:
        raise InputError(
            f"the workers return to {models.champion}, the registry to {recorded.champion}",
            remedy="`vedette models publish` makes the workers follow the registry",
        )
    refresh_cards(opened, recorded)
    return models


def publish_again(settings: Settings, registry: Registry) -> Models:
    """Publish the models in service in the registry to the control topic again.

    Raises:
        InputError: There is no champion yet.
        UnavailableError: The registry or the broker does not answer.
    """
    now = registry.in_force()
    if now is None:
        raise InputError("there is no champion yet", remedy="`vedette models promote` makes one")
    publish(settings, now)
    return now


def gap(registered: Models | None, followed: Models | None) -> Gap:
    """Return how the models that workers follow differ from those of the registry.

    `withdrawn` means that the guardrail has withdrawn a challenger, `unpublished` that workers follow no record yet.
    """
    if followed == registered:
        return ""
    if followed and followed.withdrawn and (registered is None or followed.at >= registered.at):
        return "withdrawn"
    return "differs" if followed else "unpublished"


def refresh_cards(registry: Registry, models: Models) -> None:
    """Update the cards of champion and challenger."""
    for ref in filter(None, (models.champion, models.challenger)):
        refresh(registry, registry.find(str(ref)))
