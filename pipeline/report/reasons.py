"""What the codes of ``inputs.parquet`` and ``drops.parquet`` mean, in a few words."""

from __future__ import annotations

_MEANINGS = {
    "same-entry": "the entry was read from another format",
    "alias": "a link to a file found under its own name",
    "hidden": "hidden, or a copy kept beside a file",
    "not-a-structure": "no structure format",
    "no-atoms": "a structure format without atoms",
    "no-atom-site": "a structure format without atoms",
    "no-data-block": "a structure format without atoms",
    "no-coordinates": "a structure format without atoms",
    "no-protein": "atoms, but no polypeptide chain",
    "ca-only": "chains of CA atoms only",
    "nothing-resolved": "no residue with N, CA and C",
    "obsolete": "the list of obsolete entries has it",
    "not-in-manifest": "the manifest does not list it",
    "method": "another experimental method than asked for",
    "missing": "a listed file that is not there",
    "changed": "changed while the build ran",
    "unreadable": "the system refused to hand out the bytes",
    "truncated-stream": "a compressed stream without its end",
    "corrupt-stream": "a damaged compressed stream",
    "not-installed": "needs a package that is not installed",
    "too-large": "over --max-file-size",
    "timeout": "over --timeout",
    "out-of-memory": "over --max-memory, or more than there was",
    "truncated": "the file ends too early",
    "malformed-cif": "broken mmCIF",
    "malformed-loop": "a broken mmCIF table",
    "malformed-bcif": "broken BinaryCIF",
    "too-many-rows": "a table of absurd size",
    "overlong-value": "a value of absurd length",
    "unreadable-format": "no reader could make sense of it",
    "unreadable-coordinates": "an atom table without numbers for coordinates",
    "in-nanometres": "coordinates in nanometres, not in Å",
    "no-atom-names": "an atom table without atom names",
    "no-residue-names": "an atom table without residue names",
    "no-assembly": "has not the assembly asked for",
    "bad-assembly": "its assembly cannot be built",
    "assembly-too-large": "over --max-assembly-chains",
    "loop": "a link that leads into itself",
    "overlong-name": "a name of absurd length in an archive",
    "too-many-members": "an archive of absurdly many members",
    "nested-archive": "an archive in an archive",
    "sparse-member": "a sparse file in an archive",
    "bad-key": "a name that a store cannot be asked for",
    "excluded": "lies in the output folder",
    "worker-died": "the process died on this file",
    "internal-error": "a mistake of the program: please report it",
}


def meaning(reason: str) -> str:
    """A few words; none for a code of some other version."""
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    if reason.startswith(("max-", "min-")):
        return f"the filter {reason}"
    if reason.startswith("unknown-"):
        return f"the file does not say: {reason.removeprefix('unknown-')} (--drop-unknown)"
    return ""
