"""A file that is written in another way gives the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipeline.chain import Chain, EntryMetadata
from pipeline.parsing import ParsedEntry, ParseError, read_chains
from pipeline.sources import decompress
from tests.support import rewriters
from tests.support.places import EXAMPLES, STRUCTURES
from tests.support.rewriters import BCIF_WAYS, CIF_WAYS, PDB_WAYS, Block

MAIN = STRUCTURES / "main"

needs_main = pytest.mark.skipif(not MAIN.is_dir(), reason="needs the shared structures")

OF_MAIN = {
    # mmCIF
    "1cbn.cif.gz": "alternates and two heterogeneous residues",
    "1pfe.cif.gz": "D residues, microheterogeneity told in two places, DNA",
    "3u7t.cif.gz": "alternates, microheterogeneity",
    "1a0m.cif.gz": "alternates that lack backbone atoms, an amidated end",
    "3hyd.cif.gz": "alternates; seven residues",
    "2rll.cif.gz": "sulphotyrosine; numbers from 7",
    "6mvz.cif.gz": "D residues; numbers from 1001",
    "1kqe.cif.gz": "gramicidin: every other residue is D",
    "6fce.cif.gz": "NMR models; D residues",
    "1dsr.cif.gz": "NMR models; a glycopeptide; modified residues without a parent",
    "1qys.cif.gz": "MSE",
    "4zey.cif.gz": "MSE at the beginning, unresolved stretches",
    "2q2k.cif.gz": "three proteins and DNA, unresolved ends",
    "205l.cif.gz": "insertion codes and a gap",
    "1dix.cif.gz": "insertion codes whose numbers do not rise",
    "3et9.cif.gz": "two domains of an antibody joined by an unresolved linker; numbers that jump",
    "1sfi.cif.gz": "a cyclic peptide and trypsin's insertion codes",
    "6ydw.cif.gz": "a chain id of two characters; electron microscopy",
    "1hh0.cif.gz": "a chain id of four characters",
    "1fas.cif.gz": "alternates without their blank label",
    "1yjp.cif.gz": "seven residues",
    "3cyh.cif.gz": "a dipeptide that is a ligand",
    "11as.cif.gz": "free amino acids that are ligands",
    "1a2c.cif.gz": "thrombin: three chains, insertion codes to H, a modified inhibitor",
    "212d.cif.gz": "nucleic acid alone",
    "1a1d.cif.gz": "CA alone",
    # BinaryCIF
    "5vav.bcif.gz": "NMR models of a cyclic peptide",
    "1eta.bcif.gz": "chains called 1 and 2, microheterogeneity",
    "5xes.bcif.gz": "NMR models of a short peptide",
    "1yu8.bcif.gz": "an unresolved beginning",
    "1awf.bcif.gz": "sulphotyrosine as HETATM within a peptide; insertion codes",
    "4oog.bcif.gz": "two proteins and RNA, gaps",
    # PDB
    "1ejg.pdb.gz": "microheterogeneity whose atoms partly have no label",
    "1orc.pdb.gz": "insertion codes; waters with alternates",
    "2n0n.pdb.gz": "modified residues at the end",
    "1h7m.pdb.gz": "negative numbers",
    "1yea.pdb.gz": "trimethyllysine, negative numbers",
    "1jno.pdb.gz": "gramicidin: D residues, two chains",
    "1jbe.pdb.gz": "an aspartate and its other half under another name",
    "1bf4.pdb.gz": "a protein and DNA",
    "1g2y.pdb.gz": "MSE; four chains",
    "1lmb.pdb.gz": "chains called 1 to 4, two of them DNA",
    "1tpk.pdb.gz": "negative numbers, insertion codes",
    "1g2b.pdb.gz": "a circular permutant: numbers that go back",
    "1mf6.pdb.gz": "NMR models",
    "2erl.pdb.gz": "no chain id; alternates, hydrogens",
    "1dwc.pdb.gz": "insertion codes, unresolved stretches, three chains",
    "1aup.pdb.gz": "a SEQRES that does not fit",
    "1lzh.pdb.gz": "CA alone",
    "1d66.pdb.gz": "two proteins and DNA, unresolved ends",
}
"""Files of ``main/``, and why each is here."""

COUNTS = ("metadata.n_ligands", "metadata.n_waters", "metadata.n_nucleic")


@cache
def original(path: Path) -> tuple[ParsedEntry, Block | list[str]]:
    """What the file says to us, and what the rewriters start from."""
    data = decompress(path.read_bytes(), 2**30)
    parsed = read_chains(data, "x")
    if parsed.format == "pdb":
        return parsed, data.decode("latin-1").splitlines()
    if parsed.format == "bcif":
        return parsed, rewriters.block_of_bcif(data)
    return parsed, rewriters.block_of_cif(data.decode())


@pytest.fixture(scope="module", autouse=True)
def _forget():
    yield
    original.cache_clear()


def read(written: str | bytes) -> ParsedEntry:
    return read_chains(written if isinstance(written, bytes) else written.encode(), "x")


def values_of(chain: Chain) -> dict[str, object]:
    found = {f.name: getattr(chain, f.name) for f in fields(Chain)}
    del found["metadata"]
    return found


def metadata_of(entry: ParsedEntry) -> dict[str, object]:
    return {f"metadata.{f.name}": getattr(entry.metadata, f.name) for f in fields(EntryMetadata)}


def differing(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [
        f"{name} {str(value)[:60]}, now {str(after[name])[:60]}"
        for name, value in before.items()
        if not np.array_equal(value, after[name])  # type: ignore[arg-type]
    ]


def differences(before: ParsedEntry, after: ParsedEntry, ignored: Iterable[str] = ()) -> list[str]:
    """In which fields the chains and the entry differ. The chains' order may differ."""
    one, other = ({(c.model, c.label_asym_id): c for c in e.chains} for e in (before, after))
    if one.keys() != other.keys():
        return [f"chains {sorted(one)}, now {sorted(other)}"]
    found = []
    for key, chain in one.items():
        found += [f"{key}: {how}" for how in differing(values_of(chain), values_of(other[key]))]
    ignored = set(ignored)
    entry = {k: v for k, v in metadata_of(before).items() if k not in ignored}
    entry |= {"flags": sorted(before.flags), "dropped": sorted(map(str, before.dropped))}
    now = metadata_of(after)
    now |= {"flags": sorted(after.flags), "dropped": sorted(map(str, after.dropped))}
    return found + differing(entry, now)


