"""LayerNorm before every activation: where it stands, and what it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from hare_tortoise.networks import NETWORKS, crelu, layer_norm, mlp
from hare_tortoise.networks.activations import RECTIFIERS, Activation

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any], int]] = {
    "mlp": ((2, 3), {"hidden": (8, 6), "batch_norm": True}, 2 * (8 + 6)),
    "resnet18": ((1, 8, 8), {"head_hidden": (6,)}, 2 * (5 * 64 + 4 * (128 + 256 + 512) + 6)),
    "vgg16": ((1, 32, 32), {"head_hidden": (8, 6)}, 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 8 + 6)),
    "vit-tiny": ((1, 8, 4), {}, 2 * 12 * 768),
}


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def activations(network: nn.Module) -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = dict(network.named_modules())
    return {n: m for n, m in modules.items() if isinstance(m, (Activation, *RECTIFIERS))}


def normed(network: nn.Module, inputs: Tensor) -> dict[str, bool]:
    """Whether the input of each activation has mean 0 and variance 1 over its features."""
    found: dict[str, bool] = {}

    def hook(name: str, x: Tensor) -> None:
        dims = tuple(range(1, x.dim())) if x.dim() == 4 else (-1,)
        variance, mean = torch.var_mean(x, dims, correction=0)
        found[name] = bool((mean.abs() < 1e-6).all()) and bool(((variance - 1).abs() < 1e-2).all())

    handles = [
        module.register_forward_pre_hook(lambda _m, args, name=name: hook(name, args[0]))
        for name, module in activations(network).items()
    ]
    network(inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_stands_before_every_activation(name: str) -> None:
    shape, settings, added = CASES[name]
    torch.manual_seed(0)
    network = NETWORKS[name](shape, 5, **settings)
    before = dict(network.named_parameters())
    inputs = torch.randn(4, *shape) * 100  # so that eps does not show
    assert not any(normed(network.eval(), inputs).values())
    layer_norm(network)
    found = normed(network.double(), inputs.double())
    assert found == dict.fromkeys(activations(network), True)
    assert len(found) == {"mlp": 2, "resnet18": 18, "vgg16": 15, "vit-tiny": 12}[name]
    after = dict(network.named_parameters())
    assert {key: after[key] for key in before} == before
    assert sum(p.numel() for p in after.values()) - sum(p.numel() for p in before.values()) == added


def test_networks_written_out() -> None:
    dense: Any = layer_norm(mlp((5,), 3, hidden=(6,))).double()
    convolutional: Any = layer_norm(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2))).double()
    for network in (dense, convolutional):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(randn(*parameter.shape) + len(name))

    def norm(h: Tensor, dims: tuple[int, ...], pair: nn.Module, shape: tuple[int, ...]) -> Tensor:
        scale, offset = (parameter.reshape(shape) for parameter in pair.parameters())
        centred = h - h.mean(dims, keepdim=True)
        return (centred / (centred.square().mean(dims, keepdim=True) + 1e-5).sqrt() * scale + offset).relu()

    x = randn(7, 5)
    h = norm(x @ dense.body[1].weight.T + dense.body[1].bias, (1,), dense.body[2], (6,))
    torch.testing.assert_close(dense(x), h @ dense.head.weight.T + dense.head.bias)
    x = randn(7, 2, 6, 6)
    first, pair, last = convolutional
    h = norm(conv2d(x, first.weight, first.bias), (1, 2, 3), pair, (4, 1, 1))
    torch.testing.assert_close(convolutional(x), conv2d(h, last.weight, last.bias))


def test_an_activation_behind_a_norm_is_left_without_a_word() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    layer_norm(network)
    assert isinstance(network[2], nn.ReLU)
    assert isinstance(network[4], nn.Sequential)
    with pytest.raises(ValueError, match="finds no activation module to change"):
        layer_norm(network)


def test_what_cannot_be_followed_is_named() -> None:
    network: Any = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.Flatten(),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.Softmax(-1),
        nn.GELU(),
        nn.Linear(4, 2),
        nn.ELU(),
    )
    with pytest.warns(UserWarning, match="leaves as they are") as warned:
        layer_norm(network)
    message = str(warned[0].message)
    assert "2 (behind a flattening" in message
    assert "5 (no layer before it could be followed)" in message
    assert network(torch.ones(3, 1, 4, 4)).shape == (3, 2)
    assert isinstance(network[7], nn.Sequential)


def test_behind_crelu_the_norm_has_twice_the_width() -> None:
    network: Any = crelu(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)))
    network.append(nn.GELU())
    network.insert(2, nn.ReLU())
    layer_norm(network)
    norms = [m.normalized_shape for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert norms == [(4,), (8,), (4,)]
    assert network(torch.ones(2, 3)).shape == (2, 4)
