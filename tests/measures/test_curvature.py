"""Curvature against the whole Hessian of torch.func, and of finite differences, on small networks in float64."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy, mse_loss

from hare_tortoise.measures import curvature
from hare_tortoise.measures.curvature import (
    hessian_effective_rank,
    hessian_eigenvalues,
    hessian_rank,
    hessian_trace,
)
from hare_tortoise.testing import TiedNetwork, batch
from tests.measures.untouched import in_training, untouched

X, Y = batch(1, torch.float64)


def whole_hessian(
    model: nn.Module, inputs: Tensor = X, targets: Tensor = Y, loss: Callable[..., Tensor] = cross_entropy
) -> Tensor:
    """The oracle: derivatives of the derivatives of the loss in all parameters that require a gradient.

    They are those of torch.func, but for LayerNorm, whose weights have wrong ones there (torch 2.13).
    """
    if any(isinstance(module, nn.LayerNorm) for module in model.modules()):
        return differences(model, inputs, targets, loss)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def of_weights(weights: dict[str, Tensor]) -> Tensor:
        return loss(functional_call(model, weights, (inputs,)), targets)

    blocks: Any = jacrev(jacrev(of_weights))(weights)
    sizes = {name: weight.numel() for name, weight in weights.items()}
    return torch.cat(
        [torch.cat([blocks[a][b].reshape(sizes[a], sizes[b]) for b in sizes], dim=1) for a in sizes]
    )


def differences(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[..., Tensor]) -> Tensor:
    """Central differences of the gradient, right to about 1e-8."""
    weights = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for weight in weights:
        for element in torch.split(weight.detach().view(-1), 1):
            start, ends = element.clone(), []
            for shift in (1e-5, -1e-5):
                element.copy_(start + shift)
                gradients = torch.autograd.grad(loss(model(inputs), targets), weights)
                ends.append(torch.cat([gradient.flatten() for gradient in gradients]))
            element.copy_(start)
            rows.append((ends[0] - ends[1]) / 2e-5)
    matrix = torch.stack(rows)
    return (matrix + matrix.T) / 2


def spectrum(model: nn.Module, **settings: Any) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(whole_hessian(model, **settings))
    return values


def by_magnitude(values: Tensor) -> Tensor:
    return values[values.abs().argsort(descending=True)]


def convolutional() -> nn.Module:
    """With BatchNorm that has statistics, in eval mode."""
    torch.manual_seed(1)
    layers = [
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 3),
        nn.BatchNorm1d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    model = nn.Sequential(*layers).double()
    model(X)
    return model.eval()


NETS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": in_training,
    "batch norm": convolutional,
    "tied": lambda: TiedNetwork().double(),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("max_products", [60, 400], ids=["Lanczos", "whole"])
def test_eigenvalues(name: str, max_products: int) -> None:
    torch.manual_seed(1)
    model = NETS[name]()
    expected = spectrum(model)
    assert bool((expected < -1e-3).any())
    assert len(expected) > 60
    for k in (1, 6):
        found = hessian_eigenvalues(model, X, Y, k=k, max_products=max_products)
        torch.testing.assert_close(found, by_magnitude(expected)[:k], rtol=1e-4, atol=1e-6)
        found = hessian_eigenvalues(model, X, Y, k=k, which="algebraic", max_products=max_products)
        torch.testing.assert_close(found, expected.flip(0)[:k], rtol=1e-4, atol=1e-6)


def test_a_negative_eigenvalue_may_be_the_largest() -> None:
    """`loss = −y²` curves downwards."""
    model = nn.Linear(70, 1, bias=False).double()
    inputs = torch.randn(5, 70, generator=torch.Generator().manual_seed(0)).double()

    def downwards(outputs: Tensor, _targets: Tensor) -> Tensor:
        return -outputs.square().sum()

    expected = -2 * torch.linalg.svdvals(inputs).square()
    found = hessian_eigenvalues(model, inputs, inputs, k=3, loss=downwards, max_products=60)
    torch.testing.assert_close(found, expected[:3])
    found = hessian_eigenvalues(
        model, inputs, inputs, k=1, which="algebraic", loss=downwards, max_products=60
    )
    torch.testing.assert_close(found, torch.zeros(1).double(), rtol=0, atol=1e-9)


def test_an_eigenvalue_that_stands_several_times_is_found_as_often() -> None:
    """Each output of a linear network has the same Hessian under squared errors: every eigenvalue comes tenfold."""
    model = nn.Linear(40, 10, bias=False).double()
    inputs = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.zeros(30, 10).double()
    expected = spectrum(model, inputs=inputs, targets=targets, loss=mse_loss).flip(0)[:12]
    found = hessian_eigenvalues(model, inputs, targets, k=12, loss=mse_loss, max_products=399)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    assert found[0].item() == pytest.approx(found[9].item(), rel=1e-3)


def test_parameters_that_are_unused_or_enter_linearly() -> None:
    """The library's own operator fails on both."""
    model = nn.ModuleDict({"used": nn.Linear(6, 3), "unused": nn.Linear(2, 2)}).double()
    model.forward = model["used"].forward
    expected = by_magnitude(spectrum(model["used"]))[:2]
    torch.testing.assert_close(hessian_eigenvalues(model, X, Y, k=2), expected)

    def linear(outputs: Tensor, _targets: Tensor) -> Tensor:
        return outputs.mean()

    assert hessian_eigenvalues(nn.Linear(6, 3).double(), X, Y, k=2, loss=linear).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", NETS)
