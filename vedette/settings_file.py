"""Loading settings from a TOML file, the environment and secret files.

Precedence, highest first: environment (`VEDETTE_REDIS__URL` is `[redis] url`), the TOML file, the defaults.
A secret is never written in the TOML file: it comes from the environment or from the file that `<name>_file`
names, which is read when the secret is used. Nothing else in Vedette reads the environment.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from vedette.errors import InputError, SettingsError
from vedette.settings import Settings
from vedette.settings_base import Secret
from vedette.text import read_text

ENV_PREFIX = "VEDETTE_"

RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("incidents", "database"): ("database", "url"),
    ("iso8583", "card_key"): ("cards", "key"),
    ("incidents", "database_password"): ("database", "password"),
    ("notify", "smtp_host"): ("smtp", "host"),
    ("notify", "smtp_port"): ("smtp", "port"),
    ("notify", "smtp_starttls"): ("smtp", "starttls"),
    ("notify", "smtp_username"): ("smtp", "username"),
    ("notify", "smtp_password"): ("smtp", "password"),
    ("notify", "twilio_account_sid"): ("twilio", "account_sid"),
    ("notify", "twilio_auth_token"): ("twilio", "auth_token"),
    ("notify", "twilio_base_url"): ("twilio", "base_url"),
    ("worker", "model"): ("decisions", "model"),
    ("worker", "policy"): ("decisions", "policy"),
}
"""Keys that were moved, with their new places; an old name is an error that names the new one."""


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Load settings from a TOML file (optional) and an environment.

    Args:
        path: The TOML file, or None for defaults and environment only.
        environ: Usually os.environ, read here and nowhere else.

    Raises:
        SettingsError: The file is missing, a key is unknown or was moved, or a value does not fit; the message names
            the key.
    """
    sections = get_type_hints(Settings)
    merged = _read_toml(path, sections) if path else {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or "__" not in variable:
            continue
        section, key = variable[len(ENV_PREFIX) :].lower().split("__", 1)
        if section not in sections:
            raise SettingsError(f"{variable}: there is no section [{section}]", remedy=f"one of {', '.join(sections)}")
        if new := _renamed(section, key):
            raise SettingsError(f"{variable} is now {_variable(*new)}")
        values = merged.setdefault(section, {})
        if isinstance(values, dict):
            # A secret has two keys; the one in the environment overrides either of them in the file.
            values.pop(key.removesuffix("_file") if key.endswith("_file") else f"{key}_file", None)
            values[key] = text
    for section, values in merged.items():
        if section in sections and isinstance(values, dict):
            _prepare(section, sections[section], values)
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"settings: {error}", remedy="`vedette settings` lists every key with its meaning"
        ) from error


def _read_toml(path: Path, sections: Mapping[str, type]) -> dict[str, Any]:
    try:
        content = tomllib.loads(read_text(path))
    except InputError as error:
        raise SettingsError(f"settings: {error.args[0]}", remedy=error.remedy) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path}: {error}") from error
    for section, values in content.items():
        for key in values if isinstance(values, dict) else ():
            if new := _renamed(section, key):
                raise SettingsError(f"settings file {path}: [{section}] {key} is now [{new[0]}] {new[1]}")
            if section in sections and get_type_hints(sections[section]).get(key) == Secret | None:
                raise SettingsError(
                    f"settings file {path}: [{section}] {key} is a secret and must not be in this file",
                    remedy=f"set {_variable(section, key)}, or name a file that contains it with {key}_file",
                )
    return content


def _renamed(section: str, key: str) -> tuple[str, str] | None:
    """Return the new section and key of one that was moved, keeping `_file`."""
    if new := RENAMED.get((section, key)):
        return new
    new = RENAMED.get((section, key.removesuffix("_file")))
    return (new[0], f"{new[1]}_file") if new and key.endswith("_file") else None


def _variable(section: str, key: str) -> str:
    return f"{ENV_PREFIX}{section.upper()}__{key.upper()}"


def _prepare(section: str, kind: type, values: dict[str, Any]) -> None:
    """Wrap secrets, split comma-separated lists and give choices their exact spelling, in place."""
    for key, hint in get_type_hints(kind).items():
        if hint == Secret | None:
            if isinstance(file := values.pop(f"{key}_file", None), str):
                values[key] = {"file": file, "key": f"[{section}] {key}_file"}
            elif isinstance(values.get(key), str):
                values[key] = {"text": values[key]}
            continue
        if get_origin(hint) is dict:
            if isinstance(text := values.get(key), str):
                pairs = (part.partition("=") for part in text.split(",") if part.strip())
                values[key] = {name.strip(): value.strip() for name, _, value in pairs}
            elif isinstance(given := values.get(key), dict):
                values[key] = {name: _property(value) for name, value in given.items()}
            continue
        many = get_origin(hint) is list
        if many and isinstance(text := values.get(key), str):
            values[key] = [part.strip() for part in text.split(",") if part.strip()]
        choice = get_args(hint)[0] if many else hint
        if key in values and get_origin(choice) is Literal:
            found = [_one_of(f"[{section}] {key}", get_args(choice), value) for value in _listed(values[key])]
            values[key] = found if many else found[0]


def _property(value: Any) -> Any:
    """Return the text of a number or a truth value, as librdkafka writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _one_of(name: str, choices: tuple[str, ...], value: Any) -> str:
    """Return the choice that a value means, whatever its case."""
    for choice in choices:
        if isinstance(value, str) and value.strip().casefold() == choice.casefold():
            return choice
    raise SettingsError(f"{name}: {value!r} is not one of {', '.join(choices)}")
