"""Embeddings are those of the language model, belong to one dataset, and travel with its items."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import pipeline.embed.embed_part
from model.train.check_batch import BadBatch
from pipeline.batching import collate
from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.built.layout import Layout
from pipeline.built.stored_embeddings import StoredEmbeddings
from pipeline.dataset import (
    ContiguousCrop,
    DamagedShard,
    ShardDataset,
    ShardStream,
    SpatialCrop,
)
from pipeline.embed import command
from pipeline.embed.chain_sequences import chain_sequence
from pipeline.embed.language_model import LanguageModel, ModelError, load
from pipeline.embed.options import EmbedOptions
from pipeline.embed.windows import N_SPECIAL, batches_of, windows_of
from pipeline.upgrade.command import main as upgrade
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from tests.support.build_runs import build_here, write_peptides
from tests.support.places import ROOT
from tests.support.train_runs import fit

HIDDEN = 16
LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
TOKENS = ["<cls>", "<pad>", "<eos>", "<unk>", *LETTERS, "<null_1>", "<mask>"]


def save_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A tiny ESM-2 with random weights, saved as the hub has them."""
    from transformers import EsmConfig, EsmModel, EsmTokenizer

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(TOKENS))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = EsmConfig(
        vocab_size=len(TOKENS),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=TOKENS.index("<pad>"),
        mask_token_id=TOKENS.index("<mask>"),
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        initializer_range=0.4,
    )
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    EsmModel(config).save_pretrained(folder)
    torch.set_rng_state(generator_state)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LanguageModel:
    return load(str(checkpoint))


def embed(dataset: Path, checkpoint: Path, *arguments: object, status: int = 0) -> Path:
    words = [dataset, "--model", checkpoint, "--name", "tiny", "--quiet", *arguments]
    assert command.main([str(w) for w in words]) == status
    return dataset / "embeddings" / "tiny"


