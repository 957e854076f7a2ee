"""Regenerate ``components.tsv`` from the chemical component dictionary (CCD) bundled with biotite.

    python -m pipeline.residues.generate_components

A component keeps the slots of its parent only where its *bonds* say so. Names alone mislead in both
directions: in β-amino acids the C is not bonded to CA, so N, CA and C make no backbone frame, and
the selenium of MSE stands in the place of SD under another name. The walk therefore starts at CA
and follows the bonds of the parent; an atom counts when its name (or, where only one atom can be
meant, its place) agrees, bonds that close a ring included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .atom14 import ATOM14_NAMES
from .types import RESTYPES

TABLE_VERSION = 1
"""Bump by hand when a rule below changes what the table says."""

TABLE_PATH = Path(__file__).with_name("components.tsv")

WATERS = frozenset(("DOD", "HOH", "MTO"))
"""Components of the CCD that are water (it types them NON-POLYMER); other names: components.py."""

# The CCD gives these no parent: both are letters of the genetic code in their own right.
_PARENT_OVERRIDES = {"PYL": "LYS", "SEC": "CYS"}

# Where the bonds leave a choice between two atoms: a carboxylate of γ-carboxyglutamate, and the
# methyl of α-aminoisobutyrate on the side where an L residue has its CB.
_CHOSEN_ATOMS = {
    "AIB": {"CB2": "CB"},
    "CGU": {"CD1": "CD", "OE11": "OE1", "OE12": "OE2"},
}

_HYDROGENS = ("H", "D")

# Taken by name alone: in a β-amino acid the one carbon left at CA is no carbonyl.
_BACKBONE = frozenset(("N", "CA", "C", "O"))

# An X: only what every amino acid has.
_X_BONDS = (("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", "CB"))


@dataclass(frozen=True, slots=True)
class DictionaryComponent:
    """What the CCD says of one component; hydrogens left out."""

    comp_id: str
    type: str
    parent: str
    elements: Mapping[str, str]
    bonds: frozenset[tuple[str, str]]

    @property
    def linking(self) -> str:
        """``PEPTIDE``, ``NUCLEIC``, ``WATER`` or ``OTHER``.

        β- and γ-peptide types are positions of a chain, so they are peptides (of type X);
        ``peptide-like`` is what the CCD calls inhibitors, whole, and they are not.
        """
        if self.comp_id in WATERS:
            return "WATER"
        if "PEPTIDE" in self.type and self.type != "PEPTIDE-LIKE":
            return "PEPTIDE"
        if "DNA" in self.type or "RNA" in self.type:
            return "NUCLEIC"
        return "OTHER"

    @property
    def chirality(self) -> str:
        if self.linking != "PEPTIDE" or self.type[:2] not in ("L-", "D-"):
            return "none"
        return self.type[0]

    def neighbours(self, atom: str) -> list[str]:
        return sorted(b for a, b in self.bonds if a == atom)


def read_dictionary() -> tuple[dict[str, DictionaryComponent], str]:
    """The CCD of the installed biotite, and the date of its latest change (ISO)."""
    from biotite.structure.info.ccd import get_ccd

    ccd = get_ccd()
    table = ccd["chem_comp"]
    types = {
        comp_id: (kind.upper(), parent)
        for comp_id, kind, parent in zip(
            table["id"].as_array(str).tolist(),
            table["type"].as_array(str).tolist(),
            table["mon_nstd_parent_comp_id"].as_array(str, "").tolist(),
            strict=True,
        )
    }
    wanted = {
        comp_id
        for comp_id, (kind, _) in types.items()
        if "PEPTIDE" in kind and kind != "PEPTIDE-LIKE"
    }

    def rows(category: str, *columns: str) -> Iterable[tuple[str, ...]]:
        comp_ids = ccd[category]["comp_id"].as_array(str)
        keep = np.isin(comp_ids, sorted(wanted))
        values = [ccd[category][column].as_array(str)[keep].tolist() for column in columns]
        return zip(comp_ids[keep].tolist(), *values, strict=True)

    elements: dict[str, dict[str, str]] = {comp_id: {} for comp_id in types}
    for comp_id, atom, element in rows("chem_comp_atom", "atom_id", "type_symbol"):
        if element.upper() not in _HYDROGENS:
            elements[comp_id][atom] = element.upper()
    bonds: dict[str, set[tuple[str, str]]] = {comp_id: set() for comp_id in types}
    for comp_id, a, b in rows("chem_comp_bond", "atom_id_1", "atom_id_2"):
        if a in elements[comp_id] and b in elements[comp_id]:
            bonds[comp_id] |= {(a, b), (b, a)}
    components = {
        comp_id: DictionaryComponent(
            comp_id, kind, parent, elements[comp_id], frozenset(bonds[comp_id])
        )
        for comp_id, (kind, parent) in types.items()
    }
    return components, max(table["pdbx_modified_date"].as_array(str).tolist())


def standard_parent(comp_id: str, dictionary: Mapping[str, DictionaryComponent]) -> str:
    """The one standard residue that `comp_id` is made from, or ``"X"``.

    Parents that are themselves modified are followed. A D, β or γ residue anywhere on the way, no
    parent, several parents, or a circle of parents is X.
    """
    seen: set[str] = set()
    while comp_id not in RESTYPES:
        entry = dictionary.get(comp_id)
        if entry is None or comp_id in seen or entry.linking != "PEPTIDE":
            return "X"
        if entry.chirality == "D" or "BETA" in entry.type or "GAMMA" in entry.type:
            return "X"
        seen.add(comp_id)
        comp_id = _PARENT_OVERRIDES.get(comp_id, entry.parent).strip().upper()
    return comp_id


def _stands_for(element: str, wanted: str) -> bool:
    return element == wanted or (element == "SE" and wanted == "S")


def match_atoms(
    component: DictionaryComponent,
    parent_elements: Mapping[str, str],
    parent_bonds: Iterable[tuple[str, str]],
) -> dict[str, str]:
    """Atoms of `component` that stand in the places of the parent's atoms.

    Returns
    -------
    dict
        Parent atom name → component atom name, for the part of the parent that can be reached
        from CA over the bonds the two have in common.
    """
    neighbours: dict[str, set[str]] = {name: set() for name in parent_elements}
    for a, b in parent_bonds:
        if a in neighbours and b in neighbours:
            neighbours[a].add(b)
            neighbours[b].add(a)
    elements = component.elements
    if elements.get("CA") != "C":
        return {}
    chosen = {v: k for k, v in _CHOSEN_ATOMS.get(component.comp_id, {}).items()}
    matched = {"CA": "CA"}

    def fits(name: str, own: str) -> bool:
        bound = neighbours[name] & matched.keys()
        return (
            own not in matched.values()
            and _stands_for(elements[own], parent_elements[name])
            and all((own, matched[other]) in component.bonds for other in bound)
        )

    def grow_by_name() -> bool:
        grown = False
        for at in list(matched):
            for name in sorted(neighbours[at] - matched.keys()):
                own = chosen.get(name, name)
                if own in elements and fits(name, own):
                    matched[name] = own
                    grown = True
        return grown

    def grow_by_place() -> bool:
        for at, here in list(matched.items()):
            missing = neighbours[at] - matched.keys() - _BACKBONE
            for name in sorted(missing):
                rivals = [m for m in missing if parent_elements[m] == parent_elements[name]]
                candidates = [
                    atom
                    for atom in component.neighbours(here)
                    if atom not in parent_elements and len(atom) <= 4 and fits(name, atom)
                ]
                if len(rivals) == len(candidates) == 1:
                    matched[name] = candidates[0]
                    return True
        return False

    # Names first, as far as they go: a place is only decided once no name is left to decide it.
    while grow_by_name() or grow_by_place():
        pass
    return matched


def _differences(
    component: DictionaryComponent, parent: str, dictionary: Mapping[str, DictionaryComponent]
) -> str:
    """How atoms differ from the parent's by name: ``SE=SD`` (renamed), ``-CB`` (out of place)."""
    if parent == "X":
        parent_elements: dict[str, str] = {n: n[:1] for n in ATOM14_NAMES[20] if n}
        parent_bonds: Iterable[tuple[str, str]] = _X_BONDS
    else:
        source = dictionary[parent]
        names = [n for n in ATOM14_NAMES[RESTYPES.index(parent)] if n]
        parent_elements = {n: source.elements[n] for n in names}
        parent_bonds = source.bonds
    matched = match_atoms(component, parent_elements, parent_bonds)
    renamed = [f"{own}={name}" for name, own in sorted(matched.items()) if own != name]
    misplaced = [
        f"-{name}"
        for name in sorted(parent_elements)
        if name in component.elements and matched.get(name) != name
    ]
    return ",".join(renamed + misplaced)


def generate() -> str:
    """The text of ``components.tsv``: a header, a line of column names, one line per component."""
    import biotite

    dictionary, snapshot = read_dictionary()
    lines = [
        f"# version {TABLE_VERSION}, chemical component dictionary {snapshot}, "
        f"biotite {biotite.__version__}",
        "comp_id\tlinking\tparent\tchirality\tatoms",
    ]
    for comp_id in sorted(dictionary):
        component = dictionary[comp_id]
        if component.linking == "OTHER":
            continue
        parent = atoms = ""
        if component.linking == "PEPTIDE":
            parent = standard_parent(comp_id, dictionary)
            atoms = _differences(component, parent, dictionary)
        lines.append("\t".join((comp_id, component.linking, parent, component.chirality, atoms)))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write ``components.tsv`` beside this file."""
    text = generate()
    TABLE_PATH.write_text(text, encoding="utf-8", newline="\n")
    print(f"{TABLE_PATH.name}: {text.count(chr(10)) - 2} components, {len(text)} bytes")


if __name__ == "__main__":
    main()
