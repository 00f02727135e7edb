"""The options of the root command, for every command."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vedette import Settings, load_settings

if TYPE_CHECKING:
    from features.limits import Allowance

DEFAULT_FILE = Path("vedette.toml")


@dataclass(frozen=True)
class Context:
    """The root options; settings are read once, when a command first asks for them."""

    settings_file: str
    debug: bool

    @cached_property
    def settings(self) -> Settings:
        """Return the settings of the given file or of ./vedette.toml, if any, overridden by the environment."""
        if self.settings_file:
            return load_settings(Path(self.settings_file), os.environ)
        return load_settings(DEFAULT_FILE if DEFAULT_FILE.exists() else None, os.environ)


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings in force for a command."""
    context: Context = ctx.find_object(Context) or Context(settings_file="", debug=False)
    return context.settings


def limits_of(ctx: typer.Context, policy: Path | None, *, in_force: bool = False) -> "tuple[Allowance, ...]":
    """Return the limits of a policy, for the features that compare with them.

    Args:
        ctx: Context of the command.
        policy: The policy file; without one, the file of `[decisions] policy`.
        in_force: Whether, without a file, the policy that the control topic has in force takes precedence.

    Raises:
        PolicyError: The policy is not valid.
        UnavailableError: `in_force` is set, and the broker does not answer.
    """
    from decisions.policy_file import load_policy

    settings = settings_of(ctx)
    if policy is None and in_force:
        from decisions.policy_record import read_policy
        from streams.history.control_state import read_control

        record = read_control(settings).policy
        if record is not None:
            return read_policy(record).limits
    return load_policy(policy or settings.decisions.policy_file).limits
