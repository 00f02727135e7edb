from pathlib import Path

import pytest

from vedette import load_settings
from vedette.errors import SettingsError
from vedette.settings import describe, reference


def write(path: Path, text: str) -> Path:
    """A settings file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """A value comes from the environment if there, else from the file, else from the default."""
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
            "VEDETTE_NOTIFY__SMTP_STARTTLS": "false",
        },
    )
    assert settings.topics.partitions == 8
    assert settings.notify.smtp_starttls is False


def test_other_variables_are_left_alone() -> None:
    """Variables without Vedette's prefix or without a section are none of its business."""
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
    settings = load_settings(None, {"VEDETTE_NOTIFY__TWILIO_AUTH_TOKEN_FILE": str(secret)})
    token = settings.notify.twilio_auth_token
    assert token is not None
    assert token.value == "s3cret"
    assert "s3cret" not in repr(settings) + str(token) + describe(settings) + reference()


def test_an_unreadable_secret_file_is_named(tmp_path: Path) -> None:
    """A secret file that cannot be read is an error that names setting and file."""
    with pytest.raises(SettingsError, match=r"password_file.*nowhere"):
        load_settings(None, {"VEDETTE_REDIS__PASSWORD_FILE": str(tmp_path / "nowhere")})


def test_what_is_described_can_be_loaded_again(tmp_path: Path) -> None:
    """The settings in force, printed as TOML, give the same settings when read."""
    settings = load_settings(None, {"VEDETTE_TOPICS__PREFIX": "x.", "VEDETTE_NOTIFY__SMS_FROM": "+1"})
    assert load_settings(write(tmp_path / "again.toml", describe(settings)), {}) == settings


def test_the_reference_page_is_up_to_date() -> None:
    """docs/settings.md is what `vedette settings --markdown` prints."""
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8").strip() == reference().strip()


def test_sasl_settings_reach_the_client() -> None:
    """User, password and mechanism are part of a client's configuration only when SASL is asked for."""
    settings = load_settings(
        None,
        {
            "VEDETTE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "VEDETTE_KAFKA__USERNAME": "u",
            "VEDETTE_KAFKA__PASSWORD": "p",
            "VEDETTE_KAFKA__CA_FILE": "ca.pem",
        },
    )
    config = settings.kafka.client_config()
    assert config["sasl.username"] == "u"
    assert config["sasl.password"] == "p"
    assert config["ssl.ca.location"] == "ca.pem"
    assert "sasl.username" not in load_settings(None, {}).kafka.client_config()
