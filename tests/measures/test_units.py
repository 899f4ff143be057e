"""Dormant, dead and saturated units against counts by hand, on networks with modules and with functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.measures import (
    Activity,
    activity,
    dead_units,
    dormancy_scores,
    dormant_ratio,
    saturated_units,
    unit_activity,
    units,
    zero_activation_ratio,
)
from hare_tortoise.networks import mlp, resnet18

# The mean of the layer is 1: scores 0, 0.02, 0.05, 3.93.
LAYER = torch.tensor([[0.0, 0.0, 0.1, 3.0], [0.0, -0.04, 0.0, -4.86]])
OTHER = torch.tensor([[0.01, -0.01], [0.01, 0.01]])


class Functional(nn.Module):
    """Convolution and Linear with functional activations, some of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.hidden = nn.Linear(3 * 4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        h = F.relu(self.conv(inputs), inplace=True).flatten(1)
        return torch.as_tensor(self.head(torch.tanh(self.hidden(h))))

    def by_hand(self, inputs: Tensor) -> dict[str, Tensor]:
        h = self.conv(inputs).clamp(min=0)
        return {"conv": h, "hidden": torch.tanh(self.hidden(h.flatten(1)))}


def functional() -> tuple[Functional, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = Functional().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.conv.get_parameter("bias")[1] = -50.0  # dead
        model.hidden.bias[2] = 50.0  # saturated
    return model, torch.randn(6, 1, 4, 4, generator=generator)


def test_scores() -> None:
    torch.testing.assert_close(
        dormancy_scores(LAYER),
        torch.tensor([0.0, 0.01, 0.025, 1.965], dtype=torch.float64) * 2,
        rtol=1e-6,
        atol=0,
    )
    assert dormancy_scores(torch.zeros(2, 3)).tolist() == [0.0, 0.0, 0.0]
    # However small the layer: no epsilon in the denominator.
    torch.testing.assert_close(dormancy_scores(1e-12 * LAYER), dormancy_scores(LAYER), rtol=1e-6, atol=0)


def test_dormant_ratio_at_the_thresholds() -> None:
    found = [dormant_ratio(LAYER, threshold).item() for threshold in (0.0, 0.025, 0.1, 10.0)]
    assert found == [0.25, 0.5, 0.75, 1.0]
    # At most the threshold, not below it.
    assert dormant_ratio(torch.tensor([[0.5, 1.5]]), 0.5).item() == 0.5
    assert dormant_ratio(torch.zeros(2, 3)).item() == 1.0


Whole = Callable[[Mapping[str, Activity]], Tensor]


def check_whole(ratio: Whole) -> None:
    """Units are counted over all layers: 2 of 4 and 0 of 2."""
    layers = {"first": activity(LAYER), "second": activity(OTHER)}
    assert float(ratio(layers)) == pytest.approx(2 / 6)


def mean_of_layers(layers: Mapping[str, Activity]) -> Tensor:
    """Plasticine's."""
    return torch.stack([dormant_ratio(layer) for layer in layers.values()]).mean()


def one_mean_for_all(layers: Mapping[str, Activity]) -> Tensor:
    """Scores relative to the mean over all layers."""
    magnitude = torch.cat([layer.magnitude for layer in layers.values()])
    return (magnitude / magnitude.mean() <= 0.025).double().mean()


def without_magnitude(layers: Mapping[str, Activity]) -> Tensor:
    """The mean of h in place of that of |h|: what cancels seems dormant."""
    means = [h.double().mean(0) for h in (LAYER, OTHER)]
    return torch.cat([mean / mean.mean() <= 0.025 for mean in means]).double().mean()


def test_the_whole() -> None:
    check_whole(dormant_ratio)


@pytest.mark.parametrize("fault", [mean_of_layers, one_mean_for_all, without_magnitude])
def test_other_wholes_are_seen(fault: Whole) -> None:
    with pytest.raises(AssertionError):
        check_whole(fault)


def test_conv_units_are_averaged_over_positions() -> None:
    h = torch.zeros(2, 3, 2, 2)
    h[0, 1, 0, 1] = 8.0
    h[:, 2] = -1.0
    found = activity(h)
    assert found.magnitude.tolist() == [0.0, 1.0, 1.0]
    assert found.zeros.tolist() == [1.0, 7 / 8, 0.0]
    assert dead_units(h).item() == pytest.approx(1 / 3)
    last = activity(h.movedim(1, -1), channel=-1)
    assert last.magnitude.tolist() == found.magnitude.tolist()
    assert last.zeros.tolist() == found.zeros.tolist()


def test_dead_units_are_zero_for_all_inputs() -> None:
    assert dead_units(LAYER).item() == 0.25
    assert dead_units({"first": activity(LAYER), "second": activity(OTHER)}).item() == pytest.approx(1 / 6)
    assert dead_units(LAYER[:1]).item() == 0.5
    # Tiny is not dead.
    assert dead_units(torch.tensor([[1e-38, 1.0]])).item() == 0.0


def test_zero_activation_ratio_is_over_units() -> None:
    assert zero_activation_ratio(LAYER).item() == 0.5
    layers = {"wide": activity(torch.zeros(2, 1, 9, 9)), "narrow": activity(OTHER)}
    assert zero_activation_ratio(layers).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("bounds", "values", "share"),
    [
        ((-1.0, 1.0), [0.995, -0.995], 1.0),
        ((-1.0, 1.0), [0.995, 0.985], 0.0),
        ((0.0, 1.0), [0.005, 0.995], 1.0),
        ((0.0, 1.0), [0.005, 0.015], 0.0),
    ],
)
def test_saturated_for_all_inputs(bounds: units.Bounds, values: list[float], share: float) -> None:
    h = torch.tensor(values)[:, None]
    assert saturated_units(activity(h, bounds=bounds)).item() == share


def check_against_hand(found: Mapping[str, Activity]) -> None:
    model, inputs = functional()
    expected = model.by_hand(inputs)
    assert found.keys() == expected.keys()
    for name, h in expected.items():
        rest = [dim for dim in range(h.ndim) if dim != 1]
        torch.testing.assert_close(found[name].magnitude, h.detach().double().abs().mean(rest))
        torch.testing.assert_close(found[name].zeros, (h == 0).double().mean(rest))
    assert dead_units(found["conv"]).item() == pytest.approx(1 / 3)
    assert found["conv"].saturated is None
    saturation = found["hidden"].saturated
    assert saturation is not None
    torch.testing.assert_close(saturation, (expected["hidden"].abs() > 0.99).double().mean(0))
    assert saturation[2].item() == 1.0


def test_functional_activations_are_seen_behind_the_nonlinearity() -> None:
    model, inputs = functional()
    check_against_hand(unit_activity(model, inputs))


def test_hooks_on_leaf_modules_are_seen_to_miss_them() -> None:
    """The fault of the official code: what a hook on a layer sees stands before a functional nonlinearity."""
    model, inputs = functional()
    seen: dict[str, Activity] = {}

    def hook(name: str) -> Callable[..., None]:
        return lambda _module, _given, h: seen.update({name: activity(h.detach().clone())})

    for name, module in model.named_children():
        if name != "head":
            module.register_forward_hook(hook(name))
    model(inputs)
    with pytest.raises(AssertionError):
        check_against_hand(seen)


def test_batches_add_up() -> None:
    model, inputs = functional()
    whole = units.over_batches(model, [inputs])
    parts = units.over_batches(model, [inputs[:1], inputs[1:]])
    for name, layer in whole.items():
        torch.testing.assert_close(parts[name].magnitude, layer.magnitude)
        torch.testing.assert_close(parts[name].zeros, layer.zeros)
    assert dead_units(parts).item() == dead_units(whole).item() > 0
    assert saturated_units(parts).item() == saturated_units(whole).item() > 0


@pytest.mark.parametrize(
    ("last", "kind"),
    [(nn.Sigmoid, "function of the output"), (nn.Identity, "none")],
    ids=["sigmoid", "linear"],
)
def test_the_output_layer_is_left_out(last: Callable[[], nn.Module], kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), last())
    assert list(unit_activity(model, torch.randn(5, 3))) == ["0"]


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [(nn.Tanh, 1), (nn.Sigmoid, 1), (nn.Hardtanh, 1), (nn.Hardsigmoid, 1), (nn.Softsign, 0), (nn.ReLU, None)],
)
def test_bounds_of_nonlinearities(kind: Callable[[], nn.Module], bounds: int | None) -> None:
    model = nn.Sequential(nn.Linear(1, 2, bias=False), kind(), nn.Linear(2, 1))
    nn.init.constant_(model[0].weight, 40.0)  # type: ignore[arg-type]
    saturated = unit_activity(model, torch.tensor([[1.0], [-1.0]]))["0"].saturated
    assert (None if saturated is None else saturated.tolist()) == (None if bounds is None else [bounds] * 2)


