"""Columns that tell how good a chain is, against other ways to find the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import biotite.structure as struc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.built.reading import Reading
from pipeline.chain import Chain
from pipeline.features import (
    atom14_positions,
    backbone_angles,
    bonded_on_both_sides,
    compute_features,
    unpack_mask,
)
from pipeline.filters import Filters
from pipeline.geometry import clashes
from pipeline.geometry.clashes import at_bond_length, count_clashes
from pipeline.parsing import read_chains
from pipeline.residues import RESTYPES, ramachandran_regions, wrong_hands
from pipeline.residues.ramachandran import (
    ALLOWED,
    FAVOURED,
    KIND_OF,
    KINDS,
    OUTLIER,
    REGIONS,
    SHARES,
)
from pipeline.sources.decompress import decompress
from tests.support import build_runs as runs
from tests.support.places import EXAMPLES


def example(name: str) -> list[Chain]:
    return read_chains(decompress((EXAMPLES / name).read_bytes(), 1 << 28), name).chains


# ---- clashes ------------------------------------------------------------------------------------


def by_all_pairs(coords: np.ndarray, residue: np.ndarray, initial: np.ndarray) -> int:
    found = 0
    for a, b in combinations(range(len(coords)), 2):
        square = int(((coords[a].astype(int) - coords[b]) ** 2).sum())
        if square < 2200**2 and abs(residue[a] - residue[b]) > 1:
            bonded = at_bond_length(initial[a : a + 1], initial[b : b + 1], np.array([square]))
            found += not bonded[0]
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.sampled_from([2_000, 9_000, 900_000]),
    st.sampled_from([200, 1 << 16]),
)
def test_clashes_are_those_of_a_loop_over_all_pairs(seed, sizes, width, most_cells):
    """In cells few and many, by numbers of 16 bits and wider ones."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    n = int(offsets[-1])
    coords = rng.integers(-width, width, (n, 3)).astype(np.int32)
    residue = np.sort(rng.integers(0, 30, n))
    initial = rng.choice(np.frombuffer(b"CNOS", np.uint8), n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clashes, "_MAX_CELLS", most_cells)
        found = count_clashes(coords, residue, initial, offsets)
    slices = [slice(a, b) for a, b in pairwise(offsets)]
    assert found.tolist() == [by_all_pairs(coords[s], residue[s], initial[s]) for s in slices]


def test_atoms_by_the_thousand_in_one_place_end_in_time():
    n = 20_000
    found = count_clashes(
        np.zeros((n, 3), np.int32), np.arange(n), np.full(n, 67, np.uint8), np.array([0, n])
    )
    assert found[0] > n


def test_bonds_between_residues_are_no_clashes():
    """The three disulfides of BPTI."""
    (chain,) = example("5pti.cif.gz")
    (found,) = compute_features([chain])
    assert found.clashes_per_1000_atoms == 0


def test_a_chain_laid_upon_itself_clashes():
    (chain,) = example("1ubi.pdb.zst")
    n = len(chain)
    twice = Chain(
        **{
            f: np.concatenate([getattr(chain, f)] * 2)
            for f in ("aatype", "auth_seq_id", "ins_code", "atom14_mask", "b_factor", "resolved")
        },
        residue_index=np.arange(2 * n, dtype=np.int32),
        coords=np.concatenate([chain.coords, chain.coords + np.int32(100)]),
        entry_id="x",
        model=1,
        label_asym_id="A",
        auth_asym_id="A",
    )
    (found,) = compute_features([twice])
    assert found.clashes_per_1000_atoms > 500


