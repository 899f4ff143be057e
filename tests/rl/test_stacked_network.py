"""Stacked networks: outputs and gradients of G plain ones, views both ways, and what has no stacked form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from hare_tortoise.networks.encoder import Encoder
from hare_tortoise.networks.impala import impala_encoder
from hare_tortoise.networks.minatar import minatar_encoder
from hare_tortoise.networks.nature import nature_encoder
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.network import QNetwork, VectorEncoder
from hare_tortoise.rl.prediction import Prediction
from hare_tortoise.rl.stacked_network import StackedNetwork

ACTIONS, ROWS = 4, 3
Build = Callable[[], QNetwork]


def network(encoder: Any, shape: tuple[int, ...], encoded: dict[str, Any], **head: Any) -> QNetwork:
    body = encoder(shape, **encoded)
    return QNetwork(body, QHead(body.features, ACTIONS, hidden=8, **head))


CASES: dict[str, tuple[tuple[int, ...], Build]] = {
    "valid": ((4, 36, 38), lambda: network(nature_encoder, (4, 36, 38), {})),
    "same": (
        (4, 39, 44),
        lambda: network(nature_encoder, (4, 39, 44), {"padding": "same"}, atoms=5, shared_hidden=True),
    ),
    "plain": ((4, 36, 36), lambda: network(nature_encoder, (4, 36, 36), {}, dueling=False, atoms=3)),
    "norms": (
        (4, 36, 36),
        lambda: network(nature_encoder, (4, 36, 36), {"layer_norm": True}, layer_norm=True),
    ),
    "oblong": (
        (3, 6, 9),
        lambda: QNetwork(
            Encoder(
                [
                    nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 1)),
                    nn.ReLU(),
                    nn.ZeroPad2d((0, 1, 2, 3)),
                ],
                (4, 13, 6),
            ),
            QHead(312, ACTIONS, hidden=8),
        ),
    ),
    "minatar": ((5, 10, 9), lambda: network(minatar_encoder, (5, 10, 9), {})),
    "vector": ((7,), lambda: network(VectorEncoder, (7,), {"width": 6}, dueling=False)),
}


def built(build: Build, dtype: torch.dtype, count: int = 3) -> list[QNetwork]:
    torch.manual_seed(0)
    networks = [build().to(dtype) for _ in range(count)]
    for each in networks:
        for parameter in each.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, dtype=dtype)  # norms are no identities
    return networks


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return float((found - expected).detach().norm()) <= tolerance * float(expected.detach().norm())


def gradient(network: nn.Module) -> Tensor:
    """(G or 1, entries), that of all weights."""
    count = len(network) if isinstance(network, StackedNetwork) else 1
    gradients = [parameter.grad for parameter in network.parameters()]
    return torch.cat([each.reshape(count, -1) for each in gradients if each is not None], 1)


def masks() -> dict[str, Tensor | None]:
    rows = torch.ones(3, ROWS, ACTIONS, dtype=torch.bool)
    rows[0, 1, 2] = rows[1, :, 3] = rows[2, 0, :2] = False
    return {"none": None, "agents": rows[:, :1], "rows": rows}


@pytest.mark.parametrize(
    ("dtype", "tolerance", "mask"),
    [*((torch.float64, 1e-13, mask) for mask in masks()), (torch.float32, 4e-6, "agents")],
)
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_plain_networks(
    case: str, dtype: torch.dtype, tolerance: float, mask: str
) -> None:
    shape, build = CASES[case]
    plain = built(build, dtype)
    stacked = StackedNetwork(copy.deepcopy(plain))
    inputs, legal = torch.randn(3, ROWS, *shape, dtype=dtype), masks()[mask]
    found = stacked(inputs, legal)
    expected = torch.stack(
        [each(inputs[place], None if legal is None else legal[place]) for place, each in enumerate(plain)]
    )
    assert found.dtype == dtype
    assert close(found, expected, tolerance)
    weights = torch.randn(found.shape, dtype=dtype)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert close(gradient(stacked), torch.cat([gradient(each) for each in plain]), tolerance)


@pytest.mark.parametrize("case", ["same", "norms"])
def test_gradients_are_those_of_vmap(case: str) -> None:
    shape, build = CASES[case]
    plain = built(build, torch.float64)
    stacked = StackedNetwork(copy.deepcopy(plain))
    inputs = torch.randn(3, ROWS, *shape, dtype=torch.float64)

    def loss(weights: dict[str, Tensor], own: Tensor) -> Tensor:
        outputs: Tensor = functional_call(plain[0], weights, (own,))
        return outputs.square().mean()

    weights, _ = stack_module_state(list(plain))
    expected: dict[str, Tensor] = vmap(grad(loss))(weights, inputs)
    stacked(inputs).square().flatten(1).mean(1).sum().backward()
    for name, parameter in stacked.named_parameters():
        assert parameter.grad is not None
        assert close(parameter.grad, expected[name], 1e-6)


def test_parameters_have_the_names_and_the_order_of_one_network() -> None:
    plain = built(CASES["same"][1], torch.float32)
    stacked = StackedNetwork(plain)
    named = [(name, (3, *parameter.shape)) for name, parameter in plain[0].named_parameters()]
    assert [(name, tuple(parameter.shape)) for name, parameter in stacked.named_parameters()] == named
    assert len(stacked) == 3
    assert len(list(stacked.modules())) == len(list(plain[0].modules()))  # the networks are not among them


def test_a_network_and_the_stacked_weights_are_one() -> None:
    plain = built(CASES["minatar"][1], torch.float32)
    values = [copy.deepcopy(each.state_dict()) for each in plain]
    stacked = StackedNetwork(plain)
    for each, before in zip(plain, values, strict=True):
        assert all(torch.equal(tensor, before[name]) for name, tensor in each.state_dict().items())
    plain[1].head.load_state_dict({name: tensor + 1 for name, tensor in plain[1].head.state_dict().items()})
    whole = dict(stacked.named_parameters())["head.advantage.1.weight"]
    assert torch.equal(whole[1], values[1]["head.advantage.1.weight"] + 1)
    assert torch.equal(whole[2], values[2]["head.advantage.1.weight"])
    with torch.no_grad():
        whole.fill_(7.0)
    assert all(bool(each.head.get_parameter("advantage.1.weight").eq(7).all()) for each in plain)


def test_a_network_that_was_torn_away_is_joined_again() -> None:
    plain = built(CASES["minatar"][1], torch.float32)
    stacked = StackedNetwork(plain)
    weight = plain[2].encoder.get_parameter("body.0.weight")
    weight.data = torch.full_like(weight, 3.0)
    stacked.rejoin()
    assert torch.equal(stacked.get_parameter("encoder.body.0.weight")[2], weight)
    with torch.no_grad():
        weight.add_(1.0)
    assert float(stacked.get_parameter("encoder.body.0.weight")[2].detach().mean()) == 4.0


@pytest.mark.parametrize("case", ["valid", "norms"])
def test_under_autocast_it_computes_in_half_precision_with_whole_weights(case: str) -> None:
    shape, build = CASES[case]
    plain = built(build, torch.float32)
    stacked = StackedNetwork(copy.deepcopy(plain))
    inputs = torch.randn(3, ROWS, *shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {weight.dtype for weight in stacked.cast().values()} == {torch.bfloat16}
        found = stacked(inputs)
        expected = torch.stack([each(inputs[place]) for place, each in enumerate(plain)])
    found.square().sum().backward()
    assert found.dtype == torch.float32
    assert {weight.dtype for weight in stacked.parameters()} == {torch.float32}
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in stacked.parameters())
    assert close(found, expected, 0.01)
    assert not torch.equal(found, stacked(inputs))


class OwnLinear(nn.Linear):
    """Computes something else."""


class OwnEncoder(nn.Module):
    """A user's encoder, which looks like one of the library."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.features = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 5

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.body(observations)
        return 2 * features


