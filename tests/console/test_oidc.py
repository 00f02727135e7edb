"""Sign-in by an identity provider: a real one in a real browser, and a hostile one."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import update

from console.accounts.identity_provider import IdentityProvider, user_name
from console.accounts.tables import sessions
from console.pages.oidc import roles_of
from stack.process import free_ports
from tests.conftest import missing
from tests.console.conftest import NARROW, ORIGIN, WIDE, Office, Site, alert, open_office, opened_site, violations
from tests.console.identity_provider import Provider, provider_for
from tests.serving import listening, served
from vedette.clock import MINUTE
from vedette.errors import SettingsError, UnavailableError
from vedette.settings import KafkaSettings, Settings
from vedette.settings_base import Secret
from vedette.settings_oidc import OidcSettings

GROUPS = {"fraud-leads": "lead", "fraud": "analyst", "it": "administrator"}
AWAY = KafkaSettings(bootstrap_servers="127.0.0.1:1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, Provider]]:
    """The console, and the provider that it trusts."""
    folder = tmp_path_factory.mktemp("oidc")
    (port,) = free_ports(1)
    with ExitStack() as opened:
        try:
            provider = opened.enter_context(provider_for(f"http://localhost:{port}", folder))
        except UnavailableError as error:
            missing(error)
        settings = Settings(kafka=AWAY, oidc=provider.settings(GROUPS))
        yield opened.enter_context(open_office(folder, settings, port=port)), provider


def at_provider(page: Page, name: str) -> None:
    """Sign in on the provider's own pages, and agree if it asks."""
    page.wait_for_url("**/interaction/*")
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("anything")
    page.locator("button[type=submit]").click()
    if "/interaction/" in page.url:
        page.locator("button[type=submit]").click()


def close_together(page: Page) -> None:
    """Fill in and send the form that closes the chosen incidents."""
    page.get_by_label("False alarm").check()
    page.get_by_label("Reason").fill("all of one test")
    page.get_by_role("button", name="Close 1").click()


def come(house: tuple[Office, Provider], browser: Browser, name: str, **options: Any) -> tuple[BrowserContext, Page]:
    """Go from the console to the provider, sign in there, and come back."""
    office, _ = house
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(f"{office.url}/sign-in?next=/me")
    page.locator("a.button.primary").click()
    at_provider(page, name)
    page.wait_for_url(f"{office.url}/**")
    return context, page


def test_a_day_of_somebody_whom_only_the_provider_knows(house: tuple[Office, Provider], browser: Browser) -> None:
    """Groups give the role; a step that needs a proof asks the provider; signing out offers it there as well."""
    office, provider = house
    provider.knows(ana=["staff", "fraud", "fraud-leads"])
    context = browser.new_context(viewport=WIDE, locale="en-GB")
    context.add_cookies([{"name": "console", "value": "f" * 32, "url": office.url}])  # fixed by somebody else
    page = context.new_page()
    page.goto(f"{office.url}/queue")
    office.shoot(page, "console-sign-in-oidc")
    assert violations(page) == []
    page.get_by_role("link", name="Sign in with Example ID").press("Enter")
    at_provider(page, "ana")
    page.wait_for_url(f"{office.url}/queue")
    expect(page.locator(".who")).to_contain_text("ana")
    expect(page.locator(".who")).to_contain_text("Lead")
    cookies = {cookie["name"]: cookie for cookie in context.cookies(office.url)}
    assert cookies["console"]["value"] != "f" * 32
    assert "console-oidc" not in cookies

    (number,) = office.site.open(alert(1, event_time=office.site.clock.now))
    with office.site.engine.begin() as connection:  # the clock cannot be set: it is that of the provider as well
        connection.execute(update(sessions).values(proven_at=0))
    page.goto(f"{office.url}/queue")
    page.locator(f"input[name=chosen][value='{number}']").check()
    page.get_by_role("button", name="Close together").click()
    close_together(page)
    expect(page.get_by_text("There is no proof yet")).to_be_visible()
    assert violations(page) == []
    with context.expect_page() as other:
        page.get_by_role("link", name="Confirm that it is you").click()
    proof = other.value
    office.shoot(proof, "console-confirm")
    assert violations(proof) == []
    proof.get_by_role("link", name="Confirm at the identity provider").click()
    at_provider(proof, "ana")
    proof.wait_for_url(f"{office.url}/me/confirm")
    expect(proof.get_by_text("Confirmed for five minutes.")).to_be_visible()
    close_together(page)
    page.wait_for_url("**/queue/bulk/close")
    assert office.site.console.desk.show(number).incident.state == "false_alarm"

    page.goto(f"{office.url}/me")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("link", name="Sign out at Example ID as well").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{office.url}/sign-in**")
    page.locator("a.button.primary").click()
    page.wait_for_url("**/interaction/*")  # it asks for the password again
    assert {record.actor for record in office.site.audited("console.confirmed")} == {"ana"}
    context.close()


