"""Our parser and an independent reading through gemmi give the same chains, exactly."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.chain import Chain
from pipeline.parsing import ParseError
from pipeline.residues import sequence_string
from tests.support import gemmi_reading
from tests.support.gemmi_reading import Reading
from tests.support.places import EXAMPLES, STRUCTURES

N_FAST = {"main": 44, "pairs": 16}

EXPLAINED: dict[str, str] = {
    "main/2atc.pdb.gz": "z is blank throughout: a failure by our policy; gemmi reads 0",
}
"""folder/file → why the two readings of it legitimately differ. One file, one reason."""

FIELDS = (
    "sequence",
    "entity_sequence",
    "residue_index",
    "auth_seq_id",
    "ins_code",
    "atom14_mask",
    "resolved",
    "coords",
)


def parse(path: Path) -> list[Chain]:
    """The chains of the first model, by our parser."""
    from pipeline.parsing import read_chains

    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return list(read_chains(data, path.name.split(".")[0]).chains)


def fields_of(chain: Chain | Reading) -> dict[str, np.ndarray | str | None]:
    """What is compared. Author numbers only where there are atoms: elsewhere they are optional."""
    has_atoms = chain.atom14_mask > 0
    values = {name: getattr(chain, name) for name in FIELDS if name != "sequence"}
    values["sequence"] = (
        sequence_string(chain.aatype) if isinstance(chain, Chain) else chain.sequence
    )
    values["auth_seq_id"] = np.where(has_atoms, chain.auth_seq_id, 0)
    values["ins_code"] = np.where(has_atoms, chain.ins_code, 0)
    return values


def differing_fields(a: Chain | Reading, b: Chain | Reading) -> dict[str, str]:
    """field → how the two differ there."""
    found: dict[str, str] = {}
    one, other = fields_of(a), fields_of(b)
    for name in FIELDS:
        x, y = one[name], other[name]
        if np.array_equal(x, y):
            continue
        if x is None or y is None or len(x) != len(y):
            lengths = [None if v is None else len(v) for v in (x, y)]
            found[name] = f"lengths {lengths[0]} and {lengths[1]}: {x!r:.60} / {y!r:.60}"
            continue
        rows = [i for i in range(len(x)) if not np.array_equal(x[i], y[i])]
        examples = ", ".join(f"[{i}] {x[i]} / {y[i]}" for i in rows[:3])
        found[name] = f"{len(rows)} of {len(x)} differ: {examples}"
    return found


def differences(ours: Iterable[Chain], theirs: Iterable[Reading]) -> list[str]:
    a = {(c.label_asym_id, c.auth_asym_id): c for c in ours}
    b = {(c.label_asym_id, c.auth_asym_id): c for c in theirs}
    found = [f"chain {key} only in our parser" for key in sorted(a.keys() - b.keys())]
    found += [f"chain {key} only in gemmi's reading" for key in sorted(b.keys() - a.keys())]
    for key in sorted(a.keys() & b.keys()):
        for name, how in differing_fields(a[key], b[key]).items():
            found.append(f"chain {key}, {name}: {how}")
    return found


def structure_files(folder: Path) -> list[Path]:
    suffixes = (".pdb", ".cif", ".bcif")
    files = folder.iterdir() if folder.is_dir() else []
    return sorted(f for f in files if f.name.removesuffix(".gz").endswith(suffixes))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _parameters() -> list:
    """Every file; all but the first few in the order of their names' hashes are slow."""
    parameters = [pytest.param(path, id=_name(path)) for path in structure_files(EXAMPLES)]
    for folder, n_fast in N_FAST.items():
        files = structure_files(STRUCTURES / folder)
        files.sort(key=lambda path: hashlib.sha256(path.name.encode()).digest())
        for n, path in enumerate(files):
            marks = [pytest.mark.slow] if n >= n_fast else []
            parameters.append(pytest.param(path, id=_name(path), marks=marks))
    return parameters


@pytest.mark.parametrize("path", _parameters())
def test_our_parser_reads_what_gemmi_reads(path: Path):
    if _name(path) in EXPLAINED:
        pytest.skip(EXPLAINED[_name(path)])
    found = differences(parse(path), gemmi_reading.read(path))
    assert not found, "\n".join([_name(path), *found[:12]])


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")
@pytest.mark.parametrize("name", sorted(EXPLAINED))
def test_a_file_with_an_explanation_does_differ(name: str):
    path = STRUCTURES / name
    try:
        ours = parse(path)
    except ParseError:
        ours = []  # we refuse what gemmi reads
    assert differences(ours, gemmi_reading.read(path)), f"{name} agrees: remove it"


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")
def test_the_compared_files_hold_many_chains_with_gaps_and_alternates():
    """Readings that were all empty would agree as well."""
    paths = [STRUCTURES / "pairs" / name for name in ("3o21.pdb.gz", "1cbn.cif.gz")]
    gaps, alternates = (gemmi_reading.read(path) for path in paths)
    assert len(gaps) == 4
    assert all((reading.atom14_mask == 0).any() for reading in gaps)
    assert alternates[0].n_altloc > 0
    assert alternates[0].n_microhet > 0
