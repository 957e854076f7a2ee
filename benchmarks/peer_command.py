"""What the commands that ask a peer have in common: how options are checked, and how they end."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from pipeline.commands.checks import check_at_least
from pipeline.commands.termination import status_of
from pipeline.errors import UsageError


def check_peer_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace, **least: int
) -> None:
    """See that ``--peer-python`` can be run; made absolute, for the peer runs in another folder.

    Parameters
    ----------
    **least : int
        Options that may be left out, and the least value of each.
    """
    if options.peer_python is not None:
        if not os.access(options.peer_python, os.X_OK):
            parser.error(f"--peer-python {options.peer_python} cannot be run")
        options.peer_python = options.peer_python.absolute()
    try:
        check_at_least(options, **least)
    except UsageError as error:
        parser.error(str(error))


def peer_status_of(command: Callable[[], None]) -> int:
    """Run the command; its exit status. Ctrl-C and SIGTERM end the peer, too."""
    interrupted = "what was answered is kept, and the same command goes on"
    return status_of(command, interrupted=interrupted, cannot="cannot go on")
