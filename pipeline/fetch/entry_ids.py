"""Which ids can be fetched, and how the server and the file call the same entry.

Ids become names of files and parts of URLs, so nothing passes here but letters, digits and the few
marks that ids have: no folder, no dot, no blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.entry_ids import UNIPROT, entry_key, is_pdb_id

_UNIPROT = re.compile(UNIPROT, re.ASCII)
_ALPHAFOLD = re.compile(
    r"AF-(?P<accession>[A-Z0-9]{6,20}(?:-[0-9]{1,3})?)-F(?P<fragment>[0-9]{1,4})"
    r"(?:-model_v(?P<version>[0-9]{1,3}))?",
    re.ASCII,
)
_SHOWN = 40


class BadEntryId(ValueError):
    """An id that the source does not have; the sentence says what its ids look like."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry to be fetched.

    Attributes
    ----------
    entry_id : str
        As manifests and builds call it, and so the stem of its file.
    remote : str
        As the server calls it.
    stated : str
        As the file itself says it, from `normal_id`.
    middle : str
        Two characters that divide many entries into folders.
    """

    entry_id: str
    remote: str
    stated: str
    middle: str


def pdb_entry(entry_id: str) -> Wanted:
    """An entry of the PDB, of four characters or extended (``pdb_00001abc``).

    Raises
    ------
    BadEntryId
    """
    key = entry_key(entry_id)
    if not is_pdb_id(key):
        raise BadEntryId(
            f"{_shown(entry_id)} is no PDB id (a digit and three letters or digits, or pdb_ and "
            "eight); mend the manifest"
        )
    # The characters before the last: those that the archive divides by, for both kinds of ids.
    return Wanted(key, key, key, key[-3:-1])


def alphafold_entry(entry_id: str, version: int) -> Wanted:
    """A model of AlphaFold DB, by UniProt accession or by its own id.

    Parameters
    ----------
    version : int
        For an id that does not end in ``-model_v…``.

    Raises
    ------
    BadEntryId
    """
    match = _ALPHAFOLD.fullmatch(entry_id)
    if match is not None:
        accession, fragment = match["accession"], match["fragment"]
        version = int(match["version"] or version)
    elif _UNIPROT.fullmatch(entry_id):
        accession, fragment = entry_id, "1"
    else:
        raise BadEntryId(
            f"{_shown(entry_id)} is neither a UniProt accession (P29373) nor an id of AlphaFold DB "
            "(AF-P29373-F1, AF-P29373-F1-model_v4); mend the manifest"
        )
    stated = f"AF-{accession}-F{fragment}"
    return Wanted(entry_id, f"{stated}-model_v{version}", normal_id(stated), accession[-3:-1])


def normal_id(text: str) -> str:
    """An id, as a file gives it, as it is compared: `entry_key`, and all others in lower case."""
    return entry_key(text.strip().strip("'\"").lower())


def _shown(entry_id: str) -> str:
    text = repr(entry_id)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
