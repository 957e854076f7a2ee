"""What a residue name means: the versioned table of polymer components, and force-field names.

``components.tsv`` is generated from the chemical component dictionary (CCD) by
``generate_components.py``. Programs of molecular dynamics use names of their own, some of which are
unrelated components of the CCD (HID is an indole, HSE homoserine); there the atoms decide.
"""

from __future__ import annotations

import string
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .atom14 import SLOT_OF_NAME
from .types import RESTYPES, UNKNOWN


class Linking(IntEnum):
    """What a component is linked into."""

    OTHER = 0
    PEPTIDE = 1
    NUCLEIC = 2
    WATER = 3


@dataclass(frozen=True, slots=True)
class Component:
    """One residue name, resolved.

    Attributes
    ----------
    comp_id : str
        As asked for.
    linking : Linking
        Never ``OTHER``: for such names there is no `Component`.
    kind : int
        Row of ``SLOT_OF`` and ``ALTERNATIVE_SLOT_OF``: which atom names stand for which slots.
    aatype : int
        0–19, or 20 (X).
    is_modified : bool
        A peptide residue that the CCD names apart from the twenty standard ones. False for the
        standard ones under any name, and for UNK, ASX and GLX, which are not known to be modified.
    chirality : {"L", "D", "none"}
        Of the component's type in the CCD; "none" for glycine and for what the CCD leaves open.
    """

    comp_id: str
    linking: Linking
    kind: int
    aatype: int
    is_modified: bool
    chirality: Literal["L", "D", "none"]


def _read_table() -> tuple[str, dict[str, str]]:
    """The header line, and for each component the rest of its line.

    Lines are split when asked for: a process sees a few dozen names of the thousands, and workers
    should start at once.
    """
    text = Path(__file__).with_name("components.tsv").read_text(encoding="utf-8")
    header, _, *lines = text.splitlines()
    return header.removeprefix("# "), dict(line.split("\t", 1) for line in lines)


COMPONENTS_SOURCE, _TABLE = _read_table()
COMPONENTS_VERSION = int(COMPONENTS_SOURCE.split(",")[0].removeprefix("version "))
"""Version of the rules behind ``components.tsv``; `COMPONENTS_SOURCE` is its whole header line."""

_AATYPES = {name: i for i, name in enumerate(RESTYPES)}


def _kinds_of_atoms() -> tuple[tuple[int, str], ...]:
    """The kinds: 0–19 and X read atoms by name, the rest differ from their parent in some atoms."""
    differing = set()
    for line in _TABLE.values():
        if not line.endswith("\t"):
            _, parent, _, atoms = line.split("\t")
            differing.add((_AATYPES.get(parent, UNKNOWN), atoms))
    return tuple((aatype, "") for aatype in range(UNKNOWN + 1)) + tuple(sorted(differing))


KINDS: tuple[tuple[int, str], ...] = _kinds_of_atoms()
"""(aatype, atoms) of each kind; `atoms` as in ``components.tsv``: ``SE=SD`` (SE stands in the place
of SD), ``-CB`` (the component's CB is not bonded as the parent's is, and has no slot)."""

_KIND_OF = {kind: i for i, kind in enumerate(KINDS)}

_UNSPECIFIC = frozenset({"UNK", "ASX", "GLX"})


# ---- names of force fields and of other programs ---------------------------------------------

_PROTEIN_NAMES: dict[str, str] = {
    name: parent
    for parent, names in {
        "ARG": "ARN ARGN ARG+",
        "ASN": "ASN1",
        "ASP": "ASH ASPH ASPP ASP-",
        "CYS": "CYX CYM CYN CYD CYS1 CYS2 CYSH CYSP CYSS",
        "GLU": "GLH GLUH GLUP GLU-",
        "HIS": "HSD HSE HSP HSC HID HIE HIP HIS1 HIS2 HISA HISB HISD HISE HISH HISP HIST HIS+",
        "LYS": "LYN LYP LSN LYSH LYSN LYS+",
        "PRO": "cPRO",
        "TYR": "TYM",
    }.items()
    for name in names.split()
}

# GLYCAM (Kirschner et al. 2008, J. Comput. Chem. 29, 622): residues that carry a glycan. The CCD
# has NLN for norleucine amide and OLT for O-methylthreonine.
_GLYCAM_NAMES = {"NLN": "ASN", "OLS": "SER", "OLT": "THR"}
_PROTEIN_NAMES |= _GLYCAM_NAMES

