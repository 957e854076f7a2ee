"""``interfaces.parquet`` of a dataset that was built before there was one, from its shards.

Shards hold no ligands and no nucleic acids, so the columns about these are null. If it is asked
for, each pair gets the surface that it buries, which takes longer than all the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.built.records import InputRecord, PartRecord, records_table, write_record
from pipeline.built.shard_interfaces import batches_of, flagged
from pipeline.built.stored_chains import read_entries
from pipeline.built.tables import write_table
from pipeline.chain import Chain
from pipeline.commands.progress_line import ProgressLine
from pipeline.features import unpack_mask
from pipeline.files.atomic import appears_whole
from pipeline.geometry.neighbours import close_pairs
from pipeline.interfaces import find_interfaces, interfaces_digest, joined
from pipeline.residues import ATOM14_ELEMENT, VAN_DER_WAALS_RADII

PROBE = 1.4
"""Å, the radius of a water."""

POINTS = 100
"""On the sphere of each atom."""


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """What became of the table.

    Attributes
    ----------
    n_pairs : int
    left_out : list of str
        Entries with too many atoms in one place.
    """

    n_pairs: int
    left_out: list[str]


def add_interfaces(
    dataset: BuiltDataset, layout: Layout, line: ProgressLine, *, buried_area: bool
) -> Made | None:
    """Write the table, the records of the parts, and last ``build.json``.

    Parameters
    ----------
    dataset : BuiltDataset
        `locked`, and in `layout`.
    line : ProgressLine
        Entered.
    buried_area : bool
        Fill this column, too.

    Returns
    -------
    Made or None
        None: there was nothing to do.

    Raises
    ------
    DamagedShard, UnreadableDataset, OSError
        ``build.json`` is as it was; the same command begins again.
    """
    known = dataset.interfaces()
    if known is not None and not (buried_area and known["buried_area"].null_count):
        return None
    tables = []
    left_out: set[str] = set()
    index = dataset.index()
    done = 0
    entries = read_entries(dataset, index)
    for chains in batches_of((stored.chain for stored in entry) for entry in entries):
        if known is None:
            table, crowded = find_interfaces(chains, None)
            left_out |= crowded
        else:
            entries = pa.array({chain.entry_id for chain in chains}, pa.string())
            table = known.filter(pc.is_in(known["entry_id"], entries))
        tables.append(_with_buried_area(table, chains) if buried_area else table)
        done += len(chains)
        line.show(done, f"{done:,}/{index.num_rows:,} chains")
    made = joined(tables)
    _write(made, left_out, dataset, layout)
    return Made(made.num_rows, sorted(left_out))


def _write(table: pa.Table, left_out: set[str], dataset: BuiltDataset, layout: Layout) -> None:
    # The records first: a build that goes on from them makes the same tables.
    for shard in dataset.build.shards:
        path = layout.root / layout.state / shard.name.replace(".parquet", ".json")
        record = PartRecord.read(path)
        if record is not None and record.shard_sha256 == shard.sha256:
            entries = pa.array({r.entry_id for r in record.inputs if r.entry_id}, pa.string())
            rows = table.filter(pc.is_in(table["entry_id"], entries))
            inputs = flagged(record.inputs, left_out)
            write_record(layout, dataclasses.replace(record, inputs=inputs, interfaces=rows))
    tables = {layout.interfaces: table}
    if left_out:
        before = (InputRecord(**row) for row in dataset.table(layout.inputs).to_pylist())
        tables[layout.inputs] = records_table(InputRecord, flagged(before, left_out))
    for name, content in tables.items():
        with appears_whole(layout.root / name, layout.scratch) as temporary:
            write_table(content, temporary)
    summary = dataclasses.replace(dataset.build, interfaces_digest=interfaces_digest(table))
    with appears_whole(layout.root / layout.build_json, layout.scratch) as temporary:
        temporary.write_text(summary.to_json(), encoding="utf-8")


def _with_buried_area(table: pa.Table, chains: Sequence[Chain]) -> pa.Table:
    by_uid = {chain.uid: chain for chain in chains}
    names = zip(table["chain_uid_1"].to_pylist(), table["chain_uid_2"].to_pylist(), strict=True)
    areas = [buried_area(by_uid[one], by_uid[other]) for one, other in names]
    column = table.schema.get_field_index("buried_area")
    return table.set_column(column, table.schema.field(column), pa.array(areas, pa.float32()))


def buried_area(one: Chain, other: Chain) -> float:
    """What a pair buries of its surface: that of either alone, less that of both together.

    Returns
    -------
    float
        Å², of both sides; solvent-accessible surface (Shrake and Rupley 1973) of the heavy atoms,
        by biotite.
    """
    sides = (one, other)
    coords = np.concatenate([chain.coords for chain in sides])
    radii = np.concatenate([_radii(chain) for chain in sides])
    side = np.repeat(np.arange(2, dtype=np.int32), [len(chain.coords) for chain in sides])
    # Nothing is buried farther away than two atoms with a water between them.
    reach = round(2000 * (radii.max() + PROBE))
    pairs = close_pairs(coords, side, np.zeros_like(side), reach)
    near = np.zeros(len(coords), bool)
    near[pairs.first], near[pairs.second] = True, True
    alone = sum(_surface(coords[side == k], radii[side == k], near[side == k]) for k in range(2))
    return alone - _surface(coords, radii, near)


def _surface(
    coords: NDArray[np.int32], radii: NDArray[np.float64], wanted: NDArray[np.bool_]
) -> float:
    """Of the wanted atoms, among all of them."""
    from biotite.structure import AtomArray, sasa

    if not wanted.any():
        return 0.0
    atoms = AtomArray(len(coords))
    atoms.coord = (coords * 0.001).astype(np.float32)
    atoms.element[:] = "C"  # not looked at: the radii are given
    area = sasa(atoms, probe_radius=PROBE, atom_filter=wanted, point_number=POINTS, vdw_radii=radii)
    return float(area[wanted].sum(dtype=np.float64))


def _radii(chain: Chain) -> NDArray[np.float64]:
    residue, slot = np.nonzero(unpack_mask(chain.atom14_mask))
    elements = np.array(ATOM14_ELEMENT)[chain.aatype[residue], slot]
    return np.array([VAN_DER_WAALS_RADII[element] for element in elements.tolist()])