# ---- φ and ψ ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1ubi.pdb.zst", "3enl.pdb.gz"])
def test_phi_and_psi_are_those_of_biotite(name):
    chain = example(name)[0]
    positions = atom14_positions(unpack_mask(chain.atom14_mask), chain.coords)
    rows = bonded_on_both_sides(positions, chain.resolved)
    assert len(rows) > 70
    phi, psi = backbone_angles(positions, rows)
    n, ca, c = (positions[:, slot] for slot in range(3))
    expected = struc.dihedral(c[rows - 1], n[rows], ca[rows], c[rows])
    np.testing.assert_allclose(phi, np.degrees(expected), atol=1e-3)
    expected = struc.dihedral(n[rows], ca[rows], c[rows], n[rows + 1])
    np.testing.assert_allclose(psi, np.degrees(expected), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "phi", "psi", "region"),
    [
        ("ALA", -62, -42, FAVOURED),
        ("LEU", -120, 130, FAVOURED),
        ("ASN", 57, 40, FAVOURED),
        ("ALA", 0, 0, OUTLIER),
        ("GLY", 85, 5, FAVOURED),
        ("GLY", -62, -42, FAVOURED),
        ("ALA", 90, 180, OUTLIER),
        ("GLY", 90, 180, FAVOURED),
        ("PRO", -65, 145, FAVOURED),
        ("PRO", -130, 130, OUTLIER),
    ],
)
def test_residues_lie_where_textbooks_have_them(name, phi, psi, region):
    aatype = np.array([RESTYPES.index(name)])
    assert ramachandran_regions(aatype, np.array([phi + 0.0]), np.array([psi + 0.0])) == region


def test_half_a_turn_is_the_same_either_way_round():
    glycine = np.array([RESTYPES.index("GLY")] * 2)
    first, second = ramachandran_regions(glycine, np.array([180.0, -180.0]), np.array([175.0] * 2))
    assert first == second


def test_the_table_has_three_kinds_whose_favoured_regions_are_the_smaller_the_fewer_their_turns():
    favoured = (REGIONS == FAVOURED).sum(axis=(1, 2))
    general, glycine, proline = favoured
    assert proline < general < glycine < REGIONS[0].size / 2
    assert ((REGIONS == ALLOWED).sum(axis=(1, 2)) > 0).all()
    assert set(KINDS) == set(SHARES)
    assert KIND_OF.tolist().count(0) == 18


def test_good_structures_have_hardly_any_outliers_and_their_mirror_images_have_many():
    (chain,) = example("1ubi.pdb.zst")
    (found,) = compute_features([chain])
    assert found.ramachandran_outlier_fraction == 0
    mirrored = replace(chain, coords=chain.coords * np.array([-1, 1, 1], np.int32))
    (found,) = compute_features([mirrored])
    assert found.ramachandran_outlier_fraction > 0.5


def test_a_chain_without_neighbours_has_no_share_of_outliers():
    (chain,) = example("1ubi.pdb.zst")
    first = int(chain.atom14_mask[0]).bit_count()
    alone = replace(
        chain,
        **{
            f: getattr(chain, f)[:1]
            for f in ("aatype", "residue_index", "auth_seq_id", "ins_code", "atom14_mask")
        },
        b_factor=chain.b_factor[:1],
        resolved=chain.resolved[:1],
        coords=chain.coords[:first],
    )
    (found,) = compute_features([alone])
    assert found.ramachandran_outlier_fraction is None


# ---- hands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1ubi.pdb.zst", "3enl.pdb.gz", "1orc.pdb.gz"])
def test_no_carbon_of_a_good_structure_is_of_the_wrong_hand_and_each_of_its_mirror_image(name):
    chain = example(name)[0]
    mask = unpack_mask(chain.atom14_mask)
    positions = atom14_positions(mask, chain.coords)
    assert not len(wrong_hands(chain.aatype, positions, mask))
    found = wrong_hands(chain.aatype, positions * [1, -1, 1], mask)
    names = np.array([*RESTYPES, "X"])[chain.aatype]
    expected = list(np.flatnonzero(mask[:, [0, 1, 2, 4]].all(axis=1) & (names != "X")))
    expected += list(np.flatnonzero((names == "ILE") & mask[:, [1, 4, 5, 6]].all(axis=1)))
    expected += list(np.flatnonzero((names == "THR") & mask[:, [1, 4, 5, 6]].all(axis=1)))
    assert sorted(found.tolist()) == sorted(expected)


