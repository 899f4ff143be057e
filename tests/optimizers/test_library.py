"""SAM and TRAC of pytorch-optimizer against their formulas in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfi
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hare_tortoise.optimizers import OPTIMIZERS, Entry, sam, trac

X = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = X.sin().sum(1, keepdim=True)
SPEED = 0.05
BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)


def build() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def loss_of(model: nn.Module) -> Tensor:
    loss: Tensor = (model(X) - Y).square().mean()
    return loss


def flat(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().clone()


def gradient(theta: Tensor) -> Tensor:
    model = build()
    vector_to_parameters(theta.clone(), model.parameters())
    return parameters_to_vector(torch.autograd.grad(loss_of(model), list(model.parameters()))).detach()


def closure_of(model: nn.Module, optimizer: Any, losses: list[Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        torch.autograd.backward(loss)
        losses.append(loss.detach())
        return loss

    return closure


def sam_by_hand(steps: int, rho: float, adaptive: bool) -> Tensor:
    """Gradient at θ + ε, then a step of gradient descent with weight decay from θ."""
    theta = flat(build())
    for _ in range(steps):
        g = gradient(theta)
        ascent = rho * theta.square() * g / (theta.abs() * g).norm() if adaptive else rho * g / g.norm()
        theta = theta - SPEED * (gradient(theta + ascent) + 0.1 * theta)
    return theta


def is_sam(
    prepare: Callable[[Any], None] = lambda _: None, *, adaptive: bool = False, steps: int = 4
) -> bool:
    """Whether some steps of the optimizer are those by hand."""
    model, losses = build(), list[Tensor]()
    groups = [{"params": [parameter]} for parameter in model.parameters()]
    optimizer: Any = sam(groups, lr=SPEED, weight_decay=0.1, rho=0.5, base="sgd", adaptive=adaptive)
    prepare(optimizer)
    for _ in range(steps):
        optimizer.step(closure_of(model, optimizer, losses))
    return torch.allclose(flat(model), sam_by_hand(steps, 0.5, adaptive), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_steps_with_the_gradient_of_the_neighbourhood(adaptive: bool) -> None:
    assert is_sam(adaptive=adaptive)


def norm_of_each_tensor(optimizer: Any) -> None:
    """The fault: ε has norm ρ in each tensor."""

    def first_step(zero_grad: bool = False) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter]["old_p"] = parameter.clone()
                    parameter.add_(parameter.grad / parameter.grad.norm(), alpha=group["rho"])
        if zero_grad:
            optimizer.zero_grad()

    optimizer.first_step = first_step


def not_put_back(optimizer: Any) -> None:
    """The fault: the step starts at θ + ε."""

    def second_step() -> None:
        for state in optimizer.state.values():
            state.pop("old_p")
        optimizer.base_optimizer.step()

    optimizer.second_step = second_step


def no_ascent(optimizer: Any) -> None:
    """The fault: nothing is perturbed (what the library's own step does where there are no gradients yet)."""
    optimizer.first_step = lambda zero_grad=False: None


@pytest.mark.parametrize("fault", [norm_of_each_tensor, not_put_back, no_ascent])
def test_a_faulty_sam_is_seen(fault: Callable[[Any], None]) -> None:
    assert not is_sam(fault)


def test_sam_calls_the_closure_twice_and_gives_the_loss_at_the_weights() -> None:
    model, losses = build(), list[Tensor]()
    optimizer: Any = sam(model.parameters(), lr=SPEED)
    before = loss_of(model).detach()
    returned = optimizer.step(closure_of(model, optimizer, losses))
    assert len(losses) == 2
    assert torch.equal(returned.detach(), before)
    assert losses[1] > losses[0]


def test_sam_with_radius_zero_is_its_base() -> None:
    model, twin = build(), build()
    optimizer: Any = sam(model.parameters(), lr=SPEED, weight_decay=0.1, rho=0.0, betas=(0.8, 0.9))
    base = torch.optim.AdamW(twin.parameters(), lr=SPEED, weight_decay=0.1, betas=(0.8, 0.9))
    for _ in range(3):
        optimizer.step(closure_of(model, optimizer, []))
        base.step(closure_of(twin, base, []))
    assert torch.equal(flat(model), flat(twin))


def trac_by_hand(
    steps: int, s_prev: float, written: float = 0.0, at: int = 0
) -> tuple[np.ndarray[Any, Any], float]:
    """The formula in NumPy, with SciPy's erfi, around gradient descent; before a step something is added by others."""
    theta = flat(build()).numpy()
    reference, total = theta.copy(), 0.0
    betas, variance, sigma = np.array(BETAS), np.zeros(6), np.full(6, 1e-8)
    for number in range(steps):
        theta = theta + written if number == at else theta
        g = gradient(torch.from_numpy(theta)).numpy()
        delta = (theta - reference) / (total + 1e-8)
        h = float(delta @ g)
        variance = betas**2 * variance + h**2
        sigma = betas * sigma - h
        terms = erfi(sigma / (np.sqrt(2 * variance) + 1e-8)) / erfi(1 / math.sqrt(2))
        total = s_prev * float(terms.sum())
        theta = reference + max(total, 0.0) * (delta - SPEED * g)
    return theta, total


def is_trac(
    prepare: Callable[[Any], None] = lambda _: None, *, s_prev: float = 1e-2, steps: int = 12
) -> bool:
    """Whether some steps of the optimizer are those by hand; its sums are in float32."""
    model = build()
    optimizer: Any = trac(model.parameters(), lr=SPEED, base="sgd", s_prev=s_prev)
    prepare(optimizer)
    for _ in range(steps):
        closure_of(model, optimizer, [])()
        optimizer.step()
    theta, total = trac_by_hand(steps, s_prev)
    close = np.allclose(flat(model).numpy(), theta, rtol=1e-5, atol=1e-6)
    return close and math.isclose(optimizer.state["trac"]["s"].item(), total, rel_tol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 12, 25])
