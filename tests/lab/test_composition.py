"""Transforms, optimizers and methods stand in one composition, and each does its part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.lab.building import build
from hare_tortoise.lab.composition import OPTIMIZERS, needs_closure, part_of, take_apart, transformed
from hare_tortoise.lab.plan import method_at
from hare_tortoise.lab.registry import METHODS
from hare_tortoise.lab.run import run_recipes
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.methods import Chain, HareTortoise, WarmStart
from hare_tortoise.networks import TRANSFORMS
from hare_tortoise.optimizers import UPGD
from tests.lab.small import small


def squared(network: nn.Module) -> nn.Module:
    """A transform of the user's own: another activation."""
    assert isinstance(network, nn.Module)

    class Squared(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.relu().square()

    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, Squared())
    return network


def nothing(network: nn.Module) -> None:
    """No transform: it gives no network."""


class Own(torch.optim.SGD):
    """An optimizer of the user's own."""


def test_the_parts_are_told_apart_in_any_order() -> None:
    parts = take_apart("hare-tortoise(decay=0.9)+layer-norm+upgd(lr=0.1)+l2-init+crelu")
    assert [call.name for call in parts.transforms] == ["layer-norm", "crelu"]
    assert [call.name for call in parts.methods] == ["hare-tortoise", "l2-init"]
    assert str(parts.optimizer) == "upgd(lr=0.1)"


def test_without_a_method_training_goes_on() -> None:
    assert [str(call) for call in take_apart("crelu").methods] == ["warm-start"]
    setup = build(Trial(small(), "sgd+crelu", 1.0, 0))
    assert type(setup.method) is WarmStart


def test_no_name_is_in_two_tables() -> None:
    names = [*METHODS, *TRANSFORMS, *OPTIMIZERS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ema+no-such", "unknown method 'no-such'"),
        ("laier-norm", "did you mean 'layer-norm'"),
        ("adam+upgd", "names 2 optimizers, expected one at most"),
        (
            "tests.lab.test_composition:Path",
            "expected a subclass of hare_tortoise.Method or of torch.optim.Opt",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        take_apart(text)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("crelu(widht=double)", "unknown setting of transform crelu 'widht'"),
        ("upgd(beta=3)", "unknown setting of optimizer upgd 'beta'"),
        ("tests.lab.test_composition:nothing", "got a NoneType, expected a function from network to network"),
        ("weight-clipping(zeta=-1)", "zeta"),
        ("fire(layers=nowhere)", "nowhere"),
        ("dash+crelu(3)", "write each setting with its name"),
    ],
)
def test_it_is_found_before_anything_runs(method: str, message: str, tmp_path: Path) -> None:
    recipe = small(methods=("warm-start", method))
    with pytest.raises(ValueError, match=message):
        run_recipes([recipe], out=tmp_path, workers=0, quiet=True)
    assert not (tmp_path / "runs").exists()


def test_the_network_is_transformed_and_fresh_networks_too() -> None:
    setup = build(Trial(small(), "layer-norm+shrink-perturb", 1.0, 0))
    plain = build(Trial(small(), "shrink-perturb", 1.0, 0))
    kinds = [sum(isinstance(m, nn.LayerNorm) for m in each.model.modules()) for each in (setup, plain)]
    assert kinds == [1, 0]
    before = {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}
    setup.method.new_data()
    assert any(not torch.equal(before[name], tensor) for name, tensor in setup.model.state_dict().items())


def test_the_users_own_transform_and_optimizer() -> None:
    setup = build(Trial(small(), "tests.lab.test_composition:squared+tests.lab.test_composition:Own", 1.0, 0))
    assert not any(isinstance(module, nn.ReLU) for module in setup.model.modules())
    assert type(setup.optimizer()) is Own
    assert len(Training(setup).finish()) == 2


def test_the_optimizer_of_a_composition_takes_the_recipes_place() -> None:
    setup = build(Trial(small(lr=0.01, weight_decay=0.3), "upgd+hare-tortoise(decay=0.9)", 1.0, 0))
    optimizer = setup.optimizer()
    assert isinstance(optimizer, UPGD)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert isinstance(setup.method, HareTortoise)


STEP = torch.optim.SGD.step


def noting(seen: list[float]) -> Callable[..., object]:
    """A step that notes its learning rate."""

    def step(self: torch.optim.SGD, *args: Any) -> object:
        seen.append(self.param_groups[0]["lr"])
        return STEP(self, *args)

    return step


def test_an_optimizer_keeps_a_learning_rate_of_its_own_under_the_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = []
    for method in ("sgd", "sgd(lr=0.02)"):
        training = Training(build(Trial(small(lr=0.01, warmup=0.5), method, 1.0, 0)))
        seen: list[float] = []
        monkeypatch.setattr(torch.optim.SGD, "step", noting(seen))
        training.finish()
        rates.append(seen)
    assert rates[1] == pytest.approx([2 * rate for rate in rates[0]])
    assert max(rates[1]) == pytest.approx(0.02)
    assert min(rates[1]) == 0


def test_a_closure_is_given_to_those_that_need_it_and_losses_are_counted_once() -> None:
    assert needs_closure(parse("sam"))
    assert not needs_closure(parse("adamw"))
    method = "sam(rho=0.0)+hare-tortoise(decay=0.9, reset_every=5)"
    perturbed, plain = (
        Training(build(Trial(small(network="mlp(hidden=(16,))"), each, 1.0, 0))).finish()
        for each in (method, "hare-tortoise(decay=0.9, reset_every=5)")
    )
    for one, other in zip(perturbed, plain, strict=True):
        # at radius 0 it is its base; the fused kernel of the plain one rounds otherwise
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["samples"] == other["samples"]


def test_a_sharper_step_differs() -> None:
    losses = [
        Training(build(Trial(small(), method, 1.0, 0))).finish()[-1]["train_loss"]
        for method in ("sam(rho=0.0)", "sam(rho=0.5)")
    ]
    assert losses[0] != losses[1]


def test_a_budget_scales_the_methods_only() -> None:
    assert method_at("crelu+upgd(lr=0.1)+ema(decay=0.99)", 0.5) == "crelu+upgd(lr=0.1)+ema(decay=0.98)"


def test_members_keep_their_order() -> None:
    setup = build(Trial(small(), "l2-init+layer-norm+hare-tortoise", 1.0, 0))
    assert isinstance(setup.method, Chain)
    assert [type(member).__name__ for member in setup.method.members] == ["L2Init", "HareTortoise"]


def test_parts() -> None:
    assert part_of(parse("adam"))[0] == "optimizer"
    assert part_of(parse("aid"))[0] == "transform"
    assert part_of(parse("ema"))[0] == "method"
    with pytest.raises(ValueError, match="transform tests"):
        transformed(nn.Linear(1, 1), (parse("tests.lab.test_composition:nothing(x=1)"),))
