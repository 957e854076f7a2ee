"""Metrics of packed, designed and generated proteins: pure functions of arrays, Å and degrees."""

from pipeline.extras import explained

try:
    from model.metrics.atom_errors import AtomErrors, atom_errors
    from model.metrics.backbones import (
        BackboneGeometry,
        backbone_geometry,
        expected_radius_of_gyration,
    )
    from model.metrics.bootstrap import Interval, mean_interval, paired_difference
    from model.metrics.clashes import Clashes, clashes
    from model.metrics.design import confusion, perplexity, sequence_recovery
    from model.metrics.diversity import (
        Diversity,
        Nearest,
        diversity,
        nearest_structure,
        pairwise_tm,
    )
    from model.metrics.modal_rotamers import ModalRotamers, fit_modal_rotamers
    from model.metrics.motif import motif_rmsd
    from model.metrics.per_chain import (
        DesignMetrics,
        FoldMetrics,
        GenerationMetrics,
        PackingMetrics,
        design_metrics,
        fold_metrics,
        generation_metrics,
        packing_metrics,
        row,
        summarise,
        write_csv,
    )
    from model.metrics.places import PLACES, places_of
    from model.metrics.side_chains import (
        SideChainRMSD,
        core_residues,
        on_reference_frames,
        side_chain_rmsd,
    )
    from model.metrics.structure import Structure
    from model.metrics.superposition import (
        aligned_tm_scores,
        ca_rmsd,
        rmsd,
        superpose,
        tm_score,
    )
    from model.metrics.symmetry import nearest_naming
    from model.metrics.torsions import ChiAccuracy, chi_accuracy, chi_angles, chi_errors
except ModuleNotFoundError as error:
    raise explained(error, "model.metrics") or error from None

__all__ = [
    "PLACES",
    "AtomErrors",
    "BackboneGeometry",
    "ChiAccuracy",
    "Clashes",
    "DesignMetrics",
    "Diversity",
    "FoldMetrics",
    "GenerationMetrics",
    "Interval",
    "ModalRotamers",
    "Nearest",
    "PackingMetrics",
    "SideChainRMSD",
    "Structure",
    "aligned_tm_scores",
    "atom_errors",
    "backbone_geometry",
    "ca_rmsd",
    "chi_accuracy",
    "chi_angles",
    "chi_errors",
    "clashes",
    "confusion",
    "core_residues",
    "design_metrics",
    "diversity",
    "expected_radius_of_gyration",
    "fit_modal_rotamers",
    "fold_metrics",
    "generation_metrics",
    "mean_interval",
    "motif_rmsd",
    "nearest_naming",
    "nearest_structure",
    "on_reference_frames",
    "packing_metrics",
    "paired_difference",
    "pairwise_tm",
    "perplexity",
    "places_of",
    "rmsd",
    "row",
    "sequence_recovery",
    "side_chain_rmsd",
    "summarise",
    "superpose",
    "tm_score",
    "write_csv",
]
