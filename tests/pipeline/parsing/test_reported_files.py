"""Small inputs made for troubles that users of this field report: what each of them gives.

The kinds behind them have tests of their own, with generated files; here are the files themselves.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.build.command import main
from pipeline.parsing import NotAStructure, read_chains
from pipeline.sources import decompress
from tests.support.places import STRUCTURES

REPORTED = STRUCTURES / "reported"
pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason="needs the shared structures")


def parsed(name: str, **options: object):
    (path,) = REPORTED.glob(f"{name}.*")
    return read_chains(decompress(path.read_bytes(), 1 << 28), name, **options)  # type: ignore[arg-type]


# file → (label of each chain, rows of it, rows that are resolved), flags
READ = {
    "F1_biopython_1qys": ([("A", 92, 92)], ["labels_set_aside:A"]),
    "F1_biopython_1pfe": ([("B", 8, 8)], ["labels_set_aside:B"]),
    "F2_different_names": ([("A", 16, 16)], ["repeated_numbers:A:3"]),
    "F2_equal_names": ([("A", 16, 16)], ["repeated_numbers:A:3"]),
    "F2_one_residue_each": (
        [("_", 1, 1), ("_.2", 1, 1)],
        ["split_by_segid:_", "repeated_numbers:_.2:1"],
    ),
    "F3_label_is_auth": ([("A", 12, 12)], ["label_seq_set_aside:A"]),
    "F3_modelangelo_skips": ([("A", 20, 17)], ["label_seq_set_aside:A"]),
    "F4_some_without_label_seq": ([("A", 20, 20)], ["label_seq_missing:A:3"]),
    "F5_parmed_1ubi": ([("A", 76, 76)], []),
    "F6_auth_only_struct_asym_kept": ([("B", 20, 20)], ["entity_by_sequence:B"]),
    "F6_label_overwritten_entity_right": ([("B", 20, 20)], ["entity_by_atoms:B"]),
    "F6_two_proteins_swapped": (
        [("B", 20, 20), ("A", 20, 20)],
        ["entity_by_atoms:B", "entity_by_atoms:A"],
    ),
    "F7_chainP_340_6": ([("P", 12, 12), ("P.2", 11, 11)], ["split_by_segid:P"]),
    "F7_charmmgui_chainP": ([("P", 12, 12), ("P.2", 11, 11)], ["split_by_segid:P"]),
    "F7_segid_no_ter": ([("_", 12, 12), ("_.2", 11, 11)], ["split_by_segid:_"]),
    "F9_serial6_mixed": ([("A", 20, 20)], ["wide_records:6"]),
    "F10_hex": ([("A", 20, 20)], []),
    "F11_icode_in_auth_seq": ([("A", 8, 8)], []),
    "F12_hie_helium": ([("A", 24, 24)], []),
}


@pytest.mark.parametrize("name", READ)
def test_a_reported_file_gives_the_chains_it_has(name: str) -> None:
    entry = parsed(name)
    chains = [(c.label_asym_id, len(c.aatype), int(c.resolved.sum())) for c in entry.chains]
    assert (chains, entry.flags) == READ[name]


def test_modified_residues_of_files_without_entity_records_are_residues() -> None:
    (chain,) = parsed("F1_biopython_1qys").chains
    assert chain.n_modified == 1
    (chain,) = parsed("F1_biopython_1pfe").chains
    assert (chain.n_modified, chain.n_microhet) == (6, 2)


def test_skipped_positions_are_those_that_names_tell() -> None:
    (chain,) = parsed("F3_modelangelo_skips").chains
    assert chain.residue_index.tolist() == list(range(1, 21))
    assert np.flatnonzero(~chain.resolved).tolist() == [7, 8, 9]
    (chain,) = parsed("F3_label_is_auth").chains
    assert chain.residue_index.tolist() == list(range(1, 13))


def test_an_assembly_of_author_ids_is_built() -> None:
    entry = parsed("F16_assembly_auth_ids", assembly="first")
    assert [c.label_asym_id for c in entry.chains] == ["A", "A-2"]
    assert entry.flags == ["assembly_by_author_id:1"]


# file → (source, kind of its B-factors)
KINDS = {
    "F14_title_mentions_alphafold": ("PDB", None),
    "F14_own_af2_title": (None, "plddt"),
    "F15_esmfold_api": (None, "plddt"),
    "F15_colabfold_rank1": (None, None),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_reported_file_is_comes_from_its_records(name: str) -> None:
    entry = parsed(name)
    assert (entry.metadata.source, entry.metadata.confidence_kind) == KINDS[name]
    (chain,) = entry.chains
    assert chain.metadata.confidence_kind is None or 1 < chain.b_factor.max() <= 100


def test_a_pqr_file_is_no_structure_and_is_called_by_its_name() -> None:
    with pytest.raises(NotAStructure, match="PQR") as error:
        parsed("F8_1ubi_amber")
    assert error.value.reason == "not-a-structure"


@pytest.mark.parametrize("name", ["M_exponents", "M_numbers_with_su", "M_quoted"])
def test_the_same_content_in_another_spelling_gives_the_same_rows(name: str) -> None:
    (plain,), (other,) = parsed("M_plain").chains, parsed(name).chains
    for field in ("aatype", "residue_index", "auth_seq_id", "atom14_mask", "coords", "b_factor"):
        assert np.array_equal(getattr(plain, field), getattr(other, field)), field


def test_binarycif_with_keys_of_bytes_is_read() -> None:
    assert sum(len(c.aatype) for c in parsed("F13_pymmcif_bytes").chains) > 0


def test_extended_and_short_ids_are_one_id(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for path in REPORTED.glob("pdb_0000*"):
        shutil.copy(path, source / path.name)
    build = ["--pdb-dir", str(source), "--quiet", "--n-jobs", "1"]
    obsolete = ["--obsolete", str(REPORTED / "obsolete.dat")]
    assert main([*build, *obsolete, "--out-dir", str(tmp_path / "a")]) == 0
    rows = pq.read_table(tmp_path / "a" / "inputs.parquet").to_pylist()
    assert {r["entry_id"]: (r["status"], r["reason"]) for r in rows} == {
        "1as5": ("ok", None),
        "1orc": ("skipped", "obsolete"),
    }
    manifest = ["--manifest", str(REPORTED / "beta_manifest.csv")]
    assert main([*build, *manifest, "--out-dir", str(tmp_path / "b")]) == 0
    rows = pq.read_table(tmp_path / "b" / "index.parquet", columns=["entry_id"]).to_pylist()
    assert {r["entry_id"] for r in rows} == {"1as5", "1orc"}
