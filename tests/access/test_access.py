import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Engine, text

from access.audit import Audit, open_audit, show
from access.credentials import Credentials
from access.guard import FAILURES, USES, Authorizer
from access.keyring import Keyring, new_key
from access.rate_limit import RateLimiter, network_of
from access.roles import SCOPES, Role, Scope
from access.tokens import Tokens
from access.web import token_router
from adapters.redis import connect
from stack.state import StackState
from tests.conftest import Dial
from vedette.clock import DAY, MINUTE
from vedette.errors import InputError
from vedette.settings import AuditSettings, RedisSettings
from vedette.settings_base import Secret

OLD, NEW = new_key("old", bytes), new_key("new", lambda n: b"n" * n)


class Counted:
    """Entropy that never repeats itself and is known in advance."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, count: int) -> bytes:
        """Return the next bytes."""
        self.drawn += 1
        return self.drawn.to_bytes(count)


@pytest.fixture
def entropy() -> Counted:
    """Known entropy."""
    return Counted()


@pytest.fixture
def credentials(engine: Engine, dial: Dial, entropy: Counted) -> Credentials:
    """An institution without credentials."""
    return Credentials(engine, Keyring(OLD), dial, entropy)


@pytest.fixture
def audit_settings(tmp_path: Path) -> AuditSettings:
    """Where the log is."""
    return AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32))


@pytest.fixture
def audit(audit_settings: AuditSettings, dial: Dial) -> Iterator[Audit]:
    """The audit log."""
    with open_audit(audit_settings, dial, "test") as opened:
        yield opened


@pytest.fixture
def client(
    credentials: Credentials, audit: Audit, dial: Dial, entropy: Counted, embedded_stack: StackState, topic_prefix: str
) -> Iterator[TestClient]:
    """An app with one route that needs `calls:check`."""
    keys = Keyring(OLD)
    connection = connect(RedisSettings(url=embedded_stack.redis_url))
    guard = Authorizer(
        credentials,
        Tokens(keys, dial, entropy),
        audit,
        RateLimiter(connection, topic_prefix, keys),
        dial,
    )
    app = FastAPI()
    app.include_router(token_router(guard))

    @app.post("/checks/{secret}")
    def check(who: Annotated[str, Depends(guard.authorise(Scope.CALLS_CHECK))], secret: str) -> str:
        del secret
        return who

    with TestClient(app) as opened:
        yield opened
    connection.close()


def call(client: TestClient, **headers: str) -> Response:
    """Return who called."""
    return client.post("/checks/s3cret", headers={name.replace("_", "-"): value for name, value in headers.items()})


def exchange(client: TestClient, api_key: str, **more: str) -> Response:
    """Return the token endpoint's answer to an id and a secret."""
    _, id_, secret = api_key.split("_")
    form = {"grant_type": "client_credentials", "client_id": id_, "client_secret": secret}
    return client.post("/oauth/token", data=form | more)


def test_a_credential_is_found_by_its_key_alone(credentials: Credentials) -> None:
    """An API key finds its credential; a key with any other character, or another's secret, finds none."""
    made, other = credentials.create("Branch 7", Role.REPRESENTATIVE), credentials.create("App", Role.APP)
    assert credentials.by_api_key(made.api_key) == made.credential
    for place in range(len(made.api_key)):
        wrong = made.api_key[:place] + ("x" if made.api_key[place] != "x" else "y") + made.api_key[place + 1 :]
        assert credentials.by_api_key(wrong) is None
    assert credentials.by_secret(made.credential.id, other.api_key.rpartition("_")[2]) is None
    assert credentials.by_api_key("") is None


def test_secrets_are_not_kept(credentials: Credentials, engine: Engine) -> None:
    """Neither the key nor its secret is anywhere in the table."""
    made = credentials.create("App", Role.APP)
    with engine.connect() as connection:
        stored = str(connection.execute(text("SELECT * FROM credentials")).all())
    assert made.credential.id in stored
    assert made.api_key.rpartition("_")[2] not in stored


def test_a_role_gives_scopes_and_no_more(credentials: Credentials) -> None:
    """A credential has all scopes of its role, or the ones chosen from them, and never a scope beyond the role."""
    assert set(credentials.create("a", Role.ANALYST).credential.scopes) == SCOPES[Role.ANALYST]
    one = credentials.create("b", Role.APP, [Scope.CHALLENGES_READ]).credential
    assert one.scopes == (Scope.CHALLENGES_READ,)
    with pytest.raises(InputError, match="auditor has no scope calls:check"):
        credentials.create("c", Role.AUDITOR, [Scope.CALLS_CHECK])
    with pytest.raises(InputError, match="0 characters"):
        credentials.create("", Role.AUDITOR)


