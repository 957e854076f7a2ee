"""The example entries are what `data_manifest/examples.csv` says they are.

The files are read here with gemmi (BinaryCIF, which gemmi does not read, with biotite), never with
this project's own readers, so that a fault of ours cannot hide in the data we test with.
"""

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest
import zstandard

from tests.support.places import ROOT

MANIFEST = ROOT / "data_manifest"
EXAMPLES = MANIFEST / "examples"
COLUMNS = ["entry", "file", "sha256", "bytes", "licence", "source", "why"]

with (MANIFEST / "examples.csv").open(encoding="utf-8", newline="") as handle:
    READER = csv.DictReader(handle)
    ROWS = list(READER)
FILES = [row["file"] for row in ROWS]


def content(file: str) -> bytes:
    """The bytes of an example without its compression."""
    stored = (EXAMPLES / file).read_bytes()
    match Path(file).suffix:
        case ".gz":
            return gzip.decompress(stored)
        case ".zst":
            return zstandard.ZstdDecompressor().decompress(stored)
        case _:
            return stored


def structure_format(file: str) -> str:
    return next(s[1:] for s in reversed(Path(file).suffixes) if s not in (".gz", ".zst"))


def mmcif_block(file: str) -> gemmi.cif.Block:
    return gemmi.cif.read_string(content(file).decode()).sole_block()


def bcif_atom_site(file: str) -> pdbx.BinaryCIFCategory:
    return pdbx.BinaryCIFFile.read(io.BytesIO(content(file))).block["atom_site"]


def structure(file: str) -> gemmi.Structure:
    """A PDB or mmCIF example, waters and ligands included."""
    if structure_format(file) == "pdb":
        read = gemmi.read_pdb_string(content(file).decode())
    else:
        read = gemmi.make_structure_from_block(mmcif_block(file))
    read.setup_entities()
    read.merge_chain_parts()
    return read


def residues(file: str) -> Iterator[gemmi.Residue]:
    """The residues of the first model."""
    return (residue for chain in structure(file)[0] for residue in chain)


def protein_chains(file: str) -> list[str]:
    peptides = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)
    return [
        chain.name
        for chain in structure(file)[0]
        if chain.get_polymer().check_polymer_type() in peptides
    ]


def alternate_labels(file: str) -> set[str]:
    labels = {atom.altloc for residue in residues(file) for atom in residue}
    return labels - {"\0"}


def inserted_residues(file: str) -> list[str]:
    return [str(residue.seqid) for residue in residues(file) if residue.seqid.icode != " "]


def residue_names(file: str) -> Counter[str]:
    return Counter(residue.name for residue in residues(file))


def positions_with_two_names(file: str) -> list[str]:
    """Places of a polymer that hold more than one kind of residue."""
    return [
        f"{chain.name} {seqid}"
        for chain in structure(file)[0]
        for seqid, same_place in groupby(chain.get_polymer(), key=lambda r: str(r.seqid))
        if len({residue.name for residue in same_place}) > 1
    ]


def chain_gaps(file: str) -> list[tuple[str, int, int]]:
    """Neighbours in a chain whose numbers jump and whose CA atoms are too far apart for a bond."""
    found = []
    for chain in structure(file)[0]:
        cas = [
            (r.seqid.num, r.find_atom("CA", "*").pos)
            for r in chain.get_polymer().first_conformer()
            if r.find_atom("CA", "*")
        ]
        for (before, p), (after, q) in pairwise(cas):
            if after - before > 1 and p.dist(q) > 4.2:
                found.append((chain.name, before, after))
    return found


# --- the list and the folder ---


def test_the_columns_are_the_documented_ones_and_none_is_empty() -> None:
    assert READER.fieldnames == COLUMNS
    assert [row for row in ROWS if not all(row[column].strip() for column in COLUMNS)] == []
    readme = (MANIFEST / "README.md").read_text(encoding="utf-8")
    assert [column for column in COLUMNS if f"`{column}`" not in readme] == []


def test_the_folder_holds_the_listed_files_and_nothing_else() -> None:
    assert sorted(FILES) == sorted(p.relative_to(EXAMPLES).as_posix() for p in EXAMPLES.rglob("*"))
    assert len(FILES) == len(set(FILES))