@pytest.fixture(scope="module")
def embedded(
    examples_dataset: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The examples with their embeddings. Copy it before changing anything in it."""
    dataset = tmp_path_factory.mktemp("embedded") / "dataset"
    shutil.copytree(examples_dataset, dataset, ignore=shutil.ignore_patterns(".cache"))
    embed(dataset, checkpoint)
    return dataset


@pytest.fixture(scope="module")
def peptides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of several shards. Copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("peptides")
    write_peptides(folder / "pdb", 6, n_residues=20)
    summary = build_here(
        folder / "pdb", folder / "out", min_part=15_000, n_jobs=1, report=False, quiet=True
    )
    assert len(summary["shards"]) >= 3
    return folder / "out"


@pytest.fixture
def several(peptides: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(peptides, tmp_path / "several"))


def rows_of(dataset: Path) -> dict[str, dict]:
    table = pa.concat_tables([pq.read_table(p) for p in sorted((dataset / "shards").iterdir())])
    return {row["chain_uid"]: row for row in table.to_pylist()}


def by_transformers(checkpoint: Path, sequence: str, layer: int = -1) -> np.ndarray:
    """Hidden states of a sequence alone, as transformers' own documentation computes them."""
    from transformers import EsmModel, EsmTokenizer

    tokens = EsmTokenizer.from_pretrained(checkpoint)(sequence, return_tensors="pt")
    network = EsmModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    with torch.no_grad():
        found = network(**tokens, output_hidden_states=True).hidden_states[layer]
    return found[0, 1:-1].numpy()


# ---- numbers ------------------------------------------------------------------------------------


def test_embeddings_are_the_hidden_states_of_the_whole_entity_at_the_residues_of_the_chain(
    embedded: Path, checkpoint: Path
):
    rows = rows_of(embedded)
    chains = sorted(rows, key=lambda uid: rows[uid]["length"])[:3]
    # One whose unresolved ends were cut off: there the two readings differ.
    trimmed = [u for u in rows if len(rows[u]["entity_sequence"]) > rows[u]["length"]]
    chains.append(min(trimmed, key=lambda uid: rows[uid]["length"]))
    part = pq.read_table(embedded / "embeddings/tiny/part-00000.parquet")
    stored = dict(zip(part["chain_uid"].to_pylist(), part["embedding"], strict=True))
    for uid in chains:
        row = rows[uid]
        found = np.array(stored[uid].as_py(), np.float32)
        expected = by_transformers(checkpoint, row["entity_sequence"])
        expected = expected[np.array(row["residue_index"]) - 1]
        assert found.shape == (row["length"], HIDDEN)
        assert np.allclose(found, expected, atol=2e-3, rtol=1e-3), uid
    shifted = by_transformers(checkpoint, rows[chains[-1]]["sequence"])
    assert not np.allclose(np.array(stored[chains[-1]].as_py()), shifted, atol=2e-3)


@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_a_layer_is_an_index_into_the_hidden_states(checkpoint: Path, layer: int):
    sequence = "MKVLXAGCW"
    (found,) = load(str(checkpoint), layer=layer).embed([sequence])
    assert np.allclose(found, by_transformers(checkpoint, sequence, layer), atol=1e-5)


def test_unknown_residues_are_the_token_x_and_other_letters_that_the_model_lacks_as_well(
    model: LanguageModel, checkpoint: Path
):
    x, j, a = model.embed(["MKXVL", "MKJVL", "MKAVL"])
    assert np.allclose(x, by_transformers(checkpoint, "MKXVL"), atol=1e-5)
    assert np.allclose(x, j, atol=1e-6)
    assert np.abs(x - a).max() > 0.1


def test_the_other_sequences_of_a_batch_change_nothing(model: LanguageModel):
    random = np.random.default_rng(0)
    sequences = ["".join(random.choice(list("ACDEFGHIKX"), n)) for n in (1, 3, 40, 41, 90, 7, 40)]
    together = model.embed(sequences, batch_residues=100_000)
    for size in (1, 100):
        for a, b in zip(together, model.embed(sequences, batch_residues=size), strict=True):
            assert np.allclose(a, b, atol=1e-5)
    assert all(len(a) == len(s) for a, s in zip(together, sequences, strict=True))


def test_a_long_sequence_is_embedded_in_windows_each_of_which_gives_its_middle(checkpoint: Path):
    model = load(str(checkpoint), max_length=16)
    sequence = "MKVLAGCWYTRNDEQHIPSF" * 2
    windows = windows_of(0, len(sequence), 16)
    assert len(windows) == 3
    (found,) = model.embed([sequence])
    for window in windows:
        alone = by_transformers(checkpoint, sequence[window.begin : window.end])
        kept = alone[window.keep_begin - window.begin : window.keep_end - window.begin]
        assert np.allclose(found[window.keep_begin : window.keep_end], kept, atol=1e-5)


@given(st.integers(1, 5000), st.integers(8, 1200))
def test_windows_take_every_residue_once_with_context_on_both_sides(length: int, most: int):
    windows = windows_of(3, length, most)
    taken = [k for w in windows for k in range(w.keep_begin, w.keep_end)]
    assert taken == list(range(length))
    for window in windows:
        assert 0 <= window.begin <= window.keep_begin < window.keep_end <= window.end <= length
        assert len(window) == min(length, most)
        assert window.begin == 0 or window.keep_begin - window.begin >= most // 8
        assert window.end == length or window.end - window.keep_end >= most // 8


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 2000))
def test_batches_hold_every_window_once_and_keep_the_budget(lengths: list[int], budget: int):
    windows = [w for k, n in enumerate(lengths) for w in windows_of(k, n, 1000)]
    batches = batches_of(windows, budget)
    assert sorted(w.sequence for batch in batches for w in batch) == list(range(len(lengths)))
    for batch in batches:
        width = max(map(len, batch)) + N_SPECIAL
        assert len(batch[0]) + N_SPECIAL == width
        assert len(batch) == 1 or width * len(batch) <= budget


