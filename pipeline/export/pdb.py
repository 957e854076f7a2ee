"""Chains of one entry → PDB text.

Format: wwPDB "Atomic Coordinate Entry Format Description", version 3.30.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from textwrap import wrap

import numpy as np

from pipeline.chain import Chain
from pipeline.export import ellipsoids as ell
from pipeline.export.atoms import (
    Kept,
    entity_names,
    file_atoms,
    insertion_codes,
    kept_names,
    rows_with_atoms,
    shortest,
    thousandths,
)
from pipeline.export.bonds import Bond, bonds_between, once_each
from pipeline.export.chain_ids import LETTERS, fits_pdb
from pipeline.export.ellipsoids import Ellipsoids
from pipeline.export.errors import ExportError
from pipeline.export.others import OtherResidue
from pipeline.parsing.entry_info import Connection

MAX_SERIAL = 99_999
_MAX_DISULPHIDES = 999
_MAX_U = 9_999_999
_MIN_U = -999_999
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_BLANK = "_"
"""How the dataset calls a chain whose id is blank."""


def pdb_text(
    chains: Sequence[Chain],
    ellipsoids: Sequence[Ellipsoids] | None = None,
    *,
    others: Sequence[OtherResidue] = (),
    kept: Mapping[str, Kept] | None = None,
    connections: Sequence[Connection] = (),
    comment: str = "",
) -> str:
    """A PDB file of the chains of one entry and assembly.

    Parameters
    ----------
    chains : sequence of Chain
        Of one or several models; each chain with an id of its own, see `chain_ids`.
    ellipsoids : sequence of Ellipsoids, optional
        Of each chain, which adds a chain of pseudo-atoms for it.
    others : sequence of OtherResidue
        What is beside the protein, in every model; under ids that agree with those of the chains.
    kept : mapping, optional
        ``label_asym_id`` → residues of the chain that are written as they were read.
    connections : sequence of Connection
        Bonds to list, by the ids of the chains, where they are there; disulphides always are, if
        `kept` is given.
    comment : str
        Lines, as remarks.

    Raises
    ------
    ExportError
        The chains do not fit the format.
    """
    _check_chains(chains, kept or {})
    drawn = [] if ellipsoids is None else list(zip(chains, ellipsoids, strict=True))
    ids = _ellipsoid_ids(chains) if drawn else {}
    lines = [*_header(chains, ids, comment, kept or {})]
    if kept is not None:
        last = [chain for chain in chains if chain.model == chains[-1].model]
        lines += _bonds(bonds_between(last, kept, others, connections), chains[0].entry_id)
    models = list(dict.fromkeys(chain.model for chain in chains))
    several = models != [1]
    for model in models:
        if several:
            lines.append(f"MODEL     {model:>4}")
        serial = 1
        for chain in (c for c in chains if c.model == model):
            serial = _add_chain(lines, chain, (kept or {}).get(chain.label_asym_id, {}), serial)
        serial = _add_others(lines, others, serial)
        for chain, of_chain in ((c, e) for c, e in drawn if c.model == model):
            serial = _add_ellipsoids(lines, chain, of_chain, ids[chain.auth_asym_id], serial)
        if serial - 1 > MAX_SERIAL:
            raise _too_much(
                chains[0].entry_id,
                f"has {serial - 1:,} records of atoms, and a PDB file numbers {MAX_SERIAL:,}",
            )
        if several:
            lines.append("ENDMDL")
    lines.append("END")
    return "".join(f"{line:<80}\n" for line in lines)


def _too_much(name: str, why: str) -> ExportError:
    return ExportError(f"{name} {why}; write mmCIF (--format cif), which has no such limit")


def _check_chains(chains: Sequence[Chain], kept: Mapping[str, Kept]) -> None:
    seen: dict[tuple[int, str], str] = {}
    for chain in chains:
        ident = chain.auth_asym_id
        if not fits_pdb(ident):
            raise _too_much(chain.uid, f"has the chain id {ident!r}, and a PDB file has one letter")
        other = seen.setdefault((chain.model, ident), chain.uid)
        if other != chain.uid:
            raise _too_much(chain.uid, f"and {other} both have the author's chain id {ident!r}")
        numbers = chain.auth_seq_id[rows_with_atoms(chain, kept.get(chain.label_asym_id, {}))]
        low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        if low < -999 or high > 9999:
            raise _too_much(
                chain.uid,
                f"has residue numbers from {low} to {high}, and a PDB file goes from -999 to 9999",
            )
        if not 0 <= chain.model <= 9999:
            raise _too_much(chain.uid, "has a model number over 9999")
        coords = chain.coords
        low, high = (int(coords.min()), int(coords.max())) if len(coords) else (0, 0)
        if low < -999_999 or high > 9_999_999:
            raise _too_much(
                chain.uid,
                f"has coordinates from {low / 1000} to {high / 1000} Å, and a PDB file goes from "
                "-999.999 to 9999.999",
            )
        b = chain.b_factor
        if not ((b > -99.995) & (b < 999.995)).all():
            raise _too_much(
                chain.uid,
                f"has B-factors from {b.min()} to {b.max()}, and a PDB file goes from -99.99 to "
                "999.99",
            )


def _ellipsoid_ids(chains: Sequence[Chain]) -> dict[str, str]:
    """Chain id → id of the chain of its ellipsoids: the small letter of a capital if it is free."""
    used = {chain.auth_asym_id for chain in chains}
    letters: dict[str, str] = {}
    for ident in dict.fromkeys(chain.auth_asym_id for chain in chains):
        free = [c for c in (ident.swapcase(), *LETTERS) if c not in used and c in LETTERS]
        if not free:
            raise _too_much(
                chains[0].entry_id,
                f"has {len(used)} chains, and a PDB file has no letters left for their ellipsoids",
            )
        letters[ident] = free[0]
        used.add(free[0])
    return letters


def _letter(ident: str) -> str:
    return " " if ident == _BLANK else ident


# ---- header -------------------------------------------------------------------------------------


def _header(
    entry: Sequence[Chain], ids: dict[str, str], comment: str, kept: Mapping[str, Kept]
) -> Iterator[str]:
    about = entry[0].metadata
    name = about.file_entry_id or ""
    deposited = ""
    with contextlib.suppress(ValueError):  # none, or 2001-02-31
        day = date.fromisoformat(about.deposition_date or "")
        deposited = f"{day.day:02d}-{_MONTHS[day.month - 1]}-{day.year % 100:02d}"
    ident = name.upper() if len(name) == 4 else ""
    if ident or deposited:
        yield f"HEADER    {'':<40}{deposited:<9}   {ident}"
    yield from _continued("TITLE ", about.title)
    yield from _continued("EXPDTA", about.method)
    if about.resolution is not None:
        resolution = shortest(np.float32(about.resolution), 2)
        yield "REMARK   2"
        yield f"REMARK   2 RESOLUTION. {resolution:>7} ANGSTROMS."
    remarks = comment.splitlines()
    remarks += [
        f"CHAIN {new}: GAUSSIAN ELLIPSOIDS OF THE RESIDUES OF CHAIN {old}"
        for old, new in ids.items()
    ]
    for line in (part for remark in remarks for part in wrap(_ascii(remark), 68)):
        yield f"REMARK   6 {line}"
    chains = {chain.auth_asym_id: chain for chain in reversed(entry)}
    missing = [
        line
        for c in reversed(chains.values())
        for line in _missing_residues(c, kept.get(c.label_asym_id, {}))
    ]
    if missing:
        yield "REMARK 465"
        yield "REMARK 465 MISSING RESIDUES"
        yield "REMARK 465   M RES C SSSEQI"
        yield from missing
    for described in reversed(chains.values()):
        yield from _sequence(described, kept.get(described.label_asym_id, {}))


def _ascii(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode("ascii").split())


def _continued(record: str, text: str | None) -> Iterator[str]:
    """A text over as many lines as it needs."""
    for number, line in enumerate(wrap(_ascii(text or ""), 69, break_on_hyphens=False), start=1):
        yield f"{record}    {line}" if number == 1 else f"{record} {number:>3} {line}"


def _sequence(chain: Chain, kept: Kept) -> Iterator[str]:
    names = entity_names(chain.entity_sequence or "")
    for number, name in kept_names(chain, kept).items() if names else ():
        names[number - 1] = name
    if len(names) > 9999:
        raise _too_much(chain.uid, "has a sequence of over 9,999 residues")
    for number, begin in enumerate(range(0, len(names), 13), start=1):
        line = " ".join(f"{name:>3}" for name in names[begin : begin + 13])
        yield f"SEQRES {number:>3} {_letter(chain.auth_asym_id)} {len(names):>4}  {line}"


def _missing_residues(chain: Chain, kept: Kept) -> list[str]:
    """REMARK 465 of a chain: what tells readers where its residues stand in SEQRES.

    The author's numbers of missing residues are not stored. They are counted on from the residues
    around; where that comes out wrong, nothing is said at all.
    """
    if chain.entity_sequence is None:
        return []
    numbers = _numbers_of_missing(chain, kept)
    if numbers is None:
        return []
    names = entity_names(chain.entity_sequence)
    letter = _letter(chain.auth_asym_id)
    return [
        f"REMARK 465     {names[index - 1]} {letter} {number:>5}"
        for index, number in sorted(numbers.items())
    ]


def _numbers_of_missing(chain: Chain, kept: Kept) -> dict[int, int] | None:
    """Place in the entity sequence → author number, of residues without atoms."""
    there = rows_with_atoms(chain, kept)
    index, auth = chain.residue_index[there].tolist(), chain.auth_seq_id[there].tolist()
    codes = chain.ins_code[there].tolist()
    n = len(chain.entity_sequence or "")
    numbers = {k: auth[0] - index[0] + k for k in range(1, index[0])}
    numbers |= {k: auth[-1] - index[-1] + k for k in range(index[-1] + 1, n + 1)}
    for k in range(len(index) - 1):
        gap = index[k + 1] - index[k] - 1
        between = auth[k + 1] - auth[k] - 1
        if gap and (between != gap or codes[k] > codes[k + 1] > 0):
            return None
        numbers |= {index[k] + j: auth[k] + j for j in range(1, gap + 1)}
    if not all(-999 <= number <= 9999 for number in numbers.values()):
        return None
    return numbers


# ---- atoms --------------------------------------------------------------------------------------


def _bonds(bonds: Sequence[Bond], entry_id: str) -> Iterator[str]:
    """SSBOND, which knows no alternates and so tells a pair of residues once, and LINK."""
    number = 0
    for bond in once_each(bonds):
        one, other = bond.one, bond.other
        if bond.kind == "disulf":
            number += 1
            if number > _MAX_DISULPHIDES:
                raise _too_much(
                    entry_id,
                    f"has more than {_MAX_DISULPHIDES} disulphides, as many as a PDB file numbers",
                )
            a, b = (
                f"{e.comp_id:>3} {_letter(e.auth_asym_id)} {e.auth_seq_id:>4}{e.ins_code:1}"
                for e in (one, other)
            )
            yield f"SSBOND {number:>3} {a}   {b}{'':23}  1555   1555 {bond.length:5.2f}"
        else:
            a, b = (
                f"{_padded(e.name, e.element)}{e.altloc:1}{e.comp_id:>3} "
                f"{_letter(e.auth_asym_id)}{e.auth_seq_id:>4}{e.ins_code:1}"
                for e in (one, other)
            )
            yield f"LINK        {a}{'':15}{b}    1555   1555 {bond.length:5.2f}"


def _padded(name: str, element: str) -> str:
    """A name in its four columns: symbols of one letter stand in the second."""
    return f"{name:<4}" if len(element) == 2 or len(name) > 3 else f" {name:<3}"


def _is_too_wide(name: str, altloc: str, *xyz: str) -> bool:
    return len(name) > 4 or len(altloc) > 1 or max(map(len, xyz)) > 8


def _add_chain(lines: list[str], chain: Chain, kept: Kept, serial: int) -> int:
    letter = _letter(chain.auth_asym_id)
    places = [
        f"{letter}{number:>4}{code:1}"
        for number, code in zip(chain.auth_seq_id.tolist(), insertion_codes(chain), strict=True)
    ]
    b_factors = [f"{b:6.2f}" for b in chain.b_factor.tolist()]
    last = ""
    for atom in file_atoms(chain, kept):
        x, y, z = map(thousandths, atom.xyz)
        last = f"{atom.comp_id:>3} {places[atom.row]}"
        name = _padded(atom.name, atom.element)
        if len(atom.comp_id) > 3 or _is_too_wide(name, atom.altloc, x, y, z):
            raise _too_much(last, f"has an atom {atom.name} that does not fit the columns")
        lines.append(
            f"{'HETATM' if atom.hetero else 'ATOM':<6}{serial:>5} {name}{atom.altloc:1}{last}   "
            f"{x:>8}{y:>8}{z:>8}{atom.occupancy / 100:6.2f}{b_factors[atom.row]}"
            f"          {atom.element:>2}"
        )
        serial += 1
    lines.append(f"TER   {serial:>5}      {last}")
    return serial + 1


def _add_others(lines: list[str], others: Sequence[OtherResidue], serial: int) -> int:
    """Nucleic acids as chains that end, then what is HETATM."""
    strands: dict[str, list[OtherResidue]] = {}
    for residue in others:
        if residue.is_nucleic:
            strands.setdefault(residue.auth_asym_id, []).append(residue)
    for strand in strands.values():
        for residue in strand:
            serial = _add_residue(lines, residue, serial)
        lines.append(f"TER   {serial:>5}      {_place(strand[-1])}")
        serial += 1
    for residue in others:
        if not residue.is_nucleic:
            serial = _add_residue(lines, residue, serial)
    return serial


def _place(residue: OtherResidue) -> str:
    name = f"{residue.comp_id} {_letter(residue.auth_asym_id)}{residue.auth_seq_id}"
    if len(residue.comp_id) > 3 or not -999 <= residue.auth_seq_id <= 9999:
        raise _too_much(name, "has a name or a number that is too long for a PDB file")
    return (
        f"{residue.comp_id:>3} {_letter(residue.auth_asym_id)}{residue.auth_seq_id:>4}"
        f"{residue.ins_code:1}"
    )


def _add_residue(lines: list[str], residue: OtherResidue, serial: int) -> int:
    record, place = "HETATM" if residue.hetero else "ATOM", _place(residue)
    for atom in residue.atoms:
        name = _padded(atom.name, atom.element)
        x, y, z = map(thousandths, atom.xyz)
        if _is_too_wide(name, atom.altloc, x, y, z):
            raise _too_much(place, f"has an atom {atom.name} that does not fit the columns")
        lines.append(
            f"{record:<6}{serial:>5} {name}{atom.altloc:1}{place}   {x:>8}{y:>8}{z:>8}"
            f"{atom.occupancy / 100:6.2f}{0:6.2f}          {atom.element:>2}"
        )
        serial += 1
    return serial


def _add_ellipsoids(
    lines: list[str], chain: Chain, ellipsoids: Ellipsoids, letter: str, serial: int
) -> int:
    codes = insertion_codes(chain)
    tenthousandths = np.rint(ellipsoids.u.astype(np.float64) * 1e4).astype(np.int64)
    if (tenthousandths > _MAX_U).any() or (tenthousandths < _MIN_U).any():
        raise _too_much(chain.uid, "has an ellipsoid too large for seven columns of ANISOU")
    if (ellipsoids.b_equivalent >= 999.995).any():
        raise _too_much(chain.uid, "has an ellipsoid whose equivalent B-factor is over 999.99 Å²")
    for k, r in enumerate(ellipsoids.residue.tolist()):
        # All three record names are followed by the same: serial number, names, numbers.
        place = (
            f"{serial:>5}  {ell.ATOM:<3} {ell.RESIDUE} {letter}"
            f"{chain.auth_seq_id[r]:>4}{codes[r]:1}"
        )
        x, y, z = (f"{value:8.3f}" for value in ellipsoids.centre[k].tolist())
        lines.append(
            f"HETATM{place}   {x}{y}{z}  1.00{ellipsoids.b_equivalent[k]:6.2f}          "
            f"{ell.ELEMENT:>2}"
        )
        u = "".join(f"{value:>7}" for value in tenthousandths[k].tolist())
        lines.append(f"ANISOU{place} {u}      {ell.ELEMENT:>2}")
        serial += 1
    return serial