@pytest.mark.parametrize("row", ROWS, ids=FILES)
def test_a_file_has_the_size_and_hash_that_are_listed(row: dict[str, str]) -> None:
    stored = (EXAMPLES / row["file"]).read_bytes()
    assert len(stored) == int(row["bytes"])
    assert hashlib.sha256(stored).hexdigest() == row["sha256"]


def test_the_examples_stay_small() -> None:
    sizes = {file: (EXAMPLES / file).stat().st_size for file in FILES}
    assert sum(sizes.values()) < 5_000_000
    assert max(sizes.values()) < 1_400_000
    assert 12 <= len({row["entry"] for row in ROWS}) <= 20


def test_a_file_is_named_for_its_entry() -> None:
    assert [row for row in ROWS if not row["file"].startswith(f"{row['entry']}.")] == []


def test_every_format_is_there_plain_and_gzipped_and_one_file_is_zstd() -> None:
    suffixes = {"".join(Path(file).suffixes) for file in FILES}
    assert {
        f".{form}{packing}" for form in ("pdb", "cif", "bcif") for packing in ("", ".gz")
    } <= suffixes
    assert any(suffix.endswith(".zst") for suffix in suffixes)


def test_gzip_headers_hold_no_time_and_no_name() -> None:
    for file in FILES:
        if file.endswith(".gz"):
            header = (EXAMPLES / file).read_bytes()[:8]
            assert header[3:] == bytes(5), file  # no flags, then a time of zero


def test_every_file_holds_the_format_that_its_name_says_and_the_atoms_of_its_entry() -> None:
    for row in ROWS:
        file, entry = row["file"], row["entry"]
        match structure_format(file):
            case "bcif":
                block = pdbx.BinaryCIFFile.read(io.BytesIO(content(file))).block
                name, atoms = block["entry"]["id"].as_item(), block["atom_site"].row_count
            case "cif":
                name = mmcif_block(file).find_value("_entry.id")
                atoms = len(mmcif_block(file).find_values("_atom_site.id"))
            case "pdb":
                name = content(file)[62:66].decode()  # HEADER, columns 63-66
                atoms = structure(file)[0].count_atom_sites()
        assert name.lower() == entry.lower().removesuffix("-model_v4"), file
        assert atoms > 200, file


def test_licences_follow_the_archive_a_file_comes_from() -> None:
    for row in ROWS:
        expected = "CC-BY-4.0" if row["entry"].startswith("AF-") else "CC0-1.0"
        assert row["licence"] == expected, row["file"]


# --- what the entries are here for ---


@pytest.mark.parametrize(
    ("entry", "preferred", "other"),
    [("1gbt", "1gbt.bcif.gz", "1gbt.cif.gz"), ("3jqh", "3jqh.bcif", "3jqh.cif")],
)
def test_the_binarycif_and_mmcif_files_of_an_entry_hold_the_same_atoms(
    entry: str, preferred: str, other: str
) -> None:
    assert [row["file"] for row in ROWS if row["entry"] == entry] == [preferred, other]
    for column in ("Cartn_x", "Cartn_y", "Cartn_z"):
        binary = bcif_atom_site(preferred)[column].as_array(float)
        text = [float(value) for value in mmcif_block(other).find_values(f"_atom_site.{column}")]
        np.testing.assert_allclose(binary, text, rtol=0, atol=1e-6)


def test_the_pdb_and_mmcif_files_of_1a8o_hold_the_same_atoms() -> None:
    def positions(file: str) -> list[tuple[str, list[float]]]:
        return [(atom.name, atom.pos.tolist()) for r in residues(file) for atom in r]

    assert positions("1a8o.pdb") == positions("1a8o.cif.gz")


@pytest.mark.parametrize(("file", "models"), [("1as5.cif.gz", 14), ("1lcd.cif.gz", 3)])
def test_the_nmr_entries_are_ensembles(file: str, models: int) -> None:
    assert len(structure(file)) == models
    assert mmcif_block(file).find_value("_exptl.method").strip("'\"") == "SOLUTION NMR"


def test_the_models_of_1lcd_differ_in_their_atoms() -> None:
    assert len({model.count_atom_sites() for model in structure("1lcd.cif.gz")}) > 1


