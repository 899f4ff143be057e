"""What a step costs: one foreach call for each kind of pair, no wait for the device, nothing allocated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hare_tortoise.methods import HareTortoise, power_law, warmup
from hare_tortoise.methods.support.pairs import Group
from tests.methods.pair_checks import network

WAITS = ("_local_scalar_dense", "is_nonzero", "item", "nonzero", "equal")


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations, and the tensors that they return and that are not among their arguments."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.allocated: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        self.operations[name] += 1
        given = {
            id(leaf) for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for leaf in torch.utils._pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and id(leaf) not in given:
                self.allocated.append(name)
        return result


def record(pair: HareTortoise, skipped: Tensor | None = None, count: int = 5) -> Recorder:
    pair.after_step(skipped)
    recorder = Recorder()
    with recorder:
        for _ in range(count):
            pair.after_step(skipped)
    return recorder


def test_one_foreach_call_for_averages_and_one_for_counters() -> None:
    recorder = record(HareTortoise(network(), decay=0.9, reset_every=100))
    assert recorder.operations == {"_foreach_lerp_.Scalar": 5, "_foreach_copy_": 5}
    assert not recorder.allocated


def test_a_schedule_costs_nothing_on_the_device() -> None:
    recorder = record(HareTortoise(nn.Linear(2, 2), decay=warmup(0.99)))
    assert recorder.operations == {"_foreach_lerp_.Scalar": 5}


def test_half_precision_takes_two_foreach_calls_and_no_copy() -> None:
    recorder = record(HareTortoise(nn.Linear(2, 2).bfloat16(), decay=0.9))
    assert recorder.operations == {"_foreach_mul_.Scalar": 5, "_foreach_add_.List": 5}
    assert not recorder.allocated


def test_the_count_is_read_once_when_a_reset_is_due() -> None:
    pair = HareTortoise(nn.Linear(2, 2), decay=0.9, reset_every=8)
    skipped = torch.zeros(())
    recorder = record(pair, skipped, count=6)
    assert not [name for name in recorder.operations if name.startswith(WAITS)]
    with Recorder() as at_reset:
        pair.after_step(skipped)
    waits = sum(count for name, count in at_reset.operations.items() if name.startswith(WAITS))
    assert waits == 1
    assert pair.steps == 8


@pytest.mark.parametrize("decay", [0.9, warmup(0.9), power_law()])
def test_nothing_is_copied_to_the_device_where_steps_may_be_skipped(decay: Any) -> None:
    recorder = record(HareTortoise(nn.Linear(2, 2), decay=decay, reset_every=None), torch.zeros(1))
    assert recorder.operations["_foreach_lerp_.List"] == 5
    waits = (*WAITS, "lift_fresh", "scalar_tensor", "_to_copy", "copy_")
    # The weight is converted from float64 to the dtype of the tortoise, on the device.
    assert [name for name in recorder.operations if name.startswith(waits)] == ["_to_copy"]
    assert set(recorder.allocated) <= {
        "rsub.Scalar",
        "ne.Scalar",
        "full_like",
        "masked_fill.Scalar",
        "_to_copy",
        "view",
        "add.Tensor",
        "sub.Tensor",
        "mul.Tensor",
        "div.Tensor",
        "clamp",
        "pow.Tensor_Scalar",
        "reciprocal",
        "detach",
    }


def test_the_lists_are_built_once() -> None:
    pair = HareTortoise(network(), decay=0.9, reset_every=3)
    before = pair._average.pairs
    for _ in range(7):
        pair.after_step()
    pair.state_dict()
    assert pair._average.pairs is before


@pytest.mark.parametrize(
    "fault",
    [
        lambda group, decay, weight: [
            t.lerp_(h, weight) for t, h in zip(group.tortoise, group.hare, strict=True)
        ],
        lambda group, decay, weight: torch._foreach_add_(
            group.tortoise, torch._foreach_sub(group.hare, group.tortoise), alpha=weight
        ),
        lambda group, decay, weight: torch._foreach_lerp_(
            group.tortoise, group.hare, float(torch.tensor(weight).item())
        ),
    ],
    ids=["a loop", "a staging copy", "a wait"],
)
def test_a_costlier_step_is_found(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    monkeypatch.setattr(Group, "average", fault)
    with pytest.raises(AssertionError):
        test_one_foreach_call_for_averages_and_one_for_counters()
