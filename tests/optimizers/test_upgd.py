"""UPGD and AdaUPGD against the formulas in float64, one weight at a time."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hare_tortoise import HareTortoise
from hare_tortoise.lab.state import join, split
from hare_tortoise.optimizers import UPGD, AdaUPGD
from hare_tortoise.optimizers import perturbed as module

SHAPES = ((3, 4), (4,), (2, 3, 2))
CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("kind", [UPGD, AdaUPGD])
Kind = type[UPGD] | type[AdaUPGD]
SETTINGS: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "beta_utility": 0.7, "sigma": 0.3}


def weights(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(7)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in SHAPES]


def gradients(step: int) -> list[Tensor | None]:
    """The last tensor has none in the first two steps: its count is another than the others'."""
    generator = torch.Generator().manual_seed(100 + step)
    drawn = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
    return [*drawn[:2], drawn[2] if step > 2 else None]


def oracle(
    ada: bool, steps: int, *, lr: float, weight_decay: float, beta_utility: float, sigma: float
) -> Tensor:
    """The weights after some steps, in plain numbers."""
    theta = torch.cat([w.detach().flatten() for w in weights()]).tolist()
    n = len(theta)
    trace, first, second, count = [0.0] * n, [0.0] * n, [0.0] * n, [0] * n
    generator = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        g = torch.cat([x.flatten() for x in gradients(step) if x is not None]).tolist()
        xi = torch.randn(len(g), generator=generator, dtype=torch.float64).tolist()
        utility = []
        for i, a in enumerate(g):
            count[i] += 1
            trace[i] = beta_utility * trace[i] - (1 - beta_utility) * a * theta[i]
            first[i] = 0.9 * first[i] + 0.1 * a
            second[i] = 0.999 * second[i] + 0.001 * a * a
            utility.append(trace[i] / (1 - beta_utility ** count[i]))
        for i, a in enumerate(g):
            s = 1 / (1 + math.exp(-utility[i] / max(utility)))
            root = math.sqrt(second[i] / (1 - 0.999 ** count[i])) + 1e-5
            direction = first[i] / (1 - 0.9 ** count[i]) / root if ada else a
            moved = (2 if ada else 1) * lr * (direction + sigma * xi[i]) * (1 - s)
            theta[i] = theta[i] * (1 - lr * weight_decay) - moved
    return torch.tensor(theta, dtype=torch.float64)


