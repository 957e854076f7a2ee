"""Side chains built from torsions: ideal geometry, L residues, closed rings, NumPy like torch."""

from __future__ import annotations

import time

import biotite.structure as struc
import biotite.structure.info as info
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import chi_angles, packing_metrics
from pipeline.geometry.frames import backbone_frames, to_local
from pipeline.residues import (
    ATOM14_EXISTS,
    ATOM14_NAMES,
    CHI_ATOMS,
    CHI_MASK,
    CHI_PI_PERIODIC,
    MASK,
    RESTYPES,
    SLOT_OF_NAME,
    SYMMETRIC_SLOTS,
    UNKNOWN,
)
from pipeline.residues import generate_geometry as generated
from pipeline.residues.geometry import IDEAL_BACKBONE, N_BONDS, PROLINE
from pipeline.residues.geometry_table import TABLE
from pipeline.residues.side_chains import build_side_chains, place_side_chains
from tests.support.metric_structures import example, ideal_residues, moved, repacked, spread_out
from tests.support.places import STRUCTURES

CATH = STRUCTURES / "cath"
PRO, GLY, ALA = (RESTYPES.index(name) for name in ("PRO", "GLY", "ALA"))
TYPES = range(len(RESTYPES))
REAL = ["1ubi.pdb.zst", "1a8o.cif.gz", "4zhl.cif.gz", "6wg6.bcif.gz"]

# R. A. Engh and R. Huber, Acta Cryst. A47, 392 (1991): small molecules, no protein among them.
_ENGH_AND_HUBER = """
ALA CA-CB 1.521
ARG CA-CB 1.530 CB-CG 1.520 CG-CD 1.520 CD-NE 1.460 NE-CZ 1.329 CZ-NH1 1.326 CZ-NH2 1.326
ASN CA-CB 1.530 CB-CG 1.516 CG-OD1 1.231 CG-ND2 1.328
ASP CA-CB 1.530 CB-CG 1.516 CG-OD1 1.249 CG-OD2 1.249
CYS CA-CB 1.530 CB-SG 1.808
GLN CA-CB 1.530 CB-CG 1.520 CG-CD 1.516 CD-OE1 1.231 CD-NE2 1.328
GLU CA-CB 1.530 CB-CG 1.520 CG-CD 1.516 CD-OE1 1.249 CD-OE2 1.249
GLY
HIS CA-CB 1.530 CB-CG 1.497 CG-ND1 1.378 CG-CD2 1.354 ND1-CE1 1.321 CD2-NE2 1.374 CE1-NE2 1.321
ILE CA-CB 1.540 CB-CG1 1.530 CB-CG2 1.521 CG1-CD1 1.513
LEU CA-CB 1.530 CB-CG 1.530 CG-CD1 1.521 CG-CD2 1.521
LYS CA-CB 1.530 CB-CG 1.520 CG-CD 1.520 CD-CE 1.520 CE-NZ 1.489
MET CA-CB 1.530 CB-CG 1.520 CG-SD 1.803 SD-CE 1.791
PHE CA-CB 1.530 CB-CG 1.502 CG-CD1 1.384 CG-CD2 1.384 CD1-CE1 1.382 CD2-CE2 1.382 CE1-CZ 1.382
  CE2-CZ 1.382
PRO CA-CB 1.530 CB-CG 1.492 CG-CD 1.503 N-CD 1.473
SER CA-CB 1.530 CB-OG 1.417
THR CA-CB 1.540 CB-OG1 1.433 CB-CG2 1.521
TRP CA-CB 1.530 CB-CG 1.498 CG-CD1 1.365 CG-CD2 1.433 CD1-NE1 1.374 NE1-CE2 1.370 CD2-CE2 1.409
  CD2-CE3 1.398 CE2-CZ2 1.394 CE3-CZ3 1.382 CZ2-CH2 1.368 CZ3-CH2 1.400
TYR CA-CB 1.530 CB-CG 1.512 CG-CD1 1.389 CG-CD2 1.389 CD1-CE1 1.382 CD2-CE2 1.382 CE1-CZ 1.378
  CE2-CZ 1.378 CZ-OH 1.376
VAL CA-CB 1.540 CB-CG1 1.521 CB-CG2 1.521
"""


