"""Widening activations in networks of any build: which layers change, which are left, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.networks import CReLU, crelu, fourier, resnet18


class Residual(nn.Module):
    """A stem, a block with an identity or a projection for its shortcut, a head."""

    def __init__(self, project: bool) -> None:
        super().__init__()
        self.stem, self.stem_act = nn.Linear(3, 8), nn.ReLU()
        self.first, self.inner, self.second = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)
        self.shortcut = nn.Linear(8, 8) if project else nn.Identity()
        self.outer, self.head = nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_act(self.stem(x))
        x = self.second(self.inner(self.first(x))) + self.shortcut(x)
        out: Tensor = self.head(self.outer(x))
        return out


class PreActivation(nn.Module):
    """The sum runs in front of the activations: every one of them can widen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8) for _ in range(3)])
        self.acts = nn.ModuleList([nn.ReLU() for _ in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)])
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, act, conv in zip(self.norms, self.acts, self.convs, strict=False):
            x = x + conv(act(norm(x)))
        out: Tensor = self.head(self.acts[2](self.norms[2](x)).mean((2, 3)))
        return out


def replaced(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, CReLU)]


@pytest.mark.parametrize("width", ["double", "halve"])
def test_a_projection_lets_every_activation_widen(width: Any) -> None:
    network = crelu(Residual(project=True), width=width)
    assert replaced(network) == ["stem_act", "inner", "outer"]
    assert network(torch.ones(4, 3)).shape == (4, 2)


@pytest.mark.parametrize(
    ("width", "taken", "left"),
    [
        ("double", ["inner", "outer"], "stem_act (second writes to the same channels"),
        ("halve", ["stem_act", "inner"], "outer (a sum joins the channels before and after it"),
    ],
)
def test_an_identity_shortcut_leaves_the_activation_that_it_joins(
    width: Any, taken: list[str], left: str
) -> None:
    network = Residual(project=False)
    with pytest.warns(UserWarning, match="leaves as they are") as warned:
        crelu(network, width=width)
    assert left in str(warned[0].message)
    assert replaced(network) == taken
    assert network(torch.ones(4, 3)).shape == (4, 2)


@pytest.mark.parametrize("width", ["double", "halve"])
def test_a_sum_in_front_of_the_activations_hinders_none(width: Any) -> None:
    network = crelu(PreActivation(), width=width)
    assert replaced(network) == ["acts.0", "acts.1", "acts.2"]
    stem, convs = network.get_submodule("stem"), [network.get_submodule(f"convs.{i}") for i in range(2)]
    stream, read = (8, 16) if width == "double" else (4, 8)
    assert isinstance(stem, nn.Conv2d)
    assert stem.weight.shape == (stream, 3, 3, 3)
    assert [tuple(conv.weight.shape) for conv in convs if isinstance(conv, nn.Conv2d)] == [
        (stream, read, 3, 3)
    ] * 2
    assert network(torch.ones(2, 3, 4, 4)).shape == (2, 2)


@pytest.mark.parametrize("width", ["double", "halve"])
def test_resnet18_names_the_five_that_stay(width: Any) -> None:
    network = resnet18((1, 8, 8), 3)
    with pytest.warns(UserWarning, match="leaves as they are") as warned:
        crelu(network, width=width)
    message = str(warned[0].message)
    stay = {
        "double": ["stem.2", "body.0.0.relu", "body.1.0.relu", "body.2.0.relu", "body.3.0.relu"],
        "halve": ["body.0.0.relu", "body.0.1.relu", "body.1.1.relu", "body.2.1.relu", "body.3.1.relu"],
    }
    assert [name for name in stay[width] if f"{name} (" in message] == stay[width]
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == 5


class Two(nn.Module):
    """Two layers around whatever is done in between."""

    def __init__(self, between: Callable[[Tensor], Tensor], reads: int = 8) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(reads, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.between(self.act(self.first(x))))
        return out


def tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    network[4].weight = network[2].weight
    return network