def test_trace(name: str) -> None:
    torch.manual_seed(1)
    model = NETS[name]()
    torch.testing.assert_close(
        hessian_trace(model, X, Y, products=400), whole_hessian(model).trace(), rtol=1e-6, atol=1e-7
    )


def test_trace_is_estimated_without_bias() -> None:
    torch.manual_seed(1)
    model = TiedNetwork().double()
    H = whole_hessian(model)
    estimates = torch.stack([hessian_trace(model, X, Y, products=24, seed=seed) for seed in range(30)])
    assert abs(estimates.mean() - H.trace()) < 4 * estimates.std() / math.sqrt(30)
    assert 0 < estimates.std() < 0.3 * torch.linalg.norm(H)
    assert estimates[3].item() == hessian_trace(model, X, Y, products=24, seed=3).item()


def test_ranks_in_closed_form() -> None:
    assert hessian_rank(torch.tensor([5.0, -5.0, 1e-6, 0.0])).item() == 2
    assert hessian_rank(torch.tensor([1e-6, -5.0, 0.0, 5.0])).item() == 2
    assert hessian_rank(-torch.ones(10), delta=0.1).item() == 9
    assert hessian_rank(torch.zeros(3)).item() == 0
    assert hessian_effective_rank(torch.tensor([2.0, -2.0, 2.0, 0.0])).item() == pytest.approx(3)


def test_rank_of_a_network_is_that_of_its_hessian() -> None:
    model = in_training()
    H = whole_hessian(model)
    values = torch.linalg.svdvals(H)
    expected = int((values.cumsum(0) < 0.99 * values.sum()).sum()) + 1
    everything = hessian_eigenvalues(model, X, Y, k=len(H))
    assert hessian_rank(everything).item() == expected


def signed(eigenvalues: Tensor) -> Tensor:
    """A fault: eigenvalues in place of singular values."""
    values = eigenvalues.sort(descending=True).values
    return ((values.cumsum(0) / values.sum()) < 0.99).sum() + 1


def test_a_rank_of_signed_eigenvalues_is_seen() -> None:
    assert signed(torch.tensor([5.0, -5.0, 1e-6, 0.0])).item() != 2