def test_groups_count_at_each_sign_in(house: tuple[Office, Provider], browser: Browser) -> None:
    """Another group is another role; without one, or disabled, a page says so, and the sessions end."""
    office, provider = house
    provider.knows(ben=["fraud"])
    first, page = come(house, browser, "ben", locale="en-GB")
    expect(page.locator(".who")).to_contain_text("Analyst")
    provider.knows(ben=["fraud-leads"])
    second, again = come(house, browser, "ben", locale="en-GB")
    expect(again.locator(".who")).to_contain_text("Lead")

    provider.knows(ben=["football"])
    third, refused = come(house, browser, "ben", viewport=NARROW, locale="es-ES", color_scheme="dark")
    expect(refused.get_by_role("heading", name="Sin rol en la consola")).to_be_visible()
    assert violations(refused) == []
    assert refused.evaluate("document.documentElement.scrollWidth <= innerWidth")
    office.shoot(refused, "console-oidc-no-role-phone")
    for earlier in (page, again):
        earlier.goto(f"{office.url}/me")
        assert "/sign-in" in earlier.url

    provider.knows(ben=["fraud"])
    office.site.console.users.disable("ben")
    fourth, disabled = come(house, browser, "ben", locale="en-GB")
    expect(disabled.get_by_role("heading", name="This account is disabled")).to_be_visible()
    office.site.console.users.enable("ben")
    fifth, enabled = come(house, browser, "ben", locale="en-GB")
    expect(enabled.locator(".who")).to_contain_text("ben")
    reasons = [record.details["reason"] for record in office.site.audited("console.sign-in-refused")]
    assert reasons[-2:] == ["none of the groups has a role", "the account is disabled"]
    for context in (first, second, third, fourth, fifth):
        context.close()


def test_local_accounts_stay(house: tuple[Office, Provider], browser: Browser) -> None:
    """Somebody with a name of the console signs in as before; who comes from the provider with that name is another."""
    office, provider = house
    office.site.accepted("carla", "auditor")
    provider.knows(carla=["it"])
    context = browser.new_context(viewport=WIDE, locale="en-GB")
    page = context.new_page()
    page.goto(f"{office.url}/sign-in?next=/me")
    page.get_by_label("User name").fill("carla")
    page.get_by_label("Password").fill("a few words in a row")
    page.get_by_label("Code of your authenticator app").fill(office.site.code("carla"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".who")).to_contain_text("Auditor")
    other, elsewhere = come(house, browser, "carla", locale="en-GB")
    expect(elsewhere.locator(".who .name")).to_have_text("carla-" + elsewhere.locator(".who .name").inner_text()[6:])
    expect(elsewhere.locator(".who")).to_contain_text("Administrator")
    elsewhere.goto(f"{office.url}/users")
    expect(elsewhere.get_by_text("by the identity provider").first).to_be_visible()
    assert violations(elsewhere) == []
    context.close()
    other.close()


