"""Versions of the model in MLflow: one run each with parameters, metrics, data hash and code; aliases name roles."""

import tempfile
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from models.registry.mlflow import library, metrics, tags
from models.registry.model_cache import checked, contract_sha256, copy, keep
from vedette.control import ModelRef, Models
from vedette.errors import InputError, ModelError
from vedette.settings import RegistrySettings

Standing = Literal["champion", "challenger", "previous", "registered", "archived"]
Alias = Literal["champion", "challenger", "previous"]
Act = Literal["promote", "start_trial", "end_trial", "rollback", "archive"]

_T = TypeVar("_T")

_MODEL = "model"
_ARCHIVED = "archived"
_IN_FORCE = "in_force"
_CHANGE = "change."


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version.

    Attributes:
        number: Sequential number, from 1.
        ref: Name, version and contract hash.
        standing: Role of the version.
        registered_at: Milliseconds UTC.
        run: MLflow's run that holds its folder and card.
    """

    number: int
    ref: ModelRef
    standing: Standing
    registered_at: int
    run: str


class StandingChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of what is in service: who, why, when (milliseconds UTC)."""

    at: int
    act: Act
    version: str
    approver: str
    reason: str
    rollout_fraction: float | None = None


class Registry:
    """The registry that the settings name.

    Raises:
        UnavailableError: The registry does not answer, or MLflow is not installed.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._name = settings.model
        with library() as mlflow:
            database = settings.url.removeprefix("sqlite:///")
            if database != settings.url:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            self._client = mlflow.MlflowClient(tracking_uri=settings.url, registry_uri=settings.url)
            # The tracking half of MLflow takes another second to load, and only registering a version needs it.
            if not self._client.search_registered_models(f"name = '{self._name}'"):
                self._client.create_registered_model(self._name)

    def register(self, folder: Path, at: int) -> Version:
        """Register a model folder as a new version; a folder that is already registered is returned as it is.

        Raises:
            ModelError: The folder is incomplete, or does not match the feature catalogue in force.
        """
        from models.scorer import load_scorer  # noqa: PLC0415 - brings LightGBM, which takes seconds

        scorer = load_scorer(folder)
        contract = scorer.contract
        ref = ModelRef(name=contract.name, version=contract.version, contract_sha256=contract_sha256(folder))
        if known := [version for version in self.versions() if version.ref == ref]:
            return known[0]
        with library():
            run = self._client.create_run(
                self._experiment(), start_time=at, run_name=str(ref), tags=tags(contract)
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

    def _experiment(self) -> str:
        """Return the id of the experiment that holds the runs; it is created on first use."""
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is not None:
            return str(experiment.experiment_id)
        url = self._settings.url
        remote = "://" in url and not url.startswith("sqlite:///")
        location = None if remote else _uri(self._settings.artifacts)
        return str(self._client.create_experiment(self._name, artifact_location=location))

    def versions(self) -> list[Version]:
        """Return all versions, the oldest first."""
        with library():
            named = self._client.get_registered_model(self._name).aliases
            found = self._client.search_model_versions(f"name = '{self._name}'", max_results=10_000)
        # A version may have two aliases: its current role takes precedence over a former one.
        aliases = {int(named[alias]): alias for alias in ("previous", "challenger", "champion") if alias in named}
        return sorted((_version(entry, aliases) for entry in found), key=lambda version: version.number)

    def find(self, reference: str) -> Version:
        """Return a version by its number, its standing, `name@version` or `version`.

        Raises:
            InputError: There is no such version.
        """
        for version in reversed(self.versions()):
            if reference in (str(version.number), version.standing, str(version.ref), version.ref.version):
                return version
        raise InputError(
            f"the registry has no version {reference!r}", remedy="`vedette models list` shows the versions there are"
        )

    def holder(self, alias: Alias) -> Version | None:
        """Return the version that an alias names, if any."""
        with library():
            number = self._client.get_registered_model(self._name).aliases.get(alias)
        return None if number is None else self.find(str(number))

    def folder(self, version: Version) -> Path:
        """Return the folder of a version on this machine.

        Raises:
            ModelError: The folder is not the one that was registered.
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
        """Store texts, such as the card, with a version; existing ones of the same name are replaced."""
        with library():
            for name, text in files.items():
                self._client.log_text(version.run, text, name)

    def attached(self, version: Version, name: str) -> str | None:
        """Return the text stored with a version under this name, if any."""
        with library():
            if name not in [file.path for file in self._client.list_artifacts(version.run)]:
                return None
            with tempfile.TemporaryDirectory() as directory:
                return Path(self._client.download_artifacts(version.run, name, directory)).read_text(encoding="utf-8")

    def in_force(self) -> Models | None:
        """Return the models in service according to the registry; None before the first promotion."""
        with library():
            text = self._client.get_registered_model(self._name).tags.get(_IN_FORCE)
        return _decode(text, Models) if text else None

    def changes(self) -> list[StandingChange]:
        """Return every change of what is in service, the oldest first."""
        with library():
            kept = self._client.get_registered_model(self._name).tags
        return [_decode(text, StandingChange) for name, text in sorted(kept.items()) if name.startswith(_CHANGE)]

    def write(self, change: StandingChange) -> None:
        """Record a change.

        Raises:
            InputError: Approver or reason is missing.
        """
        check_approved(change.approver, change.reason)
        number = len(self.changes())
        with library():
            text = msgspec.json.encode(change).decode()
            self._client.set_registered_model_tag(self._name, f"{_CHANGE}{number:06}", text)

    def put(self, models: Models, aliases: dict[Alias, Version | None]) -> None:
        """Set the models in service and the versions that the aliases name; None removes an alias."""
        with library():
            there = self._client.get_registered_model(self._name).aliases
            for alias, version in aliases.items():
                if version:
                    self._client.set_registered_model_alias(self._name, alias, str(version.number))
                elif alias in there:
                    self._client.delete_registered_model_alias(self._name, alias)
            self._client.set_registered_model_tag(self._name, _IN_FORCE, msgspec.json.encode(models).decode())

    def put_away(self, version: Version) -> None:
        """Mark a version as archived; if it was `previous`, it no longer is."""
        with library():
            self._client.set_model_version_tag(self._name, str(version.number), _ARCHIVED, "true")
            if version.standing == "previous":
                self._client.delete_registered_model_alias(self._name, "previous")


def check_approved(approver: str, reason: str) -> None:
    """Check that a change of what is in service has an approver and a reason.

    Raises:
        InputError: One of them is empty.
    """
    for name, text in (("approver", approver), ("reason", reason)):
        if not text.strip():
            raise InputError(f"a change of what is in service needs a {name}", remedy=f"give --{name}")


def fetch(settings: RegistrySettings, ref: ModelRef) -> Path:
    """Return the folder of a version: this machine's copy, which is made from the registry if there is none.

    Raises:
        ModelError: The registry does not have it, or the copy is not the one that was registered.
        UnavailableError: The registry does not answer.
    """

    def fill(into: Path) -> None:
        registry = Registry(settings)
        found = [version for version in registry.versions() if version.ref == ref]
        if not found:
            raise ModelError(f"the registry does not have {ref}", remedy="register its folder again")
        registry.download(found[0], into)

    return checked(keep(settings, ref, fill), ref)


def _decode(text: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"the registry holds a record of another layout: {error}",
            remedy="name a new [registry] model and register the folders again",
        ) from error


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