class Attention(nn.Module):
    """Six numbers as three tokens, mixed by a kernel of which some versions have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = nn.Linear(2, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.keys(inputs.view(-1, 1, 3, 2)).chunk(3, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        outputs: Tensor = self.head(mixed.flatten(1))
        return outputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Attention().double()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = by_magnitude(spectrum(model))[:3]
    found = hessian_eigenvalues(model.to(dtype), X.to(dtype), Y, k=3, max_products=35)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("measure", [hessian_eigenvalues, hessian_trace])
def test_nothing_is_touched(measure: Callable[..., Tensor]) -> None:
    model = in_training()
    budget = {"max_products": 60} if measure is hessian_eigenvalues else {"products": 60}
    with untouched(model):
        measure(model, X, Y, **budget)


def test_the_seed_alone_decides() -> None:
    model = in_training()
    torch.manual_seed(1)
    first = hessian_eigenvalues(model, X, Y, k=2, max_products=60)
    torch.manual_seed(2)
    assert torch.equal(first, hessian_eigenvalues(model, X, Y, k=2, max_products=60))


def test_a_budget_that_is_too_small_is_told() -> None:
    with pytest.warns(UserWarning, match="with 8 products the top 6 eigenvalues of the Hessian have errors"):
        hessian_eigenvalues(in_training(), X, Y, k=6, max_products=8)


def test_a_bound_that_is_known_is_told_and_holds() -> None:
    model = in_training()
    with pytest.warns(
        UserWarning, match=r"top 1 eigenvalues .* errors of up to 7\.\de-02 of the largest"
    ) as told:
        (found,) = hessian_eigenvalues(model, X, Y, max_products=5).tolist()
    assert told[0].filename == __file__
    bound = float(str(told[0].message).split("up to ")[1].split()[0])
    assert (spectrum(model) - found).abs().min() <= 1.01 * bound * abs(found)
    values, error = curvature.bounded_eigenvalues(model, X, Y, k=1, loss=cross_entropy, max_products=5)
    assert values.tolist() == [found]
    assert error == pytest.approx(bound, rel=0.1)


def rooted(outputs: Tensor, _targets: Tensor) -> Tensor:
    """A finite loss with finite gradients, whose second derivative at 0 is infinite."""
    return (outputs - outputs.detach()).abs().pow(1.5).sum()


@pytest.mark.parametrize("budget", [60, 400], ids=["iterated", "whole"])
@pytest.mark.parametrize("fault", ["inputs", "loss"])
def test_curvature_that_is_not_finite_is_nan_after_one_product(
    budget: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = 0
    original = curvature._product

    def counting(*args: Any) -> Callable[[Tensor], Tensor]:
        product = original(*args)

        def counted(vector: Tensor) -> Tensor:
            nonlocal products
            products += 1
            return product(vector)

        return counted

    monkeypatch.setattr(curvature, "_product", counting)
    model, loss = in_training(), rooted if fault == "loss" else cross_entropy
    inputs = X * float("nan") if fault == "inputs" else X
    values = hessian_eigenvalues(model, inputs, Y, k=3, max_products=budget, loss=loss)
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    assert values.isnan().all()
    assert hessian_trace(model, inputs, Y, products=budget, loss=loss).isnan()
    values, error = curvature.bounded_eigenvalues(model, inputs, Y, k=3, loss=loss, max_products=budget)
    assert values.isnan().all()
    assert math.isnan(error)
    assert products == 3
    assert hessian_rank(values).isnan()
    assert hessian_effective_rank(values).isnan()


def test_a_linear_loss_that_is_not_finite_has_no_curvature() -> None:
    model = nn.Linear(6, 3).double()
    assert hessian_trace(model, X * float("nan"), Y, loss=lambda outputs, _targets: outputs.mean()).isnan()


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hessian_eigenthings", None)
    for measure in (hessian_eigenvalues, hessian_trace):
        with pytest.raises(ImportError, match=r"hare-tortoise\[curvature\]"):
            measure(in_training(), X, Y)


def test_the_library_is_loaded_when_it_is_used_only() -> None:
    code = f"import sys, {curvature.__name__}\nassert 'hessian_eigenthings' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda: hessian_eigenvalues(in_training().train(), X, Y),
            r"body\.1 \(BatchNorm1d\) is in train mode",
        ),
        (lambda: hessian_trace(in_training().train(), X, Y), r"body\.1 \(BatchNorm1d\) is in train mode"),
        (lambda: hessian_eigenvalues(in_training(), X, Y, k=0), "k is 0, expected from 1 to the 112 param"),
        (lambda: hessian_eigenvalues(in_training(), X, Y, k=113), "k is 113"),
        (lambda: hessian_eigenvalues(in_training(), X, Y, k=9, max_products=8), "max_products is 8"),
        (lambda: hessian_eigenvalues(in_training(), X, Y, tolerance=0.0), r"tolerance is 0\.0"),
        (lambda: hessian_eigenvalues(in_training(), X, Y, which="smallest"), "which is 'smallest'"),  # type: ignore[arg-type]
        (lambda: hessian_trace(in_training(), X, Y, products=5), "products is 5, expected at least 6"),
        (
            lambda: hessian_trace(in_training(), X, Y, loss=lambda y, t: y),
            r"the loss has shape \(8, 3\), expected a scalar",
        ),
        (lambda: hessian_trace(nn.Linear(6, 3).bfloat16(), X.bfloat16(), Y), r"weights in torch\.bfloat16"),
        (lambda: hessian_rank(torch.eye(2)), r"eigenvalues has shape \(2, 2\)"),
        (lambda: hessian_effective_rank(torch.tensor(1.0)), r"eigenvalues has shape \(\)"),
        (lambda: hessian_rank(torch.ones(2), delta=0.0), r"delta is 0\.0"),
    ],
)
def test_bad_input(call: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