@pytest.mark.parametrize("file", ["1lcd.cif.gz", "1pfe.cif.gz"])
def test_the_complexes_hold_dna_and_protein(file: str) -> None:
    kinds = {chain.get_polymer().check_polymer_type() for chain in structure(file)[0]}
    assert gemmi.PolymerType.Dna in kinds
    assert protein_chains(file)


@pytest.mark.parametrize(
    ("file", "labels"),
    [
        ("1ejg.pdb.gz", {"A", "B", "C"}),
        ("3hsy.pdb.gz", {"A", "B"}),
        ("3jqh.cif", {"A", "B", "C"}),
        ("1k6p.cif.gz", {"1", "2"}),
    ],
)
def test_alternate_locations_are_labelled_with_letters_or_digits(
    file: str, labels: set[str]
) -> None:
    assert alternate_labels(file) == labels


def test_1k6p_has_atoms_of_zero_occupancy() -> None:
    assert any(atom.occ == 0 for residue in residues("1k6p.cif.gz") for atom in residue)


@pytest.mark.parametrize("file", ["1ejg.pdb.gz", "3jqh.cif", "1pfe.cif.gz"])
def test_microheterogeneity_puts_two_residues_in_one_place(file: str) -> None:
    assert positions_with_two_names(file)


@pytest.mark.parametrize("file", ["1orc.pdb.gz", "1gbt.cif.gz", "4zhl.cif.gz", "1bd2.cif.gz"])
def test_insertion_codes_are_there_in_pdb_and_mmcif(file: str) -> None:
    assert inserted_residues(file)


def test_1gbt_keeps_its_insertion_codes_in_binarycif() -> None:
    codes = bcif_atom_site("1gbt.bcif.gz")["pdbx_PDB_ins_code"].as_array(str)
    assert set(codes) - {"?", ".", ""}


@pytest.mark.parametrize("file", ["1a8o.pdb", "1a8o.cif.gz"])
def test_1a8o_has_four_selenomethionines(file: str) -> None:
    assert residue_names(file)["MSE"] == 4


def test_1as5_and_1pfe_have_modified_residues() -> None:
    assert residue_names("1as5.cif.gz")["HYP"] > 0
    assert residue_names("1pfe.cif.gz")["DSN"] > 0, "D-serine"


@pytest.mark.parametrize("file", ["3hsy.pdb.gz", "1bd2.cif.gz"])
def test_unresolved_loops_leave_gaps_in_a_chain(file: str) -> None:
    assert chain_gaps(file)


@pytest.mark.parametrize("file", ["1ubi.pdb.zst", "3enl.pdb.gz"])
def test_the_complete_chains_have_no_gap(file: str) -> None:
    assert protein_chains(file) == ["A"]
    assert chain_gaps(file) == []


@pytest.mark.parametrize(
    ("file", "chains"), [("1bd2.cif.gz", 5), ("3hsy.pdb.gz", 2), ("4zhl.cif.gz", 2)]
)
def test_some_entries_have_several_protein_chains(file: str, chains: int) -> None:
    assert len(protein_chains(file)) == chains


def test_6wg6_has_twelve_protein_chains() -> None:
    atoms = bcif_atom_site("6wg6.bcif.gz")
    ca = atoms["label_atom_id"].as_array(str) == "CA"
    chains = Counter(atoms["label_asym_id"].as_array(str)[ca])
    assert len(chains) == 12
    assert min(chains.values()) > 150


def test_1lzh_has_nothing_but_ca_atoms() -> None:
    assert {atom.name for residue in residues("1lzh.pdb.gz") for atom in residue} == {"CA"}


def test_5pti_has_deuterium_and_1ejg_hydrogens() -> None:
    def elements(file: str) -> set[str]:
        return {atom.element.name for residue in residues(file) for atom in residue}

    assert "D" in elements("5pti.cif.gz")
    assert "H" in elements("1ejg.pdb.gz")


def test_the_alphafold_model_keeps_its_licence_note_and_its_plddt() -> None:
    file = "AF-P29373-F1-model_v4.cif.gz"
    assert b"CC-BY 4.0 LICENCE" in content(file)
    plddt = [residue["CA"][0].b_iso for residue in residues(file)]
    assert len(plddt) == 138
    assert 90 < float(np.mean(plddt)) <= 100