def test_nobody_hears_a_customers_codes_and_types_them_in() -> None:
    """No role may both open a customer's page and check what the customer reads out."""
    assert not [role for role, scopes in SCOPES.items() if scopes >= {Scope.CALLS_INVITE, Scope.CALLS_CHECK}]


def test_credentials_end(credentials: Credentials, dial: Dial) -> None:
    """A revoked or expired credential is no longer found; the list keeps it with the time at which it ended."""
    first, second = credentials.create("a", Role.APP, days=1), credentials.create("b", Role.APP, days=2)
    dial.now += DAY
    assert credentials.by_api_key(first.api_key) is None
    assert credentials.by_api_key(second.api_key) is not None
    revoked = credentials.revoke(second.credential.id)
    assert revoked.revoked_at == dial.now
    dial.now += 1
    assert credentials.revoke(second.credential.id) == revoked
    assert credentials.by_api_key(second.api_key) is None
    assert credentials.by_id(second.credential.id) is None
    assert credentials.all() == [first.credential, revoked]
    with pytest.raises(InputError, match="'nobody'"):
        credentials.revoke("nobody")


def test_the_key_of_hashes_is_rotated_by_use(engine: Engine, dial: Dial, entropy: Counted) -> None:
    """With a new key first, a credential still works and then no longer needs the old key; an unused one does."""
    before = Credentials(engine, Keyring(OLD), dial, entropy)
    used, unused = before.create("used", Role.APP), before.create("unused", Role.APP)
    assert Credentials(engine, Keyring(f"{NEW} {OLD}"), dial, entropy).by_api_key(used.api_key) == used.credential
    after = Credentials(engine, Keyring(NEW), dial, entropy)
    assert after.by_api_key(used.api_key) == used.credential
    assert after.by_api_key(unused.api_key) is None


def test_tokens_say_who_for_minutes(dial: Dial, entropy: Counted) -> None:
    """A token can be read until it expires, under its own key or a newer keyring that still has that key."""
    tokens = Tokens(Keyring(OLD), dial, entropy)
    token = tokens.give("c1", [Scope.CALLS_READ])
    for reader in (tokens, Tokens(Keyring(f"{NEW} {OLD}"), dial, entropy)):
        claims = reader.read(token)
        assert claims is not None
        assert (claims.sub, claims.scopes) == ("c1", {"calls:read"})
    assert Tokens(Keyring(NEW), dial, entropy).read(token) is None
    dial.now += 5 * MINUTE
    assert tokens.read(token) is None


def test_tokens_cannot_be_forged(dial: Dial, entropy: Counted) -> None:
    """A token with any character changed, with another header or none, or without a signature is refused."""
    tokens = Tokens(Keyring(OLD), dial, entropy)
    token = tokens.give("c1", [Scope.CALLS_READ])
    header, body, signature = token.split(".")
    for place in range(len(token) - 1):  # the last character of base64 has bits that say nothing
        wrong = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert tokens.read(wrong) is None
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for wrong in (f"{none}.{body}.", f"{none}.{body}.{signature}", f"{header}.{body}.", "", "a.b.c", "ü", body):
        assert tokens.read(wrong) is None


@pytest.mark.parametrize(
    "header",
    [
        b"[]", b"null", b"1", b"{}", b"", b"\xff", b"[" * 5000, b'{"alg":[]}', b'{"alg":{}}',
        b'{"alg":"HS256","kid":[]}', b'{"alg":"HS256","kid":"k1","crit":1}', b'{"alg":"HS256","kid":"k1","crit":[[]]}',
        b'{"alg":"HS256","kid":"k1","crit":["b64"],"b64":false}', b'{"alg":"HS256","kid":"k1","zip":"DEF"}',
        b'{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}', b'{"alg":"HS512","kid":"k1"}', b'{"alg":"RS256","kid":"k1"}',
        b'{"alg":"dir","enc":"A128GCM","kid":"k1"}',
    ],
)  # fmt: skip
def test_no_header_of_a_token_is_an_error(client: TestClient, header: bytes) -> None:
    """The header of a token is read before its signature is checked: whatever it contains, the answer is 401."""
    start = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    for token in (f"{start}.e30.AAAA", f"{start}..", f"{start}.e30.AAAA.AAAA.AAAA"):
        assert call(client, Authorization=f"Bearer {token}").status_code == 401


@pytest.mark.parametrize("role", list(Role))
def test_a_route_opens_to_who_holds_its_scope(client: TestClient, credentials: Credentials, role: Role) -> None:
    """With a key or a token, a credential whose role has the scope passes, and any other gets 403."""
    made = credentials.create("x", role)
    token = exchange(client, made.api_key).json()["access_token"]
    for answer in (call(client, x_api_key=made.api_key), call(client, authorization=f"Bearer {token}")):
        if Scope.CALLS_CHECK in SCOPES[role]:
            assert (answer.status_code, answer.json()) == (200, made.credential.id)
        else:
            assert answer.status_code == 403
            assert "calls:check" in answer.json()["detail"]


