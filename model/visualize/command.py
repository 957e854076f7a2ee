"""``python -m model.visualize``: one chain through a network → figures and lines."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch

from model.flow import TASKS, Flow, NoisyProtein, clean_from_batch, draw_noise
from model.flow.clean import BATCH_KEYS
from model.flow.tasks import held_for
from model.output_folder import make_folder
from model.trained_network import device_named, load_network, open_dataset
from model.visualize.draw import save_figures
from model.visualize.look import check_choice, look
from model.visualize.options import VisualizeOptions
from model.visualize.statistics import console_line
from pipeline.batching import collate
from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import status_of
from pipeline.errors import UsageError

COLUMNS = [key for key in BATCH_KEYS if key != "lengths"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all is written. 1: the dataset or the checkpoint cannot be used, or something cannot be
    written. 2: wrong usage, such as a chain that is not in the dataset. 130: interrupted.
    """
    options = parse_options(
        VisualizeOptions,
        "python -m model.visualize",
        "Draw what the layers of a network attend to in one chain, and print its statistics.",
        arguments,
    )
    return status_of(
        lambda: visualize(options),
        interrupted="the files that are there are whole",
    )


def visualize(options: VisualizeOptions) -> None:
    """Draw as the options say.

    Raises
    ------
    UsageError
        Before anything is written.
    Failure, OSError
    """
    options.check()
    heads = options.heads or [0]
    network, info = load_network(options.ckpt, options.task)
    check_choice(network, options.layers, heads)
    batch = collate([find_chain(options, info.network.c_embedding)])
    noisy = noisy_protein(batch, options)
    if not bool(noisy.mask.any()):
        raise UsageError(f"{options.chain} has no residue with a frame to look at")
    device = device_named(options.device)
    network = network.to(device)
    make_folder(options.out_dir, options.overwrite)
    about = f"step {info.step}  ·  {options.chain}, {options.task} at time {options.time:g}"
    for layer in look(network, noisy.to(device), heads=heads, layers=options.layers):
        save_figures(layer, options.out_dir, about)
        if not options.quiet:
            print(console_line(layer.layer, info.step, layer.statistics, layer.kind), flush=True)
    if not options.quiet:
        print(f"look at {options.out_dir}")


def find_chain(options: VisualizeOptions, c_embedding: int) -> dict[str, Any]:
    """The chain as an item of the dataset.

    Raises
    ------
    UsageError
        There is none of this name; the message has names that are near.
    UnreadableDataset, DamagedShard, StorageError
    """
    dataset = open_dataset(options.dataset, options.embedding, c_embedding, columns=COLUMNS)
    known = dataset.chain_uids
    if options.chain not in known:
        near = near_names(options.chain, known)
        hint = f"; did you mean {' or '.join(near)}?" if near else f", such as {known[0]}"
        raise UsageError(
            f"there is no chain {options.chain} among the {len(known)} of {options.dataset}{hint}"
        )
    return dict(dataset[known.index(options.chain)])


def near_names(wanted: str, known: Sequence[str], most: int = 3) -> list[str]:
    """Names that were perhaps meant: of the same entry, or spelt alike."""
    entry = wanted.lower().partition("_")[0]
    same = [uid for uid in known if entry and uid.lower().startswith(entry)]
    return difflib.get_close_matches(wanted, same or known, n=most, cutoff=0.0 if same else 0.6)


def noisy_protein(batch: dict[str, Any], options: VisualizeOptions) -> NoisyProtein:
    """x_t of one chain for a task, all that is hidden at the same time."""
    clean = clean_from_batch(batch)
    n = clean.mask.shape[1]
    noise = draw_noise([options.chain], [n], n, options.seed, 0)
    held = held_for(torch.tensor([TASKS.index(options.task)]), clean, noise)
    times = held.times(options.time, options.time)
    return Flow().corrupt(clean, times, noise)[0]
