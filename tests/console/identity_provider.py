"""A real OpenID Connect provider (npm: oidc-provider) for tests."""

import json
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.process import Child, free_ports
from tests.conftest import wait_for
from vedette.errors import UnavailableError
from vedette.settings_base import Secret
from vedette.settings_oidc import OidcSettings

INSTALLED = Path.home() / ".cache/vedette/oidc-provider"
PROGRAM = Path(__file__).with_name("oidc_provider") / "provider.mjs"


@dataclass
class Provider:
    """A running provider.

    Attributes:
        issuer: Its URL.
        accounts: File of the people who may sign in there, with their groups.
    """

    issuer: str
    accounts: Path

    def knows(self, **groups: Sequence[str]) -> None:
        """Replace the people by these, each with groups."""
        self.accounts.write_text(json.dumps(groups))

    def settings(self, groups: dict[str, str]) -> OidcSettings:
        """Return the settings of a console that signs in with it."""
        return OidcSettings(
            issuer=self.issuer, name="Example ID", client_id="console", client_secret=Secret("a secret of the test"),
            groups=groups,
        )  # fmt: skip


@contextmanager
def provider_for(site: str, folder: Path) -> Iterator[Provider]:
    """A provider for the console at a URL.

    Raises:
        UnavailableError: It is not installed.
    """
    if shutil.which("node") is None or not (INSTALLED / "node_modules/oidc-provider").is_dir():
        raise UnavailableError(
            "the OpenID Connect provider is not installed", remedy="run scripts/install-test-deps --browser"
        )
    (port,) = free_ports(1)
    found = Provider(f"http://localhost:{port}", folder / "accounts.json")
    found.knows()
    child = Child(["node", str(PROGRAM), str(INSTALLED), str(port), site, str(found.accounts)], log=folder / "node.log")
    try:
        wait_for(lambda: _answers(f"{found.issuer}/jwks"))
        yield found
    finally:
        child.stop(within_s=10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310, on this machine
            return True
    except OSError:
        return False