def _index(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_the_model_sees_the_entity_where_the_numbering_is_that_of_the_entity():
    found = chain_sequence("a", "CDX", "ABCDEF", 0, _index(3, 4, 5))
    assert (found.sequence, found.rows.tolist(), found.is_whole) == ("ABCDEF", [2, 3, 4], True)
    gap = chain_sequence("a", "AC", "ABCDEF", 0, _index(1, 3))
    assert gap.rows.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("sequence", "entity", "index"),
    [
        pytest.param("CDE", None, (3, 4, 5), id="no entity"),
        pytest.param("CDE", "", (3, 4, 5), id="an empty entity"),
        pytest.param("CDE", "ABCDEF", (5, 6, 7), id="beyond its end"),
        pytest.param("CDE", "ABCDEF", (0, 1, 2), id="before its beginning"),
        pytest.param("CDE", "ABCDEF", (2, 3, 4), id="other letters"),
    ],
)
def test_otherwise_it_sees_the_rows(sequence: str, entity: str | None, index: tuple[int, ...]):
    found = chain_sequence("a", sequence, entity, 0, _index(*index))
    assert (found.sequence, found.rows.tolist(), found.is_whole) == (sequence, [0, 1, 2], False)


def test_sites_of_several_residues_may_differ_from_the_entity():
    assert chain_sequence("a", "CWE", "ABCDEF", 1, _index(3, 4, 5)).is_whole
    assert not chain_sequence("a", "CWW", "ABCDEF", 1, _index(3, 4, 5)).is_whole


