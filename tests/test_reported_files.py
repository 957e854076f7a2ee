"""Small inputs made for troubles that users of this field report: what each of them gives.

The kinds behind them have tests of their own, with generated files; here are the files themselves.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.build.command import main
from pipeline.parsing import NotAStructure, read_chains
from pipeline.sources import decompress

REPORTED = Path(__file__).parents[2] / "shared" / "structures" / "reported"
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
    "F12_hie_helium": ([("A", 20, 20)], []),
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
