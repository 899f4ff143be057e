"""Spectral normalisation against the singular values of an SVD in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import Chain, HareTortoise, ShrinkPerturb, SpectralNormalization
from hare_tortoise.testing import Run


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


MATRICES = ("0.weight", "4.weight", "6.weight")


def largest(weight: Tensor) -> float:
    """The largest singular value of a weight as a matrix (outputs, inputs · taps)."""
    return float(torch.linalg.svdvals(weight.detach().double().flatten(1))[0])


def check_singular_values(kind: type[SpectralNormalization] = SpectralNormalization, **settings: Any) -> None:
    """After many small steps `σ` is the bound, and each step divided by the whole of `σ` and touched nothing else."""
    model = network()
    method = kind(model, head="6", bound=2.0, **settings)
    for step in range(100):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter) if step < 60 else 0.0)
        before = {name: tensor.detach().double().clone() for name, tensor in model.named_parameters()}
        method.after_step()
        for name, now in model.named_parameters():
            if name not in MATRICES[:2]:
                assert torch.equal(now.double(), before[name]), name
                continue
            ratio = now.double() / before[name]
            assert ratio.std() < 1e-6, name
            # One iteration from a nearby matrix: from below, and close.
            assert 1.9999 < largest(now) < 2.02, (name, step, largest(now))
            if step == 99:
                assert abs(largest(now) - 2.0) < 1e-4, name


class Frobenius(SpectralNormalization):
    """Divides by another norm."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        for name in self._power.outputs:
            weights[name].mul_(self.bound / weights[name].norm())


class Stuck(SpectralNormalization):
    """Never iterates again."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        self.iterations = 0
        super().project(weights, skipped)


class EveryLayer(SpectralNormalization):
    """Takes the head for a layer like any."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **(settings | {"head": None}))


class IntoACopy(SpectralNormalization):
    """The fault of the official ReDo: what is written to is a copy."""

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        super().project({name: tensor.clone() for name, tensor in weights.items()}, skipped)


def test_singular_values() -> None:
    check_singular_values()


@pytest.mark.parametrize("kind", [Frobenius, Stuck, EveryLayer, IntoACopy])
def test_faults_are_seen(kind: type[SpectralNormalization]) -> None:
    with pytest.raises(AssertionError):
        check_singular_values(kind)


def test_smaller_ones_can_be_left_alone() -> None:
    model = network()
    method = SpectralNormalization(model, head=None, bound=2.0, leave_smaller=True, iterations=200)
    with torch.no_grad():
        for name, factor in zip(MATRICES, (0.5, 2.0, 3.0), strict=True):
            weight = model.get_parameter(name)
            weight.mul_(factor * 2.0 / largest(weight))
    kept = model.get_parameter("0.weight").detach().clone()
    method.after_step()
    assert torch.equal(model.get_parameter("0.weight"), kept)
    for name in MATRICES[1:]:
        assert abs(largest(model.get_parameter(name)) - 2.0) < 1e-4


def test_a_zero_weight_stays_zero() -> None:
    model = nn.Linear(3, 3)
    nn.init.zeros_(model.weight)
    SpectralNormalization(model, head=None).after_step()
    assert torch.equal(model.weight, torch.zeros(3, 3))


def test_half_precision_is_rounded_once() -> None:
    model = nn.Linear(32, 16, bias=False).to(torch.bfloat16)
    method = SpectralNormalization(model, head=None, iterations=100)
    before = model.weight.detach().float()
    method.after_step()
    expected = before / largest(before)
    torch.testing.assert_close(model.weight.float(), expected, rtol=2**-8, atol=0.0)


def test_vectors_start_anew_after_another_member_has_changed_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.Linear(24, 24)
    method = SpectralNormalization(model, head=None)
    chain = Chain(ShrinkPerturb(model, shrink=0.0, perturb=1.0), method)
    chain.new_data()
    method.after_step()
    assert abs(largest(model.weight) - 1.0) < 1e-2


def test_parametrised_weights_are_left_alone() -> None:
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    before = model.get_parameter("0.parametrizations.weight.original").detach().clone()
    SpectralNormalization(model, head=None, bound=0.1).after_step()
    assert torch.equal(model.get_parameter("0.parametrizations.weight.original"), before)
    assert abs(largest(model.get_parameter("1.weight")) - 0.1) < 1e-3


def test_the_average_of_projected_weights_is_within_the_bound() -> None:
    run = Run.start(
        lambda m, o: Chain(
            SpectralNormalization(m, head=None, bound=5.0, iterations=20),
            HareTortoise(m, decay=0.5),
            optimizer=o,
        )
    )
    run.train()
    assert abs(largest(run.model.get_parameter("body.0.weight")) - 5.0) < 1e-2
    assert 4.0 < largest(run.method.deployed.get_parameter("body.0.weight")) < 5.0


def test_a_skipped_step_moves_no_vector() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    method = SpectralNormalization(model, head=None)
    before = method.state_dict()["power"]["v"]["weight"].clone()
    with torch.no_grad():
        model.weight.normal_()
    for skipped in (True, torch.tensor(1.0)):
        method.after_step(skipped)
        assert torch.equal(method.state_dict()["power"]["v"]["weight"], before)
    method.after_step(torch.tensor(0.0))
    assert not torch.equal(method.state_dict()["power"]["v"]["weight"], before)


def test_after_a_reset_to_the_tortoise_the_bound_is_nearly_kept() -> None:
    """As the docstring says."""
    run = Run.start(
        lambda m, o: Chain(
            SpectralNormalization(m, head=None), HareTortoise(m, decay=0.9, reset_every=4), optimizer=o
        )
    )
    run.train(last=4)
    run.train(first=4, last=5)
    assert 0.99 < largest(run.model.get_parameter("body.0.weight")) < 1.02