# AMBER writes terminal residues with a letter in front: NALA, CHIE, NLYP.
_PROTEIN_NAMES |= {
    end + name: parent
    for name, parent in [*zip(RESTYPES, RESTYPES, strict=True), *_PROTEIN_NAMES.items()]
    for end in "NC"
    if len(name) == 3
}
_GLYCOSYLATED = frozenset(end + name for name in _GLYCAM_NAMES for end in ("", "N", "C"))

# Force fields name a charge or a modification by a letter behind: SERD, GLYM (myristoyl), TYRP.
_VARIANT_NAMES = {
    name + letter: name for name in RESTYPES for letter in string.ascii_uppercase + string.digits
}

# Some writers do not use capitals. The CCD does, so a lower-case name proves nothing by itself.
_PROTEIN_NAMES |= {form: name for name in RESTYPES for form in (name.lower(), name.capitalize())}

_TERMINAL_OXYGENS = frozenset({"OXT", "OT", "OT1", "OT2", "OC1", "OC2", "O1", "O2", "O'", "O''"})

# Atoms that CHARMM's patches put into the residue at an end of a chain: CT1, CT2 and CT3; ACE.
_TERMINAL_CAPS = frozenset({"CT", "NT", "CAT", "CAY", "CY", "OY"})
_LONE_PAIR = "LP"

# A residue cut off at CG would fit both homoserine (HSE of the CCD) and histidine (of CHARMM), and
# both norleucine amide (NLN of the CCD) and asparagine (of GLYCAM).
_TELLING_ATOMS = {
    "HSE": frozenset({"ND1", "CD2", "CE1", "NE2"}),
    "NLN": frozenset({"OD1", "ND2"}),
}

# CHARMM; AMBER (DA, DA5, RA, RA5, A5 …; DA to DT are in the CCD); PDB files before version 3.
_NUCLEIC_NAMES = frozenset(
    [
        *("ADE", "CYT", "GUA", "THY", "URA"),
        *("R" + base for base in "ACGU"),
        *(sugar + base + end for base in "ACGU" for sugar in ("", "R") for end in "53N"),
        *("D" + base + end for base in "ACGT" for end in "53N"),
        *("+" + base for base in "ACGITU"),
    ]
)
_SUGAR_ATOMS = frozenset({"C1'", "C2'", "C3'", "C4'", "O4'"})

# Water under names that the CCD does not have, and under names that it has for something else.
_OWN_WATER_NAMES = frozenset(
    {"WAT", "H2O", "TIP", "TIP2", "TIP3", "TIP4", "TIP5", "SPCE", "SWM4", "OPC3", "OH2"}
)
_WATER_NAMES = frozenset(
    [
        *("D2O", "TP3", "TP4", "TP5", "T3P", "T4P", "T5P", "SOL", "SPC", "OPC", "OP3", "HO4"),
        *("WTR", "Hoh", "hoh", "Wat", "wat"),
    ]
)
# Oxygen names, and the massless sites of four- and five-point models.
_WATER_ATOMS = frozenset(
    {"O", "OW", "OH2", "OW1", "O1", "MW", "M", "OM", "EPW", "EP", "LP", "LP1", "LP2"}
)

_OVERRIDE_NAMES = frozenset(_PROTEIN_NAMES) | _VARIANT_NAMES.keys() | _NUCLEIC_NAMES | _WATER_NAMES


def override_names() -> frozenset[str]:
    """Names for which `component` needs the atoms seen under them; for others they are unread."""
    return _OVERRIDE_NAMES


def is_name_of_standard(comp_id: str) -> bool:
    """Whether the name means one of the twenty amino acids, in some program if not in the CCD."""
    return comp_id in _AATYPES or comp_id in _PROTEIN_NAMES


def is_of_an_end(atom_name: str) -> bool:
    """Whether an atom that has no slot belongs to an end of a chain (OXT, a cap), or is a lone
    pair."""
    return atom_name in _TERMINAL_OXYGENS | _TERMINAL_CAPS or atom_name.startswith(_LONE_PAIR)


def is_glycosylated_in_glycam(known: Component) -> bool:
    """Whether it is an ASN, SER or THR under the name that GLYCAM gives to one with a glycan."""
    return known.comp_id in _GLYCOSYLATED and not known.is_modified


