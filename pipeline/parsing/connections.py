"""Bonds that a file lists: ``_struct_conn`` of mmCIF, LINK of a PDB file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.parsing.cif_words import Column
from pipeline.parsing.entry_info import BondedAtom, Connection
from pipeline.parsing.numbers import whole_number

_KINDS = ("covale", "metalc")
_IDENTITY = ("1_555", "1555")


def connections_of_category(columns: Mapping[str, Column]) -> tuple[Connection, ...]:
    """Of the rows of ``_struct_conn``: covalent bonds and those to metals, within the asymmetric
    unit. A row without a name or a number is passed over."""
    kinds = columns.get("conn_type_id", ())
    blank: Column = [None] * len(kinds)

    def column(tag: str, instead: str = "") -> Column:
        return columns.get(tag) or columns.get(instead) or blank

    parts = []
    for k in "12":
        names = (
            column(f"ptnr{k}_auth_asym_id", f"ptnr{k}_label_asym_id"),
            column(f"ptnr{k}_auth_seq_id", f"ptnr{k}_label_seq_id"),
            column(f"pdbx_ptnr{k}_pdb_ins_code"),
            column(f"ptnr{k}_auth_comp_id", f"ptnr{k}_label_comp_id"),
            column(f"ptnr{k}_label_atom_id"),
        )
        parts.append([_atom(*values) for values in zip(*names, strict=False)])
    symmetry = [column(f"ptnr{k}_symmetry") for k in "12"]
    rows = zip(kinds, *parts, *symmetry, strict=False)
    found = []
    for kind, one, other, *operators in rows:
        if (kind or "").lower().startswith(_KINDS) and _is_here(operators) and one and other:
            found.append(Connection((kind or "").lower()[:6], (one, other)))
    return tuple(dict.fromkeys(found))


def connections_of_links(lines: Sequence[str]) -> tuple[Connection, ...]:
    """Of LINK records, within the asymmetric unit."""
    found = []
    for line in lines:
        line = line.ljust(80)
        one, other = (
            _atom(
                line[first + 9 : first + 10].strip() or "_",
                line[first + 10 : first + 14].strip(),
                line[first + 14 : first + 15].strip(),
                line[first + 5 : first + 8].strip(),
                line[first : first + 4].strip(),
            )
            for first in (12, 42)
        )
        if one and other and _is_here([line[59:65].strip(), line[66:72].strip()]):
            found.append(Connection("", (one, other)))
    return tuple(dict.fromkeys(found))


def _is_here(operators: Sequence[str | None]) -> bool:
    one, other = (operator or "1_555" for operator in operators)
    return one == other or (one in _IDENTITY and other in _IDENTITY)


def _atom(
    chain: str | None, number: str | None, code: str | None, comp: str | None, name: str | None
) -> BondedAtom | None:
    value = None if number is None else whole_number(number)
    if chain is None or value is None or comp is None or name is None:
        return None
    return BondedAtom(chain, value, code or "", comp, name)