def test_each_sequence_of_a_part_is_embedded_once(
    embedded: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = Path(shutil.copytree(embedded, tmp_path / "dataset"))
    shutil.rmtree(dataset / "embeddings")
    asked: list[str] = []
    real = LanguageModel.embed

    def spy(self: LanguageModel, sequences: list[str], *more: object) -> list[np.ndarray]:
        asked.extend(sequences)
        return real(self, sequences, *more)

    monkeypatch.setattr(LanguageModel, "embed", spy)
    # Small windows: chains of one sequence are in several of them.
    monkeypatch.setattr(pipeline.embed.embed_part, "WINDOW_CHAINS", 1)
    home = embed(dataset, checkpoint)
    distinct = {row["entity_sequence"] for row in rows_of(dataset).values()}
    assert sorted(asked) == sorted(distinct)
    assert json.loads((home / "embedding.json").read_text())["counts"]["sequences"] == len(distinct)


# ---- files --------------------------------------------------------------------------------------


def test_parts_are_parallel_to_the_shards(several: Path, checkpoint: Path):
    home = embed(several, checkpoint)
    shards = sorted((several / "shards").iterdir())
    assert [p.name for p in sorted(home.glob("part-*"))] == [p.name for p in shards]
    for shard in shards:
        ours, theirs = pq.ParquetFile(home / shard.name), pq.ParquetFile(shard)
        assert ours.metadata.num_row_groups == theirs.metadata.num_row_groups
        for k in range(theirs.metadata.num_row_groups):
            names = [f.read_row_group(k, ["chain_uid"])["chain_uid"] for f in (ours, theirs)]
            assert names[0] == names[1]
        kind = ours.schema_arrow.field("embedding").type.value_type
        assert pa.types.is_float16(kind.value_type)
        assert kind.list_size == HIDDEN
    assert {p.name for p in several.joinpath("embeddings").iterdir()} == {"tiny", ".tiny.lock"}


def test_embedding_json_says_what_made_the_numbers(embedded: Path):
    summary = json.loads((embedded / "embeddings/tiny/embedding.json").read_text())
    build = json.loads((embedded / "build.json").read_text())
    assert summary["digest"] == build["digest"]
    assert summary["model"] == "tiny"  # never a path
    assert [p["shard_sha256"] for p in summary["parts"]] == [s["sha256"] for s in build["shards"]]
    assert (summary["layer"], summary["dimension"], summary["dtype"]) == (2, HIDDEN, "float16")
    assert {"torch", "transformers"} < summary["versions"].keys()
    hashes = {summary[f"{of}_sha256"] for of in ("model", "config", "tokenizer", "weights")}
    assert {len(h) for h in hashes} == {64}
    assert len(hashes) == 4


def test_an_interrupted_run_goes_on_behind_its_last_part(
    several: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    whole = Path(shutil.copytree(several, several.with_name("whole")))
    expected = {p.name: p.read_bytes() for p in embed(whole, checkpoint).iterdir()}
    real = command.embed_part
    begun: list[str] = []

    def interrupted(folder, part, *more, **others):
        begun.append(part.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(folder, part, *more, **others)

    monkeypatch.setattr(command, "embed_part", interrupted)
    home = embed(several, checkpoint, status=130)
    assert [p.name for p in home.iterdir()] == [begun[0]]
    assert not list(several.joinpath("embeddings").glob(".scratch*"))
    with pytest.raises(UnreadableDataset, match="no finished embeddings 'tiny'"):
        StoredEmbeddings.open(BuiltDataset.open(several), "tiny")
    first = (home / begun[0]).stat().st_mtime_ns
    embed(several, checkpoint)
    assert begun.count(begun[0]) == 1
    assert (home / begun[0]).stat().st_mtime_ns == first
    assert {p.name: p.read_bytes() for p in home.iterdir()} == expected
    assert "parts were there already" in capsys.readouterr().out


def test_running_it_again_changes_nothing_and_remakes_a_damaged_part(
    several: Path, checkpoint: Path
):
    home = embed(several, checkpoint)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in home.iterdir()}
    embed(several, checkpoint)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in home.iterdir()} == before
    part = home / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[200] ^= 1
    part.write_bytes(content)
    embed(several, checkpoint)
    assert {p.name: p.read_bytes() for p in home.iterdir()} == {
        k: b for k, (b, _) in before.items()
    }


def test_embeddings_are_kept_when_their_shards_are_upgraded(
    several: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    summary = json.loads((several / "build.json").read_text())
    for listed in summary["shards"]:
        path = several / "shards" / listed["name"]
        pq.write_table(pq.read_table(path).drop_columns(["three_di"]), path)
        content = path.read_bytes()
        listed |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (several / "build.json").write_text(json.dumps(summary))
    home = embed(several, checkpoint)
    before = {p.name: p.stat().st_mtime_ns for p in home.glob("*.parquet")}
    assert upgrade([str(several), "--quiet"]) == 0
    reads = []
    original = BuiltDataset.table

    def counted(dataset: BuiltDataset, name: str, *columns: list[str]) -> pa.Table:
        reads.append(name)
        return original(dataset, name, *columns)

    monkeypatch.setattr(BuiltDataset, "table", counted)
    embed(several, checkpoint)
    # To find the parts, and to compare all of them with what it says.
    assert len(before) > 2
    assert reads == ["index.parquet"] * 2
    assert {p.name: p.stat().st_mtime_ns for p in home.glob("*.parquet")} == before
    listed, shards = json.loads((home / "embedding.json").read_text())["parts"], several / "shards"
    assert [part["shard_sha256"] for part in listed] == [
        hashlib.sha256((shards / part["name"]).read_bytes()).hexdigest() for part in listed
    ]
    # Without the file that names the dataset, nobody knows of which rows a part is.
    (home / "embedding.json").unlink()
    embed(several, checkpoint)
    assert all(p.stat().st_mtime_ns > before[p.name] for p in home.glob("*.parquet"))


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--layer", 1], "another layer"),
        (["--dtype", "float32"], "another dtype"),
        (["--max-length", 100], "another max_length"),
        (["--where", "length > 3"], "another where"),
    ],
)
def test_embeddings_made_otherwise_are_not_replaced_unless_that_is_said(
    several: Path, checkpoint: Path, more: list, what: str, capsys
):
    home = embed(several, checkpoint)
    before = {p.name: p.read_bytes() for p in home.iterdir()}
    embed(several, checkpoint, *more, status=2)
    assert what in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in home.iterdir()} == before
    embed(several, checkpoint, *more, "--overwrite")
    assert (home / "embedding.json").read_bytes() != before["embedding.json"]


