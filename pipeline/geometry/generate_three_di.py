"""Regenerate ``three_di_network.py``: the network of 3Di, as biotite carries it.

    python -m pipeline.geometry.generate_three_di

It is stored here, and not read from biotite while building: a letter must not depend on which
version of biotite is installed, and biotite promises nothing of the file that it keeps it in.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

MODULE = Path(__file__).with_name("three_di_network.py")

_HEADER = '''"""The network of Foldseek's structural alphabet: written by ``generate_three_di.py``.

The numbers are those that biotite distributes under the BSD 3-Clause licence (``LICENCES.txt``
beside this file), trained by the authors of Foldseek: van Kempen, Kim, Tumescheit, Mirdita, Lee,
Gilchrist, Söding, Steinegger: Fast and accurate protein structure search with Foldseek. Nature
Biotechnology 42 (2024) 243–246.
"""

import numpy as np

'''


def network_of_biotite() -> tuple[list[tuple[Any, Any]], Any]:
    """Weights (inputs, outputs) and biases of the three layers, and the (20, 2) centroids."""
    from biotite.structure.alphabet.encoder import Encoder

    *dense, centroids = Encoder().vae_encoder.layers
    return [(layer.weights, layer.biases) for layer in dense], centroids.centroids


def main() -> None:
    """Write the module."""
    layers, centroids = network_of_biotite()
    text = [_HEADER, "# fmt: off\nLAYERS = (\n"]
    for weights, biases in layers:
        text.append(f"    (np.array([{_numbers(weights)}],\n")
        text.append(f"     np.float32).reshape{weights.shape},\n")
        text.append(f"     np.array([{_numbers(biases)}],\n     np.float32)),\n")
    text.append(")\n")
    text.append('"""Weights (inputs, outputs) and biases; all but the last are rectified."""\n\n')
    text.append(f"CENTROIDS = np.array([{_numbers(centroids)}]).reshape{centroids.shape}\n")
    text.append('"""The letter is that of the nearest."""\n')
    MODULE.write_text("".join(text), encoding="utf-8")


def _numbers(values: Any) -> str:
    text = ", ".join(str(value) for value in values.ravel())
    return "\n" + textwrap.fill(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)


if __name__ == "__main__":
    main()
