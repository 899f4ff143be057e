"""What all projections keep: skipped steps, no wait for the device, frozen and replaced weights, averages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods import (
    Chain,
    FromScratch,
    HareTortoise,
    NormalizeAndProject,
    SoftShrinkPerturb,
    SoftWeightRescaling,
    SpectralNormalization,
    WeightClipping,
)
from hare_tortoise.methods.support.projection import Projection
from hare_tortoise.testing import Network, Run, TiedNetwork
from tests.methods.test_hare_tortoise_cost import WAITS, Recorder

Build = Callable[[nn.Module], Projection]
BUILDS: dict[str, Build] = {
    "weight-clipping": lambda model: WeightClipping(model, zeta=0.5),
    "spectral-normalization": lambda model: SpectralNormalization(model, head=None),
    "normalize-and-project": lambda model: NormalizeAndProject(model, head=None),
    "soft-weight-rescaling": lambda model: SoftWeightRescaling(model, strength=0.5),
    "soft-shrink-perturb": lambda model: SoftShrinkPerturb(model, shrink=0.5),
}
each = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def moved(build: Build) -> tuple[nn.Module, Projection]:
    """A method on a network whose weights have doubled since."""
    torch.manual_seed(0)
    model = Network()
    method = build(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model, method


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@each
@pytest.mark.parametrize(
    "skipped", [True, torch.tensor(True), torch.ones(1)], ids=["bool", "tensor", "number"]
)
def test_a_skipped_step_changes_nothing(build: Build, skipped: Tensor | bool) -> None:
    model, method = moved(build)
    before = weights(model)
    method.after_step(skipped)
    assert same(before, weights(model))
    method.after_step()
    assert not same(before, weights(model))


@each
@pytest.mark.parametrize(
    "skipped", [False, torch.tensor(False), torch.zeros(1)], ids=["bool", "tensor", "number"]
)
def test_a_step_that_was_not_skipped_is_as_any(build: Build, skipped: Tensor | bool) -> None:
    (model, method), (other, as_any) = moved(build), moved(build)
    method.after_step(skipped)
    as_any.after_step()
    assert same(weights(model), weights(other))


@each
@pytest.mark.parametrize("skipped", [None, torch.tensor(False)], ids=["taken", "unknown"])
def test_nothing_waits_for_the_device(build: Build, skipped: Tensor | None) -> None:
    _, method = moved(build)
    method.after_step(skipped)
    with Recorder() as recorder:
        method.after_step(skipped)
    waits = [name for name in recorder.operations if name.startswith(WAITS)]
    # A draw takes its seed from a generator, on the CPU; the checks of what was drawn are on the CPU too.
    if not isinstance(method, SoftShrinkPerturb):
        assert not waits


@each
def test_frozen_weights_stay(build: Build) -> None:
    model, method = moved(build)
    before = weights(model)
    model.requires_grad_(False)
    method.after_step()
    assert same(before, weights(model))
    model.requires_grad_(True)
    method.after_step()
    assert not same(before, weights(model))


@each
def test_parameters_that_were_replaced_or_cast_are_followed(build: Build) -> None:
    (model, method), (other, as_any) = moved(build), moved(build)
    assert isinstance(model, Network)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    if not isinstance(method, SoftShrinkPerturb):  # which draws other numbers in float64
        model.to(torch.float64)
    method.after_step()
    as_any.after_step()
    for name, value in weights(other).items():
        torch.testing.assert_close(weights(model)[name].float(), value, rtol=1e-5, atol=1e-6, msg=name)


@each
def test_a_network_that_was_changed_is_an_error(build: Build) -> None:
    model, method = moved(build)
    assert isinstance(model, Network)
    model.body[0] = nn.Linear(6, 9)
    with pytest.raises(RuntimeError, match=r"body\.0\.\w+ .*has another shape"):
        method.after_step()


@each
def test_a_model_without_layers_is_an_error(build: Build) -> None:
    if build is not BUILDS["soft-shrink-perturb"]:
        with pytest.raises(ValueError, match=r"model .*expected"):
            build(nn.LayerNorm(3))


@each
def test_an_average_behind_it_averages_what_was_projected(build: Build) -> None:
    """`tortoise ← decay·tortoise + (1 − decay)·hare`, the hare as the projection left it; nothing else."""
    run = Run.start(lambda m, o: Chain(build(m), HareTortoise(m, decay=0.75, reset_every=None), optimizer=o))
    expected = {name: value.double() for name, value in weights(run.model).items()}
    for step in range(4):
        run.train(first=step, last=step + 1)
        for name, value in weights(run.model).items():
            expected[name] = 0.75 * expected[name] + 0.25 * value.double()
    for name, value in weights(run.method.deployed).items():
        torch.testing.assert_close(value, expected[name].float(), rtol=1e-5, atol=1e-6, msg=name)


@each
def test_it_does_not_act_while_the_weights_are_those_of_the_average(build: Build) -> None:
    model = Network()
    pair = HareTortoise(model)
    method = build(model)
    with pair.deployed_weights(), pytest.raises(RuntimeError, match=r"a step inside deployed_weights\(\)"):
        method.after_step()


@pytest.mark.parametrize("name", ["normalize-and-project", "soft-weight-rescaling"])
def test_a_new_network_has_norms_of_its_own(name: str) -> None:
    torch.manual_seed(0)
    model = Network()
    method = BUILDS[name](model)
    assert isinstance(method, NormalizeAndProject | SoftWeightRescaling)
    before = dict(method.rho)
    chain = Chain(FromScratch(model), method)
    chain.new_data()
    assert all(not torch.equal(method.rho[key], before[key]) for key in ("body.0.weight", "head.weight"))
    norm = model.head.weight.double().norm()
    torch.testing.assert_close(method.rho["head.weight"], norm, rtol=1e-6, atol=0.0)


class Planes(nn.Sequential):
    """A LayerNorm over channels and positions, whose scale and offset have three dimensions."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(2, 3, 1), nn.LayerNorm([3, 4, 4]), nn.Flatten(), nn.Linear(48, 2))


