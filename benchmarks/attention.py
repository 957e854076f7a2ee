"""Time and memory of attention: tiled and dense IGA, IPA, and the IPA of PyPI, by length.

    python benchmarks/attention.py [--sizes 128 256 512 1024 2048] [--markdown]
    python benchmarks/attention.py --sizes 128 256 --seconds 0.5        # a quick look
    python benchmarks/attention.py --device cuda                        # Triton and SDPA, too

One item, one layer, one thread, forward and backward with gradients of everything. On a CPU each
number comes from a process of its own. Time is the best of several runs after one on 64 residues.
*Saved* counts each array once that autograd keeps for the backward pass, inputs and weights left
out.
*Peak* is the resident memory beyond what the process had before the first run; on a GPU, what torch
had allocated at most. What would need more than ``--limit`` GiB, judging by the length before, is
not run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from model.attention import build_attention, oracle
from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.gaussian_rigid import GaussianRigid
from pipeline.commands.words import MEBIBYTE

SIZES = {"cpu": [128, 256, 512, 1024, 2048], "cuda": [128, 256, 512, 1024, 2048, 4096]}
C_S, HEADS, C_HIDDEN, GAUSSIANS, POINTS = 128, 8, 16, 8, 8
C_Z = 128
SPREAD = 15.0
"""Å: standard deviation of CA positions in a protein of some 200 residues."""

Run = Callable[[bool], object]
"""A forward pass and, if told so, a backward pass."""


@dataclass(frozen=True)
class Contestant:
    title: str
    kind: str
    implementation: str = "tiled"
    query_points: int = 0
    native: bool = True
    devices: tuple[str, ...] = ("cpu", "cuda")


CONTESTANTS = {
    "triton": Contestant("IGA, Triton", "iga", implementation="triton", devices=("cuda",)),
    "tiled": Contestant("IGA, tiled", "iga"),
    "torch": Contestant("IGA, tiled, no C compiler", "iga", native=False, devices=("cpu",)),
    "dense": Contestant("IGA, dense", "iga", implementation="oracle"),
    "ipa": Contestant("IPA, ours, 16 points", "ipa"),
    "pypi": Contestant("IPA, PyPI, 4 points", "pypi", query_points=4),
    "pypi16": Contestant("IPA, PyPI, 16 points", "pypi", query_points=16),
    "sdpa": Contestant("SDPA of torch, bias given", "sdpa"),
    "bias": Contestant("SDPA of torch, torch makes IGA's bias", "bias"),
}
WITH_PAIRS = ("triton", "tiled", "ipa", "pypi")


# ---- in the process that measures --------------------------------------------------------------


def random_rigid(n: int) -> GaussianRigid:
    rotations = torch.linalg.qr(torch.randn(1, n, 3, 3))[0]
    rotations = rotations * torch.linalg.det(rotations)[..., None, None]
    normal = torch.randn(3, 1, n, 3)
    return GaussianRigid(rotations, SPREAD * normal[0], normal[1], 0.4 + 0.3 * normal[2])


class DotProducts:
    """In the place of what attends in IGA: SDPA with a bias that is there, or made by torch."""

    def __init__(self, bias: Tensor | None):
        self.bias = bias

    def __call__(
        self,
        heads: Heads,
        query: HeadGaussians,
        key: HeadGaussians,
        strength: Tensor,
        normalise: bool,
    ) -> tuple[Tensor, None]:
        bias = self.bias
        if bias is None:
            bias = oracle.geometric_bias(query, key, strength, heads.mask, normalise)
        values = scaled_dot_product_attention(heads.q, heads.k, heads.v, attn_mask=bias)
        return values, None


def build(contestant: Contestant, c_z: int, n: int, device: str) -> nn.Module:
    if contestant.kind == "pypi":
        from invariant_point_attention import InvariantPointAttention

        return InvariantPointAttention(
            dim=C_S,
            heads=HEADS,
            scalar_key_dim=C_HIDDEN,
            scalar_value_dim=C_HIDDEN,
            point_key_dim=contestant.query_points,
            point_value_dim=POINTS,
            pairwise_repr_dim=c_z or None,
            require_pairwise_repr=c_z > 0,
        )
    of_dots = contestant.kind in ("sdpa", "bias")
    layer = build_attention(
        "iga" if of_dots else contestant.kind,
        c_s=C_S,
        c_z=c_z,
        n_heads=HEADS,
        c_hidden=C_HIDDEN,
        n_gaussians=GAUSSIANS,
        n_points=POINTS,
        implementation=contestant.implementation,
    )
    # The layer starts with an output of zero, for which much of the backward pass is zeros.
    nn.init.normal_(layer.to_output.weight, std=0.02)
    if of_dots:
        given = torch.randn(1, HEADS, n, n, device=device, requires_grad=True)
        layer._attend = DotProducts(given if contestant.kind == "sdpa" else None)
    return layer


def prepare(
    contestant: Contestant, n: int, c_z: int, n_layers: int, device: str
) -> tuple[Run, set[int]]:
    """A step without the optimizer, and where its inputs and weights lie in memory."""
    torch.manual_seed(0)
    layers = nn.ModuleList(build(contestant, c_z, n, device) for _ in range(n_layers)).to(device)
    s = torch.randn(1, n, C_S, device=device, requires_grad=True)
    z = torch.randn(1, n, n, c_z, device=device, requires_grad=True) if c_z else None
    mask = torch.ones(1, n, dtype=torch.bool, device=device)
    # So that gradients reach the geometry, as they do between blocks.
    rigid = random_rigid(n).map(lambda x: x.to(device).requires_grad_())
    inputs = [x for x in (s, z, *vars(rigid).values()) if x is not None]

    def run(backward: bool = True) -> None:
        for x in (*inputs, *layers.parameters()):
            x.grad = None
        out = s
        for layer in layers:
            if contestant.kind == "pypi":
                nm = rigid.translations / 10
                out = out + layer(out, z, rotations=rigid.rotations, translations=nm, mask=mask)
            else:
                out = out + layer(out, z, rigid, mask)
        if backward:
            out.square().sum().backward()

    return run, {x.untyped_storage().data_ptr() for x in (*inputs, mask, *layers.parameters())}


def saved_bytes(run: Run, known: set[int]) -> int:
    """Size of what autograd keeps during a run, without the storages that are known."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(True)
    return sum(found.values())


