"""Compiles a Triton kernel of attention for a GPU, without one, and prints what it takes as JSON.

    python -m tests.support.kernel_resources KERNEL ARCHITECTURE zscore|affine pairs|none bf16|fp32

In a process of its own: kernels that are to be interpreted cannot be compiled.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model.attention import gpu, triton_kernels

SIZES = {"C": 32, "C_V": 64, "GAUSSIANS": 4}
"""Of `base.yaml`: 32 channels, 32 + 3 · 8 numbers of values, 4 Gaussians."""


def compiled(name: str, architecture: int, variant: dict[str, bool], content: str):
    """The kernel as Triton compiles it."""
    kernel = getattr(triton_kernels, name)
    rows, keys = gpu.BLOCKS[name]
    constants = {**SIZES, **variant, "ROWS": rows, "KEYS": keys}
    signature, values, attributes = {}, {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            values[(place,)] = constants[argument]
        elif argument in triton_kernels.COUNTS:
            signature[argument] = "i32"
        else:
            signature[argument] = "*fp32"
            attributes[(place,)] = [["tt.divisibility", 16]]
    signature["mask"] = "*u8"
    signature["scale"] = "fp32"
    signature["q"] = signature["k"] = f"*{content}"
    source = ASTSource(kernel, signature, values, attributes)
    options = {"num_warps": gpu.WARPS[name], **gpu.LAUNCH}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def resources(cubin: bytes) -> dict[str, int]:
    """Registers of a thread, and bytes that it spills or keeps on a stack."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        )
    words = dict(w.split(":")[:2] for w in (done.stdout + done.stderr).split() if w.count(":") == 1)
    return {"registers": int(words["REG"]), "stack": int(words["STACK"]) + int(words["LOCAL"])}


def narrow_products(code: str) -> list[str]:
    """Products of 32 bits in Triton's own code, but for the number of a program times its rows.

    All offsets but those of channels and residues of one slice have factors.
    """
    products = re.findall(r"arith\.muli (.*) : (\S*i32>?) loc", code)
    return [
        f"{factors} : {kind}"
        for factors, kind in products
        if not (kind == "i32" and re.search(r"%c\d+_i32\b", factors))
    ]


if __name__ == "__main__":
    name, architecture, norm, pairs, content = sys.argv[1:]
    variant = {"NORMALISE": norm == "zscore", "HAS_TILE": pairs == "pairs"}
    kernel = compiled(name, int(architecture), variant, content)
    found = {
        **resources(kernel.asm["cubin"]),
        "shared": kernel.metadata.shared,
        "products": kernel.asm["ttir"].count("arith.muli"),
        "narrow": narrow_products(kernel.asm["ttir"]),
        "tf32": "tf32" in kernel.asm["ptx"],
    }
    print(json.dumps(found))
