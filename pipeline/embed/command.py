"""``python -m pipeline.embed``: load the model → a part for every shard → ``embedding.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.built.stored_embeddings import (
    EMBEDDINGS,
    FORMAT_VERSION,
    IDENTITY,
    SUMMARY,
    identity_metadata,
    metadata_of,
)
from pipeline.commands.command_line import parse_options
from pipeline.commands.software import version_of
from pipeline.commands.termination import status_of
from pipeline.commands.words import mebibytes, several
from pipeline.embed.display import Progression
from pipeline.embed.embed_part import Part, PartCounts, embed_part
from pipeline.embed.language_model import LanguageModel, check_packages, load
from pipeline.embed.options import EmbedOptions
from pipeline.errors import UsageError
from pipeline.files.lock import Held, file_lock
from pipeline.files.storage import Folder
from pipeline.where import WhereError

_VERSIONS = ("ellipsoid-flow", "torch", "transformers", "pyarrow", "numpy")
_HASHED_AT_ONCE = 1 << 22


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all parts are there. 1: the dataset or the model cannot be read or run, or nothing can be
    written. 2: wrong usage. 130: interrupted; the parts that were finished stay.
    """
    options = parse_options(
        EmbedOptions,
        "python -m pipeline.embed",
        "Embed every residue of a dataset with a frozen protein language model (ESM-2).",
        arguments,
        first="dataset",
    )

    def command() -> None:
        embed(options)

    return status_of(
        command,
        interrupted="the same command goes on behind the last part",
        cannot=f"cannot write into {options.dataset}",
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """A finished part."""

    counts: PartCounts
    sha256: str
    n_bytes: int


def embed(options: EmbedOptions) -> dict[str, Any]:
    """Embed a dataset as the options say; what ``embedding.json`` says then.

    Raises
    ------
    UsageError
    Failure, OSError
        Parts that are finished stay.
    """
    options.check()
    check_packages()
    begin = time.monotonic()
    dataset = BuiltDataset.open(options.dataset)
    parts = _parts(dataset, options.where)
    model = load(
        options.model,
        layer=options.layer,
        max_length=options.max_length,
        device=options.device,
    )
    name = options.name_of(model.n_layers, model.layer)
    about = _about(options, model, name, dataset)
    with _alone(dataset.folder, name), _scratch(dataset.folder) as scratch:
        work = _Work(dataset, f"{EMBEDDINGS}/{name}", about)
        before = work.read_summary()
        if before is not None and not options.overwrite:
            work.check_same(before)
        done = {p.name: whole for p in parts if (whole := work.finished(p, before)) is not None}
        if not options.overwrite:
            work.check_nothing_is_lost(parts, done)
        missing = [part for part in parts if part.name not in done]
        if missing or before is None or before["parts"] != _listed(parts, done):
            # Nothing half-finished passes for finished, whatever happens now.
            work.folder.delete(f"{work.home}/{SUMMARY}")
            before = None
        n_residues = sum(part.n_residues for part in missing)
        with Progression(Console(stderr=True), options.quiet, n_residues) as progression:
            for part in missing:
                with work.folder.appears_whole(f"{work.home}/{part.name}", scratch) as path:
                    counts = embed_part(
                        dataset.folder,
                        part,
                        model,
                        identity_metadata(about),
                        path,
                        dtype=options.dtype,
                        batch_residues=options.batch_residues,
                        advance=progression.advance,
                    )
                    done[part.name] = _Done(counts, _sha256_of(path), path.stat().st_size)
        work.delete_others({part.name for part in parts})
        summary = {**about, "counts": _total(done), "parts": _listed(parts, done)}
        if summary != before:
            with work.folder.appears_whole(f"{work.home}/{SUMMARY}", scratch) as path:
                path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    seconds = time.monotonic() - begin
    _show(dataset.folder, work.home, summary, n_residues, len(parts) - len(missing), seconds)
    return summary


class _Work:
    """The folder of the embeddings, and what must be true of the files in it."""

    def __init__(self, dataset: BuiltDataset, home: str, about: dict[str, Any]):
        self.folder, self.home, self._about = dataset.folder, home, about
        self._dataset = dataset

    def read_summary(self) -> dict[str, Any] | None:
        """What an earlier run left, or None."""
        try:
            summary = json.loads(self.folder.read_bytes(f"{self.home}/{SUMMARY}"))
            return summary if "parts" in summary and "counts" in summary else None
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def check_same(self, before: dict[str, Any]) -> None:
        """Before embeddings are replaced by others."""
        keys = ("embedding_version", *IDENTITY, "where")
        differing = [key for key in keys if before.get(key) != self._about[key]]
        if differing:
            key = differing[0]
            what = "another model" if key == "model_sha256" else f"another {key}"
            raise self._refusal(f"{what} ({before.get(key)}, not {self._about[key]})")

    def check_nothing_is_lost(self, parts: Sequence[Part], done: dict[str, _Done]) -> None:
        """The same for what an interrupted run of another model left."""
        for part in parts:
            if part.name in done:
                continue
            metadata = self._metadata(part)
            ours = identity_metadata(self._about)
            if metadata and any(metadata.get(key) != value for key, value in ours.items()):
                raise self._refusal("another model or other options")

    def _refusal(self, what: str) -> UsageError:
        return UsageError(
            f"{self.folder.describe(self.home)} was made with {what}; --overwrite replaces it, "
            "another --name keeps both"
        )

    def finished(self, part: Part, before: dict[str, Any] | None) -> _Done | None:
        """A part that is there already: of the same model, shard and choice, and undamaged."""
        name = f"{self.home}/{part.name}"
        wanted = {**identity_metadata(self._about), "selection": part.selection}
        metadata = self._metadata(part)
        if any(metadata.get(key) != value for key, value in wanted.items()):
            return None
        is_of_shard = metadata.get("shard_sha256") == part.shard_sha256
        if not is_of_shard and not self._is_of_its_rows(part, before):
            return None
        sha256, n_bytes = self._hash(name)
        listed = {p["name"]: p["sha256"] for p in before["parts"]} if before is not None else {}
        if listed.get(part.name, sha256) != sha256:
            return None
        return _Done(PartCounts(**json.loads(metadata["counts"])), sha256, n_bytes)

    def _is_of_its_rows(self, part: Part, before: dict[str, Any] | None) -> bool:
        """Whether a part is of the same chains in the same places, though the shard's file is
        another since it was upgraded. The dataset's digest is that of what is in the rows."""
        if before is None or before.get("digest") != self._about["digest"]:
            return False
        wanted = self._index.take(part.rows)
        uids, groups = [], []
        path = self.folder.join(f"{self.home}/{part.name}")
        try:
            with pq.ParquetFile(path, filesystem=self.folder.filesystem) as file:
                for group in range(file.metadata.num_row_groups):
                    inside = file.read_row_group(group, ["chain_uid"])["chain_uid"].to_pylist()
                    uids += inside
                    groups += [group] * len(inside)
        except (OSError, ValueError, pa.ArrowException):
            return False
        return (uids, groups) == tuple(column.to_pylist() for column in wanted.columns)

    @cached_property
    def _index(self) -> pa.Table:
        """Which chains are where; read once, for it may have millions of rows."""
        return self._dataset.table("index.parquet", ["chain_uid", "row_group"])

    def _metadata(self, part: Part) -> dict[str, str]:
        """Of a part that is there; nothing if it is not, or is none."""
        name = f"{self.home}/{part.name}"
        if not self.folder.exists(name):
            return {}
        try:
            with pq.ParquetFile(self.folder.join(name), filesystem=self.folder.filesystem) as file:
                return metadata_of(file)
        except (OSError, ValueError, pa.ArrowException):
            return {}

    def _hash(self, name: str) -> tuple[str, int]:
        digest, n_bytes = hashlib.sha256(), 0
        with self.folder.open_input(name) as file, self.folder.errors_named(name):
            while piece := file.read(_HASHED_AT_ONCE):
                digest.update(piece)
                n_bytes += len(piece)
        return digest.hexdigest(), n_bytes

    def delete_others(self, names: set[str]) -> None:
        """Parts of shards that the dataset has no longer."""
        for name in self.folder.list(self.home):
            if name.startswith("part-") and name not in names:
                self.folder.delete(f"{self.home}/{name}")


def _parts(dataset: BuiltDataset, where: str | None) -> list[Part]:
    """What is to be embedded, shard by shard."""
    index = dataset.table("index.parquet", ["shard", "row_group", "row", "length"])
    chosen = np.ones(index.num_rows, bool)
    if where is not None:
        # Torch comes with it, which the other lines of this file can do without.
        from pipeline.selection.selection import select

        try:
            position = select(dataset.folder.uri, where=where).position
        except WhereError:
            raise
        except ValueError as error:
            raise UsageError(f"--where {where}: {error}") from None
        chosen[:] = False
        chosen[position] = True
    number = {shard.name: k for k, shard in enumerate(dataset.build.shards)}
    names = pc.dictionary_encode(index["shard"].cast(pa.string())).combine_chunks()
    numbers = np.array([number.get(name, -1) for name in names.dictionary.to_pylist()], np.int64)
    if (numbers < 0).any():
        raise UnreadableDataset(
            f"{dataset.folder}: index.parquet names shards that build.json does not; "
            f"`python -m pipeline.verify {dataset.folder}` says what is damaged"
        )
    shards = numbers[names.indices.to_numpy()]
    lengths = index["length"].to_numpy().astype(np.int64)
    order = np.lexsort((index["row"].to_numpy(), index["row_group"].to_numpy(), shards))
    begins = np.searchsorted(shards[order], np.arange(len(number) + 1))
    parts = []
    for k, shard in enumerate(dataset.build.shards):
        rows = order[begins[k] : begins[k + 1]]
        mask = chosen[rows]
        n_residues = int(lengths[rows][mask].sum())
        parts.append(Part(shard.name, shard.sha256, rows, mask, n_residues))
    return parts


def _about(
    options: EmbedOptions, model: LanguageModel, name: str, dataset: BuiltDataset
) -> dict[str, Any]:
    return {
        "embedding_version": FORMAT_VERSION,
        "name": name,
        "model": model.name,
        "revision": model.revision,
        "model_sha256": model.sha256,
        "config_sha256": model.config_sha256,
        "tokenizer_sha256": model.tokenizer_sha256,
        "weights_sha256": model.weights_sha256,
        "layer": model.layer,
        "n_layers": model.n_layers,
        "dimension": model.dimension,
        "dtype": options.dtype,
        "max_length": model.max_length,
        "where": options.where,
        "digest": dataset.build.digest,
        "device": model.device,
        "versions": {
            "python": platform.python_version(),
            **{package: version_of(package) for package in _VERSIONS},
        },
    }


def _listed(parts: Sequence[Part], done: dict[str, _Done]) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "sha256": done[part.name].sha256,
            "bytes": done[part.name].n_bytes,
            "shard_sha256": part.shard_sha256,
        }
        for part in parts
        if part.name in done
    ]