def memory(field: str) -> int:
    """VmRSS or VmHWM of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def measure(
    name: str, n: int, c_z: int, n_layers: int, seconds: float, device: str
) -> dict[str, float]:
    warnings.simplefilter("ignore")  # of the peer, about names of torch
    torch.set_num_threads(1)
    contestant = CONTESTANTS[name]
    prepare(contestant, 64, c_z, n_layers, device)[0](True)
    run, known = prepare(contestant, n, c_z, n_layers, device)
    gc.collect()
    on_gpu = device == "cuda"
    if on_gpu:
        run(True)  # sizes that a kernel has not seen are compiled
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
    times: dict[bool, list[float]] = {False: [], True: []}

    def timed(backward: bool) -> None:
        start = time.perf_counter()
        run(backward)
        if on_gpu:
            torch.cuda.synchronize()
        times[backward].append(time.perf_counter() - start)

    saved = saved_bytes(timed, known)
    for backward in (True, False):
        while sum(times[backward]) < seconds / 2 and len(times[backward]) < 20:
            timed(backward)
    peak = (torch.cuda.max_memory_allocated() if on_gpu else memory("VmHWM")) - before
    found = {"ms": 1e3 * min(times[True]), "saved": saved, "peak": peak}
    return found | {"forward": 1e3 * min(times[False], default=float("nan"))}


# ---- in the process that prints ----------------------------------------------------------------


def measure_apart(
    name: str, n: int, c_z: int, n_layers: int, seconds: float, device: str
) -> dict[str, float] | None:
    """`measure` in a process of its own; None if that process died of memory.

    On a GPU it is this process: torch counts what it has allocated, and starting takes seconds.
    """
    if device == "cuda":
        try:
            return measure(name, n, c_z, n_layers, seconds, device)
        except torch.OutOfMemoryError:
            return None
    environment = {**os.environ, "ELLIPSOID_FLOW_NATIVE": str(int(CONTESTANTS[name].native))}
    job = json.dumps([name, n, c_z, n_layers, seconds, device])
    done = subprocess.run(
        [sys.executable, __file__, "--job", job], capture_output=True, text=True, env=environment
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode < 0 or "memory" in done.stderr.splitlines()[-1]:
        return None
    raise RuntimeError(done.stderr)


def compare(names: tuple[str, ...], c_z: int, arguments: argparse.Namespace) -> None:
    """Tables of all contestants and sizes."""
    from build_speed import format_table

    names = tuple(name for name in names if arguments.device in CONTESTANTS[name].devices)
    if find_spec("invariant_point_attention") is None:
        names = tuple(name for name in names if CONTESTANTS[name].kind != "pypi")
        print("\nWithout the IPA of PyPI, which the extra `benchmark` installs.")
    sizes = [n for n in sorted(arguments.sizes) if not c_z or n <= 1024]
    limit = arguments.limit * 1024 * MEBIBYTE
    results: dict[tuple[str, int], dict[str, float] | None] = {}
    for name in names:
        smaller = None
        for n in sizes:
            need = 0.0 if smaller is None else smaller[1] * (n / smaller[0]) ** 2
            # Linear contestants are over-estimated, but far from the limit.
            found = None
            if need < limit and (smaller is not None or n == sizes[0]):
                found = measure_apart(name, n, c_z, 1, arguments.seconds, arguments.device)
            results[name, n] = found
            smaller = None if found is None else (n, found["peak"])
    what = f"pair representation of {c_z} channels" if c_z else "no pair representation"
    for key, title in (
        ("forward", "forward, ms"),
        ("ms", "forward + backward, ms"),
        ("saved", "saved for the backward pass, MiB"),
        ("peak", "peak memory, MiB"),
    ):
        rows = []
        for name in names:
            cells = []
            for n in sizes:
                found = results[name, n]
                value = (
                    None
                    if found is None
                    else found[key] / (MEBIBYTE if key in ("saved", "peak") else 1)
                )
                cells.append(
                    "out of memory" if value is None else f"{value:.{1 if value < 100 else 0}f}"
                )
            rows.append([CONTESTANTS[name].title, *cells])
        print(f"\n{'#### ' if arguments.markdown else ''}{title} ({what})\n")
        print(format_table(["layer", *(f"N = {n}" for n in sizes)], rows, arguments.markdown))


def eight_layers(arguments: argparse.Namespace) -> None:
    """Memory of a stack of layers: what has to fit beside the rest of a model."""
    largest = 2048 if arguments.device == "cuda" else 1024
    n, small = min(largest, max(arguments.sizes)), 128
    name = "triton" if arguments.device == "cuda" else "tiled"
    stack = measure_apart(name, n, 0, 8, 0.0, arguments.device)
    dense = measure_apart("dense", small, 0, 1, 0.0, arguments.device)
    if stack is None or dense is None:
        raise MemoryError("there is not enough memory for the stack of layers")
    print(
        f"\n8 layers at N = {n}, {name}: {stack['saved'] / MEBIBYTE:.0f} MiB saved for the "
        f"backward pass, peak {stack['peak'] / MEBIBYTE:.0f} MiB. Dense: "
        f"{8 * dense['saved'] * (n / small) ** 2 / MEBIBYTE:.0f} MiB saved, judging by N = {small}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", choices=tuple(SIZES))
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on each number, at least")
    parser.add_argument("--limit", type=float, default=8.0, help="GiB that a run may take")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure(*json.loads(arguments.job))))
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    arguments.sizes = arguments.sizes or SIZES[arguments.device]
    # Here, because the processes that measure need nothing of what this imports.
    from build_speed import describe_machine, pin_to_idlest_core

    pin_to_idlest_core()
    gpu = [torch.cuda.get_device_name()] if arguments.device == "cuda" else []
    for line in (*describe_machine(), *gpu, f"torch {torch.__version__}, one thread"):
        print(f"{'- ' if arguments.markdown else ''}{line}")
    compare(tuple(CONTESTANTS), 0, arguments)
    compare(WITH_PAIRS, C_Z, arguments)
    eight_layers(arguments)


if __name__ == "__main__":
    main()
