"""What entries are called: one spelling for each, however a file, a list or a server writes it.

The archive's extended ids (``pdb_00001abc``) name the same entries as the short ones for as long
as these last: https://www.wwpdb.org/documentation/new-format-for-pdb-ids.
"""

from __future__ import annotations

import re

_SHORT = re.compile(r"[0-9][a-z0-9]{3}", re.ASCII)
_EXTENDED = re.compile(r"pdb_[a-z0-9]{8}", re.ASCII)
_HAS_A_SHORT_FORM = re.compile(r"pdb_0000(?=[0-9][a-z0-9]{3}$)", re.ASCII)
_OF_A_CHAIN = re.compile(r"pdb_[a-z0-9]{8}(?=_)", re.IGNORECASE | re.ASCII)

# https://www.uniprot.org/help/accession_numbers, and isoforms
UNIPROT = (
    r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-[0-9]{1,3})?"
)
"""Pattern of an accession of UniProt."""

# Its own form, with isoforms (AF-P04637-2-F1) and models without an accession (16 digits), and
# that of the RCSB's site (AF_AFP29373F1).
_ALPHAFOLD_DB = re.compile(
    r"AF-(?:[A-Z0-9]{6,20}(?:-[0-9]{1,3})?-F[0-9]{1,4}|[0-9]{16})(?:-model_v[0-9]{1,3})?"
    r"|AF_AF[A-Z0-9]{6,24}F[0-9]{1,4}",
    re.IGNORECASE | re.ASCII,
)


def entry_key(entry: str) -> str:
    """The one spelling of an entry's id; what ids are compared by.

    PDB ids are in lower case, and of four characters where they can be.

    Examples
    --------
    >>> entry_key("1ABC"), entry_key("pdb_00001ABC"), entry_key("PDB_1000ABCD")
    ('1abc', '1abc', 'pdb_1000abcd')
    >>> entry_key("AF-P29373-F1")
    'AF-P29373-F1'
    """
    if len(entry) not in (4, 12):
        return entry
    lowered = entry.lower()
    if len(entry) == 4:
        return lowered if _SHORT.fullmatch(lowered) else entry
    return _HAS_A_SHORT_FORM.sub("", lowered) if _EXTENDED.fullmatch(lowered) else entry


def chain_key(chain_uid: str) -> str:
    """The one spelling of a ``chain_uid`` that begins with a PDB id: ``1abc_1_A``, also for
    ``pdb_00001abc_1_A``."""
    return _OF_A_CHAIN.sub(lambda match: entry_key(match[0]), chain_uid, count=1)


def is_pdb_id(text: str) -> bool:
    """Whether the text is an id of the PDB, short or extended, in either case."""
    key = entry_key(text)
    return _SHORT.fullmatch(key) is not None or _EXTENDED.fullmatch(key) is not None


def is_alphafold_db_id(text: str) -> bool:
    """Whether the text is an id of AlphaFold DB, with or without a version."""
    return _ALPHAFOLD_DB.fullmatch(text) is not None
