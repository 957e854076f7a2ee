"""``python -m pipeline.export``: choose → read → write, each file whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.stored_chains import StoredChain, read_entries
from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import say, status_of
from pipeline.commands.words import several
from pipeline.errors import UsageError
from pipeline.export.chain_ids import Changed, Kind, with_own_ids
from pipeline.export.choose import chosen_rows
from pipeline.export.ellipsoids import Ellipsoids
from pipeline.export.errors import ExportError
from pipeline.export.fasta import read_fasta
from pipeline.export.mmcif import mmcif_text
from pipeline.export.options import ExportOptions
from pipeline.export.pdb import pdb_text
from pipeline.export.read_back import differences
from pipeline.export.web_page import web_page
from pipeline.files.atomic import appears_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: written. 1: something cannot be read, or does not fit what was asked for. 2: wrong usage.
    130: interrupted.
    """
    options = parse_options(
        ExportOptions,
        "python -m pipeline.export",
        "Write chains of a dataset as PDB or mmCIF, as FASTA, or as a page that shows them.",
        arguments,
        first="dataset",
    )
    return status_of(
        lambda: export(options),
        interrupted="the files that are there are whole",
    )


def export(options: ExportOptions) -> None:
    """Write what the options ask for.

    Raises
    ------
    UsageError
        Before anything is written.
    Failure, OSError
    """
    options.check()
    single, kind = options.is_one_file, options.kind
    script = _viewer_script(options.viewer_script)
    dataset = BuiltDataset.open(options.dataset)
    index = chosen_rows(dataset.index(), options.chain, options.entry, options.where)
    if options.fasta is not None:
        with _file(options.fasta, options.overwrite) as temporary, temporary.open("w") as file:
            file.writelines(read_fasta(dataset, index))
        print(f"{options.fasta}: {several(index.num_rows, 'sequence')}")
    if options.view is not None:
        entry = _only_entry(dataset, index, "--view shows")
        shown = _first_model(entry)
        named = with_own_ids([stored.chain for stored in shown], "cif")
        shown = [replace(s, chain=chain) for s, chain in zip(shown, named.chains, strict=True)]
        _write(options.view, web_page(shown, script), options.overwrite)
        _note_ids(options.view, named)
        print(f"{options.view}: {several(len(entry), 'chain')}")
    if options.output is None:
        return
    if single:
        entries: Iterable[list[StoredChain]] = [_only_entry(dataset, index, "--output FILE holds")]
    else:
        entries = read_entries(dataset, index)
    n_files = n_chains = 0
    for entry in entries:
        for members in [[stored] for stored in entry] if options.per == "chain" else [entry]:
            path = options.output if single else _place(options, members, kind)
            named = with_own_ids([stored.chain for stored in members], kind)
            ellipsoids = [Ellipsoids.of(s) for s in members] if options.ellipsoids else None
            text = _text(dataset, named, kind, ellipsoids)
            _write(path, text, options.overwrite)
            _note_ids(path, named)
            for sentence in differences(text, named.chains):
                _note(f"{path}: as a build reads it, {sentence}", kind)
            n_files, n_chains = n_files + 1, n_chains + len(members)
    files = "" if single else f" in {several(n_files, 'file')}"
    print(f"{options.output}: {several(n_chains, 'chain')}{files}")


def _viewer_script(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--viewer-script {path} cannot be read: {error}") from error
    if "3Dmol" not in text:
        raise UsageError(
            f"--viewer-script {path} is not 3Dmol.js; `npm pack 3dmol` has it as build/3Dmol-min.js"
        )
    return text


def _only_entry(dataset: BuiltDataset, index: pa.Table, who: str) -> list[StoredChain]:
    entries = {
        (row["entry_id"], row["assembly"])
        for row in index.select(["entry_id", "assembly"]).to_pylist()
    }
    if len(entries) > 1:
        some = ", ".join(entry for entry, _ in sorted(entries, key=str)[:3])
        raise UsageError(
            f"{who} one entry, and {len(entries):,} are chosen ({some} …); choose with --chain or "
            "--entry" + ("" if who.startswith("--view") else ", or give --output a folder")
        )
    return [stored for entry in read_entries(dataset, index) for stored in entry]


def _first_model(entry: Sequence[StoredChain]) -> list[StoredChain]:
    return [stored for stored in entry if stored.chain.model == entry[0].chain.model]


def _place(options: ExportOptions, members: Sequence[StoredChain], kind: Kind) -> Path:
    """The file of a chain or entry. An entry id with a folder in it stays in such a folder."""
    chain = members[0].chain
    name = chain.entry_id
    if options.per == "chain":
        name = chain.uid
    elif chain.assembly is not None:
        name = f"{name}_{chain.assembly}"
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ExportError(f"{name!r} cannot be the name of a file; write it with --output FILE")
    assert options.output is not None
    return options.output.joinpath(*parts[:-1], f"{parts[-1]}.{kind}")


def _text(
    dataset: BuiltDataset, named: Changed, kind: Kind, ellipsoids: list[Ellipsoids] | None
) -> str:
    comment = f"written by pipeline.export from dataset {dataset.build.digest[:16]}"
    write = pdb_text if kind == "pdb" else mmcif_text
    return write(named.chains, ellipsoids, comment="\n".join([comment, *named.lines()]))


@contextlib.contextmanager
def _file(path: Path, overwrite: bool) -> Iterator[Path]:
    """Where to write what then gets a name."""
    if path.exists() and not overwrite:
        raise ExportError(f"{path} is there already; --overwrite replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with appears_whole(path, path.absolute().parent) as temporary:
        yield temporary


def _write(path: Path, text: str, overwrite: bool) -> None:
    with _file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _note_ids(path: Path, named: Changed) -> None:
    if sentence := named.sentence():
        say(f"note: {path}: {sentence}")


def _note(sentence: str, kind: Kind) -> None:
    advice = "; its atoms are all there, and mmCIF keeps the rest" if kind == "pdb" else ""
    say(f"note: {sentence}{advice}")