# ---- the same, written in another way ----------------

IGNORED = {
    # What stands in several places is counted as often; it is no residue of a protein.
    "atoms_in_any_order": COUNTS,
    "alternates_at_the_end": COUNTS,
    "pdb_alternates_at_the_end": COUNTS,
}


def files(folder: Path, endings: tuple[str, ...], names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if name.split(".")[1] in endings]


def examples(endings: tuple[str, ...]) -> list[Path]:
    paths = sorted(p for p in EXAMPLES.iterdir() if p.name.split(".")[1] in endings)
    return sorted(paths, key=lambda p: p.stat().st_size)


WAYS = [
    (name, way, endings)
    for ways, endings in (
        (CIF_WAYS, ("cif", "bcif")),
        (BCIF_WAYS, ("cif", "bcif")),
        (PDB_WAYS, ("pdb",)),
    )
    for name, way in ways.items()
]
EACH_WAY = pytest.mark.parametrize(
    ("name", "way", "endings", "number"),
    [pytest.param(*w, k, id=w[0]) for k, w in enumerate(WAYS)],
)


def check_the_same(name: str, way: Callable, paths: Iterable[Path]) -> None:
    found = []
    for path in paths:
        before, source = original(path)
        rounded = any(c.coords_rounded for c in before.chains)
        if rounded and name == "binary_compressed_by_biotite":
            continue  # it keeps no more decimals than a structure has, as a rule
        try:
            after = read(way(source, random.Random(path.name)))
        except ParseError as error:
            found.append(f"{path.name}: {error}")
            continue
        found += [f"{path.name}, {d}" for d in differences(before, after, IGNORED.get(name, ()))]
    assert not found, "\n".join([name, *found[:20]])


@EACH_WAY
def test_an_example_written_in_another_way_gives_the_same_rows(
    name: str, way: Callable, endings: tuple[str, ...], number: int
):
    paths = [p for p in examples(endings) if p.stat().st_size < 120_000]
    check_the_same(name, way, paths[number % 3 :: 3])


@pytest.mark.slow
@EACH_WAY
def test_every_example_written_in_another_way_gives_the_same_rows(
    name: str, way: Callable, endings: tuple[str, ...], number: int
):
    check_the_same(name, way, examples(endings))


@needs_main
@EACH_WAY
def test_every_third_file_written_in_another_way_gives_the_same_rows(
    name: str, way: Callable, endings: tuple[str, ...], number: int
):
    """The next way takes the next third, so that every file is written in twenty ways."""
    check_the_same(name, way, files(MAIN, endings, OF_MAIN)[number % 3 :: 3])


@pytest.mark.slow
@needs_main
@EACH_WAY
def test_every_file_written_in_another_way_gives_the_same_rows(
    name: str, way: Callable, endings: tuple[str, ...], number: int
):
    check_the_same(name, way, files(MAIN, endings, OF_MAIN))