# ---- B-factors and occupancies ------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 9, 10, 29, 76])
def test_the_trimmed_mean_leaves_a_tenth_out_at_either_end(n):
    lines = runs.peptide(n)
    (chain,) = read_chains(lines.encode(), "x").chains
    chain = replace(chain, b_factor=np.arange(n, dtype=np.float32) ** 2)
    (found,) = compute_features([chain])
    trim = n // 10
    expected = np.mean(chain.b_factor[trim : n - trim])
    assert found.trimmed_mean_b_factor == pytest.approx(expected)


def with_occupancy(lines: list[str], rows: set[int], text: str) -> bytes:
    atoms = [k for k, line in enumerate(lines) if line.startswith("ATOM")]
    for k in (atoms[r] for r in rows):
        lines[k] = f"{lines[k][:54]}{text:>6}{lines[k][60:]}"
    return "\n".join(lines).encode()


def test_the_share_of_atoms_without_occupancy_is_counted_before_they_are_left_out():
    lines = runs.peptide(20).splitlines()
    n = sum(line.startswith("ATOM") for line in lines)
    (whole,) = read_chains("\n".join(lines).encode(), "x").chains
    assert whole.zero_occupancy_fraction == 0
    last = {n - 1, n - 2}  # of the last residue, whose backbone stays
    (chain,) = read_chains(with_occupancy(lines, last, "0.00"), "x").chains
    assert chain.zero_occupancy_fraction == pytest.approx(2 / n)
    (none,) = read_chains(with_occupancy(lines, set(range(n)), "0.00"), "x").chains
    assert none.zero_occupancy_fraction == 1
    assert len(none.coords) == len(whole.coords), "where all have none, all are kept"


# ---- what files say of the data -----------------------------------------------------------------

REMARK_3 = "REMARK   3   FREE R VALUE                     : {}"


def pdb_with(*remarks: str) -> bytes:
    return "\n".join([*remarks, runs.peptide(5)]).encode()


HIGHEST = "REMARK   3   RESOLUTION RANGE HIGH (ANGSTROMS) : {}"


@pytest.mark.parametrize(
    ("lines", "resolution"),
    [
        (["REMARK   2 RESOLUTION.    1.80 ANGSTROMS.", HIGHEST.format("1.79")], 1.8),
        ([HIGHEST.format("3.90")], 3.9),
        (["REMARK   2", HIGHEST.format("3.90")], 3.9),
        ([HIGHEST.format("NULL")], None),
        ([HIGHEST.format("0.00")], None),
        (["REMARK   3   BIN RESOLUTION RANGE HIGH           :    3.291"], None),
        (["REMARK   2 RESOLUTION. NOT APPLICABLE.", HIGHEST.format("3.90")], None),
        (
            [
                *("REMARK   3  NEUTRON DATA.", HIGHEST.format("2.20")),
                *("REMARK   3  X-RAY DATA.", HIGHEST.format("1.50")),
            ],
            1.5,
        ),
        (["REMARK   3  X-RAY DATA.", "REMARK   3  NEUTRON DATA.", HIGHEST.format("2.20")], None),
    ],
)
def test_the_resolution_of_a_file_of_a_refinement_program_stands_in_remark_3(lines, resolution):
    entry = read_chains(pdb_with(*lines), "x")
    found = entry.metadata.resolution
    assert found is None if resolution is None else found == pytest.approx(resolution)
    # What has a resolution was measured: nobody's word makes its B-factors a confidence.
    known = read_chains(pdb_with(*lines), "x", b_factor_is="plddt")
    assert (known.metadata.confidence_kind is None) == (resolution is not None)


