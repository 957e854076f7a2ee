"""Hard and broken real files: one run of the command, every file accounted for, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.commands.words import MEBIBYTE
from tests.commands.build.test_fuzz import check_chain, check_record
from tests.support.places import STRUCTURES
from tests.support.watched_build import Watched, inputs, run_build

FOLDERS = ("edge", "afdb", "pairs")

pytestmark = pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")

# file below edge/ → status, reason, chains. Each was looked at; the comment says why it is so.
EXPECTED = {
    # --- what is no model of a protein ---
    # No byte once unpacked.
    "empty__empty.pdb.gz": ("skipped", "not-a-structure", 0),
    # HEADER … SOURCE records and nothing else; the same with the first 26 lines of an entry.
    "header_only__header.pdb.gz": ("skipped", "no-atoms", 0),
    "header_only_truncated__pdb6elw-26lines.ent.gz": ("skipped", "no-atoms", 0),
    # REMARKs of a SCOP domain whose coordinates were cut off.
    "scop_domain_style__d256ba_.ent.gz": ("skipped", "no-atoms", 0),
    # mmCIF of reflections called .ent, of components, of a small molecule; an empty category.
    "structure_factors_not_model__r5wkdsf.ent.gz": ("skipped", "no-atom-site", 0),
    "ccd_components_not_model__components-000-001-002.cif.gz": ("skipped", "no-atom-site", 0),
    "small_molecule_cif__1011031.cif.gz": ("skipped", "no-atom-site", 0),
    "bcif_zero_rows__0red.bcif.gz": ("skipped", "no-atom-site", 0),
    # A loop of a dictionary without a data_ line.
    "cif_parser_suite__example-dependent-conditions.cif.gz": ("skipped", "no-data-block", 0),
    # TIP3 waters; haem; DNA; RNA under the names of CHARMM; residues called XXX.
    "water_only__waterbox_md.pdb.gz": ("skipped", "no-protein", 0),
    "ligand_only__HEM.pdb.gz": ("skipped", "no-protein", 0),
    "nucleic_only__1zff.pdb.gz": ("skipped", "no-protein", 0),
    "hydrogens_charmm_names__1k5i_c36.pdb.gz": ("skipped", "no-protein", 0),
    "endmdl_order__end-endmdl.pdb.gz": ("skipped", "no-protein", 0),
    # DNA, one atom called O5' without quotes and the next "O3'" with.
    "cif_quoting__difficult_mmcif_quoting.cif.gz": ("skipped", "no-protein", 0),
    # Its first model holds one pyroglutamate as HETATM, a ligand; the protein is in the second.
    "malformed_mixed_errors__a_structure.pdb.gz": ("skipped", "no-protein", 0),
    # --- proteins without a residue that has a frame ---
    # CA alone: of an X-ray entry of 1981, of 116 models of an ensemble, of an mmCIF.
    "CA_only__1lzh.pdb.gz": ("skipped", "ca-only", 0),
    "ca_only_multi_model__pdb2k39_ca.pdb.gz": ("skipped", "ca-only", 0),
    "CA_only__1a1d.cif.gz": ("skipped", "ca-only", 0),
    # MARTINI beads: CA and one or two more, called after side-chain atoms.
    "coarse_grained__BaceCgMartini.pdb.gz": ("skipped", "nothing-resolved", 0),
    # Five residues of which N alone is there.
    "insertion_codes_tiny__icode.pdb.gz": ("skipped", "nothing-resolved", 0),
    # One residue; its C has occupancy 0.00 and is dropped, the N's is blank.
    "blank_or_zero_occupancy__occupancy.pdb.gz": ("skipped", "nothing-resolved", 0),
    # --- broken ---
    # A row of atom_site lacks a value: 1,250 values for 21 columns. Nobody knows which.
    "malformed__1AKE_err.cif.gz": ("failed", "malformed-loop", 0),
    # The last atom record ends after the residue name: that atom is lost, the residue is not.
    "malformed__1AKE_err_b.pdb.gz": ("ok", None, 1),
    # SD has blanks for coordinates; N, CA and C are there.
    "malformed__1AKE_err_a.pdb.gz": ("ok", None, 1),
    # Two models; the record of the second has its number in other columns. The first is read.
    "malformed__1SSU_err.pdb.gz": ("ok", None, 1),
    # Its protein ends at residue 53, and waters follow; nothing says that it was cut.
    "truncated__1ahq_trunc.pdb.gz": ("ok", None, 1),
    # --- chains ---
    # The same entry as PDB beside mmCIF: mmCIF is preferred.
    "auth_vs_label_chains__5mtn_multichain.pdb.gz": ("skipped", "same-entry", 0),
    # No chain ids at all, and a TER after two residues: two chains, then ions and waters.
    "blank_chain_ter__noChainNameTerRecords.pdb.gz": ("ok", None, 2),
    # A, B, C, D, and A and B again.
    "chain_id_reuse__chainIDrepeat.pdb.gz": ("ok", None, 6),
    # Chain ids "1" and "2"; a two-character id in columns 21-22; one of four characters in mmCIF.
    "digit_chain__1eta.bcif.gz": ("ok", None, 2),
    "multichar_chain__1fne.pdb.gz": ("ok", None, 4),
    "multichar_chain_ids__1hh0_4char.cif.gz": ("ok", None, 1),
    # A polymer that ends in MSE as HETATM, which is of the chain.
    "ter_records__hetatm-polymer.pdb.gz": ("ok", None, 1),
    # The ensemble's first model is number 21, and 18: read, whatever its number.
    "first_model_id_not_1__1crr.bcif.gz": ("ok", None, 1),
    "first_model_not_1__1ezc.bcif.gz": ("ok", None, 1),
    # A ribosome, and the largest complexes: 52 proteins, 20, 4 of 1,022 residues.
    "ribosome__5a9z.cif.gz": ("ok", None, 52),
    "huge__3l74.pdb.gz": ("ok", None, 20),
    "huge__5a1a.cif.gz": ("ok", None, 4),
    # --- odd but right ---
    # Calcium ions in the columns where CA of a residue would be: ions, one residue.
    "calcium_vs_calpha__calcium-calpha-example.pdb.gz": ("ok", None, 1),
    # Coordinates fill their columns, so no blank stands between them.
    "coordinate_overflow__bigz.pdb.gz": ("ok", None, 1),
    # Tags begin with _ATOM_SITE, in capitals.
    "case_insensitive_tags__1acj-cases.cif.gz": ("ok", None, 1),
    # CR LF line ends.
    "crlf__WIN_nmr_neopetrosiamide.pdb.gz": ("ok", None, 1),
    # One residue whose occupancies exceed 1, on lines that end after the B-factor.
    "zero_or_blank_occupancy__1ubq.occ.pdb.gz": ("ok", None, 1),
    # Ramoplanin: 13 of 17 residues are in no list of the twenty, and stay in the chain as X.
    "branched_entity__1dsr.cif.gz": ("ok", None, 1),
    # The suffix of an assembly (.pdb1), one model.
    "biological_assembly_models__1tbf.pdb1.gz": ("ok", None, 1),
}


Built = tuple[str, Watched, Path]


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> Callable[[str], Built]:
    """Each folder is built once, when the first test asks for it."""
    folder = tmp_path_factory.mktemp("built")

    @cache
    def build(name: str) -> Built:
        return name, run_build(STRUCTURES / name, folder / name, "--timeout", "60"), folder / name

    return build


@pytest.fixture(params=FOLDERS)
def built(request, builds) -> Built:
    return builds(request.param)


@pytest.fixture(scope="module")
def edge(builds) -> dict[str, dict]:
    _, _, out = builds("edge")
    return {row["input"]: row for row in inputs(out)}


def test_every_file_ends_with_a_reason_in_words_in_one_run(built, capsys):
    name, result, out = built
    rows = inputs(out)
    status = Counter(row["status"] for row in rows)
    with capsys.disabled():
        print(
            f"\n{name}: {dict(status)} in {result.seconds:.0f} s, largest process "
            f"{result.peak_bytes / MEBIBYTE:.0f} MiB"
        )
    assert result.status == (1 if status["failed"] else 0), result.output
    assert "Traceback" not in result.output
    for row in rows:
        check_record(row)
    on_disk = {p.name for p in (STRUCTURES / name).iterdir() if p.is_file()}
    assert {row["input"] for row in rows} == on_disk
    counts = json.loads((out / "build.json").read_text())["counts"]
    assert counts["found"] == len(rows) == len(on_disk)
    assert counts["ok"] + counts["skipped"] + counts["failed"] == counts["found"]
    assert counts["ok"] > len(rows) / 4
    assert result.seconds < 300
    assert result.peak_bytes < 1500 * MEBIBYTE


def test_every_chain_is_whole_and_belongs_to_a_file_that_is_ok(built):
    _, _, out = built
    n_chains = Counter()
    for shard in sorted((out / "shards").glob("*.parquet")):
        for row in pq.ParquetFile(shard, page_checksum_verification=True).read().to_pylist():
            check_chain(row)
            n_chains[row["entry_id"]] += 1
    expected = {row["entry_id"]: row["n_chains"] for row in inputs(out) if row["status"] == "ok"}
    assert n_chains == expected


def test_every_dropped_chain_has_a_reason_and_a_file(built):
    _, _, out = built
    files = {row["input"]: row for row in inputs(out)}
    drops = pq.read_table(out / "drops.parquet").to_pylist()
    for drop in drops:
        assert files[drop["input"]]["status"] in ("ok", "skipped"), drop
        assert drop["reason"], drop
    n_dropped = Counter(drop["input"] for drop in drops)
    assert n_dropped == {name: row["n_dropped"] for name, row in files.items() if row["n_dropped"]}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_telling_file_ends_as_it_should(edge, name):
    row = edge[name]
    assert (row["status"], row["reason"], row["n_chains"]) == EXPECTED[name], row["message"]


def test_a_pdb_record_that_is_cut_off_is_flagged(edge):
    (flag,) = edge["malformed__1AKE_err_b.pdb.gz"]["flags"]
    assert flag.replace("_", "-") == "cut-records:1"
