"""The model and the policy in force, as used by a worker."""

from pathlib import Path

from decisions.policy_file import load_policy
from decisions.policy_record import COLUMNS, read_policy
from decisions.strategy import Strategy
from models.registry.store import fetch
from models.scorer import load_scorer
from streams.history.control_state import ControlState
from vedette.settings import Settings


def strategy_in_force(
    settings: Settings, control: ControlState | None, *, model: Path | None = None, policy: Path | None = None
) -> Strategy:
    """Load the model and the policy that decide.

    Args:
        settings: Settings of the deployment, whose files are used unless the control topic names others.
        control: State of the control topic; None to use the settings only.
        model: A model folder instead of the one in force.
        policy: A policy file instead of the one in force.

    Raises:
        ModelError: The model does not fit, or the registry does not have it.
        PolicyError: The policy is not valid.
        UnavailableError: The registry does not answer.
    """
    if model is None and control and control.models:
        model = fetch(settings.registry, control.models.champion)
    if policy is None and control and control.policy:
        chosen = read_policy(control.policy)
    else:
        chosen = load_policy(policy or settings.decisions.policy_file, COLUMNS)
    return Strategy(load_scorer(model or settings.decisions.model_folder), chosen)
