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

USER = "demo"


@contextmanager
def console_processes(running: DemoEnvironment) -> Iterator[tuple[DemoProcess, ...]]:
    """Run the console, and the archive that it looks into where its extra is installed."""
    with ExitStack() as stack:
        processes = [stack.enter_context(running.process("console run"))]
        try:
            require_extra("archive", "the archive", "deltalake")
        except UnavailableError:
            pass
        else:
            processes.append(stack.enter_context(running.process("archive run")))
        yield tuple(processes)


def console_sign_in(running: DemoEnvironment) -> str:
    """Make a user who may do most, and return a sentence with the ways to sign in."""
    clock = SystemClock()
    users = Users(running.database, keyring_of(running.settings.mfa), clock, os.urandom)
    token, password = users.add(USER, StaffRole.LEAD), secrets.token_urlsafe(12)
    invitation = users.invitation(token)
    if invitation is None:
        raise UnavailableError(f"the invitation of {USER} has expired")
    app = app_of(invitation.secret)
    users.accept(token, password, app.at(clock.now_ms() // SECOND))
    url = running.settings.console.public_url
    link = invitation_link(url, users.sign_in_link(USER, lifetime=DAY))
    return (
        f"the console is at {link}, a link that signs in once; after that at {url} as {USER}, password {password}, "
        f"key for an authenticator app {app.secret}"
    )
