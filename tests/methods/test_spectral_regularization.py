"""Spectral regularisation against its equation through the singular value decomposition, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, Change, FromScratch, HareTortoise, SpectralRegularization

X = torch.zeros(1, 1)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(4, 3),
        nn.Conv2d(3, 5, 2),
        nn.BatchNorm2d(5),
        nn.PReLU(),
        nn.Linear(5, 4),
        nn.LayerNorm(4),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(0.1 * torch.randn_like(parameter))
    return model


def oracle(model: nn.Module, k: float, *, normalization: bool) -> Tensor:
    """The equation, with the largest singular value of each weight; autograd goes through the decomposition."""
    weights = dict(model.named_parameters())
    terms = [
        (torch.linalg.svdvals(weights[name].flatten(1)).max() ** k - 1) ** 2
        for name in ("1.weight", "4.weight")
    ]
    terms += [weights[f"{layer}.bias"].norm() ** (2 * k) for layer in (1, 2, 4, 5)]
    if normalization:
        # A diagonal matrix.
        terms += [
            (torch.linalg.svdvals(torch.diag(weights[name])).max() ** k - 1) ** 2
            for name in ("2.weight", "5.weight")
        ]
    return 0.3 * torch.stack(terms).sum()


def converged(
    kind: type[SpectralRegularization], model: nn.Module, **settings: object
) -> SpectralRegularization:
    method = kind(model, strength=0.3, **settings)  # type: ignore[arg-type]
    for _ in range(1500):
        method.after_step()
    return method


def check_equation(
    kind: type[SpectralRegularization] = SpectralRegularization, k: float = 2, *, normalization: bool = True
) -> None:
    model = network()
    value = converged(kind, model, k=k, normalization=normalization).penalty(X, X.double())
    expected = oracle(model, k, normalization=normalization)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    slopes = torch.autograd.grad(expected, parameters, allow_unused=True)
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert (gradient is None) == (slope is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-8)


class BiasToTheK(SpectralRegularization):
    """`‖b‖^k`, as a survey has it."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        biases = [p for name, p in self.model.named_parameters() if name.endswith("bias")]
        apart = torch.stack([b.norm() ** self.k - b.norm() ** (2 * self.k) for b in biases]).sum()
        return super().penalty(inputs, outputs, targets) + self.strength * apart


class OnlyTheLast(SpectralRegularization):
    """The sum is overwritten in the loop."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        sigma = list(self._power.sigmas().values())[-1]
        return self.strength * (sigma**self.k - 1).square()


class WithoutGradient(SpectralRegularization):
    """σ is found without a gradient, as in a public re-implementation."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        sigmas = {name: sigma.detach() for name, sigma in self._power.sigmas().items()}
        self._power.sigmas = lambda **_: sigmas  # type: ignore[method-assign]
        return super().penalty(inputs, outputs, targets)


@pytest.mark.parametrize(("k", "normalization"), [(2, True), (1, True), (3, False)])
def test_equation(k: float, normalization: bool) -> None:
    check_equation(k=k, normalization=normalization)


@pytest.mark.parametrize("kind", [BiasToTheK, OnlyTheLast, WithoutGradient])
def test_faults_are_seen(kind: type[SpectralRegularization]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def test_training_on_the_penalty_alone_leads_to_singular_values_of_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5)).double()
    nn.init.constant_(model.get_parameter("1.weight"), 3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    method = SpectralRegularization(model, optimizer, strength=1.0)
    for _ in range(600):
        optimizer.zero_grad()
        method.penalty(X, X.double()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert torch.linalg.svdvals(model.get_parameter("0.weight")).max().item() == pytest.approx(1.0, abs=0.01)
    assert model.get_parameter("1.weight").max().item() == pytest.approx(1.0, abs=0.01)


def test_a_network_changed_by_another_member_is_followed() -> None:
    torch.manual_seed(0)
    model = network()
    method = SpectralRegularization(model, strength=0.3)
    with torch.no_grad():
        model.get_parameter("4.weight").copy_(torch.diag(torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0]))[:4])
    method.weights_changed(Change(lambda weights: None))
    assert method._power.sigmas()["4.weight"].item() == pytest.approx(9.0, rel=1e-6)


def test_beside_hare_and_tortoise_and_a_new_network() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    pair = HareTortoise(model, decay=0.5, reset_every=2)
    spectral = SpectralRegularization(model, strength=1.0)
    chain = Chain(FromScratch(model), pair, spectral)
    chain.after_step()
    with torch.no_grad():
        model.get_parameter("0.weight").mul_(50)
    chain.new_data()
    largest = torch.linalg.svdvals(model.get_parameter("0.weight").detach()).max().item()
    assert spectral._power.sigmas()["0.weight"].item() == pytest.approx(largest, rel=1e-2)


def test_a_skipped_step_moves_no_vector() -> None:
    model = nn.Linear(5, 4)
    method = SpectralRegularization(model)
    before = {name: v.clone() for name, v in method.state_dict()["vectors"]["v"].items()}
    with torch.no_grad():
        model.weight.normal_()
    for skipped in (True, torch.tensor(1.0)):
        method.after_step(skipped)
        assert torch.equal(method.state_dict()["vectors"]["v"]["weight"], before["weight"])
    method.after_step(torch.tensor(0.0))
    assert not torch.equal(method.state_dict()["vectors"]["v"]["weight"], before["weight"])


def test_zero_strength_gives_no_gradient_at_all() -> None:
    assert not SpectralRegularization(nn.Linear(2, 2), strength=0.0).penalty(X, X).requires_grad


def test_autocast_does_not_round_sigma() -> None:
    method = SpectralRegularization(nn.Linear(5, 4), strength=1.0)
    value = method.penalty(X, X).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert method.penalty(X, X).item() == value


def test_a_negative_scale_counts_by_its_size() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm(2))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.eye(2))
        model.get_parameter("1.weight").copy_(torch.tensor([-3.0, 1.0]))
    value = SpectralRegularization(model, strength=1.0).penalty(X, X)
    assert value.item() == pytest.approx((3**2 - 1) ** 2, rel=1e-5)


def test_frozen_parameters_take_no_part() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.LayerNorm(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
        model.get_parameter("1.weight").copy_(3 * torch.eye(2))
    model.requires_grad_(False)
    model.get_parameter("1.weight").requires_grad_(True)
    value = SpectralRegularization(model, strength=1.0).penalty(X, X)
    assert value.item() == pytest.approx((3**2 - 1) ** 2, rel=1e-5)


def test_tables_of_biases_and_norms_over_several_dimensions() -> None:
    """A table is no bias; the scale of a norm is a diagonal matrix, its offset a bias, whatever their shapes."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm([2, 3]))
    model.relative_position_bias_table = nn.Parameter(torch.full((5, 2), 9.0))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.eye(2))
        model.get_parameter("1.weight").fill_(2.0)
        model.get_parameter("1.bias").fill_(1.0)
    value = SpectralRegularization(model, strength=1.0).penalty(X, X)
    assert value.item() == pytest.approx((2**2 - 1) ** 2 + 6**2, rel=1e-5)


@pytest.mark.parametrize("k", [1, 1.5, 2])
def test_zeros_have_finite_gradients(k: float) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias.zero_()
        model.weight.zero_()
    SpectralRegularization(model, strength=1.0, k=k).penalty(X, X).backward()  # type: ignore[no-untyped-call]
    assert model.bias.grad is not None
    assert model.weight.grad is not None
    assert model.bias.grad.isfinite().all()
    assert model.weight.grad.isfinite().all()
