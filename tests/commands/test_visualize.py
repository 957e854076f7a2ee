"""Watching attention: the numbers, the colours, the figures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from model.attention import ATTENTIONS, AttentionMaps
from model.flow import Flow, NoisyProtein, clean_from_batch, draw_noise
from model.flow.tasks import TASKS, held_for
from model.network import FlowNetwork, NetworkConfig
from model.visualize import (
    FIGURES,
    AttentionStatistics,
    HeadView,
    console_line,
    look,
    mean_of,
    save_figures,
    statistics_of,
)
from model.visualize.colours import SIGNED, signed_norm
from model.visualize.distance_statistics import by_distance, shares
from model.visualize.overview import overview
from model.visualize.profiles import queries, runs
from model.visualize.residue_axis import ticks
from tests.support.flow_batches import batch_of, random_item, unresolved

WHITE = (1.0, 1.0, 1.0, 1.0)
SMALL = NetworkConfig(n_blocks=2, c_s=16, c_z=8, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(attention: str = "iga") -> FlowNetwork:
    torch.manual_seed(3)
    made = FlowNetwork(replace(SMALL, attention=attention))  # type: ignore[arg-type]
    with torch.no_grad():  # so that blocks move the protein
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return made.eval()


def noisy_of(*items: dict, task: str = "packing", time: float = 0.5) -> NoisyProtein:
    batch = batch_of(*items)
    clean = clean_from_batch(batch)
    uids = [item["chain_uid"] for item in items]
    noise = draw_noise(uids, batch["lengths"], clean.mask.shape[1], 0, 0)
    held = held_for(torch.full((len(items),), TASKS.index(task)), clean, noise)  # type: ignore[arg-type]
    return Flow().corrupt(clean, held.times(time, time), noise)[0]


def view_of(n: int, *, sign: int = 0, chains: int = 1, seed: int = 0) -> HeadView:
    """A head with random logits; `sign` ±1 gives them all this sign."""
    random = np.random.default_rng(seed)
    before, bias = random.normal(size=(2, n, n))
    if sign:
        before, bias = sign * np.abs(before), sign * np.abs(bias)
    weights = np.exp(before + bias)
    places = random.normal(size=(n, 3)) * 10
    chain = np.arange(n) * chains // n
    return HeadView(
        title="a head",
        logits_before=before,
        geometric_bias=bias,
        logits_after=before + bias,
        attention=weights / weights.sum(1, keepdims=True),
        distances=np.linalg.norm(places[:, None] - places[None], axis=-1),
        gamma=4.0,
        residue_index=np.arange(n) - np.searchsorted(chain, chain) + 1,
        chain_index=chain,
    )


# ---- numbers ----------------------------------------------------------------------------------


def maps_of(n: int, masked: int = 0) -> AttentionMaps:
    g = torch.Generator().manual_seed(5)
    bias = torch.randn(2, n, n, generator=g)
    places = torch.randn(n, 3, generator=g) * 6
    mask = torch.ones(n, dtype=torch.bool)
    mask[n - masked :] = False
    return AttentionMaps(
        logits_before=bias,
        geometric_bias=bias,
        logits_after=bias,
        attention=bias.softmax(-1),
        distances=torch.cdist(places[None], places[None])[0],
        gamma=torch.tensor([0.5, 2.5]),
        mask=mask,
    )


@pytest.mark.parametrize("masked", [0, 3])
def test_statistics_are_means_over_pairs_within_and_beyond_8_angstrom(masked: int) -> None:
    maps = maps_of(12, masked)
    for head, found in enumerate(statistics_of(maps)):
        bias, inside, outside = [], [], []
        for i in range(12 - masked):
            for j in range(12 - masked):
                if i == j:
                    continue
                weight = maps.attention[head, i, j].item()
                if maps.distances[i, j] <= 8:
                    bias.append(maps.geometric_bias[head, i, j].item())
                    inside.append(weight)
                else:
                    outside.append(weight)
        assert len(inside) > 5 < len(outside)
        assert found.gamma == maps.gamma[head]
        assert found.geo_bias == pytest.approx(np.mean(bias), rel=1e-5)
        assert found.local_attn == pytest.approx(np.mean(inside), rel=1e-5)
        assert found.global_attn == pytest.approx(np.mean(outside), rel=1e-5)


def test_heads_are_averaged_and_gamma_may_be_that_of_all_heads() -> None:
    one, other = AttentionStatistics(1, 2, 3, 4), AttentionStatistics(3, 4, 5, 6)
    assert mean_of([one, other]) == AttentionStatistics(2, 3, 4, 5)
    assert mean_of([one], gamma=7.0) == AttentionStatistics(7, 2, 3, 4)


def test_the_line_is_the_one_of_the_design() -> None:
    found = console_line(0, 100, AttentionStatistics(0.40213, 0.5121, 0.01339, 0.01121))
    assert found == (
        "[IGA Vis Layer 0] Step 100: γ=0.4021, geo_bias=0.512, local_attn=0.0134, "
        "global_attn=0.0112"
    )


@pytest.mark.parametrize(
    ("gamma", "shown"),
    [(4.0, "4.000"), (0.004, "0.004000"), (12.345, "12.35"), (1234.0, "1234"), (0.0, "0.000")],
)
def test_gamma_has_four_significant_digits(gamma: float, shown: str) -> None:
    line = console_line(3, 20, AttentionStatistics(gamma, 0, 0, 0))
    assert f"γ={shown}, " in line
    assert line.startswith("[IGA Vis Layer 3] Step 20: ")


def test_what_is_not_defined_is_nan_in_the_line_and_no_metric() -> None:
    found = statistics_of(maps_of(1))[0]
    assert math.isnan(found.local_attn)
    assert "local_attn=nan" in console_line(0, 1, found)
    assert found.as_metrics("x") == {"x/gamma": 0.5}


def test_pairs_are_binned_by_distance_and_empty_bins_are_left_out() -> None:
    found = by_distance(np.array([0.5, 3.1, 3.9, 3.5]), np.array([9.0, 1.0, 2.0, 6.0]))
    assert found.at.tolist() == [0.5, 3.5]
    assert found.mean.tolist() == [9.0, 3.0]
    assert found.lower[1] == 1.5
    assert len(by_distance(np.linspace(0, 400, 999), np.zeros(999)).at) <= 50


def test_shares_of_attention_add_up_to_one() -> None:
    view = view_of(20)
    found = shares(view.attention, view.distances)
    assert found.itself + found.local + found.beyond == pytest.approx(1)
    assert found.itself == pytest.approx(np.trace(view.attention) / 20)


# ---- colours ----------------------------------------------------------------------------------

DATA = {
    "both": [-3.0, 0.5, 2.0],
    "positive": [1.0, 5.0],
    "negative": [-5.0, -1.0],
    "zeros": [0.0, 0.0],
    "one number": [2.0],
    "nothing": [],
    "with NaN": [np.nan, -1.0, np.inf, 4.0],
    "tiny": [-1e-30, 1.0],
}


@pytest.mark.parametrize("values", DATA.values(), ids=DATA.keys())
def test_zero_is_white_negative_blue_and_positive_red(values: list[float]) -> None:
    norm = signed_norm(values)
    assert SIGNED(norm(0.0)) == WHITE
    for value in np.array(values)[np.isfinite(values)]:
        red, _, blue, _ = SIGNED(norm(value))
        assert (red - blue) * np.sign(value) >= 0
    for value in (norm.vmin, norm.vmax):
        red, _, blue, _ = SIGNED(norm(value))
        assert (red - blue) * np.sign(value) > 0.25


def test_limits_are_those_of_the_data() -> None:
    norm = signed_norm(DATA["both"])
    assert (norm.vmin, norm.vcenter, norm.vmax) == (-3.0, 0.0, 2.0)
    assert signed_norm(DATA["positive"]).vmax == 5.0
    assert signed_norm(DATA["negative"]).vmin == -5.0
    assert (signed_norm(DATA["with NaN"]).vmin, signed_norm(DATA["with NaN"]).vmax) == (-1.0, 4.0)


def test_the_colours_are_those_of_RdBu_r() -> None:
    theirs = matplotlib.colormaps["RdBu_r"]
    assert SIGNED.name == theirs.name == "RdBu_r"
    for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        assert np.allclose(SIGNED(at), theirs(at), atol=0.02)


@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_signed_matrices_and_dots_are_drawn_in_these_colours(sign: int) -> None:
    view = view_of(9, sign=sign)
    figure = overview(view)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 6
    images = [axes.images[0] for axes in panels[:3]] + [panels[5].collections[0]]
    off_diagonal = view.geometric_bias[view.pairs]
    for image, values in zip(
        images,
        (view.logits_before, view.geometric_bias, view.logits_after, off_diagonal),
        strict=True,
    ):
        assert image.get_cmap() is SIGNED
        assert image.norm(0.0) == 0.5
        if sign >= 0:
            assert image.norm.vmax == values.max()
        if sign <= 0:
            assert image.norm.vmin == values.min()
    # The half of the bar that no value has is not shown.
    low, high = images[1].colorbar.ax.get_ylim()
    assert (low, high) == (
        min(view.geometric_bias.min(), 0),
        max(view.geometric_bias.max(), 0),
    )


# ---- axes -------------------------------------------------------------------------------------


def test_ticks_are_at_round_residue_numbers_and_apart() -> None:
    index = np.arange(7, 150)
    assert index[ticks(index)].tolist() == [20, 40, 60, 80, 100, 120, 140]
    assert ticks(np.array([4])).tolist() == [0]
    two_chains = np.concatenate([np.arange(1, 102), np.arange(1, 60)])
    found = ticks(two_chains)
    assert (two_chains[found] % 20 == 0).all()
    assert np.diff(found).min() >= 15


def test_chain_borders_are_drawn_in_every_matrix() -> None:
    figure = overview(view_of(10, chains=2))
    for axes in figure.axes[:5]:
        lines = [line.get_xydata() for line in axes.lines]
        assert any((line[:, 0] == 4.5).all() for line in lines)
        assert any((line[:, 1] == 4.5).all() for line in lines)


def test_four_queries_are_spread_over_the_sequence() -> None:
    assert queries(100).tolist() == [12, 37, 62, 87]
    assert queries(4).tolist() == [0, 1, 2, 3]
    assert queries(1).tolist() == [0]
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]


# ---- figures ----------------------------------------------------------------------------------


def test_three_figures_per_head_have_the_names_of_the_design(tmp_path: Path) -> None:
    noisy = noisy_of(random_item("a", 9, 0), random_item("b", 14, 1))
    for layer in look(network(), noisy, item=1, heads=[1], layers=[1]):
        save_figures(layer, tmp_path / "figures", "step 3")
    found = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert found == [
        f"layer1_{name}_b1_h{head}.png"
        for name in ("attention_overview", "attention_profiles", "distance_statistics")
        for head in (1,)
    ]
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 800 < image.width < 2000 > image.height > 500
            assert (
                len(set(image.convert("L").resize((64, 64)).tobytes())) > 10
            )  # something is there


@pytest.mark.parametrize(
    "view",
    [view_of(1), view_of(2), view_of(5, sign=-1, chains=3)],
    ids=["one residue", "two residues", "three chains, negative"],
)
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_odd_cases_are_drawn_without_a_warning(name: str, view: HeadView) -> None:
    FigureCanvasAgg(FIGURES[name](view)).draw()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("attention", [np.eye(6), np.full((6, 6), 1 / 6)], ids=["self", "equal"])
def test_attention_to_nothing_else_and_to_all_alike_are_drawn(attention: np.ndarray) -> None:
    view = replace(view_of(6), attention=attention, geometric_bias=np.zeros((6, 6)))
    FigureCanvasAgg(FIGURES["distance_statistics"](view)).draw()


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for draw in FIGURES.values():
        draw(view_of(5))
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


# ---- looking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_and_unresolved_residues_are_cut_away(attention: str) -> None:
    item = random_item("a", 9, 0, scale=4)
    with_gap = unresolved(item, 3, 8)
    alone = list(look(network(attention), noisy_of(with_gap)))
    padded = list(look(network(attention), noisy_of(random_item("b", 14, 1), with_gap), item=1))
    assert len(alone) == len(padded) == 2
    for one, other in zip(alone, padded, strict=True):
        assert one.kind == attention.upper()
        assert one.residue_index.tolist() == [1, 2, 3, 5, 6, 7, 8]
        view = other.of_head(0)
        assert view.attention.shape == (7, 7)
        assert np.allclose(view.attention.sum(1), 1, atol=1e-5)
        assert np.allclose(view.attention, one.of_head(0).attention, atol=1e-5)
        assert all(
            np.isfinite(value).all() for value in vars(view).values() if not isinstance(value, str)
        )
        assert other.statistics.local_attn == pytest.approx(one.statistics.local_attn, abs=1e-5)


def test_gamma_of_the_line_is_the_mean_over_all_heads() -> None:
    net = network()
    with torch.no_grad():
        net.blocks[0].attention.gamma_weight.copy_(torch.tensor([1.0, 5.0]))
    first = next(look(net, noisy_of(random_item("a", 9, 0)), heads=[1]))
    weights = net.blocks[0].attention.geometry_weight()
    assert first.statistics.gamma == pytest.approx(weights.mean().item())
    assert first.of_head(1).gamma == pytest.approx(weights[1].item())


def test_for_ipa_the_bias_is_its_point_term_and_the_line_says_so() -> None:
    layer = next(look(network("ipa"), noisy_of(random_item("a", 9, 0))))
    assert layer.statistics.geo_bias < 0  # minus a squared distance
    line = console_line(0, 1, layer.statistics, layer.kind)
    assert re.match(r"\[IPA Vis Layer 0\] Step 1: γ=1\.000, geo_bias=-", line)


def test_a_network_in_training_is_looked_at_without_dropout_and_left_in_training() -> None:
    net = network().train()
    net.norm.eval()
    net.blocks[0].dropout.p = 0.5
    noisy = noisy_of(random_item("a", 9, 0))
    views = [list(look(net, noisy)) for _ in range(2)]
    for one, other in zip(*views, strict=True):
        assert np.array_equal(one.maps.attention, other.maps.attention)
    assert net.training
    assert net.blocks[0].training
    assert not net.norm.training


def test_a_protein_without_frames_has_no_views() -> None:
    nothing = unresolved(random_item("a", 3, 0), 0, 1, 2)
    assert list(look(network(), noisy_of(nothing))) == []


def test_layers_and_heads_that_are_not_there_are_named() -> None:
    noisy = noisy_of(random_item("a", 3, 0))
    with pytest.raises(ValueError, match="no layer 2: the network has 0 to 1"):
        list(look(network(), noisy, layers=[2]))
    with pytest.raises(ValueError, match="no head -1"):
        list(look(network(), noisy, heads=[-1]))
