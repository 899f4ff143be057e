"""The encoders of reinforcement learning: what they compute, how many features they give, and that methods see in."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise import EMA, ReDo, ShrinkPerturb
from hare_tortoise.methods.support.units import Outgoing, trace_units
from hare_tortoise.networks import (
    Encoder,
    crelu,
    fourier,
    impala,
    impala_encoder,
    minatar,
    minatar_encoder,
    nature,
    nature_encoder,
)
from hare_tortoise.networks.nature import Padding

Layer = Callable[[Tensor], Tensor]


def before(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Places that "same" gives, and how far the first window stands out: half of what is missing, rounded down."""
    places = math.ceil(size / stride)
    covered = (places - 1) * stride + kernel
    return places, max(covered - size, 0) // 2


def windows(images: Tensor, kernel: int, stride: int, *, same: bool, outside: float) -> list[list[Tensor]]:
    """The (batch, channels, kernel, kernel) that each place sees, cut out one by one."""
    (rows, top), (columns, left) = (
        before(size, kernel, stride) if same else ((size - kernel) // stride + 1, 0)
        for size in images.shape[2:]
    )
    found = []
    for row in range(rows):
        line = []
        for column in range(columns):
            window = torch.full((*images.shape[:2], kernel, kernel), outside, dtype=images.dtype)
            for i in range(kernel):
                for j in range(kernel):
                    y, x = row * stride - top + i, column * stride - left + j
                    if 0 <= y < images.shape[2] and 0 <= x < images.shape[3]:
                        window[:, :, i, j] = images[:, :, y, x]
            line.append(window)
        found.append(line)
    return found


def convolved(images: Tensor, layer: nn.Module, stride: int, *, same: bool) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    seen = windows(images, layer.kernel_size[0], stride, same=same, outside=0.0)
    weight, bias = layer.weight.flatten(1), layer.bias
    rows = [torch.stack([window.flatten(1) @ weight.T + bias for window in line], -1) for line in seen]
    return torch.stack(rows, -2)


def pooled(images: Tensor) -> Tensor:
    seen = windows(images, 3, 2, same=True, outside=-math.inf)
    return torch.stack([torch.stack([window.amax((2, 3)) for window in line], -1) for line in seen], -2)


def convolutions(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("padding", "size"),
    [("valid", (36, 40)), ("valid", (45, 37)), ("same", (21, 24)), ("same", (9, 1)), ("same", (22, 7))],
)
def test_nature_is_three_convolutions_with_the_padding_of_its_name(
    padding: Padding, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    encoder = nature_encoder((2, *size), padding=padding).double()
    images = torch.randn(2, 2, *size, dtype=torch.float64)
    expected = images
    for layer, (width, kernel, stride) in zip(
        convolutions(encoder), ((32, 8, 4), (64, 4, 2), (64, 3, 1)), strict=True
    ):
        assert tuple(layer.get_parameter("weight").shape) == (width, expected.shape[1], kernel, kernel)
        expected = convolved(expected, layer, stride, same=padding == "same").clamp(min=0)
    torch.testing.assert_close(encoder(images), expected.flatten(1))
    assert encoder.features == expected[0].numel()


def test_on_atari_nature_has_the_features_that_are_published() -> None:
    published: dict[Padding, list[int]] = {"valid": [20, 9, 7], "same": [21, 11, 11]}
    for padding, sizes in published.items():
        encoder = nature_encoder((4, 84, 84), padding=padding)
        seen: list[int] = []
        for layer in convolutions(encoder):
            layer.register_forward_hook(lambda _m, _i, outputs, seen=seen: seen.append(outputs.shape[-1]))
        assert encoder(torch.zeros(1, 4, 84, 84)).shape == (1, 64 * sizes[-1] ** 2)
        assert seen == sizes


@pytest.mark.parametrize("size", [(1, 2), (3, 4), (7, 6), (10, 9)])
def test_impala_halves_thrice_and_adds_what_its_blocks_find(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = impala_encoder((3, *size), blocks=2).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    layers = iter(convolutions(encoder))
    expected = images
    for width in (16, 32, 32):
        expected = pooled(convolved(expected, next(layers), 1, same=True))
        assert expected.shape[1] == width
        for _ in range(2):
            inner = convolved(expected.clamp(min=0), next(layers), 1, same=True).clamp(min=0)
            expected = expected + convolved(inner, next(layers), 1, same=True)
    assert list(layers) == []
    torch.testing.assert_close(encoder(images), expected.clamp(min=0).flatten(1))
    assert encoder.features == expected[0].numel()


@pytest.mark.parametrize(
    ("width", "blocks", "parameters"), [(1, 2, 97_744), (4, 2, 1_552_192), (1, 1, 56_112)]
)
def test_width_and_blocks_of_impala(width: int, blocks: int, parameters: int) -> None:
    # by hand: a 3×3 convolution from a to b channels has 9·a·b + b
    a, expected = 4, 0
    for b in (16 * width, 32 * width, 32 * width):
        expected += 9 * a * b + b + 2 * blocks * (9 * b * b + b)
        a = b
    found = sum(p.numel() for p in impala_encoder((4, 84, 84), width=width, blocks=blocks).parameters())
    assert found == expected == parameters


def test_minatar_is_one_convolution() -> None:
    torch.manual_seed(0)
    encoder = minatar_encoder((4, 10, 8)).double()
    images = torch.randn(2, 4, 10, 8, dtype=torch.float64)
    (layer,) = convolutions(encoder)
    expected = convolved(images, layer, 1, same=False).clamp(min=0)
    torch.testing.assert_close(encoder(images), expected.flatten(1))
    assert (encoder.features, tuple(expected.shape)) == (768, (2, 16, 8, 6))


def test_a_network_is_encoder_hidden_layer_and_head() -> None:
    torch.manual_seed(0)
    network = minatar((4, 10, 10), 6).double()
    images = torch.randn(3, 4, 10, 10, dtype=torch.float64)
    first = network.hidden[0]
    assert isinstance(first, nn.Linear)
    assert (first.in_features, first.out_features, network.head.out_features) == (1024, 128, 6)
    hidden = (network.encoder(images) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(network(images), hidden @ network.head.weight.T + network.head.bias)
    assert nature((4, 84, 84), 6).head.in_features == 512
    assert impala((4, 84, 84), 6).head.in_features == 256


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda norm: nature_encoder((2, 36, 36), layer_norm=norm), 3),
        (lambda norm: nature_encoder((2, 21, 21), padding="same", layer_norm=norm), 3),
        (lambda norm: impala_encoder((2, 9, 9), layer_norm=norm), 13),
        (lambda norm: minatar_encoder((2, 9, 9), layer_norm=norm), 1),
    ],
)
def test_layer_norm_stands_before_every_activation(build: Callable[[bool], Encoder], count: int) -> None:
    plain, normed = build(False), build(True)
    norms = [module for module in normed.modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [1] * count
    assert not any(isinstance(module, nn.GroupNorm) for module in plain.modules())
    assert normed.features == plain.features


def test_an_activation_that_doubles_the_channels_is_told_by_the_encoder() -> None:
    network = minatar((4, 10, 10), 6, activation="crelu")
    assert network.encoder.features == 2048
    assert network.encoder(torch.zeros(1, 4, 10, 10)).shape == (1, 2048)


def test_an_activation_that_doubles_the_channels_is_told_whoever_put_it_there() -> None:
    network = crelu(minatar((4, 10, 10), 6))
    assert network.encoder.features == 2048
    assert network.encoder.maps == (32, 8, 8)
    assert crelu(minatar((4, 10, 10), 6), width="halve").encoder.maps == (16, 8, 8)
    deep = {name: impala((2, 12, 12), 3, blocks=1, hidden=4) for name in ("relu", "crelu", "fourier")}
    crelu(deep["crelu"])
    fourier(deep["fourier"])
    assert [each.encoder.maps for each in deep.values()] == [(32, 2, 2), (64, 2, 2), (32, 2, 2)]
    for each in deep.values():
        assert each.encoder.latent(torch.zeros(1, 2, 12, 12)).shape[1:] == each.encoder.maps


def test_the_maps_are_those_that_are_given_where_no_convolution_tells_them() -> None:
    shuffled = Encoder([nn.Conv2d(2, 8, 1), nn.PixelShuffle(2), nn.ReLU()], (2, 6, 6))
    assert shuffled.latent(torch.zeros(1, 2, 3, 3)).shape[1:] == shuffled.maps == (2, 6, 6)
    assert Encoder([nn.ReLU()], (3, 4, 5)).maps == (3, 4, 5)


Shape = tuple[int, int, int]
ENCODERS: dict[str, tuple[Shape, Callable[[Shape], Encoder]]] = {
    "nature": ((2, 36, 45), nature_encoder),
    "nature, same": ((2, 21, 24), lambda shape: nature_encoder(shape, padding="same", layer_norm=True)),
    "impala": ((2, 9, 14), lambda shape: impala_encoder(shape, width=2, blocks=1)),
    "impala, normed": ((2, 9, 14), lambda shape: impala_encoder(shape, layer_norm=True)),
    "minatar": ((2, 10, 7), minatar_encoder),
    "nature, crelu": ((2, 36, 36), lambda shape: nature(shape, 3, hidden=4, activation="crelu").encoder),
    "nature, same, fourier": (
        (2, 24, 24),
        lambda shape: nature(shape, 3, padding="same", hidden=4, activation="fourier").encoder,
    ),
    "impala, crelu, normed": (
        (2, 9, 9),
        lambda shape: impala(shape, 3, activation="crelu", layer_norm=True).encoder,
    ),
    "minatar, aid": ((2, 10, 7), lambda shape: minatar(shape, 3, activation="aid").encoder.eval()),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_latent_is_what_is_given_before_it_is_flattened(name: str) -> None:
    torch.manual_seed(0)
    shape, build = ENCODERS[name]
    encoder, images = build(shape), torch.randn(3, *shape)
    latent = encoder.latent(images)
    assert latent.shape == (3, *encoder.maps)
    assert encoder.features == math.prod(encoder.maps)
    assert torch.equal(encoder(images), latent.flatten(1))


def test_crelu_leaves_the_activation_before_an_uneven_padding() -> None:
    with pytest.warns(
        UserWarning, match=r"encoder.body.1 \(the width is fixed by encoder.body.2 \(ZeroPad2d\)\)"
    ):
        crelu(nature((4, 84, 84), 6, padding="same", hidden=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crelu(nature((4, 80, 80), 6, padding="same", hidden=4))


def test_the_units_of_nature_are_a_chain() -> None:
    graph = trace_units(nature((4, 36, 36), 6, hidden=8), torch.zeros(2, 4, 36, 36))
    assert [units.name for units in graph.groups] == [f"encoder.body.{n}" for n in (0, 2, 4)] + ["hidden.0"]
    assert graph.groups[2].outgoing == (Outgoing("hidden.0.weight", repeat=1),)
    assert graph.left_out == {}
    padded = trace_units(nature((4, 21, 21), 6, padding="same", hidden=8), torch.zeros(2, 4, 21, 21))
    assert [units.size for units in padded.groups] == [32, 64, 64, 8]
    assert padded.groups[2].outgoing == (Outgoing("hidden.0.weight", repeat=9),)
    assert padded.left_out == {}


def test_the_stream_of_a_stage_of_impala_is_one_set_of_units() -> None:
    graph = trace_units(impala((4, 12, 12), 6, blocks=1, hidden=8), torch.zeros(2, 4, 12, 12))
    assert [units.size for units in graph.groups] == [16, 16, 32, 32, 32, 32, 8]
    stage = next(units for units in graph.groups if units.name == "encoder.body.1.0")
    assert stage.incoming == ("encoder.body.1.0.weight", "encoder.body.1.2.residual.3.weight")
    read = ("encoder.body.1.2.residual.1.weight", "encoder.body.2.0.weight")
    assert stage.outgoing == tuple(Outgoing(name) for name in read)
    assert graph.left_out == {}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "nature": lambda: nature((1, 36, 36), 3, hidden=8),
    "nature, same": lambda: nature((1, 36, 36), 3, padding="same", hidden=8),
    "impala": lambda: impala((1, 36, 36), 3, blocks=1, hidden=8, layer_norm=True),
    "minatar": lambda: minatar((1, 36, 36), 3, hidden=8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_methods_work_on_them(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    images = torch.rand(4, 1, 36, 36)
    with torch.no_grad():
        network.get_parameter("hidden.0.weight")[2] = 0.0
        network.get_parameter("hidden.0.bias")[2] = -1.0
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    average, recycled = EMA(network, decay=0.5), ReDo(network, every=1, threshold=1e-6)
    old = network.get_parameter("head.weight").detach().clone()
    network(images).square().mean().backward()
    optimizer.step()
    average.after_step()
    expected = (old + network.get_parameter("head.weight").detach()) / 2
    torch.testing.assert_close(average.deployed.get_parameter("head.weight"), expected)
    recycled.after_step()
    assert bool((network.get_parameter("head.weight")[:, 2] == 0).all())
    assert bool(network.get_parameter("hidden.0.weight")[2].any())
    before_act = {key: value.detach().clone() for key, value in network.named_parameters()}
    ShrinkPerturb(network, shrink=0.5, perturb=0.5).new_data()
    kept = [key for key, value in network.named_parameters() if torch.equal(value, before_act[key])]
    assert kept == []
    assert torch.isfinite(network(images)).all()
