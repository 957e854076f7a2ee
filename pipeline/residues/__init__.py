"""Chemistry tables: residue types, atom14, components and their parents, torsions."""

from .atom14 import (
    ATOM14_ELEMENT,
    ATOM14_EXISTS,
    ATOM14_NAMES,
    BACKBONE_SLOTS,
    N_SLOTS,
    SLOT_OF_NAME,
)
from .bonds import MAX_PEPTIDE_BOND
from .chirality import wrong_hands
from .components import (
    COMPONENTS_SOURCE,
    COMPONENTS_VERSION,
    KINDS,
    Component,
    Linking,
    component,
    override_names,
)
from .hydrogens import with_hydrogens_named_for_metals
from .known_atoms import (
    ALTERNATIVE_SLOT_OF,
    ATOM_CODES,
    N_KINDS,
    SLOT_OF,
    atom_indices,
)
from .ramachandran import ramachandran_regions
from .torsions import (
    CHI_ATOMS,
    CHI_MASK,
    CHI_PI_PERIODIC,
    CHI_SLOTS,
    SYMMETRIC_ATOMS,
    SYMMETRIC_SLOTS,
    VAN_DER_WAALS_RADII,
)
from .types import (
    AATYPE_OF_LETTER,
    MASK,
    N_TYPES,
    ONE_LETTER,
    RESTYPES,
    UNKNOWN,
    sequence_string,
)

__all__ = [
    "AATYPE_OF_LETTER",
    "ALTERNATIVE_SLOT_OF",
    "ATOM14_ELEMENT",
    "ATOM14_EXISTS",
    "ATOM14_NAMES",
    "ATOM_CODES",
    "BACKBONE_SLOTS",
    "CHI_ATOMS",
    "CHI_MASK",
    "CHI_PI_PERIODIC",
    "CHI_SLOTS",
    "COMPONENTS_SOURCE",
    "COMPONENTS_VERSION",
    "KINDS",
    "MASK",
    "MAX_PEPTIDE_BOND",
    "N_KINDS",
    "N_SLOTS",
    "N_TYPES",
    "ONE_LETTER",
    "RESTYPES",
    "SLOT_OF",
    "SLOT_OF_NAME",
    "SYMMETRIC_ATOMS",
    "SYMMETRIC_SLOTS",
    "UNKNOWN",
    "VAN_DER_WAALS_RADII",
    "Component",
    "Linking",
    "atom_indices",
    "component",
    "override_names",
    "ramachandran_regions",
    "sequence_string",
    "with_hydrogens_named_for_metals",
    "wrong_hands",
]