def test_bounds_that_were_set() -> None:
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Hardtanh(-3.0, 2.0), nn.Linear(2, 1))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[1.0], [10.0]]))
    saturated = unit_activity(model, torch.tensor([[1.0], [-1.0]]))["0"].saturated
    assert saturated is not None
    assert saturated.tolist() == [0.0, 1.0]


class FunctionalReLU6(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.relu6(inputs)


@pytest.mark.parametrize(
    "kind", [nn.ReLU6, lambda: nn.ReLU6(inplace=True), FunctionalReLU6, lambda: nn.Hardtanh(0.0, 6.0)]
)
def test_dead_behind_relu6_is_not_saturated(kind: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(1, 3), kind(), nn.Linear(3, 1))
    with torch.no_grad():
        model.get_parameter("0.weight").zero_()
        model.get_parameter("0.bias").copy_(torch.tensor([-1.0, 1.0, 50.0]))
    layer = unit_activity(model, torch.tensor([[1.0], [-1.0]]))["0"]
    assert layer.saturated is not None
    assert layer.saturated.tolist() == [0.0, 0.0, 1.0]
    assert layer.zeros.tolist() == [1.0, 0.0, 0.0]


def test_no_bounds_no_saturation() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="no layer has a nonlinearity with bounds"):
        saturated_units(unit_activity(model, torch.ones(1, 3)))