def run(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], first: int, steps: int) -> None:
    for t in range(first, first + steps):
        for parameter, gradient in zip(parameters, gradients(t), strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        optimizer.step()


def agrees(kind: Kind) -> bool:
    """Whether five steps of an optimizer are those of the oracle."""
    parameters = weights()
    run(kind(parameters, **SETTINGS), parameters, 1, 5)
    expected = oracle(issubclass(kind, AdaUPGD), 5, **SETTINGS)
    return torch.allclose(
        torch.cat([p.detach().flatten() for p in parameters]), expected, rtol=1e-12, atol=1e-12
    )


@BOTH
def test_five_steps_are_those_of_the_formula(kind: Kind) -> None:
    assert agrees(kind)


class LocalMaximum(UPGD):
    """The fault: each tensor has a maximum of its own."""

    def _move(self, group: Any, active: Any, utility: list[Tensor], scale: Tensor) -> None:
        for tensor in utility:
            tensor.mul_(scale / tensor.max())
        super()._move(group, active, utility, scale)


class UncorrectedMaximum(UPGD):
    """The fault (of the paper's repository): the maximum is that of traces that are not corrected."""

    def _move(self, group: Any, active: Any, utility: list[Tensor], scale: Tensor) -> None:
        count = self.state[active[0]]["step"]
        super()._move(group, active, utility, scale * (1 - group["beta_utility"] ** count))


class NoCorrection(UPGD):
    """The fault: the traces are not corrected for their start at zero."""

    def _utilities(self, group: Any, active: Any) -> list[Tensor]:
        super()._utilities(group, active)
        return [self.state[parameter]["utility"].clone() for parameter in active]


class OtherSign(UPGD):
    """The fault: utility is +g · θ."""

    def _utilities(self, group: Any, active: Any) -> list[Tensor]:
        return [-tensor for tensor in super()._utilities(group, active)]


class UngatedNoise(UPGD):
    """The fault: the noise is not held back where a weight is of use."""

    def _move(self, group: Any, active: Any, utility: Any, scale: Tensor) -> None:
        sigma = group["sigma"]
        xi = self._noise(active)
        super()._move({**group, "sigma": 0}, active, utility, scale)
        torch._foreach_add_(active, xi, alpha=-group["lr"] * sigma)


class NoFactor(AdaUPGD):
    """The fault: the step is not doubled."""

    factor = 1.0


class DoubledDecay(AdaUPGD):
    """The fault: the weight decay is doubled with the step."""

    def _move(self, group: Any, active: Any, utility: Any, scale: Tensor) -> None:
        super()._move({**group, "weight_decay": 2 * group["weight_decay"]}, active, utility, scale)


@pytest.mark.parametrize(
    "faulty",
    [LocalMaximum, UncorrectedMaximum, NoCorrection, OtherSign, UngatedNoise, NoFactor, DoubledDecay],
)
def test_a_faulty_one_is_seen(faulty: Kind) -> None:
    assert not agrees(faulty)


def test_one_weight_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64))
    optimizer = UPGD([weight], lr=0.1, sigma=0.0, weight_decay=0.5)
    weight.grad = torch.tensor([-1.0, -1.0, 3.0], dtype=torch.float64)  # the utilities are 2, −1 and 0
    optimizer.step()
    kept = [1 / (1 + math.exp(x)) for x in (1.0, -0.5, 0.0)]
    expected = [2 * 0.95 + 0.1 * kept[0], -0.95 + 0.1 * kept[1], -0.3 * kept[2]]
    torch.testing.assert_close(weight.detach(), torch.tensor(expected, dtype=torch.float64))


@BOTH
def test_noise_is_normal_and_smaller_where_a_weight_is_of_use(kind: Kind) -> None:
    weight = nn.Parameter(torch.cat([torch.ones(20_000), -torch.ones(20_000)]))
    optimizer = kind([weight], lr=1.0, sigma=0.5, weight_decay=0.0)
    before = weight.detach().clone()
    weight.grad = torch.full((40_000,), -1e-12)  # as good as no gradient; the utilities are c and −c
    optimizer.step()
    moved = (weight.detach() - before).reshape(2, 20_000)
    for part, kept in zip(moved, (1 / (1 + math.e), 1 / (1 + 1 / math.e)), strict=True):
        assert abs(part.mean().item()) < 0.02
        assert abs(part.std().item() / (kind.factor * 0.5 * kept) - 1) < 0.02


@pytest.mark.parametrize("gradient", [0.0, 1.0])
def test_no_useful_weight_at_all_is_no_division_by_zero(gradient: float) -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = UPGD([weight], lr=0.1, sigma=0.0)
    weight.grad = torch.full((2,), gradient, dtype=torch.float64)
    optimizer.step()
    # the utilities −1 and −2 over the size of the greatest: −1 and −2, in the order of their use
    kept = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))]
    expected = [1 - 0.1 * gradient * kept[0], 2 - 0.1 * gradient * kept[1]]
    torch.testing.assert_close(weight.detach(), torch.tensor(expected, dtype=torch.float64))


def test_the_maximum_is_over_all_groups_and_settings_are_those_of_the_group() -> None:
    first, second = (nn.Parameter(torch.tensor([1.0], dtype=torch.float64)) for _ in range(2))
    optimizer = UPGD([{"params": [first]}, {"params": [second], "lr": 1.0}], lr=0.1, sigma=0.0)
    first.grad, second.grad = (torch.tensor([g], dtype=torch.float64) for g in (-1.0, -4.0))
    optimizer.step()
    assert first.item() == pytest.approx(1 + 0.1 / (1 + math.exp(0.25)))
    assert second.item() == pytest.approx(1 + 4 / (1 + math.exp(1)))