class Slopes(nn.Module):
    """An activation with a slope for each channel, whose output is added to its input."""

    def __init__(self, slopes: int) -> None:
        super().__init__()
        self.first, self.inner, self.outer = nn.Linear(4, 8), nn.PReLU(slopes), nn.ReLU()
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(self.outer(x + self.inner(x)))
        return out


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "concatenation": (
        lambda: Two(lambda h: torch.cat([h, h], -1), 16),
        "act \\(the width is fixed by cat",
    ),
    "a sum with what no layer computed": (lambda: Two(lambda h: h + torch.ones(8)), "that no layer computed"),
    "product with itself transposed": (lambda: Two(lambda h: h @ torch.ones(8, 8)), "fixed by matmul"),
    "the output": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
        "1 \\(the width is fixed by the output",
    ),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2)),
        "fixed by 2 is a convolution in groups",
    ),
    "a tied weight": (tied, "fixed by 2 shares its weight with another layer"),
    "no layer in front": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "0 \\(no layer before it"),
    "a module of others": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Softmax(-1), nn.Linear(4, 2)),
        r"fixed by 2 \(Softmax\)",
    ),
    "norm of another dimension": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm((3, 4)), nn.Linear(4, 2)),
        r"fixed by 2 \(LayerNorm\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_to_keep_its_width_is_refused_with_the_reason(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        crelu(make())


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
        self.position = nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.act(self.first(x)) + self.position)
        return out


def test_a_parameter_in_a_sum_keeps_the_width() -> None:
    with pytest.raises(ValueError, match="fixed by a sum or product with a tensor that no layer computed"):
        crelu(Positions())
    network = fourier(Positions())
    assert network(torch.ones(3, 4)).shape == (3, 2)


def test_halving_refuses_odd_widths_and_groups_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="1 \\(7 channels, an odd number"):
        fourier(nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 2)))
    with pytest.raises(ValueError, match="3 channels cannot be normed in the 2 groups of 1"):
        fourier(nn.Sequential(nn.Conv2d(1, 6, 1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 2, 1)))


def test_a_slope_for_each_channel_of_an_activation_that_stays_keeps_the_width() -> None:
    with pytest.raises(ValueError, match="fixed by inner has a slope for each channel"):
        crelu(Slopes(8), width="halve")
    with pytest.warns(UserWarning, match="inner \\(a sum joins"):
        network = crelu(Slopes(1), width="halve")
    assert replaced(network) == ["outer"]
    assert network(torch.ones(3, 4)).shape == (3, 2)


def test_another_word_for_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match='width is \'half\', expected "double" or "halve"'):
        crelu(Residual(project=True), width="half")  # type: ignore[arg-type]


BUILDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pool and flatten": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ),
        (2, 6, 6),
    ),
    "norm behind": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.LayerNorm(6), nn.Dropout(0.1), nn.Linear(6, 3)),
        (4,),
    ),
    "norm of what is flattened": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3)
        ),
        (2, 4, 4),
    ),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3),
            nn.BatchNorm1d(4),
            nn.ELU(),
            nn.AdaptiveAvgPool1d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        (2, 9),
    ),
    "three dimensions": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.LeakyReLU(), nn.Flatten(), nn.Linear(32, 3)
        ),
        (1, 3, 3, 3),
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 4), nn.Flatten(), nn.Linear(20, 3)),
        (5, 4),
    ),
    "viewed": (lambda: Two(lambda h: h.view(h.size(0), -1)), (4,)),
    "gated": (lambda: Two(lambda h: h * h.sigmoid()), (4,)),
}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("transform", ["double", "halve", "fourier"])
def test_layers_of_many_kinds_are_resized(build: str, transform: Any) -> None:
    make, shape = BUILDS[build]
    before = sum(parameter.numel() for parameter in make().parameters())
    network = fourier(make()) if transform == "fourier" else crelu(make(), width=transform)
    after = sum(parameter.numel() for parameter in network.parameters())
    assert after > before if transform == "double" else after < before
    outputs = network(torch.randn(4, *shape))
    outputs.sum().backward()
    assert outputs.shape[0] == 4
    assert all(parameter.grad is not None for parameter in network.parameters())


class CalledTwice(nn.Module):
    """One layer reads what stands behind a ReLU, and what stands behind a Tanh, which cannot widen."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second, self.tanh = nn.Linear(3, 8), nn.ReLU(), nn.Linear(3, 8), nn.Tanh()
        self.shared, self.act, self.head = nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.shared(self.relu(self.first(x))), self.shared(self.tanh(self.second(x)))
        out: Tensor = self.head(self.act(one + two))
        return out


def test_a_layer_that_is_called_twice_reads_the_same_channels() -> None:
    network = CalledTwice()
    with pytest.warns(UserWarning, match=r"relu \(second writes to the same channels"):
        crelu(network, width="double")
    assert replaced(network) == ["act"]
    assert network(torch.ones(4, 3)).shape == (4, 2)


def test_the_stream_of_a_pre_activation_network_is_halved() -> None:
    """As the page of `fourier` says."""
    network: Any = PreActivation()
    fourier(network)
    assert (network.stem.out_channels, network.norms[0].num_features) == (4, 4)
    assert (network.convs[0].in_channels, network.convs[0].out_channels, network.head.in_features) == (
        8,
        4,
        8,
    )
