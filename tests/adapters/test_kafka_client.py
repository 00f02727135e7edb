import pytest

from adapters.kafka_client import client_config
from vedette import load_settings

LOGIN = {"VEDETTE_KAFKA__USERNAME": "u", "VEDETTE_KAFKA__PASSWORD": "p", "VEDETTE_KAFKA__CA_FILE": "ca.pem"}


@pytest.mark.parametrize("protocol", ["SASL_SSL", "sasl_plaintext", "Sasl_Ssl"])
def test_the_login_reaches_the_client(protocol: str) -> None:
    """With SASL, user, password and mechanism are in a client's configuration, in whatever case it is written."""
    config = client_config(load_settings(None, LOGIN | {"VEDETTE_KAFKA__SECURITY_PROTOCOL": protocol}).kafka)
    assert config["security.protocol"] == protocol.lower()
    assert config["sasl.mechanism"] == "PLAIN"
    assert config["sasl.username"] == "u"
    assert config["sasl.password"] == "p"
    assert config["ssl.ca.location"] == "ca.pem"


def test_without_sasl_there_is_no_login() -> None:
    """A configured password is not sent to a broker that uses no login."""
    assert not [key for key in client_config(load_settings(None, LOGIN).kafka) if key.startswith("sasl")]