def test_another_model_of_the_same_name_is_noticed_by_its_weights(
    several: Path, checkpoint: Path, tmp_path: Path, capsys
):
    embed(several, checkpoint).joinpath("embedding.json").unlink()  # as if interrupted
    other = save_checkpoint(tmp_path / "tiny", seed=1)
    embed(several, other, status=2)
    assert "was made with another model or other options" in capsys.readouterr().err
    embed(several, other, "--overwrite")
    (expected,) = load(str(other)).embed([next(iter(rows_of(several).values()))["sequence"]])
    embeddings = StoredEmbeddings.open(BuiltDataset.open(several), "tiny")
    with embeddings.open_part("part-00000.parquet") as file:
        found = embeddings.read_group(file, "part-00000.parquet", 0).values
    assert np.allclose(found, expected, atol=2e-3)


# ---- items --------------------------------------------------------------------------------------


def stored(dataset: Path) -> dict[str, torch.Tensor]:
    home = dataset / "embeddings/tiny"
    table = pa.concat_tables([pq.read_table(p) for p in sorted(home.glob("part-*"))])
    return {
        row["chain_uid"]: torch.tensor(row["embedding"], dtype=torch.float16).view(-1, HIDDEN)
        for row in table.to_pylist()
        if row["embedding"] is not None
    }


@pytest.mark.parametrize("cache", [None, "mmap", "memory"])
@pytest.mark.parametrize("unit", ["chain", "entry"])
def test_items_carry_the_rows_of_their_residues(
    embedded: Path, tmp_path: Path, cache: str | None, unit: str
):
    expected = stored(embedded)
    dataset = ShardDataset(
        embedded,
        embedding="tiny",
        cache=cache,
        unit=unit,
        cache_dir=str(tmp_path),
        where="length > 20",
    )
    assert dataset.embeddings.dimension == HIDDEN
    for one in (dataset, pickle.loads(pickle.dumps(dataset))):
        for k in np.random.default_rng(0).permutation(len(one)).tolist()[:12]:
            item = one[k]
            uids = item.get("chain_uids", [item["chain_uid"]])
            assert torch.equal(item["embedding"], torch.cat([expected[uid] for uid in uids]))
    dataset[0]["embedding"].zero_()
    assert dataset[0]["embedding"].any()


@pytest.mark.parametrize("crop", [ContiguousCrop(17), SpatialCrop(17)])
def test_a_crop_keeps_the_rows_of_the_residues_that_it_keeps(embedded: Path, crop):
    whole = ShardDataset(embedded, embedding="tiny", columns=["residue_index"], cache="memory")
    cropped = ShardDataset(
        embedded, embedding="tiny", columns=["residue_index"], crop=crop, cache="memory"
    )
    for k in range(len(whole)):
        item, full = cropped[k], whole[k]
        places = torch.searchsorted(full["residue_index"], item["residue_index"])
        assert torch.equal(item["embedding"], full["embedding"][places])
        assert list(item) == ["residue_index", "embedding", "chain_uid"]


def test_batches_pad_them_with_workers_too(embedded: Path, tmp_path: Path):
    dataset = ShardDataset(embedded, embedding="tiny", cache="mmap", cache_dir=str(tmp_path))
    loader = DataLoader(
        dataset, batch_size=4, collate_fn=collate, num_workers=1, multiprocessing_context="fork"
    )
    expected = stored(embedded)
    for batch in loader:
        n = int(batch["lengths"].max())
        assert batch["embedding"].shape == (len(batch["lengths"]), n, HIDDEN)
        for row, uid, length in zip(
            batch["embedding"], batch["chain_uid"], batch["lengths"].tolist(), strict=True
        ):
            assert torch.equal(row[:length], expected[uid])
            assert not row[length:].any()


def test_the_stream_gives_them_as_well(several: Path, checkpoint: Path):
    embed(several, checkpoint)
    expected = stored(several)
    found = {
        item["chain_uid"]: item["embedding"] for item in ShardStream(several, embedding="tiny")
    }
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[uid], expected[uid]) for uid in expected)


