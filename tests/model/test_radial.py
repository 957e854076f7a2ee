"""Radial basis functions of distances times a matrix: C and torch say the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.compiled_c import SWITCH
from model.network import radial
from model.network.radial import N_BASES, bases, radial_product
from tests.support.openmp import skip_without_openmp

P, Q = 5, 4

pytestmark = pytest.mark.skipif(
    not radial.is_usable(*torch.zeros(3, 1, 1, 1, 1, 3)), reason="there is no C compiler here"
)


def edges(dtype: torch.dtype, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points up to 30 Å apart, some of them in the same place and some out of all reach."""
    made = torch.Generator().manual_seed(0)
    points = 9 * torch.rand(2, 7, P, 3, generator=made, dtype=dtype)
    others = 9 * torch.rand(2, 7, 6, Q, 3, generator=made, dtype=dtype)
    others[0, 0, 0] = points[0, 0, :Q]
    others[1, 2, 3] = 1e5
    others[1, :, 1] += 12.0
    weight = torch.randn(channels, P * Q * N_BASES, generator=made, dtype=dtype)
    return points, others, weight.requires_grad_()


def product_and_gradient(
    points: Tensor, others: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor | None]:
    weight.grad = None
    found = radial_product(points, others, weight)
    found.square().sum().backward()
    return found.detach(), weight.grad


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("channels", [6, 32, 40])
def test_c_and_torch_give_the_same_product_and_gradient(
    dtype: torch.dtype, error: float, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = edges(dtype, channels)
    found = product_and_gradient(*given)
    monkeypatch.setenv(SWITCH, "0")
    expected = product_and_gradient(*given)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        assert one.shape == other.shape
        assert (one - other).abs().max() < error * other.abs().max()
    assert not found[0][1, 2, 3].any()


def test_points_decide_how_precise_distances_are_and_autocast_the_product_that_torch_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, others, weight = (x.detach() for x in edges(torch.float32, 32))
    alone = radial_product(points, others, weight)
    half = [x.bfloat16() for x in (points, others, weight)]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(radial_product(points, others, weight), alone)
        monkeypatch.setenv(SWITCH, "0")
        product = radial_product(points, others, weight)
    assert bases(points, others).dtype == torch.float32
    assert bases(*half[:2]).dtype == product.dtype == radial_product(*half).dtype == torch.bfloat16
    errors = [(x - alone).abs().max() / alone.abs().max() for x in (product, radial_product(*half))]
    assert 4 * errors[0] < errors[1] < 0.2
    with pytest.raises(RuntimeError, match="same dtype"):
        radial_product(points, others, half[2])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_openmp(radial._library(torch.float32))
    given = edges(torch.float32, 32)
    alone = product_and_gradient(*given)
    monkeypatch.setattr(radial, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = product_and_gradient(*given)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_place_that_is_no_number_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    points, others, weight = edges(torch.float32, 8)
    others[0, 3, 2, 1, 0] = torch.nan
    found = radial_product(points, others, weight)
    monkeypatch.setenv(SWITCH, "0")
    expected = radial_product(points, others, weight)
    assert torch.equal(found.isnan(), expected.isnan())
    assert found[0, 3, 2].isnan().all()
    assert found.isnan().sum() == 8


def test_at_most_four_basis_functions_of_a_distance_are_not_zero() -> None:
    points, others, _ = edges(torch.float64, 1)
    each = bases(points, others).unflatten(-1, (P * Q, N_BASES))
    assert int((each > 0).sum(-1).max()) == 4
