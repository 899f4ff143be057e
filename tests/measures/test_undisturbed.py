"""A network comes out of `undisturbed` as it went in, whatever was done inside; what has no one answer is refused."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.measures import check_deterministic, refuse_train_mode, undisturbed


class Restless(nn.Module):
    """A layer that has every kind of state, and changes all of it in a forward."""

    count: Tensor
    moved: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("moved", torch.zeros(3))
        self.register_buffer("nothing", None)
        self.calls = 0
        self.kept = torch.zeros(2)
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, inputs: Tensor) -> Tensor:
        self.count.add_(1)
        self.moved = self.moved + 1
        self.nothing = torch.ones(1)
        self.calls += 1
        self.kept.add_(1)
        self.last = inputs
        noise = torch.rand(3, generator=self.generator)
        return torch.as_tensor(self.inner(inputs)) + 0 * noise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(Restless(), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
    model[3].eval()
    model.get_parameter("0.inner.bias").requires_grad_(False)
    model(torch.randn(8, 3)).square().mean().backward()
    return model


def everything(model: nn.Module) -> dict[str, Any]:
    """All that training depends on, by identity and by value."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        for place in (module._parameters, module._buffers):
            for key, tensor in place.items():
                state[f"{name}.{key}"] = (
                    None if tensor is None else (id(tensor), tensor._version, tensor.tolist())
                )
                if isinstance(tensor, nn.Parameter):
                    gradient = tensor.grad
                    state[f"{name}.{key}.grad"] = (
                        None if gradient is None else (id(gradient), gradient.tolist())
                    )
                    state[f"{name}.{key}.requires_grad"] = tensor.requires_grad
        state[f"{name} attributes"] = {
            key: id(value) for key, value in vars(module).items() if key != "training"
        }
        state[f"{name} mode"] = module.training
        if isinstance(module, Restless):
            state[f"{name} inside"] = (module.kept.tolist(), module.generator.get_state().tolist())
    state["random"] = (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state()))
    return state


def disturb(model: nn.Module) -> None:
    """Do inside what a measure might do, and more."""
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
    model(torch.randn(4, 3)).sum().backward()
    model.train()
    model(torch.randn(4, 3)).sum().backward()
    model.zero_grad()
    model.requires_grad_(False)
    model.found_inside = 1  # type: ignore[assignment]
    random.random()
    np.random.rand()


def test_nothing_is_left_behind() -> None:
    model = network()
    before = everything(model)
    with undisturbed(model) as found:
        assert found is model
        disturb(found)
    assert everything(model) == before


def test_nothing_is_left_behind_by_an_error_or_twice() -> None:
    model = network()
    before = everything(model)
    with suppress(ZeroDivisionError), undisturbed(nn.DataParallel(model)) as found, undisturbed(found):
        disturb(found)
        raise ZeroDivisionError
    assert everything(model) == before


def test_inside_no_grad_and_autocast() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad(), undisturbed(model) as found:
        assert found(torch.ones(1, 2)).requires_grad
    with torch.inference_mode(), undisturbed(model) as found:
        assert found(torch.ones(1, 2)).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        with undisturbed(model) as found, torch.no_grad():
            assert found(torch.ones(1, 2)).dtype == torch.float32
        # A weight that was cast without gradients would be kept, and would get none in training.
        outputs = model(torch.ones(1, 2))
        assert outputs.dtype == torch.bfloat16
        outputs.sum().backward()
    assert model.weight.grad is not None


def test_draws_inside_are_the_same_each_time() -> None:
    model, draws = nn.Linear(2, 2), []
    for seed in (0, 0, 1):
        torch.rand(5)
        with undisturbed(model, seed=seed):
            draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1] != draws[2]


