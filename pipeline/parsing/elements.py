"""Elements of the atoms of a PDB file: columns 77–78, or what the atoms' names say.

Format: wwPDB "Atomic Coordinate Entry Format Description", version 3.30: an element's symbol is
right-justified in the first two columns of an atom's name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.fields import BLANK, Field, changes, names
from pipeline.residues.components import is_name_of_standard

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SYMBOLS = frozenset(
    b"H HE LI BE B C N O F NE NA MG AL SI P S CL AR K CA SC TI V CR MN FE CO NI CU ZN GA GE AS SE "
    b"BR KR RB SR Y ZR NB MO TC RU RH PD AG CD IN SN SB TE I XE CS BA LA CE PR ND PM SM EU GD TB "
    b"DY HO ER TM YB LU HF TA W RE OS IR PT AU HG TL PB BI PO AT RN FR RA AC TH PA U NP PU AM CM "
    b"BK CF".split()
)
_IONS_OF_CHARMM = {
    b"LIT": b"LI", b"SOD": b"NA", b"POT": b"K", b"RUB": b"RB", b"CES": b"CS", b"CAL": b"CA",
    b"BAR": b"BA", b"CAD": b"CD", b"CLA": b"CL",
}  # fmt: skip


def read_elements(
    rows: Field, name: NDArray[np.bytes_], comp_id: NDArray[np.bytes_]
) -> NDArray[np.bytes_]:
    """Element symbols; from the name where columns 77–78 hold something else.

    Files from before 1996 have the entry's id and a line number there, and many programs nothing.

    Parameters
    ----------
    rows : (n, 80) uint8
        Records of atoms.
    name, comp_id : (n,) bytes

    Returns
    -------
    (n,) bytes
    """
    element = names(rows[:, 76:78])
    letters = element.view(np.uint8).reshape(len(rows), -1) & 0xDF
    first, second = letters[:, 0], letters[:, -1]
    proper = (first >= ord("A")) & (first <= ord("Z"))
    proper &= (second == 0) | ((second >= ord("A")) & (second <= ord("Z")))
    if proper.all():
        return element
    guessed = np.zeros(len(rows), "S2")
    odd = np.flatnonzero(~proper)
    # The atoms of the twenty amino acids have symbols of one letter.
    unique, inverse = np.unique(name[odd], return_inverse=True)
    guessed[odd] = np.array([_letters(text)[:1] for text in unique.tolist()], "S2")[inverse]
    heads = changes(comp_id)
    of_others = [not is_name_of_standard(c.decode("latin-1")) for c in comp_id[heads].tolist()]
    others = odd[np.repeat(of_others, np.diff(heads, append=len(rows)))[odd]]
    if len(others):
        is_first_blank = rows[:, 12] == BLANK
        is_justified = bool((is_first_blank & (rows[:, 13] != BLANK)).any())
        for k, text, comp in zip(
            others.tolist(), name[others].tolist(), comp_id[others].tolist(), strict=True
        ):
            begins_left = is_justified and not is_first_blank[k]
            guessed[k] = _element(text, comp, begins_left=begins_left)
    return np.where(proper, element, guessed)


def _element(name: bytes, comp_id: bytes, *, begins_left: bool) -> bytes:
    """The symbol in a name of an atom of a ligand or an ion.

    Parameters
    ----------
    begins_left : bool
        The name begins in the first of its columns, in a file where some do not.
    """
    letters, of_residue = _letters(name), _letters(comp_id)
    if letters == of_residue:  # an ion: Na+, ZN2
        symbol = _IONS_OF_CHARMM.get(letters, letters)
        if symbol in _SYMBOLS:
            return symbol
    two = letters[:2]
    # Names of four characters begin in the first column whatever their element.
    if begins_left and len(name) < 4 and name[:2].upper() == two and letters[:1] != b"H":
        return two if two in _SYMBOLS else letters[:1]
    return letters[:1]


def _letters(text: bytes) -> bytes:
    return bytes(c for c in text.upper() if c in _LETTERS)
