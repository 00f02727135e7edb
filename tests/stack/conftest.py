"""The stacks and servers over which the contract suites run."""

import pytest

from stack.local import LocalStack


@pytest.fixture(params=["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def any_stack(request: pytest.FixtureRequest) -> LocalStack:
    """Each of the shared stacks in turn."""
    stack: LocalStack = request.getfixturevalue(request.param)
    return stack