@BOTH
def test_parameters_without_a_gradient_stay(kind: Kind) -> None:
    parameters = weights()
    optimizer = kind(parameters, **SETTINGS)
    optimizer.step()
    parameters[0].grad = torch.ones_like(parameters[0])
    optimizer.step()
    for now, before in zip(parameters[1:], weights()[1:], strict=True):
        assert torch.equal(now, before)
    assert not torch.equal(parameters[0], weights()[0])
    assert list(optimizer.state) == parameters[:1]


@BOTH
def test_saved_and_loaded_it_goes_on_bit_for_bit(kind: Kind) -> None:
    parameters = weights(torch.float32)
    optimizer = kind(parameters, **SETTINGS, seed=3)
    run(optimizer, parameters, 1, 3)
    tensors, rest = split(optimizer.state_dict())
    saved = torch.load(_file(optimizer.state_dict()), weights_only=True)
    copies = [nn.Parameter(p.detach().clone()) for p in parameters]
    pickled = copy.deepcopy(optimizer)
    run(optimizer, parameters, 4, 3)
    for state in (join(tensors, rest), saved):
        again = [nn.Parameter(p.detach().clone()) for p in copies]
        other = kind(again, lr=9.0)
        other.load_state_dict(state)
        assert other.param_groups[0]["lr"] == SETTINGS["lr"]
        run(other, again, 4, 3)
        assert all(torch.equal(a, b) for a, b in zip(again, parameters, strict=True))
    of_copy = [p for group in pickled.param_groups for p in group["params"]]
    run(pickled, of_copy, 4, 3)
    assert all(torch.equal(a, b) for a, b in zip(of_copy, parameters, strict=True))