def test_who_does_not_say_who_they_are_gets_401(client: TestClient, credentials: Credentials) -> None:
    """A missing, wrong or unsuitable credential, and a token of a revoked one, all get the same answer."""
    made = credentials.create("x", Role.REPRESENTATIVE)
    token = exchange(client, made.api_key).json()["access_token"]
    assert call(client, authorization=f"Bearer {token}").status_code == 200
    credentials.revoke(made.credential.id)
    answers = [
        call(client),
        call(client, x_api_key="vdt_1_2"),
        call(client, x_api_key=made.api_key),
        call(client, authorization=f"Bearer {token}"),
        call(client, authorization="Bearer nonsense"),
        call(client, authorization=f"Basic {token}"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"


def test_a_token_may_have_fewer_scopes(client: TestClient, credentials: Credentials) -> None:
    """A token has the scopes that were requested; a scope that the client does not have is refused."""
    made = credentials.create("x", Role.REPRESENTATIVE)
    given = exchange(client, made.api_key, scope="calls:read").json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 300, "calls:read")
    assert call(client, authorization=f"Bearer {given['access_token']}").status_code == 403
    refused = exchange(client, made.api_key, scope="calls:read challenges:write")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


def test_id_and_secret_may_come_by_basic(client: TestClient, credentials: Credentials) -> None:
    """The token endpoint accepts HTTP Basic, and reports errors in the terms of the standard."""
    _, id_, secret = credentials.create("x", Role.APP).api_key.split("_")
    form = {"grant_type": "client_credentials"}
    assert client.post("/oauth/token", data=form, auth=(id_, secret)).status_code == 200
    wrong = client.post("/oauth/token", data=form, auth=(id_, "wrong"))
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert client.post("/oauth/token", data=form, headers={"Authorization": "Basic %%%"}).status_code == 401
    other = client.post("/oauth/token", data={"grant_type": "password"})
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")


def test_uses_are_limited(client: TestClient, credentials: Credentials, dial: Dial) -> None:
    """A credential that calls too often gets 429 with the time to wait, and may call again later; others may call."""
    busy, other = credentials.create("a", Role.REPRESENTATIVE), credentials.create("b", Role.REPRESENTATIVE)
    statuses = [call(client, x_api_key=busy.api_key).status_code for _ in range(USES.count + 1)]
    assert statuses == [200] * USES.count + [429]
    assert call(client, x_api_key=other.api_key).status_code == 200
    wait = int(call(client, x_api_key=busy.api_key).headers["Retry-After"])
    dial.now += wait * 1000
    assert call(client, x_api_key=busy.api_key).status_code == 200


def test_failures_are_limited_and_do_not_fill_the_log(client: TestClient, audit_settings: AuditSettings) -> None:
    """An address that keeps failing gets 429, and no more records are written for it."""
    statuses = [call(client).status_code for _ in range(FAILURES.count + 3)]
    assert statuses == [401] * FAILURES.count + [429] * 3
    assert len(show(audit_settings, event="access.refused")) == FAILURES.count


def test_every_use_is_in_the_log(client: TestClient, credentials: Credentials, audit_settings: AuditSettings) -> None:
    """Issued tokens, uses and refusals are recorded with who and what, without keys, tokens or parts of addresses."""
    made, auditor = credentials.create("x", Role.REPRESENTATIVE), credentials.create("y", Role.AUDITOR)
    token = exchange(client, made.api_key).json()["access_token"]
    call(client, authorization=f"Bearer {token}")
    call(client, x_api_key=auditor.api_key)
    call(client, x_api_key="vdt_1_2")
    found = [(record.event, record.actor, record.subject) for record in show(audit_settings)]
    route = "route:POST /checks/{secret}"
    assert found == [
        ("access.token", made.credential.id, "route:POST /oauth/token"),
        ("access.used", made.credential.id, route),
        ("access.refused", auditor.credential.id, route),
        ("access.refused", "unknown", route),
    ]
    log = Path(audit_settings.path).read_text(encoding="utf-8")
    for secret in (made.api_key, auditor.api_key, token, made.api_key.rpartition("_")[2], "s3cret"):
        assert secret not in log


def test_the_api_says_how_to_be_let_in(client: TestClient) -> None:
    """The OpenAPI document names both ways to authenticate, and the scope that each route needs."""
    api = client.get("/openapi.json").json()
    assert api["components"]["securitySchemes"].keys() == {"token", "key"}
    assert {"token": ["calls:check"]} in api["paths"]["/checks/{secret}"]["post"]["security"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_cannot_change_its_address_within_a_network(address: str, network: str) -> None:
    """The addresses that one IPv6 host may choose from count as one; IPv4 addresses count separately."""
    assert network_of(address) == network