def test_trac_scales_the_way_from_the_start(steps: int) -> None:
    assert is_trac(steps=steps)


@pytest.mark.parametrize("written", [0.5, -0.5])
def test_what_a_method_writes_becomes_a_part_of_the_way(written: float) -> None:
    """As its page says: a later step scales it with the rest, down to nothing where it led uphill."""
    model, at = build(), 12
    start = flat(model)
    optimizer: Any = trac(model.parameters(), lr=SPEED, base="sgd", s_prev=1e-2)
    for number in range(at + 1):
        if number == at:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(written)
            after_writing = flat(model)
        closure_of(model, optimizer, [])()
        optimizer.step()
    theta, total = trac_by_hand(at + 1, 1e-2, written, at)
    np.testing.assert_allclose(flat(model).numpy(), theta, rtol=1e-5, atol=1e-6)
    kept = float((flat(model) - start).norm() / (after_writing - start).norm())
    assert (kept == 0) == (total <= 0)
    assert abs(kept - 1) > 0.05


def test_trac_starts_from_rest() -> None:
    assert is_trac(s_prev=1e-8, steps=4)
    assert np.abs(trac_by_hand(4, 1e-8)[0] - flat(build()).numpy()).max() < 1e-6


def test_trac_in_float32_may_stay_at_rest() -> None:
    """As its page says: the first steps are lost in rounding, and then nothing has been gained by them."""
    for s_prev, moves in ((1e-8, False), (1e-4, True)):
        weight = nn.Parameter(torch.ones(3))
        optimizer = trac([weight], lr=0.01, s_prev=s_prev)
        for _ in range(100):
            weight.grad = weight.detach() * 2
            optimizer.step()
        assert bool((weight < 0.9).all()) is moves
        assert bool((weight == 1).all()) is not moves


def real_error_function(optimizer: Any) -> None:
    """The fault: erf in the place of erfi."""
    optimizer.erf_imag = torch.erf


def squared_betas(optimizer: Any) -> None:
    """The fault: β² for β."""
    optimizer.betas = tuple(beta**2 for beta in BETAS)


def no_normalisation(optimizer: Any) -> None:
    """The fault: the terms are not divided by erfi(1/√2)."""
    optimizer.f_term = torch.tensor(optimizer.s_prev)


@pytest.mark.parametrize("fault", [real_error_function, squared_betas, no_normalisation])
def test_a_faulty_trac_is_seen(fault: Callable[[Any], None]) -> None:
    assert not is_trac(fault)


def test_every_optimizer_is_listed_and_can_be_built_by_name() -> None:
    assert {name: entry.closure for name, entry in OPTIMIZERS.items()} == {
        "ada-upgd": False,
        "sam": True,
        "trac": False,
        "upgd": False,
    }
    for entry in OPTIMIZERS.values():
        assert isinstance(entry, Entry)
        model = build()
        optimizer: Any = entry.build(model.parameters(), lr=SPEED, weight_decay=0.1)
        assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {(SPEED, 0.1)}
        before = flat(model)
        closure = closure_of(model, optimizer, [])
        for _ in range(3):
            if not entry.closure:
                closure()
            optimizer.step(closure if entry.closure else None)
        assert not torch.equal(flat(model), before)


def test_sam_without_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match=r"closure is None.*optimizer\.step\(closure\)"):
        sam(build().parameters(), lr=SPEED).step()


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (sam, {"rho": -0.1}, "rho is -0.1"),
        (sam, {"rho": math.inf}, "rho is inf"),
        (sam, {"base": "lion"}, "base is 'lion', expected one of 'adam', 'adamw', 'sgd'"),
        (trac, {"base": "SGD"}, "base is 'SGD'"),
        (trac, {"trac_betas": ()}, "trac_betas is ()"),
        (trac, {"trac_betas": (0.9, 1.1)}, "trac_betas is (0.9, 1.1)"),
        (trac, {"s_prev": 0.0}, "s_prev is 0.0"),
        (trac, {"trac_eps": math.nan}, "trac_eps is nan"),
    ],
)
def test_bad_settings_are_named(function: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        function(build().parameters(), lr=SPEED, **settings)
    assert message in str(raised.value)


@pytest.mark.parametrize("function", [sam, trac])
def test_a_setting_that_the_base_does_not_have_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="momentum"):
        function(build().parameters(), lr=SPEED, momentum=0.9)


@pytest.mark.parametrize("function", [sam, trac])
def test_without_the_library_the_extra_is_named(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hare_tortoise.optimizers import library

    library._sam.cache_clear()
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ImportError, match=r"hare-tortoise\[optimizers\]"):
        function(build().parameters(), lr=SPEED)
