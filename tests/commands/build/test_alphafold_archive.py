"""The tar of a proteome, as AlphaFold DB gives it, is read as it is."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import gemmi
import pyarrow.parquet as pq
import pytest

import pipeline.crew.build_part
from tests.support.build_runs import accounts_for_all, build_here, inputs
from tests.support.places import EXAMPLES

MODEL = "AF-P29373-F1-model_v4"


def structure(accession: str) -> gemmi.cif.Document:
    """The model of the examples under another accession."""
    packed = (EXAMPLES / f"{MODEL}.cif.gz").read_bytes()
    text = gzip.decompress(packed).decode().replace("P29373", accession)
    return gemmi.cif.read_string(text)


def write_proteome(path: Path, accessions: list[str]) -> None:
    """Each model as mmCIF and PDB, and its predicted aligned errors: the order of the archives."""
    errors = [{"predicted_aligned_error": [[k % 30 for k in range(138)]] * 138}]
    with tarfile.open(path, "w") as archive:
        for accession in accessions:
            document = structure(accession)
            pdb = gemmi.make_structure_from_block(document.sole_block()).make_pdb_string()
            title = f"TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR {accession}"
            first, rest = pdb.split("\n", 1)
            for name, text in (
                (f"AF-{accession}-F1-model_v4.cif.gz", document.as_string()),
                (f"AF-{accession}-F1-model_v4.pdb.gz", f"{first}\n{title:<80}\n{rest}"),
                (f"AF-{accession}-F1-predicted_aligned_error_v4.json.gz", json.dumps(errors)),
            ):
                info = tarfile.TarInfo(name)
                data = gzip.compress(text.encode())
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("compressed", [False, True])
def test_each_model_is_read_once_and_what_is_no_structure_is_skipped(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accessions = ["A0A024RBG1", "P29373", "Q8WZ42"]
    source = tmp_path / "UP000005640_9606_HUMAN_v4.tar"
    write_proteome(source, accessions)
    if compressed:
        packed = tmp_path / f"{source.name}.gz"
        packed.write_bytes(gzip.compress(source.read_bytes()))
        source = packed
    unpacked = []
    decompress = pipeline.crew.build_part.decompress

    def noting(data: bytes, *arguments, **more) -> bytes:
        unpacked.append(decompress(data, *arguments, **more))
        return unpacked[-1]

    monkeypatch.setattr(pipeline.crew.build_part, "decompress", noting)
    out = tmp_path / "out"
    said = build_here(source, out)
    assert said["counts"] | {"found": 9, "ok": 3, "skipped": 6, "failed": 0} == said["counts"]
    assert accounts_for_all(out)
    rows = {name.rpartition("::")[2]: row for name, row in inputs(out).items()}
    for accession in accessions:
        model = f"AF-{accession}-F1-model_v4"
        assert rows[f"{model}.cif.gz"]["status"] == "ok"
        assert rows[f"{model}.cif.gz"]["entry_id"] == model
        assert rows[f"{model}.pdb.gz"]["reason"] == "same-entry"
        errors = rows[f"AF-{accession}-F1-predicted_aligned_error_v4.json.gz"]
        assert (errors["status"], errors["reason"]) == ("skipped", "not-a-structure")
        assert "JSON" in errors["message"]
    assert len(unpacked) == 3  # of the others at most the beginning
    shard = pq.read_table(out / "shards")
    assert set(shard["entry_id"].to_pylist()) == {f"AF-{a}-F1-model_v4" for a in accessions}
    assert set(shard["confidence_kind"].to_pylist()) == {"plddt"}
    assert set(shard["source"].to_pylist()) == {"AlphaFold DB"}
    assert set(shard["uniprot"].to_pylist()) == set(accessions)


def test_the_pdb_files_of_a_proteome_say_that_they_are_predictions(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar"
    write_proteome(whole, ["P29373"])
    source = tmp_path / "only_pdb.tar"
    with tarfile.open(whole) as found, tarfile.open(source, "w") as archive:
        for info in found:
            if info.name.endswith(".pdb.gz"):
                archive.addfile(info, found.extractfile(info))
    build_here(source, tmp_path / "out")
    shard = pq.read_table(next((tmp_path / "out" / "shards").iterdir()))
    assert shard["confidence_kind"].to_pylist() == ["plddt"]
    assert shard["entry_id"].to_pylist() == [MODEL]
