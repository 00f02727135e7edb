"""What an operator does with credentials, users and webhooks: each command once, and none asks for a key in vain."""

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import command
from tests.command import Done

Run = Callable[..., Done]


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """Runs a command with a database and nothing else."""
    url = f"sqlite:///{tmp_path / 'vedette.sqlite'}"
    return partial(command.vedette, cwd=tmp_path, environment={"VEDETTE_DATABASE__URL": url})


@pytest.fixture
def keyed(bare: Run, tmp_path: Path) -> Run:
    """Runs a command with keys and audit log as well."""
    environment = bare.keywords["environment"] | {  # type: ignore[attr-defined]
        "VEDETTE_MFA__KEYS": f"k1:{base64.b64encode(bytes(32)).decode()}",
        "VEDETTE_AUDIT__KEY": "k" * 32, "VEDETTE_AUDIT__PATH": str(tmp_path / "audit.jsonl"),
    }  # fmt: skip
    return partial(command.vedette, cwd=tmp_path, environment=environment)


def printed(done: Done) -> Any:
    """What a command has printed as JSON."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def audited(folder: Path) -> list[str]:
    """The events of the audit log, in order."""
    return [json.loads(line)["event"] for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.runs("access create", "access list", "access revoke")
def test_credentials_are_made_listed_and_revoked(keyed: Run, bare: Run, tmp_path: Path) -> None:
    """The list needs no key, as nothing in it is hashed; the others are in the audit log."""
    assert printed(bare("access", "list", "--json")) == []
    made = printed(keyed("access", "create", "Card switch", "--role", "payments", "--json"))["credential"]
    assert [each["id"] for each in printed(bare("access", "list", "--json"))] == [made["id"]]
    assert "Card switch" in bare("access", "list").stdout
    assert printed(keyed("access", "revoke", made["id"], "--json"))["revoked_at"]
    assert "revoked" in bare("access", "list").stdout
    assert audited(tmp_path) == ["access.created", "access.revoked"]


@pytest.mark.runs(
    "console user add", "console user invite", "console user link", "console user disable", "console user list"
)
def test_users_are_added_invited_and_disabled(keyed: Run, bare: Run, tmp_path: Path) -> None:
    """The list needs no key; a link that signs in is refused before the invitation is accepted."""
    assert "no users yet" in bare("console", "user", "list").stdout
    first = printed(keyed("console", "user", "add", "ana", "--role", "analyst", "--json"))["link"]
    assert printed(keyed("console", "user", "invite", "ana", "--json"))["link"] != first
    assert keyed("console", "user", "link", "ana").returncode == 2
    assert "ana is disabled" in keyed("console", "user", "disable", "ana").stdout
    (user,) = printed(bare("console", "user", "list", "--json"))["users"]
    assert (user["name"], user["role"], bool(user["disabled_at"])) == ("ana", "analyst", True)
    assert audited(tmp_path) == [
        f"console.{event}" for event in ("user-added", "user-invited", "link-made", "user-disabled")
    ]


@pytest.mark.runs(
    "webhooks add",
    "webhooks pause",
    "webhooks resume",
    "webhooks remove",
    "webhooks deliveries",
    "webhooks replay",
    "webhooks list",
)
def test_webhooks_are_added_paused_and_removed(keyed: Run, bare: Run, tmp_path: Path) -> None:
    """Lists need no key; nothing waits for a new webhook, and a paused one says so."""
    assert "no webhooks" in bare("webhooks", "list").stdout
    made = printed(keyed("webhooks", "add", "https://bank.example/hooks", "--event", "decision.final", "--json"))
    webhook = made["endpoint"]["id"]
    assert printed(keyed("webhooks", "pause", webhook, "--json"))["state"] == "paused"
    assert [each["state"] for each in printed(bare("webhooks", "list", "--json"))] == ["paused"]
    assert "is active" in keyed("webhooks", "resume", webhook).stdout
    assert printed(bare("webhooks", "deliveries", webhook, "--json")) == []
    assert printed(bare("webhooks", "replay", webhook, "--since", "2026-01-04T12:00:00Z", "--json")) == {"replayed": 0}
    assert "is removed" in keyed("webhooks", "remove", webhook).stdout
    assert printed(bare("webhooks", "list", "--json")) == []
    assert audited(tmp_path) == [f"webhook.{event}" for event in ("added", "paused", "resumed", "removed")]


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("access create x --role payments", "[audit] key"),
        ("access revoke x", "[audit] key"),
        ("console user add ana --role analyst", "[mfa] keys"),
        ("console user disable ana", "[audit] key"),
        ("webhooks add https://bank.example/", "[mfa] keys"),
    ],
)
def test_a_command_that_needs_a_key_says_which(bare: Run, line: str, missing: str) -> None:
    """It ends before anything is done."""
    done = bare(*line.split())
    assert (done.returncode, missing in done.stderr) == (2, True), done.stderr
    for name in ("access list", "console user list", "webhooks list"):
        assert printed(bare(*name.split(), "--json")) in ([], {"users": []})