def _total(done: dict[str, _Done]) -> dict[str, int]:
    counts = dict.fromkeys(PartCounts.__dataclass_fields__, 0)
    for part in done.values():
        for key, value in asdict(part.counts).items():
            counts[key] += value
    return {**counts, "bytes": sum(part.n_bytes for part in done.values())}


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(folder: Folder, name: str) -> Iterator[None]:
    """No two commands write the same embeddings; a store has no locks."""
    if folder.local is None:
        yield
        return
    home = folder.local / EMBEDDINGS
    home.mkdir(exist_ok=True)
    try:
        with file_lock(home / f".{name}.lock"):
            yield
    except Held as holder:
        raise UsageError(
            f"another process is writing the embeddings {name!r} of {folder} ({holder}); wait for "
            "it, or give another --name"
        ) from None


@contextlib.contextmanager
def _scratch(folder: Folder) -> Iterator[Path]:
    """A place to complete files in: of a local folder, on its file system."""
    home = None
    if folder.local is not None:
        home = folder.local / EMBEDDINGS
        home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home) as temporary:
        yield Path(temporary)


def _show(
    folder: Folder,
    home: str,
    summary: dict[str, Any],
    n_residues: int,
    n_kept: int,
    seconds: float,
) -> None:
    counts, n_parts = summary["counts"], len(summary["parts"])
    n_all = counts["chains"] + counts["left_out"]
    per_residue = counts["bytes"] / max(counts["residues"], 1)
    lines = [
        ("chains", f"{counts['chains']:,} of {n_all:,}, {counts['residues']:,} residues"),
        (
            "sequences",
            f"{counts['sequences']:,} distinct; {counts['whole']:,} chains seen with their whole "
            f"entity, {counts['chains'] - counts['whole']:,} as they are stored",
        ),
    ]
    if counts["windowed"]:
        longer = f"{counts['windowed']:,} sequences longer than {summary['max_length']:,} residues"
        lines.append(("windows", longer))
    lines += [
        (
            "model",
            f"{summary['model']}, layer {summary['layer']} of {summary['n_layers']}, "
            f"{summary['dimension']:,} numbers per residue, {summary['dtype']}",
        ),
        (
            "size",
            f"{mebibytes(counts['bytes'])} in {several(n_parts, 'part')}, {per_residue:,.1f} bytes "
            "per residue",
        ),
        ("time", f"{seconds:.1f} s, {n_residues / max(seconds, 1e-3):,.0f} residues/s"),
    ]
    if n_kept:
        lines.append(("kept", f"{n_kept:,} of {n_parts:,} parts were there already"))
    lines.append(("wrote" if n_residues else "unchanged", folder.describe(home)))
    for name, text in lines:
        print(f"{name:<12} {text}")
