"""Exit codes of commands; docs/cli.md documents them.

0: the command succeeded, or the answer is yes. 1: the answer is no, or there was nothing to act on. 2: the command
    failed, and the message gives the reason. 130: interrupted.
"""

import typer

NO = 1
FAILED = 2
INTERRUPTED = 130


def require_some(count: int, nothing: str) -> None:
    """End the command with exit code 1 and a message on standard error if it had nothing to work on.

    Args:
        count: Number of items processed.
        nothing: Message for none, such as "no transaction was sent".

    Raises:
        typer.Exit: The count is zero.
    """
    if not count:
        typer.echo(f"vedette: {nothing}", err=True)
        raise typer.Exit(NO)