def test_between_forward_and_backward() -> None:
    """What a backward waits for may be read, and restored, but has not changed for it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    twin = copy.deepcopy(model)
    inputs = torch.randn(6, 3)
    for each in (model, twin):
        loss = each(inputs).square().sum()
        if each is model:
            with undisturbed(model) as found:
                found.train()
                found(inputs)
        loss.backward()
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        assert expected.grad is not None
        assert torch.equal(parameter.grad, expected.grad)


def test_a_change_of_values_is_still_seen_by_a_backward() -> None:
    """The count of changes is put back for what is restored, and for nothing else."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    loss = model(torch.randn(2, 3)).sum()
    with undisturbed(model), torch.no_grad():
        model.get_parameter("1.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Merging(nn.Linear):
    """Rewrites its weight when it goes to eval mode, and not quite back."""

    def train(self, mode: bool = True) -> Merging:
        with torch.no_grad():
            self.weight.mul_(1 / 3 if mode else 3)
        return super().train(mode)


def test_modes_are_set_without_what_eval_may_do() -> None:
    model = Merging(3, 2)
    before = model.weight.tolist()
    with undisturbed(model) as found:
        assert not found.training
    assert model.weight.tolist() == before


def test_what_is_compiled_runs_eagerly_and_stays_compiled() -> None:
    runs: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
        runs.append("compiled")

        def call(*arguments: Any) -> Any:
            runs.append("run")
            return graph(*arguments)

        return call

    part: Any = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), backend=backend)
    model, inputs = nn.Sequential(part, nn.Dropout()), torch.ones(2, 3)
    model(inputs)
    assert runs == ["compiled", "run"]
    with undisturbed(model) as found:
        found(inputs)
    assert runs == ["compiled", "run"]
    model(inputs)
    assert runs == ["compiled", "run", "run"]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_a_scripted_network() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    with undisturbed(model) as found:
        assert not found.training
        assert torch.equal(found(torch.ones(2, 3)), found(torch.ones(2, 3)))
    assert all(module.training for module in model.modules())


def test_what_has_no_values_is_refused() -> None:
    with pytest.raises(ValueError, match="weight has no values yet"), undisturbed(nn.LazyLinear(3)):
        pass
    with (
        pytest.raises(ValueError, match="weight has no values yet"),
        undisturbed(nn.Linear(3, 2, device="meta")),
    ):
        pass


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.1),
        nn.Dropout2d(0.1),
        nn.AlphaDropout(0.1),
        nn.RReLU(),
        nn.BatchNorm1d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.InstanceNorm1d(3, track_running_stats=True),
        nn.MultiheadAttention(4, 2, dropout=0.1),
        nn.LSTM(3, 3, num_layers=2, dropout=0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_act_in_train_mode(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(
        ValueError, match=rf"1 \({type(layer).__name__}\) is in train mode.*call model\.eval\(\)"
    ):
        refuse_train_mode(model)
    refuse_train_mode(model.eval())


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(0.0), nn.InstanceNorm1d(3), nn.LayerNorm(3), nn.MultiheadAttention(4, 2), nn.LSTM(3, 3)],
)
def test_layers_that_do_not(layer: nn.Module) -> None:
    refuse_train_mode(layer)


class Noisy(nn.Module):
    """Draws in eval mode too."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.draw = draw

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.layer(inputs)) + self.draw()


@pytest.mark.parametrize(
    "draw",
    [lambda: float(torch.rand(())), random.random, lambda: float(np.random.rand())],
    ids=["torch", "python", "numpy"],
)
def test_answers_that_differ_are_refused(draw: Callable[[], float]) -> None:
    with pytest.raises(
        ValueError, match=r"two forwards of the same inputs through the model \(Noisy\) differ"
    ):
        check_deterministic(Noisy(draw).eval(), torch.ones(2, 3))


def test_answers_of_any_kind_are_compared() -> None:
    class Answers(Noisy):
        def forward(self, inputs: Tensor) -> Any:
            return {"loss": None, "logits": [inputs / 0 * 0, super().forward(inputs)]}

    check_deterministic(Answers(lambda: 0.0), torch.ones(2, 3))
    with pytest.raises(ValueError, match="differ"):
        check_deterministic(Answers(random.random), torch.ones(2, 3))


def test_checking_leaves_no_trace() -> None:
    model = network().eval()
    before = everything(model)
    check_deterministic(model, torch.ones(2, 3))
    assert everything(model) == before
