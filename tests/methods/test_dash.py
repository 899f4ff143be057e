"""DASH against its definition, element by element in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from hare_tortoise.methods import DASH, Chain, HareTortoise
from hare_tortoise.methods import dash as module
from hare_tortoise.methods.support.names import named_weights

Pairs = list[tuple[Tensor, Tensor]]


class Small(nn.Module):
    """A convolution, a norm with statistics, dropout, a linear layer without bias and one with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.middle = nn.Linear(12, 5, bias=False)
        self.head = nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.drop(torch.relu(self.norm(self.conv(inputs)))).flatten(1)
        outputs: Tensor = self.head(torch.relu(self.middle(hidden)))
        return outputs


def small(seed: int = 0) -> Small:
    """Return a network whose statistics are not those of its start."""
    torch.manual_seed(seed)
    model = Small().double()
    model(torch.randn(16, 2, 4, 4, dtype=torch.float64))
    return model


def data(count: int = 3) -> Pairs:
    torch.manual_seed(100)
    return [(torch.randn(6, 2, 4, 4, dtype=torch.float64), torch.randint(4, (6,))) for _ in range(count)]


def expected(model: nn.Module, pairs: Pairs, alpha: float, lambda_: float) -> dict[str, np.ndarray[Any, Any]]:
    """The weights after DASH, by loops over rows and kernels."""
    network = copy.deepcopy(model).eval()
    parameters = dict(network.named_parameters())
    average = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    for inputs, targets in pairs:
        gradients = torch.autograd.grad(cross_entropy(network(inputs), targets), list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            average[name] = (1 - alpha) * average[name] + alpha * -gradient.numpy()
    result = {name: p.detach().numpy().copy() for name, p in parameters.items()}

    def shrink(w: np.ndarray[Any, Any], g: np.ndarray[Any, Any]) -> None:
        norms = np.linalg.norm(w) * np.linalg.norm(g)
        cosine = float(w.ravel() @ g.ravel()) / norms if norms > 0 else 0.0
        w *= min(max(cosine, lambda_), 1.0)

    for name in ("middle.weight", "head.weight"):
        for row, direction in zip(result[name], average[name], strict=True):
            shrink(row, direction)
    for out in range(3):
        for into in range(2):
            shrink(result["conv.weight"][out, into], average["conv.weight"][out, into])
    for name in ("conv.bias", "head.bias"):
        shrink(result[name], average[name])
    return result


def _values(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.tolist()


def check_equation(kind: type[DASH] = DASH) -> None:
    """Weights by the equation, some factors between the limits; buffers, gradients, modes as before."""
    model, pairs = small(), data()
    model.norm.eval()
    cross_entropy(model(pairs[0][0]), pairs[0][1]).backward()  # type: ignore[no-untyped-call]
    gradients = {name: (p.grad, _values(p.grad)) for name, p in model.named_parameters()}
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wanted = expected(model, pairs, 0.4, 0.05)
    kind(model, alpha=0.4, lambda_=0.05).new_data(pairs, loss=cross_entropy)
    for name, theta in model.named_parameters():
        np.testing.assert_allclose(theta.detach().numpy(), wanted[name], rtol=1e-10, atol=1e-15, err_msg=name)
    factors = (model.head.weight / before["head.weight"])[:, 0]
    assert ((factors > 0.06) & (factors < 0.99)).any()
    for name, p in model.named_parameters():
        assert p.grad is gradients[name][0], name
        assert _values(p.grad) == gradients[name][1], name
    for name, tensor in model.named_buffers():
        assert torch.equal(tensor, buffers[name]), name
    assert (model.training, model.drop.training, model.norm.training) == (True, True, False)


class IntoACopy(DASH):
    """Multiplies an indexed copy."""

    def new_data(self, batches: Any = None, **settings: Any) -> None:
        factors = self._factors(self._directions(batches, settings["loss"]))
        for name, s in factors.items():
            theta = named_weights(self.model)[name].data
            theta[torch.arange(len(theta))].mul_(s)


class Uphill(DASH):
    """Compares with the gradient where it should with its negative."""

    def _factors(self, directions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super()._factors({name: -g for name, g in directions.items()})


class WholeFilters(DASH):
    """Takes all kernels of an output channel together."""

    def _factors(self, directions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        factors = super()._factors(directions)
        w, g = named_weights(self.model)["conv.weight"], directions["conv.weight"]
        cosine = torch.cosine_similarity(w.detach().flatten(1), g.flatten(1)).clamp(self.lambda_, 1)
        return factors | {"conv.weight": cosine.reshape(-1, 1, 1, 1)}


class NoBiases(DASH):
    """Leaves biases alone."""

    def _factors(self, directions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: s for n, s in super()._factors(directions).items() if not n.endswith("bias")}


class LastBatch(DASH):
    """Does not average."""

    def _directions(self, batches: Any, loss: Any) -> dict[str, Tensor]:
        return super()._directions([list(batches)[-1]], loss)


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", [IntoACopy, Uphill, WholeFilters, NoBiases, LastBatch])
def test_faults_are_seen(kind: type[DASH]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def test_fault_a_pass_that_leaves_traces_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(module, "untouched", lambda network: nullcontext())
    with pytest.raises(AssertionError):
        check_equation()


def test_global_random_states_are_left_alone() -> None:
    model = small()
    inputs, targets = data(1)[0]
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=2, shuffle=True)
    torch.manual_seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    with torch.no_grad():
        DASH(model).new_data(loader, loss=cross_entropy)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]


def check_tortoise(kind: type[DASH] = DASH) -> None:
    """The tortoise gets the factors of the hare, and the next reset of the hare does not undo them."""
    model, pairs = small(), data()
    pair = HareTortoise(model, decay=0.5)
    chain = Chain(pair, kind(model, lambda_=0.05))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    pair.after_step()
    hare, mean = ({n: p.detach().clone() for n, p in m.named_parameters()} for m in (model, pair.tortoise))
    chain.new_data(pairs, loss=cross_entropy)
    for name, theta in pair.tortoise.named_parameters():
        factors = dict(model.named_parameters())[name] / hare[name]
        torch.testing.assert_close(theta, mean[name] * factors, rtol=1e-9, atol=1e-12, msg=name)
    shrunk = {n: p.detach().clone() for n, p in pair.tortoise.named_parameters()}
    assert shrunk["head.weight"].norm() < 0.9 * mean["head.weight"].norm()
    pair.reset()
    assert all(torch.equal(p, shrunk[n]) for n, p in model.named_parameters())


class TellsNobody(DASH):
    """Leaves the average alone."""

    def changed(self, change: Any) -> None:
        """Do nothing."""


def test_tortoise() -> None:
    check_tortoise()


def test_fault_the_average_pulls_back_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_tortoise(TellsNobody)


def test_frozen_weights_stay_and_a_unit_without_gradient_shrinks_most() -> None:
    model = small()
    model.conv.requires_grad_(False)
    with torch.no_grad():
        # A unit that no one reads.
        model.head.weight[:, 0] = 0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    DASH(model, lambda_=0.1).new_data(data(), loss=cross_entropy)
    assert torch.equal(model.conv.weight, before["conv.weight"])
    torch.testing.assert_close(model.middle.weight[0], 0.1 * before["middle.weight"][0])
    assert model.head.weight.requires_grad
    assert not model.conv.weight.requires_grad


def test_tiny_gradients_have_a_direction_too() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    before = model.weight.detach().clone()
    pairs = [(before.clone(), model(before).detach() + 1e-12)]
    DASH(model, alpha=1.0).new_data(pairs, loss=lambda a, b: 1e-3 * mse_loss(a, b))
    torch.testing.assert_close(model.weight.detach(), before)


def test_optimizers_that_are_hooked_to_the_backward_are_not_called() -> None:
    model = small()
    called: list[Tensor] = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(called.append)  # type: ignore[no-untyped-call]
    DASH(model).new_data(data(), loss=cross_entropy)
    assert not called


def test_half_precision_is_averaged_in_float32() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3).bfloat16()
    pairs = [(torch.randn(5, 4).bfloat16(), torch.randn(5, 3).bfloat16()) for _ in range(4)]
    directions = DASH(model)._directions(pairs, mse_loss)
    assert directions["weight"].dtype is torch.float32
    DASH(model).new_data(pairs, loss=mse_loss)
    assert model.weight.dtype is torch.bfloat16


def test_directions_are_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs, others = small(), data(), data(6)[3:]
    own, other = (DASH(model)._directions(p, cross_entropy) for p in (pairs, others))
    queue = [other[name] for name in own]
    monkeypatch.setattr(module, "process_groups", lambda _: ["group"])
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, group: tensor.add_(queue.pop(0)))
    monkeypatch.setattr(dist, "get_world_size", lambda group: 2)
    for name, direction in DASH(model)._directions(pairs, cross_entropy).items():
        torch.testing.assert_close(direction, (own[name] + other[name]) / 2)


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        (list, ValueError, "batches is empty"),
        (lambda: [(x * float("inf"), y) for x, y in data(1)], RuntimeError, "is not finite in .*nothing was"),
    ],
)
def test_bad_data(pairs: Callable[[], Pairs], kind: type[Exception], message: str) -> None:
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(kind, match=message):
        DASH(model).new_data(pairs(), loss=cross_entropy)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_without_such_layers() -> None:
    with pytest.raises(ValueError, match=r"model \(LayerNorm\) has no linear or convolutional layer"):
        DASH(nn.LayerNorm(2))


def test_a_model_without_anything_to_shrink_is_refused() -> None:
    model = small().requires_grad_(False)
    model.norm.requires_grad_(True)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"no weight of a linear or convolutional layer .* requires a gradient"
    ):
        DASH(model).new_data(data(), loss=cross_entropy)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
