"""A registry in a separate database, and two models to register."""

from pathlib import Path

import msgspec
import pytest

from models.folder import save
from models.frame import Frame
from models.registry import Registry
from models.train import TrainedModel, train
from tests.models.conftest import CONFIG, START
from vedette.settings import RegistrySettings


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, history: Frame, model: TrainedModel) -> tuple[Path, Path]:
    """Two model folders."""
    other = train(history, msgspec.structs.replace(CONFIG, seed=1, trees=20))
    made = []
    for name, trained in (("old", model), ("new", other)):
        made.append(tmp_path_factory.mktemp("models") / name)
        save(made[-1], trained, history, name=name, label_delay_days=7, folds=[], created_at=START, git_commit="c0de")
    return made[0], made[1]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> RegistrySettings:
    """The registries of all tests; creating the tables takes seconds."""
    directory = tmp_path_factory.mktemp("registry")
    settings = RegistrySettings(
        url=f"sqlite:///{directory}/registry.sqlite", artifacts=str(directory / "artifacts"), model="first"
    )
    Registry(settings)
    return settings


@pytest.fixture
def settings(database: RegistrySettings, tmp_path: Path) -> RegistrySettings:
    """Settings of a registry that is empty."""
    return msgspec.structs.replace(database, model=tmp_path.name, served=str(tmp_path / "served"))


@pytest.fixture
def registry(settings: RegistrySettings) -> Registry:
    """An empty registry."""
    return Registry(settings)