def _file(state: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@BOTH
def test_the_seed_fixes_the_noise_and_global_random_states_stay(kind: Kind) -> None:
    before = torch.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        parameters = weights()
        run(kind(parameters, **SETTINGS, seed=seed), parameters, 1, 2)
        found.append(parameters[0].detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(before, torch.get_rng_state())


@BOTH
@pytest.mark.parametrize(
    "lr", [torch.tensor(0.05, dtype=torch.float64), torch.tensor([0.05], dtype=torch.float64)]
)
@pytest.mark.parametrize("on_device", [False, True])
def test_the_step_size_may_be_a_tensor(
    kind: Kind, lr: Tensor, on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch's own optimizers take it; on an accelerator, where it is not read, the products are the same."""
    parameters, plain = weights(), weights()
    optimizer = kind(parameters, **(SETTINGS | {"lr": lr.clone()}))
    if on_device:
        meta = torch.device("meta")
        monkeypatch.setattr(
            Tensor, "device", property(lambda self: meta if self is optimizer.param_groups[0]["lr"] else CPU)
        )
    run(optimizer, parameters, 1, 3)
    monkeypatch.undo()
    run(kind(plain, **SETTINGS), plain, 1, 3)
    for a, b in zip(parameters, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@BOTH
def test_the_saved_seed_is_that_of_devices_that_come_later(kind: Kind) -> None:
    """Nothing was drawn yet, so that the state has a seed and no generator."""
    parameters, again = weights(), weights()
    optimizer, other = kind(parameters, **SETTINGS, seed=3), kind(again, **SETTINGS, seed=8)
    other.load_state_dict(optimizer.state_dict())
    run(optimizer, parameters, 1, 1)
    run(other, again, 1, 1)
    assert all(torch.equal(a, b) for a, b in zip(again, parameters, strict=True))


@BOTH
def test_a_closure_is_called_once_with_gradients(kind: Kind) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = kind([weight], lr=0.1)
    calls = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        torch.autograd.backward(loss)
        calls.append(loss)
        return loss

    assert optimizer.step(closure) is calls[0]
    assert len(calls) == 1
    assert not torch.equal(weight, torch.ones(2))


@BOTH
def test_a_step_reads_nothing_from_the_device(kind: Kind) -> None:
    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert "_local_scalar_dense" not in str(func)
            assert "nonzero" not in str(func)
            return func(*args, **(kwargs or {}))

    parameters = weights()
    optimizer = kind(parameters, **SETTINGS)
    run(optimizer, parameters, 1, 1)
    with Watch():  # type: ignore[no-untyped-call]
        run(optimizer, parameters, 2, 2)
    with pytest.raises(AssertionError), Watch():  # type: ignore[no-untyped-call]
        parameters[0].sum().item()


@BOTH
def test_hare_and_tortoise_follow_it(kind: Kind) -> None:
    model = nn.Linear(3, 2).double()
    optimizer = kind(model.parameters(), lr=0.05, sigma=0.1)
    pair = HareTortoise(model, optimizer, decay=0.5, reset_every=3)
    average = model.weight.detach().clone()
    for step in range(1, 6):
        optimizer.zero_grad()
        torch.autograd.backward(model(torch.ones(4, 3, dtype=torch.float64)).square().mean())
        optimizer.step()
        hare = model.weight.detach()  # at step 3 the hare is the tortoise
        average = 0.5 * average + 0.5 * hare if step != 3 else hare.clone()
        torch.testing.assert_close(pair.tortoise.get_parameter("weight").detach(), average)


@BOTH
def test_float32_and_a_mix_of_dtypes_follow_float64(kind: Kind) -> None:
    mixed = [p if i else nn.Parameter(p.detach().float()) for i, p in enumerate(weights())]
    exact = weights()
    for parameters in (mixed, exact):
        run(kind(parameters, lr=0.05, sigma=0.0), parameters, 1, 4)
    for a, b in zip(mixed, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"lr": -1.0}, "lr is -1.0"),
    ({"lr": math.nan}, "lr is nan"),
    ({"lr": torch.tensor(-1.0)}, "lr is -1.0"),
    ({"lr": torch.ones(2)}, "lr is tensor"),
    ({"sigma": torch.tensor(0.1)}, "sigma is tensor"),
    ({"weight_decay": math.inf}, "weight_decay is inf"),
    ({"beta_utility": 1.0}, "beta_utility is 1.0"),
    ({"sigma": "0.1"}, "sigma is '0.1'"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": True}, "seed is True"),
]


@BOTH
@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_named(kind: Kind, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        kind(weights(), **settings)
    assert message in str(raised.value)


def test_bad_settings_of_adams_direction_are_named() -> None:
    for settings in ({"betas": 0.9}, {"betas": (0.9, 1.0)}, {"eps": -1e-8}):
        with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*expected"):
            AdaUPGD(weights(), **settings)


@BOTH
def test_what_it_cannot_train_is_refused(kind: Kind) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.complex64):
        with pytest.raises(ValueError, match=r"got a parameter in torch\..*expected float32 or float64"):
            kind([nn.Parameter(torch.zeros(2, dtype=dtype))])
    optimizer = kind(weights())
    with pytest.raises(ValueError, match="sigma is -1"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "sigma": -1})
    assert len(optimizer.param_groups) == 1
    embedding = nn.Embedding(4, 2, sparse=True)
    sparse = kind(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="got a sparse gradient"):
        sparse.step()
    with pytest.raises(ValueError, match='expected "noise" among them'):
        optimizer.load_state_dict(torch.optim.SGD(weights(), lr=0.1).state_dict())


def test_the_largest_of_tensors_without_entries_is_not_asked_for() -> None:
    empty, weight = nn.Parameter(torch.zeros(0)), nn.Parameter(torch.ones(1))
    optimizer = UPGD([empty, weight], lr=0.1)
    empty.grad, weight.grad = torch.zeros(0), torch.ones(1)
    optimizer.step()
    assert weight.item() != 1.0
    assert module._with_gradient({"params": [empty, weight]}) == [weight]