@pytest.mark.parametrize("name", ["weight-clipping", "spectral-normalization", "normalize-and-project"])
def test_a_normalisation_over_several_dimensions_is_no_matrix(name: str) -> None:
    model = Planes()
    method = BUILDS[name](model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(5.0)
    method.after_step()
    scale, offset = model.get_parameter("1.weight"), model.get_parameter("1.bias")
    if isinstance(method, NormalizeAndProject):
        # Once, together: the norm of the start is that of 48 ones.
        assert method._groups.count(("1.weight", "1.bias")) == 1
        assert ("1.weight",) not in method._groups
        torch.testing.assert_close(torch.stack([scale, offset]).norm().item(), 48**0.5)
    else:
        assert (torch.stack([scale, offset]) == 5.0).all()


def test_a_normalisation_over_several_dimensions_is_rescaled_once() -> None:
    method = SoftWeightRescaling(Planes())
    assert [layer.weight for layer in method._layers] == ["0.weight", "3.weight", "1.weight"]


@each
def test_layers_that_share_a_weight_have_each_its_bias(build: Build) -> None:
    model = TiedNetwork()
    method = build(model)
    with torch.no_grad():
        model.body.bias.fill_(100.0)
        model.middle.bias.fill_(100.0)
        model.body.weight.mul_(3.0)
    norm = model.body.weight.norm().item()
    method.after_step()
    # A norm of a bias alone is held by none of these: what changes one changes both.
    assert torch.equal(model.middle.bias == 100.0, model.body.bias == 100.0)
    if isinstance(method, WeightClipping):
        assert model.middle.bias.abs().max() <= 0.5
    if isinstance(method, NormalizeAndProject):
        torch.testing.assert_close(model.body.weight.norm().item(), norm / 3)


@pytest.mark.parametrize("name", ["spectral-normalization", "normalize-and-project", "weight-clipping"])
def test_a_module_for_the_head_is_refused_with_its_path(name: str) -> None:
    kinds: dict[str, Callable[..., Projection]] = {
        "spectral-normalization": SpectralNormalization,
        "normalize-and-project": NormalizeAndProject,
        "weight-clipping": WeightClipping,
    }
    model = Planes()
    with pytest.raises(TypeError, match=r"head is a Linear, expected a str: give its path in the model, '3'"):
        kinds[name](model, head=model[3])
    with pytest.raises(TypeError, match=r"head is a int, expected a str: give a path, such as"):
        kinds[name](model, head=3)
