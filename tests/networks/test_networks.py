"""What every network promises: shapes, counts, a head, redrawable weights, copies, checked arguments."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.networks import (
    NETWORKS,
    impala,
    impala_encoder,
    minatar,
    minatar_encoder,
    mlp,
    narrow_resnet,
    nature,
    nature_encoder,
    resnet18,
    vgg16,
    vit_tiny,
)
from hare_tortoise.networks.vit import Attention

Case = tuple[Callable[..., nn.Module], tuple[int, ...], int, dict[str, Any]]

PAPER: dict[str, tuple[Case, int, int]] = {
    "mnist": ((mlp, (1, 28, 28), 10, {"hidden": (512, 256), "batch_norm": True}), 537_354, 10),
    "demo": ((mlp, (64,), 10, {}), 85_002, 6),
    "narrow-resnet": ((narrow_resnet, (3, 32, 32), 10, {}), 78_042, 29),
    "plain-resnet18": ((resnet18, (3, 32, 32), 10, {}), 11_173_962, 62),
    "cifar10": ((resnet18, (3, 32, 32), 10, {"head_hidden": (512,)}), 11_436_618, 64),
    "tiny-imagenet": ((vgg16, (3, 64, 64), 200, {}), 18_075_912, 58),
    "cifar100": ((vit_tiny, (3, 32, 32), 100, {}), 5_373_700, 144),
    "atari": ((nature, (4, 84, 84), 6, {}), 1_687_206, 10),
    "atari-same": ((nature, (4, 84, 84), 6, {"padding": "same"}), 4_046_502, 10),
    "impala": ((impala, (4, 84, 84), 6, {}), 1_090_774, 34),
    "minatar": ((minatar, (4, 10, 10), 6, {}), 132_566, 6),
}

SMALL: dict[str, Case] = {
    "mlp": (mlp, (2, 3), 5, {"hidden": (7, 6), "batch_norm": True}),
    "impala": (impala, (2, 9, 6), 5, {"hidden": 7}),
    "minatar": (minatar, (4, 6, 5), 5, {"hidden": 7}),
    "narrow-resnet": (narrow_resnet, (1, 8, 8), 5, {}),
    "nature": (nature, (2, 36, 40), 5, {"hidden": 7}),
    "nature, same": (nature, (2, 21, 10), 5, {"hidden": 7, "padding": "same"}),
    "resnet18": (resnet18, (1, 8, 8), 5, {"head_hidden": (6,)}),
    "vgg16": (vgg16, (1, 32, 32), 5, {"head_hidden": (7, 6)}),
    "vit-tiny": (vit_tiny, (1, 8, 4), 5, {}),
}
small = pytest.mark.parametrize("case", SMALL.values(), ids=SMALL.keys())


def build(case: Case, seed: int = 0) -> nn.Module:
    function, shape, outputs, settings = case
    torch.manual_seed(seed)
    return function(shape, outputs, **settings)


def inputs_of(case: Case, batch: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, *case[1], generator=torch.Generator().manual_seed(1), dtype=dtype)


def uncovered(network: nn.Module) -> list[str]:
    """Names of the parameters that no `reset_parameters` of their own module draws."""
    covered = {
        id(parameter)
        for module in network.modules()
        if hasattr(module, "reset_parameters")
        for parameter in module.parameters(recurse=False)
    }
    return [name for name, parameter in network.named_parameters() if id(parameter) not in covered]


def test_every_network_is_listed_and_described() -> None:
    assert set(NETWORKS) == {name.partition(",")[0] for name in SMALL}
    for function in NETWORKS.values():
        first = (inspect.getdoc(function) or "").splitlines()[0]
        assert first.endswith(".")
        assert len(first) <= 90


@pytest.mark.parametrize(("case", "parameters", "tensors"), PAPER.values(), ids=PAPER.keys())
def test_parameter_counts_of_the_paper(case: Case, parameters: int, tensors: int) -> None:
    sizes = [parameter.numel() for parameter in build(case).parameters()]
    assert (sum(sizes), len(sizes)) == (parameters, tensors)


@small
def test_output_shape_and_gradient_of_every_parameter(case: Case) -> None:
    network = build(case)
    outputs = network(inputs_of(case))
    assert outputs.shape == (4, 5)
    outputs.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@small
def test_head_is_the_last_layers(case: Case) -> None:
    network = build(case).eval()
    head = network.get_submodule("head")
    seen: list[Tensor] = []
    head.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs))
    outputs = network(inputs_of(case))
    assert len(seen) == 1
    assert torch.equal(seen[0], outputs)
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == len(case[3].get("head_hidden", ())) + 1
    assert linears[-1].out_features == 5


@small
def test_reset_parameters_redraws_the_network_as_it_was_built(case: Case) -> None:
    network, expected = build(case), build(case, seed=3)
    assert uncovered(network) == []
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(3)
    for module in network.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    for (name, redrawn), built in zip(network.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(redrawn, built), name


def test_a_bare_parameter_would_be_found_uncovered() -> None:
    network = build(SMALL["vit-tiny"])
    network.register_parameter("class_token", nn.Parameter(torch.zeros(1)))
    assert uncovered(network) == ["class_token"]


@small
def test_the_global_seed_fixes_the_weights(case: Case) -> None:
    first, second, other = build(case), build(case), build(case, seed=1)
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@small
def test_a_deep_copy_computes_the_same_and_shares_nothing(case: Case) -> None:
    network = build(case).eval()
    network(inputs_of(case))
    copied = copy.deepcopy(network)
    assert torch.equal(copied(inputs_of(case)), network(inputs_of(case)))
    storages = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert storages.isdisjoint(tensor.data_ptr() for tensor in copied.state_dict().values())


@small
def test_float64_agrees_with_float32(case: Case) -> None:
    network = build(case).eval()
    exact = copy.deepcopy(network).double()
    outputs = exact(inputs_of(case).double())
    assert outputs.dtype == torch.float64
    torch.testing.assert_close(network(inputs_of(case)).double(), outputs, rtol=1e-4, atol=1e-4)


@small
def test_compiled_whole_it_computes_the_same_outputs_and_gradients(case: Case) -> None:
    torch.compiler.reset()
    eager = build(case).double()
    for module in eager.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, Attention):
            module.dropout = 0.0
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    x = inputs_of(case, dtype=torch.float64)
    for outputs in (eager(x), compiled(x)):
        outputs.square().sum().backward()
    torch.testing.assert_close(twin(x), eager(x))
    for (name, a), b in zip(eager.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


BAD: list[tuple[Callable[..., nn.Module], tuple[Any, ...], dict[str, Any], str]] = [
    (mlp, ((), 10), {}, "input_shape is ()"),
    (mlp, (64, 10), {}, "input_shape is 64"),
    (mlp, ("64", 10), {}, "input_shape is '64'"),
    (mlp, ((64,), 0), {}, "outputs is 0"),
    (mlp, ((64,), True), {}, "outputs is True"),
    (mlp, ((64,), 10), {"hidden": (8, -1)}, "hidden[1] is -1"),
    (mlp, ((64,), 10), {"hidden": 8}, "hidden is 8"),
    (mlp, ((64,), 10), {"hidden": (), "batch_norm": True}, "norms nothing"),
    (resnet18, ((64,), 10), {}, "images, (channels, height, width)"),
    (resnet18, ((3, 32, 0), 10), {}, "input_shape[2] is 0"),
    (resnet18, ((3, 32, 32), 1.5), {}, "outputs is 1.5"),
    (resnet18, ((3, 32, 32), 10), {"head_hidden": (0,)}, "head_hidden[0] is 0"),
    (vgg16, ((1, 28, 28), 10), {}, "at least 32×32"),
    (vgg16, ((3, 64, 64), -1), {}, "outputs is -1"),
    (vgg16, ((3, 64, 64), 10), {"head_hidden": "ab"}, "head_hidden is 'ab'"),
    (vit_tiny, ((3, 30, 32), 10), {}, "multiples of the patch"),
    (vit_tiny, ((3, 32, 32), 10), {"patch": 0}, "patch is 0"),
    (vit_tiny, ((3, 32, 32), 10), {"dropout": 1.0}, "dropout is 1.0"),
    (vit_tiny, ((3, 32, 32), 10), {"dropout": float("nan")}, "dropout is nan"),
    (vit_tiny, ((3, 32, 32), 10), {"dropout": "0.1"}, "dropout is '0.1'"),
    (vit_tiny, ((3, 32, 32), None), {}, "outputs is None"),
    (nature, ((84, 84), 6), {}, "images, (channels, height, width)"),
    (nature, ((4, 84, 84), 0), {}, "outputs is 0"),
    (nature, ((4, 84, 84), 6), {"hidden": 0}, "hidden is 0"),
    (nature, ((4, 84, 84), 6), {"padding": "SAME"}, "padding is 'SAME'"),
    (nature_encoder, ((4, 35, 84),), {}, "at least 36×36. Enlarge the images, give padding='same'"),
    (nature_encoder, ((4, 84, 35),), {}, "input_shape is (4, 84, 35)"),
    (nature_encoder, ((4, 0, 84),), {"padding": "same"}, "input_shape[1] is 0"),
    (impala, ((4, 84), 6), {}, "impala_encoder takes images"),
    (impala, ((4, 84, 84), 6), {"width": 1.5}, "width is 1.5"),
    (impala, ((4, 84, 84), -1), {}, "outputs is -1"),
    (impala_encoder, ((4, 84, 84),), {"blocks": 0}, "blocks is 0"),
    (minatar, ((4, 10, 10), 6), {"hidden": True}, "hidden is True"),
    (minatar_encoder, ((4, 2, 10),), {}, "needs at least 3×3. Pad the images, or use mlp"),
    (minatar_encoder, ((10,),), {}, "minatar_encoder takes images"),
]


@pytest.mark.parametrize(("function", "arguments", "settings", "message"), BAD)
def test_bad_arguments_are_named(
    function: Callable[..., nn.Module], arguments: tuple[Any, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"must|needs|takes|norms") as raised:
        function(*arguments, **settings)
    assert message in str(raised.value)
