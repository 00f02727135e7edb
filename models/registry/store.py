"""Versions of the model in MLflow: a run each with parameters, metrics, data hash, code; aliases say which is what."""

import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.registry.mlflow import library, metrics, tags
from models.registry.served import checked, contract_sha256, copy, keep
from models.scorer import load_scorer
from vedette.control import ModelRef, Models
from vedette.errors import InputError, ModelError
from vedette.settings import RegistrySettings

Standing = Literal["champion", "challenger", "previous", "registered", "archived"]
Alias = Literal["champion", "challenger", "previous"]

_MODEL = "model"
_ARCHIVED = "archived"
_IN_FORCE = "in_force"
_CHANGE = "change."


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version.

    Attributes:
        number: Counts up, from 1.
        ref: Name, version and what proves it.
        standing: What it is used for.
        registered_at: Milliseconds UTC.
        run: MLflow's run that holds its folder and card.
    """

    number: int
    ref: ModelRef
    standing: Standing
    registered_at: int
    run: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of what is in service: who, why, when (milliseconds UTC)."""

    at: int
    act: Literal["promote", "challenge", "withdraw", "rollback", "archive"]
    version: str
    approver: str
    reason: str
    share: float | None = None


class Registry:
    """The registry that the settings name.

    Raises:
        UnavailableError: It does not answer, or MLflow is not installed.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._name = settings.model
        with library() as mlflow:
            database = settings.url.removeprefix("sqlite:///")
            if database != settings.url:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            self._client = mlflow.MlflowClient(tracking_uri=settings.url, registry_uri=settings.url)
            experiment = self._client.get_experiment_by_name(self._name)
            if experiment is None:
                place = None if "://" in settings.url and database == settings.url else _uri(settings.artifacts)
                self._experiment = self._client.create_experiment(self._name, artifact_location=place)
                self._client.create_registered_model(self._name)
            else:
                self._experiment = experiment.experiment_id

    def register(self, folder: Path, at: int) -> Version:
        """Take a model folder in as a new version; one that is registered already is returned as it is.

        Raises:
            ModelError: The folder is not whole, or does not fit this version's features.
        """
        scorer = load_scorer(folder)
        contract = scorer.contract
        ref = ModelRef(name=contract.name, version=contract.version, contract_sha256=contract_sha256(folder))
        if known := [version for version in self.versions() if version.ref == ref]:
            return known[0]
        with library():
            run = self._client.create_run(
                self._experiment, start_time=at, run_name=str(ref), tags=tags(contract)
            ).info  # fmt: skip
            for name, value in msgspec.to_builtins(contract.config).items():
                self._client.log_param(run.run_id, name, value)
            for name, number in metrics(contract).items():
                self._client.log_metric(run.run_id, name, number, timestamp=at)
            self._client.log_artifacts(run.run_id, str(folder), _MODEL)
            self._client.set_terminated(run.run_id, end_time=at)
            made = self._client.create_model_version(
                self._name,
                source=f"{run.artifact_uri}/{_MODEL}",
                run_id=run.run_id,
                tags={"ref": msgspec.json.encode(ref).decode(), "at": str(at)},
            )
        keep(self._settings, ref, lambda into: copy(folder, into))
        return self.find(str(made.version))

    def versions(self) -> list[Version]:
        """All versions, the oldest first."""
        with library():
            named = self._client.get_registered_model(self._name).aliases
            found = self._client.search_model_versions(f"name = '{self._name}'", max_results=10_000)
        # A version may have two aliases: what it does now goes before what it did.
        aliases = {int(named[alias]): alias for alias in ("previous", "challenger", "champion") if alias in named}
        return sorted((_version(entry, aliases) for entry in found), key=lambda version: version.number)

    def find(self, reference: str) -> Version:
        """A version by its number, its standing, `name@version` or `version`.

        Raises:
            InputError: There is none.
        """
        for version in reversed(self.versions()):
            if reference in (str(version.number), version.standing, str(version.ref), version.ref.version):
                return version
        raise InputError(
            f"the registry has no version {reference!r}", remedy="`vedette models list` shows the versions there are"
        )

    def holder(self, alias: Alias) -> Version | None:
        """Whom an alias names, if anybody."""
        with library():
            number = self._client.get_registered_model(self._name).aliases.get(alias)
        return None if number is None else self.find(str(number))

    def folder(self, version: Version) -> Path:
        """The folder of a version on this machine.

        Raises:
            ModelError: It is not what was registered.
        """
        return checked(keep(self._settings, version.ref, lambda into: self.download(version, into)), version.ref)

    def download(self, version: Version, into: Path) -> None:
        """Copy a version's folder out of the registry into an empty one."""
        with library():
            self._client.download_artifacts(version.run, _MODEL, str(into))
        for file in (into / _MODEL).iterdir():
            file.rename(into / file.name)
        (into / _MODEL).rmdir()

    def attach(self, version: Version, files: dict[str, str]) -> None:
        """Keep texts, such as the card, beside a version's folder; those there under the same name are replaced."""
        with library():
            for name, text in files.items():
                self._client.log_text(version.run, text, name)

    def attached(self, version: Version, name: str) -> str | None:
        """A text kept beside a version's folder, if there is one of that name."""
        with library():
            if name not in [file.path for file in self._client.list_artifacts(version.run)]:
                return None
            with tempfile.TemporaryDirectory() as directory:
                return Path(self._client.download_artifacts(version.run, name, directory)).read_text(encoding="utf-8")

    def in_force(self) -> Models | None:
        """What the registry says is in service; None before the first promotion."""
        with library():
            text = self._client.get_registered_model(self._name).tags.get(_IN_FORCE)
        return msgspec.json.decode(text, type=Models) if text else None

    def changes(self) -> list[Change]:
        """Every change of what is in service, the oldest first."""
        with library():
            kept = self._client.get_registered_model(self._name).tags
        return [
            msgspec.json.decode(text, type=Change) for name, text in sorted(kept.items()) if name.startswith(_CHANGE)
        ]

    def write(self, change: Change) -> None:
        """Add to the changes.

        Raises:
            InputError: Nobody approves, or no reason is given.
        """
        for what, text in (("approver", change.approver), ("reason", change.reason)):
            if not text.strip():
                raise InputError(f"a change of what is in service needs a {what}", remedy=f"give --{what}")
        number = len(self.changes())
        with library():
            text = msgspec.json.encode(change).decode()
            self._client.set_registered_model_tag(self._name, f"{_CHANGE}{number:06}", text)

    def put(self, models: Models, aliases: dict[Alias, Version | None]) -> None:
        """Set what is in service, and whom the aliases name; None takes an alias away."""
        with library():
            there = self._client.get_registered_model(self._name).aliases
            for alias, version in aliases.items():
                if version:
                    self._client.set_registered_model_alias(self._name, alias, str(version.number))
                elif alias in there:
                    self._client.delete_registered_model_alias(self._name, alias)
            self._client.set_registered_model_tag(self._name, _IN_FORCE, msgspec.json.encode(models).decode())

    def put_away(self, version: Version) -> None:
        """Mark a version as archived; one to be returned to is that no longer."""
        with library():
            self._client.set_model_version_tag(self._name, str(version.number), _ARCHIVED, "true")
            if version.standing == "previous":
                self._client.delete_registered_model_alias(self._name, "previous")


def fetch(settings: RegistrySettings, ref: ModelRef) -> Path:
    """The folder of a version: this machine's copy, which is made from the registry if there is none.

    Raises:
        ModelError: The registry does not have it, or the copy is not what was registered.
        UnavailableError: The registry does not answer.
    """

    def fill(into: Path) -> None:
        registry = Registry(settings)
        found = [version for version in registry.versions() if version.ref == ref]
        if not found:
            raise ModelError(f"the registry does not have {ref}", remedy="register its folder again")
        registry.download(found[0], into)

    return checked(keep(settings, ref, fill), ref)


def _version(entry: Any, aliases: dict[int, str]) -> Version:
    number = int(entry.version)
    standing: Any = _ARCHIVED if _ARCHIVED in entry.tags else aliases.get(number, "registered")
    ref = msgspec.json.decode(entry.tags["ref"], type=ModelRef)
    return Version(
        number=number, ref=ref, standing=standing, registered_at=int(entry.tags["at"]), run=entry.run_id
    )  # fmt: skip


def _uri(directory: str) -> str:
    path = Path(directory).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path.as_uri()