def test_networks_of_ours_are_covered() -> None:
    # 8 blocks with a ReLU inside and one behind the sum each, and the stem.
    layers = unit_activity(resnet18((3, 8, 8), 10).eval(), torch.randn(2, 3, 8, 8))
    assert len(layers) == 17
    assert sum(len(layer.zeros) for layer in layers.values()) == 64 * 5 + 4 * (128 + 256 + 512)
    layers = unit_activity(mlp((6,), 3, hidden=(8, 4), batch_norm=True).eval(), torch.randn(5, 6))
    assert [len(layer.zeros) for layer in layers.values()] == [8, 4]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"no layer of the model .* has a nonlinearity"):
        unit_activity(nn.Linear(3, 2), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"1 \(Dropout\) is in train mode"):
        unit_activity(nn.Sequential(nn.Linear(3, 2), nn.Dropout()), torch.ones(1, 3))
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="threshold is"):
            dormant_ratio(LAYER, wrong)
    with pytest.raises(ValueError, match="layers is empty"):
        dormant_ratio({})
    for h, channel in ((torch.ones(3), 0), (torch.ones(0, 3), 1), (torch.ones(2, 3), 2)):
        with pytest.raises(ValueError, match="h has shape"):
            activity(h, channel=channel)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_counted_as_alive(value: float) -> None:
    h = torch.tensor([[1.0, value], [1.0, 0.0]])
    for measure in (dormant_ratio, dead_units, zero_activation_ratio):
        assert math.isnan(measure(h).item())
    assert math.isnan(saturated_units(activity(h, bounds=(-1, 1))).item())
    found = activity(h, bounds=(-1, 1))
    assert found.saturated is not None
    for part in (found.magnitude, found.zeros, found.saturated):
        # The other unit is what it is.
        assert part.isnan().tolist() == [False, True]


def test_a_network_of_nan_has_the_layers_that_it_has() -> None:
    """Hidden layers of the shape of the output too, and the bounds of their nonlinearities."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    inputs = torch.ones(3, 2)
    healthy = unit_activity(model, inputs)
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(math.nan)
    layers = unit_activity(model, inputs)
    assert layers.keys() == healthy.keys()
    assert layers["0"].saturated is not None
    for measure in (dormant_ratio, dead_units, zero_activation_ratio, saturated_units):
        assert math.isnan(float(measure(layers)))


def test_outputs_in_a_dict_are_left_out_too() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid())

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"chances": self.layers(inputs)}

    assert list(unit_activity(Named(), torch.randn(5, 3))) == ["layers.0"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_higher(dtype: torch.dtype) -> None:
    h = torch.full((3000, 2), 60.0, dtype=dtype)
    found: Any = activity(h).magnitude
    assert found.tolist() == [60.0, 60.0]