def _agrees_with_protein(comp_id: str, atoms: frozenset[str]) -> bool:
    parent = _PROTEIN_NAMES[comp_id]
    allowed = _TERMINAL_OXYGENS | SLOT_OF_NAME[_AATYPES[parent]].keys()
    if parent == "ILE":
        allowed |= {"CD"}
    if comp_id != "LYN":  # lysinamide of the CCD has an NT
        allowed |= _TERMINAL_CAPS
    telling = _TELLING_ATOMS.get(comp_id)
    # GROMACS has massless sites beside CH3 and NH3+: MCB1, MNZ2.
    no_atoms = ("MC", "MN", _LONE_PAIR)
    odd = {name for name in atoms - allowed if not name.startswith(no_atoms)}
    return "CA" in atoms and not odd and (telling is None or bool(telling & atoms))


def _override(comp_id: str, atoms: frozenset[str] | None) -> Component | None:
    """What a force field means by the name, if the atoms agree.

    Without atoms, only names of four letters are taken at their word: the CCD has none of those.
    """
    if comp_id in _PROTEIN_NAMES:
        agrees = len(comp_id) == 4 if atoms is None else _agrees_with_protein(comp_id, atoms)
        if agrees:
            return _standard(comp_id, _PROTEIN_NAMES[comp_id], is_modified=False)
    if not atoms:
        return None
    parent = _VARIANT_NAMES.get(comp_id)
    if parent is not None and atoms >= SLOT_OF_NAME[_AATYPES[parent]].keys():
        return _standard(comp_id, parent, is_modified=True)
    if comp_id in _WATER_NAMES and atoms <= _WATER_ATOMS:
        return _other_than_peptide(comp_id, Linking.WATER)
    # PDB files before version 3 write a star for the prime.
    if comp_id in _NUCLEIC_NAMES and _SUGAR_ATOMS.issubset(a.replace("*", "'") for a in atoms):
        return _other_than_peptide(comp_id, Linking.NUCLEIC)
    return None


def _standard(comp_id: str, parent: str, *, is_modified: bool) -> Component:
    aatype = _AATYPES[parent]
    chirality: Literal["L", "none"] = "none" if parent == "GLY" else "L"
    return Component(comp_id, Linking.PEPTIDE, aatype, aatype, is_modified, chirality)


def _other_than_peptide(comp_id: str, linking: Linking) -> Component:
    return Component(comp_id, linking, UNKNOWN, UNKNOWN, False, "none")


@lru_cache(maxsize=8192)
def _component(comp_id: str, atoms: frozenset[str] | None) -> Component | None:
    if comp_id in _OVERRIDE_NAMES:
        override = _override(comp_id, atoms)
        if override is not None:
            return override
    if comp_id in _OWN_WATER_NAMES:
        return _other_than_peptide(comp_id, Linking.WATER)
    line = _TABLE.get(comp_id)
    if line is None:
        return None
    linking, parent, chirality, atom_differences = line.split("\t")
    if linking != "PEPTIDE":
        return _other_than_peptide(comp_id, Linking[linking])
    aatype = _AATYPES.get(parent, UNKNOWN)
    return Component(
        comp_id=comp_id,
        linking=Linking.PEPTIDE,
        kind=_KIND_OF[aatype, atom_differences],
        aatype=aatype,
        is_modified=comp_id not in _AATYPES and comp_id not in _UNSPECIFIC,
        chirality=chirality,  # type: ignore[arg-type]
    )


def component(comp_id: str, atom_names: Collection[str] | None = None) -> Component | None:
    """What a residue name means.

    Parameters
    ----------
    comp_id : str
        Residue name, without blanks; capitals matter.
    atom_names : collection of str, optional
        Heavy atoms seen under this name, read only for `override_names`. There the name of a force
        field wins if these are all atoms of the residue it means, of caps or lone pairs; else the
        CCD does. Without them such a name means what the CCD says, or, if four letters long, what
        the force field does.

    Returns
    -------
    Component or None
        None for what is neither peptide, nucleic acid nor water: a ligand, a cap (ACE, NH2), an
        unknown name.

    Examples
    --------
    >>> component("MSE").aatype == RESTYPES.index("MET")
    True
    >>> component("ATP") is None
    True
    """
    atoms = None
    if atom_names is not None and comp_id in _OVERRIDE_NAMES:
        atoms = frozenset(atom_names)
    return _component(comp_id, atoms)
