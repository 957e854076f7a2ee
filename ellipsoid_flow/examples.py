"""``ellipsoid-flow examples``: structures to begin with, as a folder of your own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.checks import check_no_file
from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import status_of
from pipeline.commands.words import mebibytes, several
from pipeline.errors import UsageError
from pipeline.files.atomic import appears_whole

STRUCTURES = Path(__file__).parent / "structures"


@dataclass(frozen=True)
class ExamplesOptions:
    """Write the example structures to a folder.

    Parameters
    ----------
    out_dir
        Folder for the files; made if it is not there.
    overwrite
        Replace files of the same names that say something else.
    """

    out_dir: Path
    overwrite: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: the files are there. 1: the folder cannot be written. 2: wrong usage, or other files of these
    names are there. 130: interrupted.
    """
    options = parse_options(
        ExamplesOptions,
        "ellipsoid-flow examples",
        "Write example structures of the PDB and of AlphaFold DB, whole entries of many kinds.",
        arguments,
        first="out_dir",
    )
    return status_of(
        lambda: write_examples(options),
        interrupted="the files that are there are whole; the same command writes the others",
    )


def write_examples(options: ExamplesOptions) -> None:
    """Write the files, and say what to do with them.

    Raises
    ------
    UsageError
        Nothing was written.
    OSError
    """
    folder = options.out_dir
    check_no_file("out_dir", folder)
    contents = {path.name: path.read_bytes() for path in sorted(STRUCTURES.iterdir())}
    differing = [
        name
        for name, content in contents.items()
        if (folder / name).exists() and (folder / name).read_bytes() != content
    ]
    if differing and not options.overwrite:
        raise UsageError(
            f"{folder / differing[0]} is there already and is another file; give another folder, "
            "or --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with appears_whole(folder / name, folder) as temporary:
            temporary.write_bytes(content)
    size = mebibytes(sum(map(len, contents.values())))
    print(f"{folder}: {several(len(contents), 'file')}, {size}")
    print(
        "licences: PDB entries CC0 1.0; AlphaFold DB CC-BY 4.0, attribute to DeepMind and EMBL-EBI"
    )
    print(f"next: ellipsoid-flow build --pdb-dir {shlex.quote(str(folder))} --out-dir dataset")
