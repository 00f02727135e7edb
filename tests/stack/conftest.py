"""The stacks and servers over which the contract suites run."""

import pytest

from stack.state import StackState
from tests.shared_servers import Servers


@pytest.fixture(params=["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def any_stack(request: pytest.FixtureRequest, servers: Servers) -> StackState:
    """Return each of the shared stacks in turn."""
    del servers  # it only says that a server is needed
    stack: StackState = request.getfixturevalue(request.param)
    return stack
