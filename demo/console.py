"""The console of the demo: its processes, and a user whose sign-in is printed."""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from access.keyring import keyring_of
from adapters.extras import require_extra
from challenges.codes import app_of
from console.accounts.users import Users, invitation_link
from console.roles import StaffRole
from demo.environment import DemoEnvironment, DemoProcess
from vedette.clock import DAY, SECOND, SystemClock
from vedette.errors import UnavailableError

USER, APPROVER = "demo", "demo-approver"


@contextmanager
def console_processes(running: DemoEnvironment) -> Iterator[tuple[DemoProcess, ...]]:
    """Run the console, the previews that it asks for, and the archive where its extra is installed."""
    with ExitStack() as stack:
        processes = [stack.enter_context(running.process(name)) for name in ("console run", "preview run")]
        try:
            require_extra("archive", "the archive", "deltalake")
        except UnavailableError:
            pass
        else:
            processes.append(stack.enter_context(running.process("archive run")))
        yield tuple(processes)


def console_sign_in(running: DemoEnvironment) -> str:
    """Make a user who may do most and one who approves changes; return sentences with the ways to sign in."""
    users = Users(running.database, keyring_of(running.settings.mfa), SystemClock(), os.urandom)
    url = running.settings.console.public_url
    return (
        f"the console is at {_user(users, url, USER, StaffRole.LEAD)}. "
        f"Changes of the policy need a second person, in another browser: "
        f"{_user(users, url, APPROVER, StaffRole.APPROVER)}"
    )


def _user(users: Users, url: str, name: str, role: StaffRole) -> str:
    """Make a user, and return how to sign in."""
    token, password = users.add(name, role), secrets.token_urlsafe(12)
    invitation = users.invitation(token)
    if invitation is None:
        raise UnavailableError(f"the invitation of {name} has expired")
    app = app_of(invitation.secret)
    users.accept(token, password, app.at(SystemClock().now_ms() // SECOND))
    link = invitation_link(url, users.sign_in_link(name, lifetime=DAY))
    return (
        f"{link}, a link that signs in once; after that at {url} as {name}, password {password}, "
        f"key for an authenticator app {app.secret}"
    )