def with_layers(*layers: nn.Module) -> QNetwork:
    return QNetwork(Encoder(layers, (3, 2, 2)), QHead(12, ACTIONS, hidden=5))


REFUSED: dict[str, tuple[Callable[[], QNetwork], str]] = {
    "noisy": (
        lambda: network(minatar_encoder, (3, 4, 4), {}, noisy=True),
        r"head\.advantage\.0\.0 is NoisyLinear",
    ),
    "impala": (lambda: network(impala_encoder, (4, 36, 36), {}), r"encoder\.body\.0\.1 is MaxPool2d"),
    "prediction": (
        lambda: QNetwork(
            minatar_encoder((3, 4, 4)), QHead(64, ACTIONS), Prediction((16, 2, 2), ACTIONS, 512)
        ),
        "prediction is Prediction",
    ),
    "user's": (lambda: QNetwork(OwnEncoder(), QHead(5, ACTIONS)), "encoder is OwnEncoder"),
    "subclass": (lambda: with_layers(OwnLinear(3, 3)), r"body\.0 is OwnLinear"),
    "dropout": (lambda: with_layers(nn.Dropout(0.1)), r"body\.0 is Dropout\(p=0\.1"),
    "no bias": (lambda: with_layers(nn.Linear(3, 3, bias=False)), r"body\.0 is Linear\(.*bias=False"),
    "convolution without": (lambda: with_layers(nn.Conv2d(3, 3, 1, bias=False)), r"body\.0 is Conv2d"),
    "dilated": (lambda: with_layers(nn.Conv2d(3, 3, 2, dilation=2)), r"body\.0 is Conv2d\(.*dilation"),
    "grouped": (lambda: with_layers(nn.Conv2d(3, 3, 2, groups=3)), r"body\.0 is Conv2d\(.*groups"),
    "reflecting": (
        lambda: with_layers(nn.Conv2d(3, 3, 2, padding=1, padding_mode="reflect")),
        r"body\.0 is Conv2d\(.*reflect",
    ),
    "by word": (lambda: with_layers(nn.Conv2d(3, 3, 3, padding="same")), r"body\.0 is Conv2d\(.*same"),
    "two groups": (lambda: with_layers(nn.GroupNorm(2, 4)), r"body\.0 is GroupNorm\(2, 4"),
    "flatten": (lambda: with_layers(nn.Flatten(2)), r"body\.0 is Flatten\(start_dim=2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_stacked_form_is_named(case: str) -> None:
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        StackedNetwork([build() for _ in range(2)])


def test_a_layer_norm_over_the_width_of_an_image_is_refused() -> None:
    stacked = StackedNetwork([with_layers(nn.LayerNorm(3)) for _ in range(2)])
    with pytest.raises(ValueError, match=r"encoder\.body\.0 is LayerNorm"):
        stacked(torch.zeros(2, 1, 3, 3, 3))


def test_networks_that_differ_are_refused() -> None:
    shape, build = CASES["minatar"]
    with pytest.raises(ValueError, match="networks is empty"):
        StackedNetwork([])
    wider = network(minatar_encoder, shape, {}, dueling=True, atoms=2)
    with pytest.raises(ValueError, match="network 1 differs from the first"):
        StackedNetwork([build(), wider])
    with pytest.raises(ValueError, match="network 2 differs from the first"):
        StackedNetwork([build(), build(), build().double()])
    padded = with_layers(nn.ZeroPad2d(1), nn.Conv2d(3, 3, 3))
    with pytest.raises(ValueError, match="network 1 differs from the first"):
        StackedNetwork([padded, with_layers(nn.ZeroPad2d(2), nn.Conv2d(3, 3, 3))])
