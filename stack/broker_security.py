"""TLS and logins for the local Apache Kafka: certificates, users and listeners as institutions have them, for tests.

Beside the plain listener there are two: one with TLS that requires a client certificate, and one with TLS and a login
by SCRAM or OAUTHBEARER. All files are made in a folder, by an authority whose key is not kept.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jwk, jwt

_LIFE = timedelta(days=1)
_ISSUER = "https://login.bank.example"
_AUDIENCE = "kafka"
_HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class BrokerSecurity:
    """What a broker with TLS and logins has.

    Attributes:
        directory: Folder of the files: ca.pem, client.pem, client.key.pem (with a password) and the broker's.
        tls_port: Port of the listener that requires a client certificate.
        login_port: Port of the listener that requires a login.
        user: SCRAM user.
        password: Password of the user, and of the client's key.
    """

    directory: Path
    tls_port: int
    login_port: int
    user: str = "bank"
    password: str = "not-a-secret"  # noqa: S105, of a broker for tests

    def prepare(self) -> None:
        """Make certificates and the key that signs tokens, unless they are there already."""
        if (self.directory / "ca.pem").exists():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Vedette local stack")
        authority = _builder(name, name, key.public_key(), True).sign(key, hashes.SHA256())
        for who, password in (("broker", None), ("client", self.password)):
            own = ec.generate_private_key(ec.SECP256R1())
            signed = _builder(_name(who), name, own.public_key(), False).sign(key, hashes.SHA256())
            encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
            private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
            certificate = signed.public_bytes(Encoding.PEM)
            (self.directory / f"{who}.pem").write_bytes(certificate)
            (self.directory / f"{who}.key.pem").write_bytes(private)
            (self.directory / f"{who}.store.pem").write_bytes(private + certificate)
        signer = jwk.ECKey.generate_key("P-256", {"kid": "1", "use": "sig", "alg": "ES256"}, private=True)
        (self.directory / "jwks.json").write_text(json.dumps({"keys": [signer.as_dict(private=False)]}))
        (self.directory / "signer.json").write_text(json.dumps(signer.as_dict(private=True)))
        (self.directory / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))

    def token(self, life_s: float = 300.0) -> str:
        """Return a token that the broker accepts for some seconds."""
        now = datetime.now(UTC).timestamp()
        claims = {
            "iss": _ISSUER, "aud": _AUDIENCE, "sub": self.user, "scope": "kafka", "iat": int(now),
            "exp": int(now + life_s),
        }  # fmt: skip
        signer = jwk.ECKey.import_key(json.loads((self.directory / "signer.json").read_text()))
        return jwt.encode({"alg": "ES256", "kid": "1"}, claims, signer, algorithms=["ES256"])

    @property
    def listeners(self) -> dict[str, str]:
        """Address and protocol of the listeners by name."""
        return {"TLS": f"127.0.0.1:{self.tls_port}", "LOGIN": f"127.0.0.1:{self.login_port}"}

    @property
    def protocols(self) -> str:
        """The protocol of each listener, as in the broker's `listener.security.protocol.map`."""
        return "TLS:SSL,LOGIN:SASL_SSL"

    @property
    def scram_users(self) -> list[str]:
        """Arguments of the storage tool that create the user."""
        entry = f"[name={self.user},password={self.password}]"
        return [
            argument for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512") for argument in ("--add-scram", f"{kind}={entry}")
        ]

    @property
    def java_options(self) -> list[str]:
        """Options of the Java process: where the keys that sign tokens may come from."""
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys}"]

    @property
    def properties(self) -> str:
        """Further lines of the broker's configuration."""
        scram = "".join(
            f"listener.name.login.{kind}.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;\n"
            for kind in ("scram-sha-256", "scram-sha-512")
        )
        bearer = "listener.name.login.oauthbearer.sasl"
        return (
            "ssl.keystore.type=PEM\n"
            f"ssl.keystore.location={self.directory / 'broker.store.pem'}\n"
            "ssl.truststore.type=PEM\n"
            f"ssl.truststore.location={self.directory / 'ca.pem'}\n"
            "listener.name.tls.ssl.client.auth=required\n"
            "listener.name.login.ssl.client.auth=none\n"
            "listener.name.login.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n"
            f"{scram}"
            f"{bearer}.jaas.config={_LOGIN}.oauthbearer.OAuthBearerLoginModule required;\n"
            f"{bearer}.server.callback.handler.class={_HANDLER}\n"
            f"{bearer}.oauthbearer.jwks.endpoint.url={self._keys}\n"
            f"{bearer}.oauthbearer.expected.audience={_AUDIENCE}\n"
            f"{bearer}.oauthbearer.expected.issuer={_ISSUER}\n"
        )

    @property
    def _keys(self) -> str:
        return (self.directory / "jwks.json").absolute().as_uri()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ca: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if ca:
        return builder
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
