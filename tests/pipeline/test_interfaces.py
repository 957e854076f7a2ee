"""Pairs of chains in contact: against brute force, against gemmi, and whatever is beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.geometry.neighbours as neighbours
from pipeline.chain import Beside, Chain
from pipeline.features import unpack_mask
from pipeline.geometry.neighbours import close_pairs
from pipeline.interfaces import INTERFACES_SCHEMA, find_interfaces, interfaces_digest, joined
from pipeline.parsing import read_chains
from pipeline.sources import decompress
from tests.support.gemmi_interfaces import interfaces
from tests.support.places import EXAMPLES
from tests.support.random_chains import random_chain, with_fields

DISTANCE = 5000
Columns = dict[str, int]


@st.composite
def crowds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of owners of groups, near each other or far apart."""
    groups = sorted(draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    owner = np.sort(rng.integers(0, len(groups), draw(st.integers(0, 120)))).astype(np.int32)
    scale = draw(st.sampled_from([1_000, 12_000, 40_000, 10_000_000]))
    middle = draw(st.sampled_from([0, -3, 2_000_000_000]))
    points = middle + rng.integers(-scale, scale, (len(owner), 3))
    return points.astype(np.int32), owner, np.array(groups, np.int32)[owner]


@given(crowds())
@settings(max_examples=80, deadline=None)
def test_close_pairs_are_those_of_brute_force(
    crowd: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    points, owner, group = crowd
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_MIN_POINTS", 1)  # every group has a grid, if it may have one
        patch.setattr(neighbours, "_BLOCK", 50)
        found = close_pairs(points, owner, group, DISTANCE)
    apart = points[:, None].astype(np.int64) - points[None]
    square = (apart**2).sum(axis=-1)
    wanted = (square <= DISTANCE**2) & (owner[:, None] < owner) & (group[:, None] == group)
    first, second = np.nonzero(wanted)
    order = np.lexsort([found.second, found.first])
    assert found.first[order].tolist() == first.tolist()
    assert found.second[order].tolist() == second.tolist()
    assert found.square[order].tolist() == square[wanted].tolist()
    assert not found.left_out


def test_a_group_that_is_strewn_too_wide_or_lies_in_one_place_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = np.zeros((20, 3), np.int32)
    wide = near.copy()
    wide[3] = 2_000_000_000
    owner = np.repeat(np.arange(4, dtype=np.int32), 10)
    found = close_pairs(np.concatenate([near, wide]), owner, owner // 2, DISTANCE)
    assert found.left_out == {1}
    assert len(found.first) == 100
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 99)
    found = close_pairs(np.concatenate([near, near + 9]), owner, owner // 2, DISTANCE)
    assert found.left_out == {0, 1}
    assert not len(found.first)


def some_entries(seed: int) -> tuple[list[Chain], dict]:
    """Entries of tangled chains, some with ligands and nucleotides."""
    rng = np.random.default_rng(seed)
    chains, beside = [], {}
    for e in range(3):
        for k in range(rng.integers(1, 5)):
            chain = random_chain(
                1000 * seed + 10 * e + k,
                int(rng.integers(2, 25)),
                entry_id=f"e{e}",
                label_asym_id="BACDE"[k],
            )
            moved = chain.coords + rng.integers(-9000, 9000, 3)
            chains.append(with_fields(chain, coords=moved.astype(np.int32)))
        if e:
            n = int(rng.integers(1, 30))
            residue = np.sort(rng.integers(0, 6, n))
            beside[f"e{e}", None, 1] = Beside(
                model=1,
                coords=rng.integers(-20_000, 20_000, (n, 3)).astype(np.int32),
                residue=residue,
                is_nucleic=(rng.random(6) < 0.5)[residue],
                label_asym_id=np.full(n, b"X"),
                auth_asym_id=np.full(n, b"X"),
            )
    return chains, beside


def brute_force(one: Chain, other: Chain, beside: Beside | None) -> Columns:
    """Of a pair of chains, every atom with every other."""
    columns: Columns = {}
    residues, slots = zip(
        *(np.nonzero(unpack_mask(chain.atom14_mask)) for chain in (one, other)), strict=True
    )
    coords = [chain.coords.astype(np.int64) for chain in (one, other)]
    square = ((coords[0][:, None] - coords[1]) ** 2).sum(-1)
    columns["min_distance"] = round(float(np.sqrt(square.min())))
    betas = []
    for residue, slot in zip(residues, slots, strict=True):
        has_beta = np.isin(residue, residue[slot == 4])
        betas.append((slot == 4) | ((slot == 1) & ~has_beta))
    for name, near in (
        ("cb", (square <= 8000**2) & betas[0][:, None] & betas[1]),
        ("atom", square <= 5000**2),
    ):
        a, b = np.nonzero(near)
        contacts = set(zip(residues[0][a].tolist(), residues[1][b].tolist(), strict=True))
        columns[f"n_{name}_contacts"] = len(contacts)
        for side in (0, 1):
            columns[f"n_{name}_residues_{side + 1}"] = len({c[side] for c in contacts})
    for kind, what in (("ligand", "n_ligands"), ("nucleic", "n_nucleotides")):
        touched = []
        for side, (residue, xyz) in enumerate(zip(residues, coords, strict=True)):
            near = np.zeros((len(xyz), 0), bool)
            own = np.zeros(0, np.int64)
            if beside is not None:
                wanted = beside.is_nucleic == (kind == "nucleic")
                own = beside.residue[wanted]
                to = beside.coords[wanted].astype(np.int64)
                near = ((xyz[:, None] - to) ** 2).sum(-1) <= 5000**2
            columns[f"n_{kind}_residues_{side + 1}"] = len(set(residue[near.any(1)].tolist()))
            touched.append(set(own[near.any(0)].tolist()))
        columns[what] = len(touched[0] & touched[1])
    return columns


@pytest.mark.parametrize("seed", range(6))
def test_all_numbers_of_all_pairs_are_those_of_brute_force(seed: int) -> None:
    chains, beside = some_entries(seed)
    table, left_out = find_interfaces(chains, beside)
    assert not left_out
    assert table.schema.equals(INTERFACES_SCHEMA)
    found = {(r["chain_uid_1"], r["chain_uid_2"]): r for r in table.to_pylist()}
    n_near = 0
    for one in chains:
        for other in chains:
            if one.entry_id != other.entry_id or one.uid >= other.uid:
                continue
            wanted = brute_force(one, other, beside.get((one.entry_id, None, 1)))
            if not wanted["n_cb_contacts"] and not wanted["n_atom_contacts"]:
                assert (one.uid, other.uid) not in found
                continue
            n_near += 1
            row = found[one.uid, other.uid]
            assert {name: row[name] for name in wanted} == wanted
    assert n_near == len(found) > 0


@pytest.mark.parametrize("seed", [0, 3])
def test_the_table_depends_neither_on_the_batch_nor_on_the_order_of_chains(seed: int) -> None:
    chains, beside = some_entries(seed)
    together = joined([find_interfaces(chains, beside)[0]])
    entries = dict.fromkeys(chain.entry_id for chain in chains)
    alone = [
        find_interfaces([c for c in reversed(chains) if c.entry_id == entry], beside)[0]
        for entry in reversed(entries)
    ]
    assert joined(alone).equals(together)
    assert interfaces_digest(joined(alone)) == interfaces_digest(together)


def test_the_digest_covers_names_and_numbers_of_chains_and_nothing_beside_them() -> None:
    chains, beside = some_entries(1)
    table = joined([find_interfaces(chains, beside)[0]])
    from_shards = joined([find_interfaces(chains, None)[0]])
    assert from_shards["n_ligands"].null_count == table.num_rows > 0
    assert interfaces_digest(from_shards) == interfaces_digest(table)
    outside = {"entry_id", "assembly", "model", "label_asym_id_1", "label_asym_id_2"}
    for k, field in enumerate(table.schema):
        if field.name in outside or field.nullable:
            continue
        first, *others = table[field.name].to_pylist()
        other = f"{first}x" if isinstance(first, str) else not first if first is True else first + 1
        changed = table.set_column(k, field, pa.array([other, *others], field.type))
        assert interfaces_digest(changed) != interfaces_digest(table), field.name


def of_file(path: Path, **how: str) -> dict[tuple[str, str], Columns]:
    """Pair of author ids in the order of the file → columns, through the parser."""
    parsed = read_chains(decompress(path.read_bytes(), 1 << 30, name=path.name), "x", **how)  # type: ignore[arg-type]
    beside = {("x", parsed.chains[0].assembly, b.model): b for b in parsed.beside}
    table, _ = find_interfaces(parsed.chains, beside)
    place = {chain.uid: k for k, chain in enumerate(parsed.chains)}
    found = {}
    for row in table.to_pylist():
        one, other = place[row["chain_uid_1"]], place[row["chain_uid_2"]]
        if one > other:
            one, other = other, one
            for name in [name for name in row if name.endswith("_1")]:
                twin = f"{name[:-1]}2"
                row[name], row[twin] = row[twin], row[name]
        ids = parsed.chains[one].auth_asym_id, parsed.chains[other].auth_asym_id
        found[ids] = {
            name: int(value)
            for name, value in row.items()
            if name.startswith(("n_", "min_", "covalent"))
        }
    return found


@pytest.mark.parametrize("name", ["1k6p.cif.gz", "1bd2.cif.gz", "4zhl.cif.gz"])
def test_the_examples_have_the_interfaces_that_gemmi_finds(name: str) -> None:
    theirs = interfaces(EXAMPLES / name)
    ours = of_file(EXAMPLES / name)
    assert ours.keys() == theirs.keys()
    assert ours
    for pair, columns in ours.items():
        assert columns == {key: theirs[pair].get(key, 0) for key in columns}


def test_ligands_of_an_assembly_are_copied_with_its_chains() -> None:
    """3hsy is a dimer in the file; whatever its assembly copies, each copy has its ligands."""
    plain = of_file(EXAMPLES / "3hsy.pdb.gz")
    built = of_file(EXAMPLES / "3hsy.pdb.gz", assembly="first")
    assert any(columns["n_ligands"] for columns in plain.values())
    for pair, columns in plain.items():
        if pair in built:
            assert built[pair]["n_atom_contacts"] == columns["n_atom_contacts"]
    assert any(columns["n_ligands"] for columns in built.values())


def test_a_bond_between_chains_is_a_link_and_no_clash() -> None:
    one = random_chain(1, 3, holes=0.0, entry_id="e", label_asym_id="A")
    cysteine = np.full(1, 4, np.int8)  # N CA C O CB SG

    def residue(label: str, sulphur: tuple[int, int, int]) -> Chain:
        away = np.array([[9, 9, 9], [8, 9, 9], [7, 9, 9], [6, 9, 9], [5, 9, 9]]) * 1000
        sign = 1 if label == "A" else -1
        coords = np.concatenate([sign * away, [sulphur]]).astype(np.int32)
        return with_fields(
            one,
            label_asym_id=label,
            aatype=cysteine,
            atom14_mask=np.array([0b111111], np.uint16),
            coords=coords,
            **{
                name: getattr(one, name)[:1]
                for name in ("residue_index", "auth_seq_id", "ins_code", "b_factor", "resolved")
            },
        )

    for far, covalent, n_clashes in ((2050, True, 0), (1500, False, 1), (2300, False, 0)):
        table, _ = find_interfaces([residue("A", (0, 0, 0)), residue("B", (far, 0, 0))], {})
        row = table.to_pylist()[0]
        assert (row["covalent"], row["n_clashes"]) == (covalent, n_clashes)
        assert row["min_distance"] == far


def test_chains_of_two_models_or_entries_are_in_no_contact() -> None:
    one = random_chain(1, 5, label_asym_id="A", entry_id="e")
    assert not find_interfaces([one, with_fields(one, label_asym_id="B", model=2)], {})[0].num_rows
    assert not find_interfaces([one, with_fields(one, entry_id="f")], {})[0].num_rows
    assert find_interfaces([one, with_fields(one, label_asym_id="B")], {})[0].num_rows == 1
