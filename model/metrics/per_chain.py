"""One typed record per protein and task, and the table they make."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from model.metrics.backbones import backbone_geometry
from model.metrics.bootstrap import Interval, mean_interval
from model.metrics.clashes import clashes
from model.metrics.design import perplexity, sequence_recovery
from model.metrics.motif import motif_rmsd
from model.metrics.side_chains import side_chain_rmsd
from model.metrics.structure import Structure
from model.metrics.superposition import ca_rmsd, tm_score
from model.metrics.torsions import chi_accuracy, chi_angles, chi_errors
from pipeline.residues import N_TYPES


@dataclass(frozen=True)
class PackingMetrics:
    """Packing of one protein. Lengths in Å, angles in degrees, NaN where nothing was compared.

    See `SideChainRMSD`, `ChiAccuracy` and `clashes` for what each number is.
    """

    chain_uid: str
    length: int
    side_chain_rmsd: float
    side_chain_rmsd_core: float
    side_chain_rmsd_all_atoms: float
    side_chain_rmsd_core_all_atoms: float
    chi1_mae: float
    chi2_mae: float
    chi3_mae: float
    chi4_mae: float
    chi1_recovery: float
    chi2_recovery: float
    chi3_recovery: float
    chi4_recovery: float
    rotamer_recovery: float
    clashes_100: int
    clashes_90: int
    n_residues: int
    n_core: int
    n_chi1: int
    n_chi2: int
    n_chi3: int
    n_chi4: int
    n_rotamers: int


@dataclass(frozen=True)
class DesignMetrics:
    """Sequence design of one protein."""

    chain_uid: str
    length: int
    recovery: float
    score: float
    n_designed: int


@dataclass(frozen=True)
class FoldMetrics:
    """A generated backbone against a reference whose residues correspond. Å."""

    chain_uid: str
    length: int
    ca_rmsd: float
    tm_score: float
    motif_rmsd: float
    n_compared: int


@dataclass(frozen=True)
class GenerationMetrics:
    """A generated protein on its own. See `BackboneGeometry` and `clashes`."""

    chain_uid: str
    length: int
    step_mean: float
    step_deviation: float
    step_valid: float
    n_bumps: int
    n_clashes: int
    radius_of_gyration: float
    relative_radius: float
    helix: float
    strand: float
    coil: float
    clashes_100: int
    clashes_90: int


Record: TypeAlias = PackingMetrics | DesignMetrics | FoldMetrics | GenerationMetrics


def packing_metrics(chain_uid: str, predicted: Structure, reference: Structure) -> PackingMetrics:
    """Everything that is said of a packed protein.

    Parameters
    ----------
    chain_uid : str
    predicted : Structure
        On the backbone of the reference. Clashes are counted among its atoms.
    reference : Structure
        The same residues.
    """
    _check_same_residues(predicted, reference)
    aatype = reference.aatype
    rmsd = side_chain_rmsd(
        predicted.positions, predicted.mask, reference.positions, reference.mask, aatype
    )
    chi = chi_accuracy(
        chi_errors(
            chi_angles(predicted.positions, predicted.mask, aatype),
            chi_angles(reference.positions, reference.mask, aatype),
            aatype,
        ),
        aatype,
    )
    n_100, n_90 = _count_clashes(predicted, backbone=False)
    mae, recovery = chi.mae.tolist(), chi.recovery.tolist()
    count = chi.count.tolist()
    return PackingMetrics(
        chain_uid=chain_uid,
        length=len(reference),
        side_chain_rmsd=rmsd.all,
        side_chain_rmsd_core=rmsd.core,
        side_chain_rmsd_all_atoms=rmsd.all_atoms,
        side_chain_rmsd_core_all_atoms=rmsd.core_atoms,
        chi1_mae=mae[0],
        chi2_mae=mae[1],
        chi3_mae=mae[2],
        chi4_mae=mae[3],
        chi1_recovery=recovery[0],
        chi2_recovery=recovery[1],
        chi3_recovery=recovery[2],
        chi4_recovery=recovery[3],
        rotamer_recovery=chi.rotamer_recovery,
        clashes_100=n_100,
        clashes_90=n_90,
        n_residues=rmsd.n_residues,
        n_core=rmsd.n_core,
        n_chi1=count[0],
        n_chi2=count[1],
        n_chi3=count[2],
        n_chi4=count[3],
        n_rotamers=chi.n_rotamers,
    )


def design_metrics(
    chain_uid: str,
    predicted: ArrayLike,
    log_probabilities: ArrayLike | None,
    reference: ArrayLike,
    designed: ArrayLike | None = None,
) -> DesignMetrics:
    """Everything that is said of a designed sequence.

    Parameters
    ----------
    chain_uid : str
    predicted : (L,) int
    log_probabilities : (L, 20) float or None
        Of each type just before it was drawn. Without them there is no score, which is that of
        ProteinMPNN: the mean negative logarithm of what the network gave the types that it drew.
    reference : (L,) int
    designed : (L,) bool, optional
        Positions that were hidden; all by default.
    """
    reference = np.asarray(reference)
    drawn = np.ones(len(reference), bool) if designed is None else np.asarray(designed, bool)
    counted = (reference >= 0) & (reference < N_TYPES) & drawn
    return DesignMetrics(
        chain_uid=chain_uid,
        length=len(reference),
        recovery=sequence_recovery(predicted, reference, counted),
        score=float("nan")
        if log_probabilities is None
        else float(np.log(perplexity(log_probabilities, predicted, drawn))),
        n_designed=int(counted.sum()),
    )


def fold_metrics(
    chain_uid: str,
    predicted: Structure,
    reference: Structure,
    motif: ArrayLike | None = None,
) -> FoldMetrics:
    """Everything that is said of a generated backbone that has a reference.

    Parameters
    ----------
    chain_uid : str
    predicted, reference : Structure
        Residues correspond; types may differ.
    motif : (L,) bool, optional
        Residues that were given; without it there is no motif RMSD.
    """
    both = predicted.has_ca & reference.has_ca
    motif_error = float("nan")
    if motif is not None:
        motif_error = motif_rmsd(
            predicted.positions, predicted.mask, reference.positions, reference.mask, motif
        )
    return FoldMetrics(
        chain_uid=chain_uid,
        length=len(reference),
        ca_rmsd=ca_rmsd(predicted.ca, reference.ca, both),
        tm_score=tm_score(predicted.ca, reference.ca, both),
        motif_rmsd=motif_error,
        n_compared=int(both.sum()),
    )


def generation_metrics(chain_uid: str, generated: Structure) -> GenerationMetrics:
    """Everything that is said of a generated protein without a reference."""
    g = backbone_geometry(
        generated.ca, generated.has_ca, generated.residue_index, generated.chain_index
    )
    n_100, n_90 = _count_clashes(generated, backbone=True)
    return GenerationMetrics(
        chain_uid=chain_uid,
        length=len(generated),
        step_mean=g.step_mean,
        step_deviation=g.step_deviation,
        step_valid=g.step_valid,
        n_bumps=g.n_bumps,
        n_clashes=g.n_clashes,
        radius_of_gyration=g.radius_of_gyration,
        relative_radius=g.relative_radius,
        helix=g.helix,
        strand=g.strand,
        coil=g.coil,
        clashes_100=n_100,
        clashes_90=n_90,
    )


def row(record: Record) -> dict[str, Any]:
    """The record as a row of a table, columns in the order of its fields."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def write_csv(path: Path | str, rows: Sequence[Record | Mapping[str, Any]]) -> None:
    """Write records of one kind, or rows with the same columns, to a CSV file.

    NaN is an empty field; floats are written in full, so that a table can be read back as it was.

    Raises
    ------
    ValueError
        No rows, or rows of different kinds.
    """
    table = [r if isinstance(r, Mapping) else row(r) for r in rows]
    if not table:
        raise ValueError(f"no rows to write to {path}")
    columns = list(table[0])
    if any(list(r) != columns for r in table):
        raise ValueError(f"rows of different columns for {path}: write one file per kind")
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_field(r[c]) for c in columns] for r in table)


def summarise(records: Sequence[Record], *, seed: int = 0) -> dict[str, Interval]:
    """Mean over chains of every number in the records, with its bootstrap interval.

    Every chain weighs the same, as in the packing papers.

    Raises
    ------
    ValueError
        No records.
    """
    if not records:
        raise ValueError("no records to summarise")
    names = [name for name, value in row(records[0]).items() if not isinstance(value, str)]
    return {
        name: mean_interval([getattr(record, name) for record in records], seed=seed)
        for name in names
    }


def _field(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else repr(float(value))
    return value


def _count_clashes(structure: Structure, *, backbone: bool) -> tuple[int, int]:
    pairs = clashes(
        structure.positions,
        structure.mask,
        structure.aatype,
        structure.chain_index,
        backbone=backbone,
    )
    return len(pairs), len(pairs.below(0.9))


def _check_same_residues(predicted: Structure, reference: Structure) -> None:
    if not np.array_equal(predicted.aatype, reference.aatype):
        raise ValueError(
            f"predicted and reference residues differ: {len(predicted)} and {len(reference)}, "
            "or of other types"
        )