@dataclass
class Hostile:
    """A provider whose tokens are made by the test, as a broken or attacking one would make them."""

    issuer: str = ""
    keys: list[ECKey] = field(default_factory=lambda: [ECKey.generate_key("P-256", {"kid": "k1"})])
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] | None = None
    challenge: str = ""

    def app(self) -> FastAPI:
        """Return its pages."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> dict[str, Any]:
            return {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
            }  # fmt: skip

        @app.get("/jwks")
        def jwks() -> Any:
            return KeySet(list(self.keys)).as_dict(private=False)

        @app.post("/token")
        async def token(request: Request) -> dict[str, Any]:
            form = parse_qs((await request.body()).decode())
            verifier = hashlib.sha256(form["code_verifier"][0].encode()).digest()
            assert base64.urlsafe_b64encode(verifier).decode().rstrip("=") == self.challenge
            made = self.sign(self.claims) if self.sign else self.signed(self.claims)
            return {"access_token": "a", "token_type": "Bearer", "id_token": made}

        @app.get("/userinfo")
        def userinfo() -> dict[str, Any]:
            return self.userinfo

        return app

    def signed(self, claims: dict[str, Any], key: Any = None, algorithm: str = "ES256") -> str:
        """Return a token."""
        key = key or self.keys[-1]
        return jwt.encode({"alg": algorithm, "kid": key.kid or "k1"}, claims, key, algorithms=[algorithm])


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Hostile]]:
    """A console that trusts a hostile provider."""
    hostile = Hostile()
    with listening() as (listener, url), served(hostile.app(), listener):
        hostile.issuer = url
        settings = OidcSettings(
            issuer=url, client_id="console", client_secret=Secret("s" * 40), groups={"fraud": "analyst"}
        )
        folder = tmp_path_factory.mktemp("hostile")
        with opened_site(folder, structlog.get_logger("test"), deployment=Settings(kafka=AWAY, oidc=settings)) as site:
            yield site, hostile


def begun(site: Site, hostile: Hostile) -> tuple[TestClient, dict[str, str]]:
    """Begin a sign-in; return the browser and what the provider learns."""
    site.clock.now += MINUTE  # no limit on tries
    browser = site.browser()
    asked = browser.get("/sign-in/oidc", params={"next": "/me"})
    assert asked.status_code == 303
    query = {name: values[0] for name, values in parse_qs(urlsplit(asked.headers["location"]).query).items()}
    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"] == f"{ORIGIN}/sign-in/oidc/callback"
    now = site.clock.now // 1000
    hostile.challenge, hostile.sign, hostile.userinfo = query["code_challenge"], None, {}
    hostile.claims = {
        "iss": hostile.issuer, "sub": "u1", "aud": "console", "exp": now + 300, "iat": now, "auth_time": now,
        "nonce": query["nonce"], "preferred_username": "Dora@bank.example", "groups": ["fraud"],
    }  # fmt: skip
    return browser, query


def test_a_token_that_holds_signs_in(hostile_site: tuple[Site, Hostile]) -> None:
    """So the refusals below are for what is wrong with each; a new key of the provider is found; a code works once."""
    site, hostile = hostile_site
    browser, query = begun(site, hostile)
    cookie = browser.cookies["console-oidc"]
    answer = browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/me")
    assert "Dora" not in browser.get("/me").text
    assert "dora" in browser.get("/me").text
    browser.cookies.set("console-oidc", cookie)
    assert browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]}).status_code == 400

    hostile.keys.append(ECKey.generate_key("P-256", {"kid": "k2"}))
    browser, query = begun(site, hostile)
    assert browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]}).status_code == 303

    browser, query = begun(site, hostile)
    del hostile.claims["groups"]
    hostile.userinfo = {"sub": "u1", "groups": ["fraud"]}
    assert browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]}).status_code == 303


WRONG: dict[str, Callable[[Hostile], None]] = {
    "another issuer": lambda p: p.claims.update(iss="https://evil.example"),
    "for another client": lambda p: p.claims.update(aud="another"),
    "of another authorised party": lambda p: p.claims.update(aud=["console", "x"], azp="x"),
    "an earlier nonce": lambda p: p.claims.update(nonce="n" * 32),
    "no nonce": lambda p: p.claims.pop("nonce"),
    "expired": lambda p: p.claims.update(exp=p.claims["iat"] - 600),
    "no expiry": lambda p: p.claims.pop("exp"),
    "no subject": lambda p: p.claims.pop("sub"),
    "an empty subject": lambda p: p.claims.update(sub=""),
    "of another access token": lambda p: p.claims.update(at_hash="x" * 22),
    "signed by another key": lambda p: setattr(
        p, "sign", lambda claims: p.signed(claims, ECKey.generate_key("P-256", {"kid": "k1"}))
    ),
    "signed by the client secret": lambda p: setattr(
        p, "sign", lambda claims: p.signed(claims, OctKey.import_key("s" * 40), "HS256")
    ),
    "not signed": lambda p: setattr(p, "sign", _unsigned),
    "no token": lambda p: setattr(p, "sign", lambda _: ""),
    "userinfo of somebody else": lambda p: (p.claims.pop("groups"), p.userinfo.update(sub="u2", groups=["fraud"])),
}  # fmt: skip


def _unsigned(claims: dict[str, Any]) -> str:
    parts = (msgspec.json.encode(each) for each in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


@pytest.mark.parametrize("wrong", WRONG)
def test_a_token_that_does_not_hold_signs_nobody_in(hostile_site: tuple[Site, Hostile], wrong: str) -> None:
    """Each of these makes the page of a refusal, and no session."""
    site, hostile = hostile_site
    browser, query = begun(site, hostile)
    WRONG[wrong](hostile)
    answer = browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]})
    assert answer.status_code == 400
    assert "You were not signed in" in answer.text
    assert browser.get("/me").status_code == 303


def test_a_response_to_another_browser_signs_nobody_in(hostile_site: tuple[Site, Hostile]) -> None:
    """Neither one without a beginning, nor with another state, from another issuer, late, changed, or refused."""
    site, hostile = hostile_site
    browser, query = begun(site, hostile)
    good = {"code": "c", "state": query["state"]}
    assert site.browser().get("/sign-in/oidc/callback", params=good).status_code == 400
    for wrong in ({"code": "c"}, good | {"state": "x" * 32}, good | {"iss": "https://evil.example"},
                   {"state": query["state"], "error": "access_denied"}):  # fmt: skip
        browser, query = begun(site, hostile)
        given = wrong | {"state": query["state"]} if wrong.get("state") == good["state"] else wrong
        assert browser.get("/sign-in/oidc/callback", params=given).status_code == 400
        assert browser.get("/me").status_code == 303
    browser, query = begun(site, hostile)
    site.clock.now += 10 * MINUTE
    assert browser.get("/sign-in/oidc/callback", params=good | {"state": query["state"]}).status_code == 400
    browser, query = begun(site, hostile)
    changed = site.browser()
    changed.cookies.set("console-oidc", browser.cookies["console-oidc"][:-12] + "AAAAAAAAAAA=")
    assert changed.get("/sign-in/oidc/callback", params=good | {"state": query["state"]}).status_code == 400


def test_a_proof_is_of_the_one_who_is_signed_in(hostile_site: tuple[Site, Hostile]) -> None:
    """Another person, or one whom the provider has not asked again, proves nothing."""
    site, hostile = hostile_site
    browser, query = begun(site, hostile)
    browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]})
    site.clock.now += 6 * MINUTE
    for changes, status in (({"sub": "u2"}, 403), ({"auth_time": site.clock.now // 1000 - 3600}, 400), ({}, 303)):
        _, query = begun(site, hostile)
        claims = dict(hostile.claims)
        asked = browser.get("/me/confirm/oidc")
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked.headers["location"]).query).items()}
        assert (query["prompt"], query["max_age"]) == ("login", "0")
        hostile.challenge, hostile.claims = query["code_challenge"], claims | {"nonce": query["nonce"]} | changes
        answer = browser.get("/sign-in/oidc/callback", params={"code": "c", "state": query["state"]})
        assert answer.status_code == status
        assert ("Confirmed for five minutes" in browser.get("/me/confirm").text) == (status == 303)


def test_without_a_provider_there_is_nothing(shared_site: Site) -> None:
    """Local accounts are as before, and an account of theirs confirms with its app."""
    browser = shared_site.browser()
    assert "sign-in/oidc" not in browser.get("/sign-in").text
    assert [browser.get(path).status_code for path in ("/sign-in/oidc", "/sign-in/oidc/callback")] == [404, 404]
    assert shared_site.person().get("/me/confirm/oidc").status_code == 404


def test_an_app_confirms(site: Site) -> None:
    """A code is good once, and for five minutes."""
    site.accepted("ana", "lead")
    person = site.person("lead", "ana")
    site.clock.now += 6 * MINUTE
    assert person.post("/me/confirm", code="000000").status_code == 422
    assert person.post("/me/confirm", code=site.code("ana")).status_code == 303
    assert "Confirmed" in person.get("/me/confirm").text


def test_settings_of_a_provider_are_checked_when_the_console_starts(site: Site) -> None:
    """What could never work, or would be asked in the clear, is an error that names the remedy."""
    for settings, problem in (
        (OidcSettings(issuer="http://id.example", client_id="c"), "in the clear"),
        (OidcSettings(issuer="https://id.example"), "client_id"),
        (OidcSettings(issuer="https://id.example", client_id="c", scopes=["profile"]), "openid"),
    ):
        with pytest.raises(SettingsError, match=problem):
            IdentityProvider(settings, ORIGIN, site.clock, lambda count: b"r" * count)
    for groups in ({}, {"fraud": "king"}):
        with pytest.raises(SettingsError, match="groups"):
            roles_of(groups)
    away = OidcSettings(issuer="http://127.0.0.1:1", client_id="c")
    with pytest.raises(UnavailableError, match="does not answer"):
        IdentityProvider(away, ORIGIN, site.clock, lambda count: b"r" * count).begin(fresh=False)


def test_names_of_a_provider_become_names_of_users() -> None:
    """They are plain, whatever the provider sends."""
    names = ("Ana.Gil@bank.example", "ÁNGEL", "42", "", "<script>", "a" * 99, "o'neil")
    assert [user_name(name) for name in names] == ["ana.gil", "ngel", "user", "user", "script", "a" * 48, "o-neil"]
