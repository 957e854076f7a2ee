"""Chains of one entry → mmCIF text.

Definitions: the mmCIF dictionary of the wwPDB (mmcif_pdbx_v50) and ModelCIF (mmcif_ma).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from pipeline.chain import Chain
from pipeline.export import ellipsoids as ell
from pipeline.export.atoms import (
    Kept,
    entity_names,
    file_atoms,
    insertion_codes,
    residue_names,
    rows_with_atoms,
    shortest,
    thousandths,
    to_first_place,
)
from pipeline.export.bonds import Bond, bonds_between
from pipeline.export.cif_values import item, loop, quoted, table
from pipeline.export.ellipsoids import Ellipsoids
from pipeline.export.errors import ExportError
from pipeline.export.others import OtherEntities, OtherResidue
from pipeline.parsing.entry_info import Connection
from pipeline.residues import component, sequence_string

_ATOM_SITE = (
    "group_PDB",
    "id",
    "type_symbol",
    "label_atom_id",
    "label_alt_id",
    "label_comp_id",
    "label_asym_id",
    "label_entity_id",
    "label_seq_id",
    "pdbx_PDB_ins_code",
    "Cartn_x",
    "Cartn_y",
    "Cartn_z",
    "occupancy",
    "B_iso_or_equiv",
    "auth_seq_id",
    "auth_comp_id",
    "auth_asym_id",
    "auth_atom_id",
    "pdbx_PDB_model_num",
)
_ANISOTROP = (
    "id",
    "type_symbol",
    "U[1][1]",
    "U[2][2]",
    "U[3][3]",
    "U[1][2]",
    "U[1][3]",
    "U[2][3]",
    "pdbx_label_atom_id",
    "pdbx_label_comp_id",
    "pdbx_label_asym_id",
    "pdbx_auth_asym_id",
    "pdbx_auth_seq_id",
    "pdbx_PDB_ins_code",
)


def mmcif_text(
    chains: Sequence[Chain],
    ellipsoids: Sequence[Ellipsoids] | None = None,
    *,
    others: Sequence[OtherResidue] = (),
    kept: Mapping[str, Kept] | None = None,
    connections: Sequence[Connection] = (),
    comment: str = "",
) -> str:
    """One data block of the chains of one entry and assembly.

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
        Lines, at the head.

    Raises
    ------
    ExportError
        A chain is called as the ellipsoids of another one would be.
    """
    first = chains[0]
    name = first.metadata.file_entry_id or first.entry_id
    entities = _Entities(chains, ellipsoids is not None, others, kept or {})
    parts = [f"data_{re.sub(r'[^!-~]', '_', name)}\n"]
    if comment:
        parts.append("".join(f"# {line}\n" for line in comment.splitlines()))
    parts += _about(first, name)
    parts += entities.categories()
    if kept is not None:
        last = [chain for chain in chains if chain.model == chains[-1].model]
        bonds = bonds_between(last, kept, entities.others.residues, connections)
        parts += [_struct_conn(bonds, entities.to_first)] if bonds else []
    parts += _atoms(chains, ellipsoids, entities)
    return "#\n".join(parts) + "#\n"


# ---- what is said of the entry ------------------------------------------------------------------


def _about(chain: Chain, name: str) -> list[str]:
    about = chain.metadata
    parts = [item("entry", id=name)]
    if about.source == "PDB":
        parts.append(item("database_2", database_id="PDB", database_code=name))
    elif about.source == "AlphaFold DB":
        parts.append(item("database_2", database_id="AlphaFoldDB", database_code=name))
    elif about.source == "ModelArchive":
        parts.append(item("database_2", database_id="MODELARCHIVE", database_code=name))
    if about.title is not None:
        parts.append(item("struct", entry_id=name, title=about.title))
    if about.method is not None:
        rows = [(name, method) for method in about.method.split("; ")]
        parts.append(table("exptl", ("entry_id", "method"), rows))
    if about.resolution is not None:
        resolution = shortest(np.float32(about.resolution), 2)
        if "ELECTRON MICROSCOPY" in (about.method or ""):
            parts.append(item("em_3d_reconstruction", entry_id=name, id="1", resolution=resolution))
        else:
            values = {"ls_d_res_high": resolution}
            if about.method is not None:
                # Of an entry of several methods, what is read is the resolution of its X-rays.
                methods = about.method.split("; ")
                xrays = "X-RAY DIFFRACTION"
                values["pdbx_refine_id"] = xrays if xrays in methods else methods[0]
            parts.append(item("refine", entry_id=name, **values))
    if about.deposition_date is not None:
        parts.append(
            item(
                "pdbx_database_status",
                entry_id=name,
                recvd_initial_deposition_date=about.deposition_date,
            )
        )
    if about.release_date is not None:
        parts.append(
            item("pdbx_audit_revision_history", ordinal="1", revision_date=about.release_date)
        )
    if about.confidence_kind == "plddt":
        parts.append(item("ma_qa_metric", id="1", name="pLDDT", mode="local", type="pLDDT"))
    return parts


@dataclass(slots=True)
class _Entity:
    """Chains with one sequence; `ident` is theirs in the file."""

    ident: str
    chains: list[Chain] = field(default_factory=list)


class _Entities:
    """Which chains share an entity, and what is said of chains and entities."""

    def __init__(
        self,
        chains: Sequence[Chain],
        with_ellipsoids: bool,
        others: Sequence[OtherResidue],
        kept: Mapping[str, Kept],
    ):
        self._kept, self.to_first = kept, to_first_place(chains)
        groups: dict[tuple[Any, ...], _Entity] = {}
        taken = {c.entity_id for c in chains}
        used: set[str] = set()
        fresh = (str(k) for k in count(1) if str(k) not in taken)
        self._of_chain: dict[tuple[int, str], str] = {}
        for chain in chains:
            key: tuple[Any, ...] = (
                chain.entity_id,
                chain.entity_sequence,
                chain.uniprot,
                chain.taxonomy,
            )
            if chain.entity_sequence is None:
                key = (*key, chain.label_asym_id)
            if key not in groups:
                # A PDB file may give one MOL_ID to chains of different SEQRES.
                known = chain.entity_id is not None and chain.entity_id not in used
                groups[key] = _Entity(str(chain.entity_id) if known else next(fresh))
                used.add(groups[key].ident)
            groups[key].chains.append(chain)
            self._of_chain[chain.model, chain.label_asym_id] = groups[key].ident
        self._entities = list(groups.values())
        if with_ellipsoids:
            _check_free(chains)
        self.of_ellipsoids = next(fresh) if with_ellipsoids else None
        self.others = OtherEntities(others, (c.label_asym_id for c in chains), fresh)

    def kept(self, chain: Chain) -> Kept:
        return self._kept.get(chain.label_asym_id, {})

    def of(self, chain: Chain) -> str:
        return self._of_chain[chain.model, chain.label_asym_id]

    def categories(self) -> list[str]:
        """entity, entity_poly, entity_poly_seq, struct_asym and what else names chains."""
        dummy = self.of_ellipsoids
        entities = [(e.ident, "polymer", "?") for e in self._entities]
        asym = {c.label_asym_id: e.ident for e in self._entities for c in e.chains}
        parts = []
        if dummy is not None:
            entities.append((dummy, "non-polymer", "Gaussian ellipsoids of residues"))
            asym |= {label + ell.CHAIN_SUFFIX: dummy for label in asym}
        entities += [(ident, kind, "?") for ident, kind in self.others.entities()]
        asym |= self.others.of_label
        parts.append(
            table(
                "entity",
                ("id", "type", "pdbx_description"),
                [(i, kind, None if about == "?" else about) for i, kind, about in entities],
            )
        )
        parts.append(
            table(
                "entity_poly",
                ("entity_id", "type", "pdbx_strand_id"),
                [
                    (
                        e.ident,
                        "polypeptide(L)",
                        ",".join(dict.fromkeys(c.auth_asym_id for c in e.chains)),
                    )
                    for e in self._entities
                ]
                + self.others.polymers(),
            )
        )
        parts.append(self._sequences())
        parts.append(table("struct_asym", ("id", "entity_id"), asym.items()))
        ligands: list[tuple[str, str | None, str]]
        ligands = [(ident, None, comp) for comp, ident in self.others.of_comp.items()]
        if dummy is not None:
            ligands.append((dummy, "Gaussian ellipsoids of residues", ell.RESIDUE))
        parts.append(table("pdbx_entity_nonpoly", ("entity_id", "name", "comp_id"), ligands))
        accessions = [
            (str(k), e.ident, "UNP", e.chains[0].uniprot)
            for k, e in enumerate(self._entities, start=1)
            if e.chains[0].uniprot is not None
        ]
        parts.append(
            table("struct_ref", ("id", "entity_id", "db_name", "pdbx_db_accession"), accessions)
        )
        organisms = [
            (e.ident, str(k), str(e.chains[0].taxonomy))
            for k, e in enumerate(self._entities, start=1)
            if e.chains[0].taxonomy is not None
        ]
        parts.append(
            table(
                "entity_src_gen",
                ("entity_id", "pdbx_src_id", "pdbx_gene_src_ncbi_taxonomy_id"),
                organisms,
            )
        )
        parts.append(self._components())
        return [part for part in parts if part]

    def _sequences(self) -> str:
        """Whole sequences; chains without one leave it to their atoms.

        Where chains have other residues than their entity, or differ, all are listed: the first
        stands.
        """
        rows: list[tuple[str, str, str, str]] = []
        for entity in self._entities:
            sequence = entity.chains[0].entity_sequence
            if sequence is None:
                continue
            # By place: names of the residue that the sequence tells, and of others.
            own: dict[int, list[str]] = {}
            others: dict[int, list[str]] = {}
            for chain in entity.chains:
                kept = self.kept(chain)
                for number, letter, name, there in zip(
                    chain.residue_index.tolist(),
                    sequence_string(chain.aatype),
                    residue_names(chain, kept),
                    rows_with_atoms(chain, kept).tolist(),
                    strict=True,
                ):
                    if letter != sequence[number - 1]:
                        others.setdefault(number, []).append(name)
                    elif there:
                        own.setdefault(number, []).append(name)
            for number, name in enumerate(entity_names(sequence), start=1):
                names = dict.fromkeys(own.get(number, [name]) + others.get(number, []))
                hetero = "y" if len(names) > 1 else "n"
                rows += [(entity.ident, str(number), one, hetero) for one in names]
        return loop(
            "entity_poly_seq",
            ("entity_id", "num", "mon_id", "hetero"),
            list(zip(*rows, strict=True)),
        )

    def _components(self) -> str:
        names = set()
        for entity in self._entities:
            for chain in entity.chains:
                names.update(residue_names(chain, self.kept(chain)))
                names.update(entity_names(chain.entity_sequence or ""))
        rows = [(name, _linking(name)) for name in sorted(names)]
        rows += self.others.components(names)
        if self.of_ellipsoids is not None:
            rows.append((ell.RESIDUE, "non-polymer"))
        return table("chem_comp", ("id", "type"), rows)


def _linking(name: str) -> str:
    known = component(name)
    hand = "L" if known is None or name == "UNK" else known.chirality
    return "peptide linking" if hand == "none" else f"{hand}-peptide linking"


def _struct_conn(bonds: Sequence[Bond], to_first: Mapping[str, int]) -> str:
    rows, numbers = [], dict.fromkeys((bond.kind for bond in bonds), 0)
    for bond in bonds:
        numbers[bond.kind] += 1
        row = [f"{bond.kind}{numbers[bond.kind]}", bond.kind]
        for end in (bond.one, bond.other):
            place, more = end.label_seq_id, to_first.get(end.label_asym_id, 0)
            seq = "." if place is None else str(place + more)
            row += [*map(quoted, (end.label_asym_id, end.comp_id)), seq, quoted(end.name)]
            row += [quoted(end.auth_asym_id), quoted(end.comp_id), str(end.auth_seq_id)]
            row += [quoted(end.ins_code or None), quoted(end.altloc or None), "1_555"]
        rows.append([*row, f"{bond.length:.3f}"])
    tags = ["id", "conn_type_id"]
    for k in "12":
        tags += [f"ptnr{k}_label_{tag}_id" for tag in ("asym", "comp", "seq", "atom")]
        tags += [f"ptnr{k}_auth_{tag}_id" for tag in ("asym", "comp", "seq")]
        tags += [f"pdbx_ptnr{k}_PDB_ins_code", f"pdbx_ptnr{k}_label_alt_id", f"ptnr{k}_symmetry"]
    return loop("struct_conn", [*tags, "pdbx_dist_value"], list(zip(*rows, strict=True)))


def _check_free(chains: Sequence[Chain]) -> None:
    """See that no chain is called as the ellipsoids of another one will be."""
    for ids in ({c.label_asym_id for c in chains}, {c.auth_asym_id for c in chains}):
        for ident in sorted(ids):
            if ident + ell.CHAIN_SUFFIX in ids:
                raise ExportError(
                    f"{chains[0].entry_id} has a chain {ident + ell.CHAIN_SUFFIX}, as the "
                    f"ellipsoids of chain {ident} would be called; write it without --ellipsoids"
                )


# ---- atoms --------------------------------------------------------------------------------------


def _atoms(
    chains: Sequence[Chain], ellipsoids: Sequence[Ellipsoids] | None, entities: _Entities
) -> list[str]:
    sites: list[tuple[str, ...]] = []
    anisotropic: list[tuple[str, ...]] = []
    drawn = [] if ellipsoids is None else list(zip(chains, ellipsoids, strict=True))
    for model in dict.fromkeys(chain.model for chain in chains):
        for chain in (c for c in chains if c.model == model):
            _add_atoms(sites, chain, entities)
        for residue in entities.others.residues:
            _add_other(sites, residue, entities.others.of_label[residue.label_asym_id], model)
        for chain, of_chain in ((c, e) for c, e in drawn if c.model == model):
            _add_ellipsoids(sites, anisotropic, chain, of_chain, str(entities.of_ellipsoids))
    parts = [loop("atom_site", _ATOM_SITE, list(zip(*sites, strict=True)))]
    if drawn:
        columns = list(zip(*anisotropic, strict=True))
        parts.append(loop("atom_site_anisotrop", _ANISOTROP, columns))
    return parts


def _add_atoms(sites: list[tuple[str, ...]], chain: Chain, entities: _Entities) -> None:
    codes = [quoted(code) if code else "?" for code in insertion_codes(chain)]
    places = (chain.residue_index + entities.to_first[chain.label_asym_id]).tolist()
    auth = chain.auth_seq_id.tolist()
    b_factors = [shortest(b, 2) for b in chain.b_factor]
    label, author = quoted(chain.label_asym_id), quoted(chain.auth_asym_id)
    entity, model = entities.of(chain), str(chain.model)
    for number, atom in enumerate(file_atoms(chain, entities.kept(chain)), start=len(sites) + 1):
        name, comp, row = quoted(atom.name), quoted(atom.comp_id), atom.row
        sites.append(
            (
                "HETATM" if atom.hetero else "ATOM",
                str(number),
                quoted(atom.element or None),
                name,
                quoted(atom.altloc) if atom.altloc else ".",
                comp,
                label,
                entity,
                str(places[row]),
                codes[row],
                *map(thousandths, atom.xyz),
                f"{atom.occupancy / 100:.2f}",
                b_factors[row],
                str(auth[row]),
                comp,
                author,
                name,
                model,
            )
        )


def _add_other(
    sites: list[tuple[str, ...]], residue: OtherResidue, entity: str, model: int
) -> None:
    comp, code = quoted(residue.comp_id), quoted(residue.ins_code) if residue.ins_code else "?"
    seq = "." if residue.label_seq_id is None else str(residue.label_seq_id)
    for atom in residue.atoms:
        sites.append(
            (
                "HETATM" if residue.hetero else "ATOM",
                str(len(sites) + 1),
                quoted(atom.element) if atom.element else "?",
                quoted(atom.name),
                quoted(atom.altloc) if atom.altloc else ".",
                comp,
                quoted(residue.label_asym_id),
                entity,
                seq,
                code,
                *map(thousandths, atom.xyz),
                f"{atom.occupancy / 100:.2f}",
                "0.00",
                str(residue.auth_seq_id),
                comp,
                quoted(residue.auth_asym_id),
                quoted(atom.name),
                str(model),
            )
        )


def _add_ellipsoids(
    sites: list[tuple[str, ...]],
    anisotropic: list[tuple[str, ...]],
    chain: Chain,
    ellipsoids: Ellipsoids,
    entity: str,
) -> None:
    codes = [quoted(code) if code else "?" for code in insertion_codes(chain)]
    label = quoted(chain.label_asym_id + ell.CHAIN_SUFFIX)
    author = quoted(chain.auth_asym_id + ell.CHAIN_SUFFIX)
    for k, r in enumerate(ellipsoids.residue.tolist()):
        number, auth = str(len(sites) + 1), str(chain.auth_seq_id[r])
        sites.append(
            (
                "HETATM",
                number,
                ell.ELEMENT,
                ell.ATOM,
                ".",
                ell.RESIDUE,
                label,
                entity,
                ".",
                codes[r],
                *(f"{value:.3f}" for value in ellipsoids.centre[k].tolist()),
                "1.00",
                f"{ellipsoids.b_equivalent[k]:.2f}",
                auth,
                ell.RESIDUE,
                author,
                ell.ATOM,
                str(chain.model),
            )
        )
        anisotropic.append(
            (
                number,
                ell.ELEMENT,
                *(shortest(value, 4) for value in ellipsoids.u[k]),
                ell.ATOM,
                ell.RESIDUE,
                label,
                author,
                auth,
                codes[r],
            )
        )
