"""How commands begin: each is loaded only when it is run, and what it lacks is said."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline.commands.software import version_line
from pipeline.commands.termination import (
    FAILURE,
    INTERRUPTED,
    NOTHING_BEGUN,
    OK,
    end_with,
    ended_at_once,
    leave,
)
from pipeline.commands.without_pandas import without_pandas
from pipeline.extras import explained


def start(module: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Load a command, run it, and end the process with its status.

    Parameters
    ----------
    module : str
        Where its ``main`` is, such as ``pipeline.build.command``.
    arguments : sequence of str, optional
        Defaults to the process's own.
    """
    if "--version" in (sys.argv[1:] if arguments is None else arguments):
        print(version_line())  # whatever the command would need to be loaded
        sys.exit(OK)
    without_pandas()
    try:
        with ended_at_once():
            command = importlib.import_module(module)
        status = command.main(arguments)
    except KeyboardInterrupt:  # between the two; later it is answered there
        status = end_with(NOTHING_BEGUN, INTERRUPTED)
    except ModuleNotFoundError as error:
        if (missing := explained(error, "this command")) is None:
            raise
        status = end_with(f"error: {missing}", FAILURE)
    leave(status or OK)
