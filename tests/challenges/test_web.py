"""What all answers of the web app have in common, and the words of its pages."""

import string

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from challenges.web import build_app
from challenges.words import languages, preferred_language
from vedette.errors import UnavailableError


def broken() -> None:
    """A route whose store does not answer."""
    raise UnavailableError("Redis: no answer from 10.0.0.7")


@pytest.fixture
def client() -> TestClient:
    """The app with one route that fails."""
    router = APIRouter()
    router.add_api_route("/broken", broken)
    return TestClient(build_app([router], public_url="https://pay.bank.example"))


@pytest.mark.parametrize("path", ["/healthz", "/static/page.css", "/nowhere", "/broken"])
def test_every_answer_is_protected(client: TestClient, path: str) -> None:
    """Pages, files and errors all forbid frames, inline script and foreign content, and require HTTPS."""
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert "max-age" in headers["strict-transport-security"]
    assert ("no-store" in headers.get("cache-control", "")) == (not path.startswith("/static/"))


def test_what_does_not_answer_is_503_and_names_nothing(client: TestClient) -> None:
    """An outage behind the app is 503 with a time to retry, and no internal address."""
    answer = client.get("/broken")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "10.0.0.7" not in answer.text


def test_an_outage_is_a_page_to_people(client: TestClient) -> None:
    """A browser gets a page that says to try again, with the same status."""
    answer = client.get("/broken", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Please try again" in answer.text


def test_all_languages_say_the_same_things() -> None:
    """Every language has a text for every key, with the same placeholders."""

    def values(words: dict[str, str]) -> dict[str, set[str | None]]:
        return {key: {name for _, name, _, _ in string.Formatter().parse(text)} for key, text in words.items()}

    english, *others = [values(words) for words in languages().values()]
    assert set(languages()) == {"en", "es"}
    assert all(other == english for other in others)


@pytest.mark.parametrize(
    ("header", "language"),
    [("es-MX,es;q=0.9,en;q=0.5", "es"), ("fr, en;q=0.3, es;q=0.8", "es"), ("de", "en"), ("", "en"), ("es;q=0", "en")],
)
def test_the_browsers_first_language_we_have_is_chosen(header: str, language: str) -> None:
    """Weights decide, regions are ignored, and English is the default."""
    assert preferred_language(header) == language