@pytest.mark.slow
@needs_main
@pytest.mark.parametrize("seed", range(4))
def test_two_ways_one_after_the_other_give_the_same_rows(seed: int):
    rng = random.Random(seed)
    found = []
    # What gemmi does not read, and what the ways themselves do not find again, comes last.
    last = ("carriage_returns_alone", "tags_in_other_case")
    for path in files(MAIN, ("cif", "bcif"), OF_MAIN):
        before, source = original(path)
        pair = sorted(rng.sample(list(CIF_WAYS.items()), 2), key=lambda way: way[0] in last)
        (one, first), (other, second) = pair
        ignored = {*IGNORED.get(one, ()), *IGNORED.get(other, ())}
        text = second(rewriters.block_of_cif(first(source, rng)), rng)
        hows = differences(before, read(text), ignored)
        found += [f"{path.name}, {one}, {other}: {how}" for how in hows]
    assert not found, "\n".join(found[:20])


@needs_main
def test_the_rewritten_files_hold_what_is_hard():
    """Files of plain chains would read alike in any way."""
    assert len(OF_MAIN) >= 40
    parsed = [original(MAIN / name)[0] for name in OF_MAIN]
    chains = [c for p in parsed for c in p.chains]
    assert len(chains) > 60
    for count in ("n_altloc", "n_microhet", "n_modified"):
        assert sum(getattr(c, count) > 0 for c in chains) > 3, count
    assert sum((c.auth_seq_id < 0).any() for c in chains) > 3
    assert sum((c.ins_code > 0).any() for c in chains) > 5
    assert sum((~c.resolved).any() for c in chains) > 4
    assert sum((c.aatype == 20).any() for c in chains) > 5
    assert sum(p.metadata.n_nucleic > 0 for p in parsed) > 4


def test_a_changed_coordinate_would_be_noticed():
    """Else every comparison above would pass."""
    before, source = original(EXAMPLES / "1a8o.cif.gz")
    assert isinstance(source, Block)
    site = source["atom_site"]
    k = site.column("Cartn_y")
    site.rows[7][k], kept = "1.234", site.rows[7][k]
    try:
        (difference,) = differences(before, read(rewriters.written(source)))
    finally:
        site.rows[7][k] = kept
    assert "coords" in difference


# ---- writers of other programs, which leave things out ----------------

OF_RESIDUES = (
    "aatype",
    "auth_seq_id",
    "ins_code",
    "atom14_mask",
    "b_factor",
    "resolved",
)
OF_CHAINS = ("model", "n_modified", "n_altloc", "n_microhet", "n_bad_atoms", "coords_rounded")


@dataclass(frozen=True)
class Writer:
    """A program's way of writing, and what must come through it.

    Attributes
    ----------
    keeps_entities : bool
        All rows, `residue_index` and the entity's sequence. Else there are rows of residues with
        atoms only, they are numbered by the author, and caps are counted as ligands.
    keeps_labels : bool
        ``label_asym_id``. Chains are compared by the author's id.
    keeps_alternates : bool
        Else the file without its alternates is what is written and compared.
    """

    write: Callable
    sources: tuple[str, ...] = ("cif", "bcif", "pdb")
    keeps_entities: bool = False
    keeps_labels: bool = False
    keeps_alternates: bool = True


WRITERS = {
    "gemmi_mmcif": Writer(
        rewriters.gemmi_mmcif, ("cif", "bcif"), keeps_entities=True, keeps_labels=True
    ),
    "gemmi_mmcif_of_pdb": Writer(rewriters.gemmi_mmcif, ("pdb",), keeps_entities=True),
    "gemmi_atoms_alone": Writer(
        rewriters.gemmi_mmcif_atoms_alone, ("cif", "bcif"), keeps_labels=True
    ),
    "gemmi_atoms_alone_of_pdb": Writer(rewriters.gemmi_mmcif_atoms_alone, ("pdb",)),
    "gemmi_pdb": Writer(rewriters.gemmi_pdb, keeps_entities=True),
    "gemmi_pdb_bare": Writer(rewriters.gemmi_pdb_bare),
    "biopython_mmcif": Writer(rewriters.biopython_mmcif),
    "biopython_pdb": Writer(rewriters.biopython_pdb),
    "biotite_mmcif": Writer(rewriters.biotite_mmcif, keeps_alternates=False),
    "biotite_bcif": Writer(rewriters.biotite_bcif, keeps_alternates=False),
    "biotite_pdb": Writer(rewriters.biotite_pdb, keeps_alternates=False),
    "labels_by_residue": Writer(rewriters.labels_by_residue, ("cif", "bcif")),
    "without_header": Writer(rewriters.pdb_without_header, ("pdb",)),
}

LONG_CHAIN_IDS = ("6ydw.cif.gz", "1hh0.cif.gz")
"""No program writes them to a PDB file."""

