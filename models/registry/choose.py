"""A model by what people call it: a folder, or a version of the registry."""

from pathlib import Path

from models.registry.store import Registry
from models.scorer import Scorer, load_scorer
from vedette.settings import Settings


def chosen_folder(settings: Settings, name: str) -> Path:
    """The folder of a model.

    Args:
        settings: Of the whole deployment.
        name: A folder, or a version as `Registry.find` takes it; empty for the folder that the worker starts with.

    Raises:
        InputError: There is no such folder and no such version.
        ModelError: The version's copy is not what was registered.
    """
    folder = Path(name or settings.worker.model)
    if folder.is_dir() or not name:
        return folder
    registry = Registry(settings.registry)
    return registry.folder(registry.find(name))


def chosen_scorer(settings: Settings, name: str) -> Scorer:
    """Likewise, ready to score."""
    return load_scorer(chosen_folder(settings, name))
