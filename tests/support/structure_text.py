"""Tiny structure files for the parsing tests: atoms → PDB or mmCIF text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.parsing import ParsedEntry, read_chains

_BACKBONE = {
    "N": (0.0, 0.0, 0.0),
    "CA": (1.2, 0.8, 0.0),
    "C": (2.0, -0.3, 0.3),
    "O": (2.0, -1.4, 0.8),
    "CB": (1.2, 1.5, 1.2),
}
STEP = 3.0
"""Å from one residue to the next along x: C and the next N are then 1.1 Å apart."""


@dataclass(frozen=True)
class Atom:
    """One atom; everything that is written is text, so that a test may write nonsense."""

    name: str
    comp: str = "ALA"
    chain: str = "A"
    number: str = "1"
    ins: str = ""
    xyz: tuple[str, str, str] = ("0.000", "0.000", "0.000")
    altloc: str = ""
    occupancy: str = "1.00"
    b: str = "10.00"
    element: str | None = None
    record: str = "ATOM"
    model: int = 1
    seq: str = "."
    entity: str = "1"
    asym: str | None = None

    @property
    def symbol(self) -> str:
        return self.name[:1] if self.element is None else self.element


def residue(
    comp: str = "ALA",
    number: int | str = 1,
    *,
    place: float | None = None,
    names: Sequence[str] | None = None,
    shift: float = 0.0,
    **fields: object,
) -> list[Atom]:
    """The backbone, and CB if it has one, of a residue at `place` (by default its number) along the
    chain."""
    if names is None:
        names = ("N", "CA", "C", "O") if comp == "GLY" else ("N", "CA", "C", "O", "CB")
    at = float(number) if place is None else place
    fields.setdefault("seq", str(number))
    atoms = []
    for name in names:
        x, y, z = _BACKBONE.get(name, (1.0, 2.0, 2.0))
        xyz = (f"{x + STEP * at:.3f}", f"{y + shift:.3f}", f"{z:.3f}")
        atoms.append(Atom(name, comp, number=str(number), xyz=xyz, **fields))  # type: ignore[arg-type]
    return atoms


def chain(comps: Iterable[str], first: int = 1, **fields: object) -> list[Atom]:
    """Bonded residues numbered from `first`."""
    return [a for k, c in enumerate(comps, start=first) for a in residue(c, k, **fields)]


def change(atoms: Iterable[Atom], **fields: object) -> list[Atom]:
    """The atoms with other fields."""
    return [replace(a, **fields) for a in atoms]  # type: ignore[arg-type]


# ---- PDB -------------------------------------------------------------------------------------


def pdb_line(atom: Atom, serial: int = 1) -> str:
    name = atom.name if len(atom.name) == 4 else f" {atom.name}".ljust(4)
    x, y, z = atom.xyz
    return (
        f"{atom.record:<6}{serial % 100000:>5} {name}{atom.altloc or ' '}{atom.comp:>3}"
        f"{atom.chain[-2:]:>2}{atom.number:>4}{atom.ins or ' '}   {x:>8}{y:>8}{z:>8}"
        f"{atom.occupancy:>6}{atom.b:>6}{'':10}{atom.symbol:>2}"
    )


def pdb_text(*parts: Atom | str | Iterable[Atom | str]) -> str:
    """Atoms and literal lines, in order."""
    lines: list[str] = []
    for part in parts:
        items = [part] if isinstance(part, (Atom, str)) else part
        for item in items:
            lines.append(item if isinstance(item, str) else pdb_line(item, len(lines) + 1))
    return "\n".join(lines) + "\n"


def pdb_models(atoms: Sequence[Atom], head: Sequence[str] = ()) -> str:
    """All atoms, with MODEL records if they are of several models."""
    numbers = list(dict.fromkeys(a.model for a in atoms))
    if numbers == [1]:
        return pdb_text(head, atoms, "END")
    parts: list[Atom | str] = []
    for number in numbers:
        parts += [f"MODEL     {number:>4}", *(a for a in atoms if a.model == number), "ENDMDL"]
    return pdb_text(head, parts, "END")


def seqres(chain_id: str, comps: Sequence[str]) -> list[str]:
    return [
        f"SEQRES {k // 13 + 1:>3} {chain_id} {len(comps):>4}  " + " ".join(comps[k : k + 13])
        for k in range(0, len(comps), 13)
    ]


# ---- mmCIF -----------------------------------------------------------------------------------

COLUMNS = {
    "group_PDB": lambda a: a.record,
    "id": lambda a: "1",
    "type_symbol": lambda a: a.symbol,
    "label_atom_id": lambda a: a.name,
    "label_alt_id": lambda a: a.altloc,
    "label_comp_id": lambda a: a.comp,
    "label_asym_id": lambda a: a.chain if a.asym is None else a.asym,
    "label_entity_id": lambda a: a.entity,
    "label_seq_id": lambda a: a.seq,
    "pdbx_PDB_ins_code": lambda a: a.ins,
    "Cartn_x": lambda a: a.xyz[0],
    "Cartn_y": lambda a: a.xyz[1],
    "Cartn_z": lambda a: a.xyz[2],
    "occupancy": lambda a: a.occupancy,
    "B_iso_or_equiv": lambda a: a.b,
    "auth_seq_id": lambda a: a.number,
    "auth_asym_id": lambda a: a.chain,
    "pdbx_PDB_model_num": lambda a: str(a.model),
}


def quoted(value: str) -> str:
    """A value as CIF wants it written."""
    value = value.strip()
    if not value:
        return "?"
    if any(c in value for c in " '\"") or value[0] in "_#;$[]":
        return f'"{value}"' if '"' not in value else f"'{value}'"
    return value


def atom_rows(atoms: Iterable[Atom], columns: Sequence[str] = tuple(COLUMNS)) -> list[list[str]]:
    return [[quoted(COLUMNS[c](a)) for c in columns] for a in atoms]


def loop(category: str, tags: Sequence[str], rows: Sequence[Sequence[str]], aligned=True) -> str:
    head = "loop_\n" + "".join(f"_{category}.{tag}\n" for tag in tags)
    widths = [max(len(r[k]) for r in rows) if aligned and rows else 0 for k in range(len(tags))]
    end = " \n" if aligned else "\n"
    body = "".join(
        " ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + end for row in rows
    )
    return head + body + "# \n"


def cif_text(
    atoms: Sequence[Atom],
    before: str = "",
    after: str = "",
    columns: Sequence[str] = tuple(COLUMNS),
    aligned: bool = True,
) -> str:
    return (
        "data_TEST\n# \n"
        + before
        + loop("atom_site", columns, atom_rows(atoms, columns), aligned)
        + after
    )


def entity(sequence: Sequence[str], asyms: Sequence[str] = ("A",), ident: str = "1") -> str:
    """The records that describe a polypeptide."""
    return (
        f"_entity.id {ident}\n_entity.type polymer\n# \n"
        f"_entity_poly.entity_id {ident}\n_entity_poly.type 'polypeptide(L)'\n# \n"
        + loop(
            "entity_poly_seq",
            ("entity_id", "num", "mon_id"),
            [[ident, str(k), c] for k, c in enumerate(sequence, start=1)],
        )
        + loop("struct_asym", ("id", "entity_id"), [[a, ident] for a in asyms])
    )


def read(text: str, **options: object) -> ParsedEntry:
    return read_chains(text.encode(), "test", **options)  # type: ignore[arg-type]


def in_format(kind: str, atoms: Sequence[Atom]) -> str:
    """The same atoms without any description, as a PDB or an mmCIF file."""
    return pdb_models(atoms) if kind == "pdb" else cif_text(atoms)
