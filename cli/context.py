"""What every command gets from the root command."""

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
        """Settings of the file named, else of ./vedette.toml if it exists, with the environment on top."""
        if self.settings_file:
            return load_settings(Path(self.settings_file), os.environ)
        return load_settings(DEFAULT_FILE if DEFAULT_FILE.exists() else None, os.environ)


def settings_of(ctx: typer.Context) -> Settings:
    """The settings in force for a command."""
    context: Context = ctx.find_object(Context) or Context(settings_file="", debug=False)
    return context.settings


def limits_of(ctx: typer.Context, policy: Path | None) -> "tuple[Allowance, ...]":
    """The limits of a policy file, else of the policy in force, for the features that compare with them."""
    from streams.policy import load_policy

    return load_policy(policy or Path(settings_of(ctx).worker.policy)).limits