EXPLAINED = {
    "1ejg.pdb.gz": (
        lambda name: "biopython" in name,
        "it drops serine at residue 22, where an atom without a label belongs to proline",
    ),
    "1jbe.pdb.gz": (
        lambda name: not WRITERS[name].keeps_entities,
        "only SEQRES says that the half without a backbone is a residue",
    ),
}
"""File → (which writers lose more of it, why)."""


def rows_with_atoms(chain: Chain) -> dict[str, object]:
    has_atoms = chain.atom14_mask > 0
    found: dict[str, object] = {n: getattr(chain, n)[has_atoms] for n in OF_RESIDUES}
    return found | {n: getattr(chain, n) for n in (*OF_CHAINS, "coords")}


def compared(chain: Chain, writer: Writer) -> dict[str, object]:
    found = rows_with_atoms(chain)
    if writer.keeps_entities:
        found["residue_index"] = chain.residue_index
        found["entity_sequence"] = chain.entity_sequence
    if writer.keeps_labels:
        found["label_asym_id"] = chain.label_asym_id
    return found


ANOTHER_NAME = ("metadata.file_entry_id", "metadata.title")
"""Programs name what they write after something else, and break titles over lines."""


def by_author(entry: ParsedEntry) -> dict[str, list[Chain]]:
    found: dict[str, list[Chain]] = {}
    for chain in entry.chains:
        found.setdefault(chain.auth_asym_id, []).append(chain)
    return found


def numbered_by_the_author(chain: Chain) -> list[int]:
    """`residue_index` without an entity sequence."""
    index: list[int] = []
    for number in chain.auth_seq_id.tolist():
        index.append(max(number, index[-1] + 1) if index else number)
    return index


def lost_beyond(writer: Writer, before: ParsedEntry, after: ParsedEntry) -> list[str]:
    """What a writer has lost that it need not lose."""
    one, other = by_author(before), by_author(after)
    sizes = [{k: [len(c.coords) for c in v] for k, v in e.items()} for e in (one, other)]
    if sizes[0].keys() != sizes[1].keys() or any(
        len(v) != len(sizes[1][k]) for k, v in sizes[0].items()
    ):
        return [f"chains and their atoms {sizes[0]}, now {sizes[1]}"]
    found = []
    for author, chains in one.items():
        for was, now in zip(chains, other[author], strict=True):
            changes = differing(compared(was, writer), compared(now, writer))
            if now.uniprot not in (None, was.uniprot) or now.taxonomy not in (None, was.taxonomy):
                changes.append(f"uniprot {now.uniprot}, taxonomy {now.taxonomy}")
            numbered = now.entity_sequence is None and not writer.keeps_entities
            if numbered and now.residue_index.tolist() != numbered_by_the_author(now):
                changes.append(f"residue_index {now.residue_index}")
            found += [f"chain {author}: {change}" for change in changes]
    told, tells = metadata_of(before), metadata_of(after)
    for name, value in told.items():
        # A writer may say nothing of the entry, but nothing else than was said.
        said = name in COUNTS or (value is not None and tells[name] is not None)
        if name == "metadata.n_ligands" and not writer.keeps_entities:
            said = False
        if said and name not in ANOTHER_NAME and tells[name] != value:
            found.append(f"{name} {value}, now {tells[name]}")
    return found


def check_what_is_kept(name: str, paths: Iterable[Path]) -> None:
    writer = WRITERS[name]
    found = []
    for path in paths:
        if path.name.split(".")[1] not in writer.sources:
            continue
        if name.endswith(("_pdb", "_bare")) and path.name in LONG_CHAIN_IDS:
            continue
        if path.name in EXPLAINED and EXPLAINED[path.name][0](name):
            continue
        before, source = original(path)
        if not before.chains:
            continue  # biotite and Biopython write CA and nucleotides as they write the rest
        if not writer.keeps_alternates:
            source = rewriters.without_alternates(source)
            before = read(
                rewriters.written(source)
                if isinstance(source, Block)
                else "\n".join(source).encode("latin-1")
            )
        # A SEQRES that does not fit is read as none, and handed on as what fits.
        kept = replace(writer, keeps_entities=False) if before.flags else writer
        lost = lost_beyond(kept, before, read(writer.write(source)))
        found += [f"{path.name}: {what}" for what in lost]
    assert not found, "\n".join([name, *found[:20]])


EACH_WRITER = pytest.mark.parametrize("name", WRITERS)


@EACH_WRITER
def test_an_example_that_another_program_writes_keeps_what_it_hands_on(name: str):
    paths = examples(("cif", "bcif", "pdb"))
    check_what_is_kept(name, [p for p in paths if p.stat().st_size < 60_000])


@needs_main
@EACH_WRITER
def test_a_file_that_another_program_writes_keeps_what_it_hands_on(name: str):
    check_what_is_kept(name, [MAIN / f for f in OF_MAIN])