@pytest.mark.parametrize(
    ("lines", "r_free", "completeness"),
    [
        ([REMARK_3.format("0.213")], 0.213, None),
        ([REMARK_3.format("NULL")], None, None),
        ([REMARK_3.format("23.5")], 0.235, None),
        ([REMARK_3.format("23.5%")], 0.235, None),
        ([REMARK_3.format("23.5 %")], 0.235, None),
        ([REMARK_3.format("1.2")], None, None),
        ([REMARK_3.format("123.5")], None, None),
        (["REMARK   3   FREE R VALUE TEST SET SIZE   (%) : 5.0"], None, None),
        (["REMARK   3   BIN FREE R VALUE                    : 0.25"], None, None),
        (["REMARK   3   FREE R VALUE                  (NO CUTOFF) : 0.174"], 0.174, None),
        (["REMARK   3   FREE R VALUE                  (F>4SIG(F)) : 0.160"], None, None),
        (["REMARK   3   COMPLETENESS FOR RANGE        (%) : 95.5"], None, 0.955),
        (["REMARK   3   COMPLETENESS (WORKING+TEST)   (%) : 88.0"], None, 0.88),
        (["REMARK   3   BIN COMPLETENESS (WORKING+TEST) (%) : 88.0"], None, None),
        (["REMARK 200  COMPLETENESS FOR SHELL     (%) : 88.0"], None, None),
        (
            [
                "REMARK   3   COMPLETENESS FOR RANGE        (%) : 95.5",
                "REMARK 200  COMPLETENESS FOR RANGE     (%) : 97.0",
            ],
            None,
            0.97,
        ),
        (["REMARK 200  COMPLETENESS FOR RANGE     (%) : 1.0"], None, 1.0),
        (["REMARK 200  COMPLETENESS FOR RANGE     (%) : 97.0 %"], None, 0.97),
        (
            [
                "REMARK   3  NEUTRON DATA.",
                REMARK_3.format("0.26"),
                "REMARK   3   COMPLETENESS FOR RANGE        (%) : 70.0",
                "REMARK   3  X-RAY DATA.",
                REMARK_3.format("0.21"),
                "REMARK   3   COMPLETENESS FOR RANGE        (%) : 95.0",
                "REMARK 230  COMPLETENESS FOR RANGE     (%) : 71.0",
            ],
            0.21,
            0.95,
        ),
        (
            [
                "REMARK   3  X-RAY DATA.",
                REMARK_3.format("NULL"),
                "REMARK   3  NEUTRON DATA.",
                REMARK_3.format("0.26"),
                "REMARK   3   COMPLETENESS FOR RANGE        (%) : 70.0",
                "REMARK 200  COMPLETENESS FOR RANGE     (%) : 95.0",
            ],
            None,
            0.95,
        ),
        (["REMARK 200  COMPLETENESS FOR RANGE     (%) : 380.5"], None, None),
        ([], None, None),
    ],
)
def test_a_pdb_file_says_r_free_and_completeness_in_its_remarks(lines, r_free, completeness):
    told = read_chains(pdb_with(*lines), "x").metadata
    assert (told.r_free, told.data_completeness) == (r_free, pytest.approx(completeness))


def test_the_formats_of_an_entry_say_the_same():
    said = [
        (chains[0].metadata.r_free, chains[0].metadata.data_completeness)
        for chains in map(example, ("3jqh.cif", "3jqh.bcif"))
    ]
    assert said[0] == said[1]
    assert None not in said[0]


def test_an_mmcif_file_without_one_completeness_may_have_the_other():
    text = decompress((EXAMPLES / "1bd2.cif.gz").read_bytes(), 1 << 28).decode()
    told = read_chains(text.encode(), "x").metadata
    assert told.r_free == pytest.approx(0.312)
    assert told.data_completeness == pytest.approx(0.912)
    other = text.replace("_reflns.percent_possible_obs", "_reflns.something_else")
    assert other != text
    said = read_chains(other.encode(), "x").metadata.data_completeness
    assert said == pytest.approx(0.906)


# ---- configurations -----------------------------------------------------------------------------


def test_filters_that_came_later_leave_the_hash_of_a_configuration_alone_unless_they_are_set():
    identity = Reading().identity()["filters"]
    assert "max_breaks" in identity
    assert "max_r_free" not in identity
    with_it = Reading(filters=Filters(max_r_free=0.3))
    assert with_it.identity()["filters"]["max_r_free"] == 0.3
    assert with_it.config_hash != Reading().config_hash