@pytest.mark.parametrize("cache", [None, "memory"])
def test_chains_that_were_left_out_are_asked_for_in_vain(
    embedded: Path, checkpoint: Path, tmp_path: Path, cache: str | None
):
    dataset = Path(shutil.copytree(embedded, tmp_path / "dataset"))
    embed(dataset, checkpoint, "--where", "length > 100", "--overwrite")
    assert stored(dataset).keys() == {u for u, r in rows_of(dataset).items() if r["length"] > 100}
    with pytest.raises(ValueError, match=r"chains have no embedding in 'tiny', such as .*length"):
        ShardDataset(dataset, embedding="tiny", cache=cache)
    chosen = ShardDataset(dataset, embedding="tiny", cache=cache, where="length > 120")
    expected = stored(embedded)
    for k, uid in enumerate(chosen.chain_uids):
        assert torch.allclose(chosen[k]["embedding"], expected[uid], atol=2e-3)


# ---- what does not fit --------------------------------------------------------------------------


def test_embeddings_of_other_data_are_refused_by_name(
    several: Path, embedded: Path, checkpoint: Path
):
    shutil.copytree(embedded / "embeddings", several / "embeddings")
    with pytest.raises(UnreadableDataset, match="'tiny' were made for other data"):
        ShardDataset(several, embedding="tiny")
    embed(several, checkpoint, "--overwrite")
    assert len(ShardDataset(several, embedding="tiny")) == 6


def test_a_name_that_is_none_says_how_to_make_it(embedded: Path):
    with pytest.raises(UnreadableDataset, match=r"pipeline\.embed .* --name other"):
        ShardDataset(embedded, embedding="other")


def _flip(path: Path) -> None:
    """One bit of the last numbers."""
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(2)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 8] ^= 4
    path.write_bytes(content)


def _swap(path: Path) -> None:
    other = path.with_name("part-00000.parquet")
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, _swap])
def test_a_damaged_part_is_never_read_as_data(
    several: Path, checkpoint: Path, damage, cache: str | None
):
    damage(embed(several, checkpoint) / "part-00001.parquet")

    def read() -> Iterator[dict]:
        dataset = ShardDataset(several, embedding="tiny", cache=cache)
        yield from (dataset[k] for k in range(len(dataset)))

    with pytest.raises(DamagedShard, match=r"part-00001\.parquet"):
        list(read())


def test_a_part_of_another_model_is_refused(several: Path, checkpoint: Path):
    home = embed(several, checkpoint)
    swapped = (home / "part-00001.parquet").read_bytes()
    embed(several, checkpoint, "--layer", 1, "--overwrite")
    (home / "part-00001.parquet").write_bytes(swapped)
    with pytest.raises(DamagedShard, match=r"was not made by what embedding\.json"):
        ShardDataset(several, embedding="tiny", cache="memory")


# ---- models that are none -----------------------------------------------------------------------


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(tmp_path))


def test_another_kind_of_model_is_refused(broken: Path):
    (broken / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="of the kind bert, not an ESM-2"):
        load(str(broken))


