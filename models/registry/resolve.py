"""Resolution of a model reference: a folder, or a version of the registry."""

from pathlib import Path

from models.registry.store import Registry
from models.scorer import Scorer, load_scorer
from vedette.settings import Settings


def chosen_folder(settings: Settings, name: str) -> Path:
    """Return the folder of a model.

    Args:
        settings: Settings of the deployment.
        name: A folder, or a version reference as in `Registry.find`; empty for the folder that the worker starts with.

    Raises:
        InputError: There is no such folder and no such version.
        ModelError: The version's copy is not the one that was registered.
    """
    folder = Path(name) if name else settings.decisions.model_folder
    if folder.is_dir() or not name:
        return folder
    registry = Registry(settings.registry)
    return registry.folder(registry.find(name))


def chosen_scorer(settings: Settings, name: str) -> Scorer:
    """Return the scorer of a model, named as for `chosen_folder`."""
    return load_scorer(chosen_folder(settings, name))
