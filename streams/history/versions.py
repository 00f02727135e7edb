"""Versions of model and policy that decided in the past."""

from collections.abc import Sequence

from decisions.policy import Policy
from decisions.policy_file import load_policy
from decisions.policy_record import read_policy
from decisions.strategy import EVENT_COLUMNS
from features.catalogue import NAMES
from models.registry.resolve import chosen_scorer
from models.scorer import Scorer, load_scorer
from vedette.control import ControlRecord, PolicyRecord
from vedette.errors import InputError
from vedette.settings import Settings


class PastVersions:
    """Finds versions by the names that decisions give them.

    Args:
        settings: Settings of the deployment: the registry, and the files with which workers start.
        changes: The control records, the oldest first.
    """

    def __init__(self, settings: Settings, changes: Sequence[ControlRecord]) -> None:
        self._settings = settings
        self._policies = {record.name: record for record in changes if isinstance(record, PolicyRecord)}

    def scorer(self, version: str) -> Scorer:
        """Return a model; for an empty version, which scored nothing, the one that workers start with.

        Raises:
            InputError: Neither the registry has it, nor do workers start with it.
            ModelError: It does not fit this release.
            UnavailableError: The registry does not answer.
        """
        first = load_scorer(self._settings.decisions.model_folder)
        return first if version in ("", first.version) else chosen_scorer(self._settings, version)

    def policy(self, version: str) -> Policy:
        """Return a policy; of several of that name, the one that was put into force last.

        Raises:
            InputError: It is neither archived, nor do workers start with it.
            PolicyError: It is not valid.
        """
        if version in self._policies:
            return read_policy(self._policies[version])
        first = load_policy(self._settings.decisions.policy_file, {*NAMES, *EVENT_COLUMNS})
        if first.name != version:
            raise InputError(
                f"policy {version} is not known",
                remedy="the archive has those that were put into force while it was written; [decisions] policy names "
                "the file that workers start with",
            )
        return first