def test_missing_weights_are_not_made_up(broken: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing, such as encoder\.layer\.1"):
        load(str(broken))


def test_damaged_weights_are_named(broken: Path):
    (broken / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="its weights"):
        load(str(broken))


def test_another_alphabet_is_refused(broken: Path):
    for name in ("tokenizer_config.json", "tokenizer.json"):
        (broken / name).unlink(missing_ok=True)
    (broken / "vocab.txt").write_text("\n".join(t for t in TOKENS if t != "W"))
    with pytest.raises(ModelError, match=r"tokenizer is not that of ESM .*lacks W"):
        load(str(broken))


def test_a_layer_that_is_not_there_is_told_with_those_that_are(checkpoint: Path):
    with pytest.raises(ModelError, match=r"no layer 3: there are 0 \(the input\) to 2"):
        load(str(checkpoint), layer=3)


def test_without_a_network_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoConfig

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(ModelError, match=r"esm2_none is neither a folder.*hf download"):
        load("facebook/esm2_none")


def test_a_path_that_is_nothing_is_not_looked_up_at_the_hub():
    with pytest.raises(ModelError, match="there is no such folder"):
        load("./not/there")


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_the_packages_the_command_says_how_to_install_them(
    embedded: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys, package: str
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else real(name)
    )
    embed(embedded, checkpoint, status=1)
    line = 'pip install "ellipsoid-flow[esm]"'
    assert f"embedding needs {package}, which is not installed: {line}" in capsys.readouterr().err


def test_the_command_is_loaded_without_torch():
    code = "import sys, pipeline.embed.command; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("n", "advice"), [(4, "--batch-residues 44"), (1, "--max-length 10, or a smaller model")]
)
def test_without_memory_the_advice_is_a_smaller_batch(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, n: int, advice: str
):
    model = load(str(checkpoint))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LanguageModel, "_states", full)
    with pytest.raises(ModelError, match=advice):
        model.embed(["A" * 20] * n, batch_residues=1000)


