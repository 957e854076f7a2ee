# PYTHON_ARGCOMPLETE_OK
"""``ellipsoid-flow``: one door to all commands. Each is loaded only when it is run."""

from __future__ import annotations

import difflib
import os
import sys
from typing import NoReturn

from ellipsoid_flow.own_packages import PACKAGES, check_ours, pass_over_others

NAME = "ellipsoid-flow"

GROUPS = {
    "structures → dataset": {
        "fetch": ("pipeline.fetch.command", "download the entries that a list names"),
        "build": ("pipeline.build.command", "turn structure files into a dataset"),
        "split": ("pipeline.split.command", "training, validation and test without leaks"),
        "subset": ("pipeline.subset.command", "a dataset of some chains of one or several others"),
        "upgrade": ("pipeline.upgrade.command", "add columns that came after a dataset was built"),
        "embed": ("pipeline.embed.command", "add vectors of a protein language model"),
    },
    "dataset → you": {
        "report": ("pipeline.report.command", "a dataset at a glance, on one page"),
        "verify": ("pipeline.verify.command", "is it what was built? --repair makes it so"),
        "export": ("pipeline.export.command", "chains as PDB, mmCIF, FASTA or a page in 3D"),
    },
    "dataset → model → structures": {
        "train": ("model.train.command", "train a network, resume, export its weights"),
        "sample": ("model.sample.command", "pack side chains, design sequences, make proteins"),
        "score": ("model.score.command", "how likely sequences are on structures; mutations"),
        "evaluate": ("model.evaluate.command", "measure a network on chains it has not seen"),
        "visualize": ("model.visualize.command", "draw what its layers look at"),
    },
    "to try it": {
        "examples": ("ellipsoid_flow.examples", "write the example structures to a folder"),
    },
}
"""Heading → command → the module of its ``main``, and what it does."""

COMMANDS = {name: module for group in GROUPS.values() for name, (module, _) in group.items()}


def usage() -> str:
    """The commands in groups, one line each."""
    lines = [f"usage: {NAME} COMMAND [options]"]
    for heading, group in GROUPS.items():
        lines += ["", f"{heading}:", *(f"  {name:<10} {does}" for name, (_, does) in group.items())]
    return "\n".join(
        [*lines, "", f"{NAME} COMMAND --help lists the options; --version, the version"]
    )


def main() -> NoReturn:
    """Run the command that the first word names; the process ends with its status."""
    pass_over_others()
    for package in PACKAGES:
        try:
            check_ours(package)
        except ImportError as error:
            sys.exit(f"error: {error}")
    from pipeline.commands.software import version_line
    from pipeline.commands.start import start
    from pipeline.commands.termination import OK, USAGE, end_with

    if "_ARGCOMPLETE" in os.environ:
        _complete()
    first, *rest = sys.argv[1:] or [""]
    if first == "help" and rest:
        first, rest = rest[0], ["--help"]
    if first in COMMANDS:
        start(COMMANDS[first], rest)
    if first in ("-h", "--help", "help"):
        print(usage())
        sys.exit(OK)
    if first == "--version":
        print(version_line())
        sys.exit(OK)
    if not first:
        sys.exit(end_with(usage(), USAGE))
    sys.exit(end_with(f"error: {_no_such(first)}\ntip: {NAME} --help lists all", USAGE))


def _no_such(word: str) -> str:
    if word.startswith("-"):
        return f"the command comes before {word}"
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"there is no command {word}" + (f"; did you mean {near[0]}?" if near else "")


def _complete() -> None:
    """Answer a shell that asks how a line may go on; once it names a command, that answers."""
    import argparse

    import argcomplete

    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = line.split()
    if len(words) > 2 or (len(words) == 2 and line[-1].isspace()):
        if words[1] in COMMANDS:
            # So many words of the line belong to whoever parses the rest.
            os.environ["_ARGCOMPLETE"] = "2"
            sys.argv = sys.argv[:1]
            from pipeline.commands.start import start

            start(COMMANDS[words[1]], [])
        sys.exit()
    parser = argparse.ArgumentParser(NAME)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--version", action="store_true")
    argcomplete.autocomplete(parser)
