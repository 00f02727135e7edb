from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from vedette import load_settings
from vedette.errors import SettingsError
from vedette.settings import Settings
from vedette.settings_file import RENAMED
from vedette.settings_page import describe, reference


def write(path: Path, text: str) -> Path:
    """Write a settings file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """A value comes from the environment if it is set there, else from the file, else from the default."""
    file = write(tmp_path / "vedette.toml", '[redis]\nurl = "redis://file"\nprefix = "file:"\n')
    settings = load_settings(file, {"VEDETTE_REDIS__URL": "redis://environment"})
    assert (settings.redis.url, settings.redis.prefix) == ("redis://environment", "file:")
    assert settings.topics.partitions == 4


def test_environment_text_becomes_the_right_type() -> None:
    """Numbers and booleans are read from the text of an environment variable."""
    settings = load_settings(
        None,
        {
            "VEDETTE_TOPICS__PARTITIONS": "8",
            "VEDETTE_SMTP__STARTTLS": "false",
        },
    )
    assert settings.topics.partitions == 8
    assert settings.smtp.starttls is False


def test_other_variables_are_left_alone() -> None:
    """Variables without Vedette's prefix, or without a section, are ignored."""
    assert load_settings(None, {"PATH": "/bin", "VEDETTE_HOME": "x"}) == load_settings(None, {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[redis]\nulr = 'x'", "ulr"),
        ("[reids]\nurl = 'x'", "reids"),
        ("[topics]\npartitions = 0", "partitions"),
        ("[topics]\npartitions = 'many'", "partitions"),
        ("[topics", "vedette.toml"),
        ("topics = 3", "topics"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    """An unknown key, an unknown section, a wrong value and broken TOML are each named in the error."""
    with pytest.raises(SettingsError, match=named):
        load_settings(write(tmp_path / "vedette.toml", text), {})


def test_an_unknown_section_in_the_environment_is_named() -> None:
    """A misspelt section in a variable is an error that lists the sections there are."""
    with pytest.raises(SettingsError, match=r"REIDS.*redis"):
        load_settings(None, {"VEDETTE_REIDS__URL": "x"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A settings file that is not there is an error, not a default."""
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml", {})


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    """A secret is read from the file named, and no representation of the settings contains it."""
    secret = write(tmp_path / "token", "s3cret\n")
    settings = load_settings(None, {"VEDETTE_TWILIO__AUTH_TOKEN_FILE": str(secret)})
    token = settings.twilio.auth_token
    assert token is not None
    assert token.value == "s3cret"
    assert "s3cret" not in repr(settings) + str(token) + describe(settings) + reference()


def test_a_secret_file_is_read_when_the_secret_is_used(tmp_path: Path) -> None:
    """A missing secret file stops only what uses the secret; the error names setting and file."""
    settings = load_settings(None, {"VEDETTE_MFA__KEYS_FILE": str(tmp_path / "nowhere")})
    keys = settings.mfa.keys
    assert keys is not None
    with pytest.raises(SettingsError, match=r"\[mfa\] keys_file.*nowhere"):
        _ = keys.value


def test_an_empty_secret_file_is_named(tmp_path: Path) -> None:
    """An empty file is an error and not an empty secret."""
    secret = load_settings(None, {"VEDETTE_REDIS__PASSWORD_FILE": str(write(tmp_path / "p", "\n"))}).redis.password
    assert secret is not None
    with pytest.raises(SettingsError, match=r"\[redis\] password_file.*empty"):
        _ = secret.value


def test_a_secret_in_the_file_itself_is_refused(tmp_path: Path) -> None:
    """Settings files are shared and versioned, so they must not contain a secret; the error does not repeat it."""
    file = write(tmp_path / "vedette.toml", "[twilio]\nauth_token = 's3cret'\n")
    with pytest.raises(SettingsError, match=r"\[twilio\] auth_token is a secret") as refused:
        load_settings(file, {})
    assert "auth_token_file" in (refused.value.remedy or "")
    assert "s3cret" not in str(refused.value)


def test_a_secret_of_the_environment_beats_a_secret_file_of_the_file(tmp_path: Path) -> None:
    """The precedence of sources also holds for the two keys of a secret, in both directions."""
    secret = write(tmp_path / "token", "from the file")
    file = write(tmp_path / "vedette.toml", f"[twilio]\nauth_token_file = '{secret}'\n")
    token = load_settings(file, {"VEDETTE_TWILIO__AUTH_TOKEN": "from the environment"}).twilio.auth_token
    assert token is not None
    assert token.value == "from the environment"


@pytest.mark.parametrize(("old", "new"), sorted(RENAMED.items()))
def test_a_moved_key_is_refused_with_its_new_name(tmp_path: Path, old: tuple[str, str], new: tuple[str, str]) -> None:
    """A key that was moved is an error with its new place, in the file and in the environment."""
    assert new[1] in get_type_hints(get_type_hints(Settings)[new[0]])
    file = write(tmp_path / "vedette.toml", f"[{old[0]}]\n{old[1]} = 'x'\n")
    with pytest.raises(SettingsError, match=rf"\[{old[0]}\] {old[1]} is now \[{new[0]}\] {new[1]}$"):
        load_settings(file, {})
    names = [f"VEDETTE_{section}__{key}".upper() for section, key in (old, new)]
    with pytest.raises(SettingsError, match=f"^{names[0]} is now {names[1]}$"):
        load_settings(None, {names[0]: "x"})


def test_a_moved_secret_file_is_refused_with_its_new_name() -> None:
    """The `_file` key of a secret that was moved is known as well."""
    with pytest.raises(SettingsError, match=r"VEDETTE_TWILIO__AUTH_TOKEN_FILE$"):
        load_settings(None, {"VEDETTE_NOTIFY__TWILIO_AUTH_TOKEN_FILE": "x"})


def choices() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return all settings with a closed set of values: section, key, values."""
    found = []
    for section, kind in get_type_hints(Settings).items():
        for key, hint in get_type_hints(kind).items():
            choice = get_args(hint)[0] if get_origin(hint) is list else hint
            if get_origin(choice) is Literal:
                found.append((section, key, get_args(choice)))
    return found


@pytest.mark.parametrize(("section", "key", "values"), choices())
def test_a_closed_set_takes_any_case_and_nothing_else(section: str, key: str, values: tuple[str, ...]) -> None:
    """Every choice is accepted in any case and stored in its exact spelling; anything else is refused with the list."""
    variable = f"VEDETTE_{section}__{key}".upper()
    for value in values:
        for text in (value.lower(), value.upper(), value.capitalize()):
            got = getattr(getattr(load_settings(None, {variable: text}), section), key)
            assert got in (value, [value])
    with pytest.raises(SettingsError, match=rf"\[{section}\] {key}: 'telex' is not one of .*{values[-1]}"):
        load_settings(None, {variable: "telex"})


def test_the_closed_sets_are_known() -> None:
    """The four settings with a closed set of values are declared as such."""
    assert [(section, key) for section, key, _ in choices()] == [
        ("kafka", "security_protocol"),
        ("kafka", "sasl_mechanism"),
        ("cards", "numbers"),
        ("mfa", "factors"),
    ]


def test_every_key_says_what_it_means() -> None:
    """No row of the reference page is without a meaning."""
    rows = [line.split("|") for line in reference().splitlines() if line.startswith("| `")]
    assert rows
    assert all(row[2].strip() for row in rows)


def test_what_is_described_can_be_loaded_again(tmp_path: Path) -> None:
    """The settings in force, printed as TOML, are the same when read again."""
    settings = load_settings(None, {"VEDETTE_TOPICS__PREFIX": "x.", "VEDETTE_NOTIFY__SMS_FROM": "+1"})
    assert load_settings(write(tmp_path / "again.toml", describe(settings)), {}) == settings


def test_the_reference_page_is_up_to_date() -> None:
    """docs/settings.md is what `vedette settings --markdown` prints."""
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8").strip() == reference().strip()