def test_numbers_that_float16_cannot_hold_are_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load(str(checkpoint))
    monkeypatch.setattr(
        LanguageModel, "_states", lambda self, ids, mask: torch.full((*ids.shape, HIDDEN), 7e4)
    )
    with pytest.raises(ModelError, match=r"up to 7e\+04, which float16 cannot hold"):
        model.embed(["AC"], "float16")
    assert model.embed(["AC"], "float32")[0].max() == 7e4


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--batch-residues", 0], "--batch-residues"),
        (["--max-length", 3], "--max-length"),
        (["--name", "../out"], "--name"),
        (["--where", "lengt > 3"], "did you mean length"),
        (["--where", "length > 99999"], "--where"),
        (["--dtype", "float8"], "--dtype"),
    ],
)
def test_wrong_usage_is_told(embedded: Path, checkpoint: Path, more: list, what: str, capsys):
    words = [embedded, "--model", checkpoint, *more]
    try:
        status = command.main([str(w) for w in words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert what in capsys.readouterr().err


# ---- documentation ------------------------------------------------------------------------------


def test_the_page_lists_the_options_with_their_defaults():
    text = (ROOT / "docs/embeddings.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(--[a-z-]+)` \|([^|]*)\|", text)
    documented = {option: default.strip().strip("`") for option, default in rows}
    expected = {}
    for field in fields(EmbedOptions):
        default = field.default
        told = "required" if not isinstance(default, int | str | None) else str(default)
        told = {"None": "", "False": "false"}.get(told, told)
        expected[f"--{field.name.replace('_', '-')}"] = told
    assert documented == expected


def test_the_page_lists_the_keys_of_embedding_json(embedded: Path):
    text = (ROOT / "docs/embeddings.md").read_text(encoding="utf-8")
    section = text.partition("## `embedding.json`")[2].partition("\n## ")[0]
    documented = re.findall(r"`([a-z_0-9]+)`", " ".join(re.findall(r"(?m)^\| (.*?) \|", section)))
    summary = json.loads((embedded / "embeddings/tiny/embedding.json").read_text())
    assert sorted(documented) == sorted(summary)


def verified(dataset: Path) -> list[tuple[str, str]]:
    findings = check_dataset(Layout(dataset), Thoroughness(n_jobs=1))
    return [(problem.file, problem.message) for problem in findings.damage]


def test_verify_reads_every_vector_and_names_the_part_that_is_damaged(
    several: Path, checkpoint: Path
):
    folder = embed(several, checkpoint)
    assert verified(several) == []
    part = sorted(folder.glob("*.parquet"))[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 4
    part.write_bytes(content)
    ((file, message),) = verified(several)
    assert file == f"embeddings/tiny/{part.name}"
    assert "another SHA-256" in message


def test_verify_finds_a_part_of_other_chains(several: Path, checkpoint: Path):
    folder = embed(several, checkpoint)
    first, second = sorted(folder.glob("*.parquet"))[:2]
    first.write_bytes(second.read_bytes())
    told = json.loads((folder / "embedding.json").read_text())
    told["parts"][0]["sha256"] = told["parts"][1]["sha256"]
    (folder / "embedding.json").write_text(json.dumps(told))
    ((file, message),) = verified(several)
    assert file == f"embeddings/tiny/{first.name}"
    assert "where its shard has" in message or "and its shard" in message


def test_verify_remarks_embeddings_of_other_data_which_nobody_reads(
    several: Path, checkpoint: Path
):
    summary = embed(several, checkpoint) / "embedding.json"
    summary.write_text(summary.read_text().replace('"digest": "', '"digest": "0'))
    findings = check_dataset(Layout(several), Thoroughness(n_jobs=1))
    assert findings.is_whole
    (remark,) = [problem for problem in findings.problems if problem.check == "embeddings"]
    assert "made for other data" in remark.message


class Runs:
    """Makes a file in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def unusable(dataset: Path, folder: Path, capfd: pytest.CaptureFixture) -> str:
    """What the command says of a folder that it refuses."""
    words = [dataset, "--model", folder, "--name", "tiny", "--quiet"]
    assert command.main([str(w) for w in words]) != 0
    assert not (dataset / "embeddings" / "tiny").exists()
    return capfd.readouterr().err


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_that_are_a_program_are_refused_and_not_run(
    several: Path,
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    zipped: bool,
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "evil"))
    (folder / "model.safetensors").unlink()
    weights = {"embeddings.word_embeddings.weight": Runs(tmp_path / "ran")}
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    said = unusable(several, folder, capfd)
    assert "might be a program" in " ".join(said.split())
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "where",
    [
        "both",
        pytest.param("tokenizer_config.json", marks=pytest.mark.slow),
        pytest.param("config.json", marks=pytest.mark.slow),
    ],
)
def test_code_that_a_checkpoint_brings_along_is_not_run(
    several: Path, checkpoint: Path, tmp_path: Path, where: str
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "evil"))
    program = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    for module in ("evil", "tokenization_evil", "modeling_evil", "configuration_evil"):
        (folder / f"{module}.py").write_text(program + "Evil = None\n")
    maps = {
        "tokenizer_config.json": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
        "config.json": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"},
    }
    for name in maps if where == "both" else [where]:
        told = json.loads((folder / name).read_text())
        told |= {"auto_map": maps[name], "trust_remote_code": True}
        (folder / name).write_text(json.dumps(told))
    # As a process of its own: a question whether to trust the code would find nobody to answer.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.embed", str(several)),
            *("--model", str(folder), "--name", "tiny", "--quiet"),
        ],
        cwd=ROOT,
        input="y\n" * 9,
        capture_output=True,
        text=True,
    )
    assert not (tmp_path / "ran").exists()
    assert "Traceback" not in done.stderr
    if done.returncode:  # refused; else the code was passed over, and the model is ESM-2's own
        assert not (several / "embeddings" / "tiny").exists()


def test_a_network_trains_with_them_and_with_no_others(embedded: Path, tmp_path: Path) -> None:
    options = {
        "data__train_split": None,
        "data__val_split": None,
        "data__embedding": "tiny",
        **{f"model__tasks__{task}": 0 for task in ("design", "inpainting", "unconditional")},
    }
    trained = fit(
        embedded, tmp_path / "run", 3, **options, model__network__c_embedding=HIDDEN
    ).model.network.nodes.language
    assert not torch.equal(trained[0].weight, torch.ones(HIDDEN)), "they are not looked at"
    with pytest.raises(BadBatch, match=f"16 numbers.*takes none.*c_embedding {HIDDEN}"):
        fit(embedded, tmp_path / "unused", 1, **options)
    with pytest.raises(BadBatch, match=r"data have none: give --data\.embedding"):
        fit(
            embedded,
            tmp_path / "missing",
            1,
            **{**options, "data__embedding": None},
            model__network__c_embedding=HIDDEN,
        )
    assert not list(tmp_path.rglob("bad_batch_*")), "nothing is wrong with the batch"