def _bonds(line: str) -> tuple[str, dict[str, float]]:
    kind, *words = line.split()
    return kind, dict(zip(words[::2], map(float, words[1::2]), strict=True))


ENGH_AND_HUBER = dict(map(_bonds, _ENGH_AND_HUBER.replace("\n  ", " ").strip().splitlines()))
"""Type → bond → Å."""


def random_residues(count: int, seed: int = 0, spread: float = 0.08):
    """Random torsions and types on distorted backbones anywhere, N, CA, C and O with noise."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % len(RESTYPES)
    chi = rng.uniform(-np.pi, np.pi, (count, 4))
    q = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    backbone = IDEAL_BACKBONE[kinds] + rng.normal(scale=spread, size=(count, 4, 3))
    positions = np.zeros((count, 14, 3))
    positions[:, :4] = backbone @ q + rng.normal(scale=30, size=(count, 1, 3))
    return chi, positions, np.broadcast_to(np.arange(14) < 4, (count, 14)), kinds


def as_torch(chi, positions, mask, kinds, dtype=torch.float64):
    return (
        torch.tensor(chi, dtype=dtype),
        torch.tensor(positions, dtype=dtype),
        torch.tensor(mask),
        torch.tensor(kinds),
    )


def named(positions: np.ndarray, kind: int) -> dict[str, np.ndarray]:
    return {name: positions[..., slot, :] for name, slot in SLOT_OF_NAME[kind].items()}


def rows_of_table() -> dict[str, dict[str, list[str]]]:
    """Type → atom → the words of its line, rings left out."""
    rows: dict[str, dict[str, list[str]]] = {}
    for line in TABLE.splitlines():
        name, *words = line.split()
        if not line.startswith(" "):
            of_type = rows[name] = {}
        elif name != "ring":
            of_type[name] = words
    return rows


# ---- geometry --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in TYPES if ATOM14_EXISTS[k, 5] and k != PRO])
def test_every_atom_has_the_length_the_angle_and_the_torsion_of_the_table(kind):
    """As biotite measures them, on backbones that are not ideal."""
    chi, positions, mask, _ = random_residues(50, kind)
    kinds = np.full(50, kind)
    placed, _ = place_side_chains(chi, positions, mask, kinds)
    atoms = named(placed, kind)
    turned = {(names[1], names[2]): chi[:, k] for k, names in enumerate(CHI_ATOMS[kind])}
    for name, words in rows_of_table()[RESTYPES[kind]].items():
        if name in ("N", "CA", "C", "O"):
            continue
        c, b, a = words[:3]
        length, first, second = map(float, words[3:])
        x, c_x, b_x, a_x = (atoms[other] for other in (name, c, b, a))
        # A symmetric ring closes on its axis, whatever rounded angles say.
        slack = 200 if RESTYPES[kind] in ("PHE", "TYR") and name in ("CZ", "OH") else 1
        found = struc.distance(x, c_x)
        np.testing.assert_allclose(found, length, atol=1e-5 * slack)
        found = np.degrees(struc.angle(x, c_x, b_x))
        np.testing.assert_allclose(found, first, atol=1e-3 * slack)
        if name == "CB":
            np.testing.assert_allclose(np.degrees(struc.angle(x, c_x, a_x)), second, atol=1e-3)
            continue
        torsion = np.radians(second) + turned.get((b, c), 0.0)
        found = struc.dihedral(a_x, b_x, c_x, x)
        np.testing.assert_allclose(np.sin((found - torsion) / 2), 0, atol=1e-5)


def test_random_torsions_have_the_bonds_that_are_known_of_small_molecules():
    chi, positions, mask, kinds = random_residues(2000)
    placed, there = place_side_chains(chi, positions, mask, kinds)
    errors = []
    for kind in TYPES:
        atoms = named(placed[kinds == kind], kind)
        known = ENGH_AND_HUBER[RESTYPES[kind]]
        assert there[kinds == kind, 4:].sum() == 100 * ATOM14_EXISTS[kind, 4:].sum()
        bonded = np.argwhere(np.triu(N_BONDS[kind] == 1))
        assert len(bonded[bonded[:, 1] > 3]) == len(known)
        for bond, length in known.items():
            error = struc.distance(*(atoms[name] for name in bond.split("-"))) - length
            assert np.abs(error).max() < 0.025, (RESTYPES[kind], bond)
            errors += error.tolist()
    assert np.sqrt(np.mean(np.square(errors))) < 0.01


def test_flat_rings_close_within_the_width_of_a_bond_in_crystals():
    placed = ideal_residues(np.full((20, 4), np.nan), np.arange(20))
    for kind, a, b, length in (
        ("PHE", "CE2", "CZ", 1.390),
        ("TYR", "CE2", "CZ", 1.385),
        ("HIS", "CE1", "NE2", 1.32),
        ("TRP", "NE1", "CE2", 1.37),
        ("TRP", "CZ3", "CH2", 1.40),
    ):
        atoms = named(placed[RESTYPES.index(kind)], RESTYPES.index(kind))
        assert np.linalg.norm(atoms[a] - atoms[b]) == pytest.approx(length, abs=0.012)


def signed_volume(atoms: dict[str, np.ndarray], centre: str, others: str) -> np.ndarray:
    a, b, c = (atoms[name] - atoms[centre] for name in others.split())
    return (np.cross(a, b) * c).sum(axis=-1)


def test_no_torsion_makes_a_d_residue_or_the_other_isoleucine_or_threonine():
    chi, positions, mask, kinds = random_residues(2000)
    placed, _ = place_side_chains(chi, positions, mask, kinds)
    for kind in TYPES:
        if not ATOM14_EXISTS[kind, 4]:
            continue
        residue = info.residue(RESTYPES[kind])
        ccd = dict(zip(residue.atom_name.tolist(), residue.coord, strict=True))
        centres = [("CA", "N C CB")]
        centres += {"ILE": [("CB", "CA CG1 CG2")], "THR": [("CB", "CA OG1 CG2")]}.get(
            RESTYPES[kind], []
        )
        for centre, others in centres:
            found = signed_volume(named(placed[kinds == kind], kind), centre, others)
            expected = signed_volume(ccd, centre, others)
            assert (found * expected > 2).all(), (RESTYPES[kind], centre)


def test_cd1_and_cd2_of_leucine_and_cg1_and_cg2_of_valine_are_where_the_names_say():
    placed = ideal_residues(np.full((20, 4), np.nan), np.arange(20))
    for kind, centre, others in (("LEU", "CG", "CB CD1 CD2"), ("VAL", "CB", "CA CG1 CG2")):
        residue = info.residue(kind)
        ccd = dict(zip(residue.atom_name.tolist(), residue.coord, strict=True))
        atoms = named(placed[RESTYPES.index(kind)], RESTYPES.index(kind))
        expected = signed_volume(ccd, centre, others)
        assert signed_volume(atoms, centre, others) * expected > 2


def test_half_a_turn_of_a_periodic_torsion_trades_the_names_and_nothing_else():
    chi, positions, mask, kinds = random_residues(400)
    turned, _ = place_side_chains(chi + np.pi * CHI_PI_PERIODIC[kinds], positions, mask, kinds)
    placed, _ = place_side_chains(chi, positions, mask, kinds)
    swapped = placed[np.arange(400)[:, None], SYMMETRIC_SLOTS[kinds]]
    np.testing.assert_allclose(turned, swapped, atol=1e-9)


# ---- proline ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_prolines_ring_is_closed_whatever_its_torsions_are(seed):
    chi, positions, mask, _ = random_residues(50, seed, spread=0.02)
    kinds = np.full(50, PRO)
    placed, _ = place_side_chains(chi, positions, mask, kinds)
    n, ca, cb, cg, cd = (placed[:, slot] for slot in (0, 1, 4, 5, 6))
    np.testing.assert_allclose(struc.distance(n, cd), PROLINE.n_cd, atol=1e-5)
    np.testing.assert_allclose(struc.distance(cg, cd), PROLINE.cg_cd, atol=1e-5)
    np.testing.assert_allclose(struc.distance(cb, cg), PROLINE.cb_cg, atol=1e-5)
    chi1 = np.degrees(struc.dihedral(n, ca, cb, cg))
    expected = np.clip(np.degrees(chi[:, 0]), -45, 45)
    np.testing.assert_allclose(chi1, expected, atol=1e-3)
    for points in ((cb, cg, cd), (cg, cd, n), (cd, n, ca), (ca, cb, cg)):
        at = np.degrees(struc.angle(*points))
        assert at.min() > 94
        assert at.max() < 124
    # The two puckers: χ2 has the other sign.
    chi2 = np.degrees(struc.dihedral(ca, cb, cg, cd))
    puckered = np.abs(chi1) > 10
    assert (chi1 * chi2 < 0)[puckered].all()


def test_chi2_of_proline_is_not_read():
    chi, positions, mask, _ = random_residues(20)
    expected, _ = place_side_chains(chi, positions, mask, np.full(20, PRO))
    chi[:, 1:] = np.nan
    found, _ = place_side_chains(chi, positions, mask, np.full(20, PRO))
    np.testing.assert_array_equal(found, expected)


def test_prolines_are_rebuilt_from_chi1_alone_with_the_atoms_where_they_were():
    errors = []
    for name in REAL:
        chain = example(name)
        rows = (chain.aatype == PRO) & chain.mask[:, :7].all(axis=1)
        chi = chi_angles(chain.positions, chain.mask, chain.aatype)
        again = repacked(np.where(np.arange(4) == 0, chi, np.nan), chain)
        errors.append(np.linalg.norm(again.positions - chain.positions, axis=-1)[rows, 4:7])
    assert len(np.concatenate(errors)) > 20
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < 0.17


# ---- what is there ---------------------------------------------------------------------------


def test_what_is_hidden_unknown_or_without_a_frame_is_zeros_under_a_false_mask():
    chi, positions, mask, kinds = random_residues(8)
    kinds = np.array([UNKNOWN, MASK, GLY, ALA, PRO, 1, 1, 1])
    chi[6:], mask = np.nan, mask.copy()
    mask[4, 2] = False
    positions[5, 2] = positions[5, 1] + 2 * (positions[5, 1] - positions[5, 0])
    positions[7, 0] = np.nan
    placed, there = place_side_chains(chi, positions, mask, kinds)
    only_cb = np.arange(14) < 5
    np.testing.assert_array_equal(there[[0, 1, 3]], [only_cb] * 3)
    np.testing.assert_array_equal(there[2], np.arange(14) < 4)
    assert not there[[4, 5, 7], 4:].any()
    assert there[4, [0, 1, 3]].all()
    np.testing.assert_array_equal(there[6], ATOM14_EXISTS[1])
    np.testing.assert_array_equal(placed[:, 4:][~there[:, 4:]], 0)
    assert np.isfinite(placed[there & (np.arange(8) != 7)[:, None]]).all()


def test_only_the_backbone_is_read_and_the_side_chain_moves_with_it():
    chain = example()
    chi = chi_angles(chain.positions, chain.mask, chain.aatype)
    here = repacked(chi, chain)
    far = moved(chain, 5)
    backbone = far.mask & (np.arange(14) < 4)
    garbage = np.where(backbone[..., None], far.positions, np.nan)
    placed, there = place_side_chains(np.radians(chi), garbage, backbone, chain.aatype)
    np.testing.assert_array_equal(there, here.mask)
    np.testing.assert_allclose(placed[there], moved(here, 5).positions[there], atol=1e-6)
    np.testing.assert_array_equal(placed[:, :4], garbage[:, :4])


def test_a_residue_has_the_same_bits_in_any_company_and_shape():
    chi, positions, mask, kinds = random_residues(60)
    placed, there = place_side_chains(chi, positions, mask, kinds)
    alone = [place_side_chains(chi[r], positions[r], mask[r], kinds[r]) for r in range(60)]
    np.testing.assert_array_equal(np.stack([x for x, _ in alone]), placed)
    np.testing.assert_array_equal(np.stack([m for _, m in alone]), there)
    batch = place_side_chains(
        *(x.reshape(3, 20, *x.shape[1:]) for x in (chi, positions, mask, kinds))
    )
    np.testing.assert_array_equal(batch[0], placed.reshape(3, 20, 14, 3))


def test_a_torsion_that_is_not_given_is_ideal():
    kinds = np.arange(20)
    ideal = ideal_residues(np.full((20, 4), np.nan), kinds)
    given = np.where(kinds[:, None] == PRO, PROLINE.pucker, 180.0) + np.zeros((20, 4))
    np.testing.assert_allclose(ideal_residues(given, kinds), ideal, atol=1e-9)


@pytest.mark.parametrize("degrees", [4.0, 60.0, 79.0, 133.0, 150.0, 176.0])
def test_backbones_of_any_angle_get_a_finite_side_chain_with_its_bonds(degrees):
    at_ca = np.radians(degrees)
    n = np.broadcast_to(1.46 * np.array([np.cos(at_ca), np.sin(at_ca), 0]), (20, 3))
    positions, there = build_side_chains(np.full((20, 4), 0.5), np.arange(20), n)
    assert np.isfinite(positions).all()
    lengths = np.linalg.norm(positions[there[:, 0], 0], axis=-1)
    assert ((lengths > 1.5) & (lengths < 1.56)).all()


# ---- real residues ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_real_torsions_come_back_and_the_atoms_lie_near_where_they_were(name):
    chain = example(name)
    chi = chi_angles(chain.positions, chain.mask, chain.aatype)
    again = repacked(chi, chain)
    np.testing.assert_array_equal(again.mask, ATOM14_EXISTS[chain.aatype])
    np.testing.assert_array_equal(again.positions[:, :4], chain.positions[:, :4])
    found = chi_angles(again.positions, again.mask, chain.aatype)
    known = ~np.isnan(chi) & (chain.aatype != PRO)[:, None]
    np.testing.assert_allclose(np.cos(np.radians(found - chi))[known], 1, atol=1e-9)
    metrics = packing_metrics("", again, chain)
    assert metrics.side_chain_rmsd < 0.2
    assert metrics.rotamer_recovery > 0.99


def test_ideal_residues_lie_in_the_frame_of_the_pipeline():
    placed = spread_out(list(TYPES), gap=0).positions
    rotations, translations = backbone_frames(placed[:, 0], placed[:, 1], placed[:, 2])
    np.testing.assert_allclose(to_local(rotations, translations, placed), placed, atol=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not CATH.is_dir(), reason="structures/cath is not here")
def test_the_table_is_what_its_generator_gives():
    assert generated.module_text(CATH) == generated.MODULE.read_text(encoding="utf-8")


# ---- torch -----------------------------------------------------------------------------------


def test_torch_gives_what_numpy_gives():
    arrays = random_residues(400)
    expected, there = place_side_chains(*arrays)
    found, mask = place_side_chains(*as_torch(*arrays))
    np.testing.assert_array_equal(mask.numpy(), there)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_single_precision_is_that_of_coordinates():
    chi, positions, mask, kinds = random_residues(400)
    positions[:, :4] -= positions[:, 1:2]
    expected, _ = place_side_chains(chi, positions, mask, kinds)
    found, _ = place_side_chains(*as_torch(chi, positions, mask, kinds, torch.float32))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-5)
    alike, _ = place_side_chains(
        chi.astype(np.float32), positions.astype(np.float32), mask, kinds.astype(np.int8)
    )
    assert alike.dtype == np.float32
    np.testing.assert_allclose(alike, expected, atol=3e-5)


def test_gradients_are_those_of_finite_differences():
    chi, positions, mask, kinds = as_torch(*random_residues(40))
    # Within what a ring can do; beyond, the gradient is 0 by decision.
    chi[kinds == PRO, 0] *= 0.2
    backbone = positions[:, :4].clone()

    def place(chi, backbone):
        padded = torch.cat([backbone, torch.zeros_like(positions[:, 4:])], dim=1)
        return place_side_chains(chi, padded, mask, kinds)[0]

    leaves = chi.requires_grad_(), backbone.requires_grad_()
    assert torch.autograd.gradcheck(place, leaves, fast_mode=True)


def test_each_torsion_of_a_type_has_a_gradient_and_no_other():
    chi, positions, mask, kinds = as_torch(*random_residues(20))
    chi[kinds == PRO, 0] = 0.4
    chi.requires_grad_()
    placed, _ = place_side_chains(chi, positions, mask, kinds)
    weights = torch.randn(placed.shape, generator=torch.Generator().manual_seed(0)).double()
    (gradient,) = torch.autograd.grad((placed * weights).sum(), chi)
    expected = CHI_MASK[kinds.numpy()].copy()
    expected[kinds.numpy() == PRO, 1] = False
    np.testing.assert_array_equal(gradient.numpy() != 0, expected)


def test_what_is_absent_sends_no_nan_backwards():
    chi, positions, mask, kinds = random_residues(8)
    kinds = np.array([UNKNOWN, MASK, GLY, PRO, PRO, 1, PRO, 1])
    mask = mask.copy()
    mask[3, 2], positions[3, 2] = False, np.nan
    positions[4, 2] = positions[4, 1] + 2 * (positions[4, 1] - positions[4, 0])
    chi[5:7] = np.nan
    mask[7, :4] = False
    positions[:, 4:], positions[7] = np.nan, 0
    chi, positions, mask, kinds = as_torch(chi, positions, mask, kinds)
    chi.requires_grad_()
    positions.requires_grad_()
    placed, there = place_side_chains(chi, positions, mask, kinds)
    placed[there].square().sum().backward()
    assert chi.grad.isfinite().all()
    assert positions.grad.isfinite().all()


def test_autocast_changes_nothing():
    arrays = as_torch(*random_residues(40), torch.float32)
    expected, _ = place_side_chains(*arrays)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = place_side_chains(*arrays)
    assert torch.equal(found, expected)


def test_a_million_residues_take_well_under_a_minute():
    arrays = random_residues(20_000)
    place_side_chains(*arrays)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        place_side_chains(*arrays)
        seconds.append(time.process_time() - start)
    assert min(seconds) * 50 < 30


# ---- bonds -----------------------------------------------------------------------------------


def test_bonds_are_those_of_the_dictionary():
    for kind in TYPES:
        names = ATOM14_NAMES[kind]
        found = {frozenset((names[a], names[b])) for a, b in np.argwhere(N_BONDS[kind] == 1)}
        own = {name for name in names if name}
        bonds = {frozenset(pair) for pair in info.bonds_in_residue(RESTYPES[kind])}
        assert found == {bond for bond in bonds if bond <= own}
