"""The first loss that is not finite ends a trial; until it is read, no step waits for the device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from hare_tortoise.lab.building import build
from hare_tortoise.lab.training import READ_EVERY, Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.lab.worker import run_task
from tests.lab.small import METHODS, run_of, small, task_of


@pytest.mark.parametrize(
    ("method", "reset_epochs"),
    [
        ("warm-start", None),
        ("hare-tortoise(decay=0.9, reset_every=20)", None),
        ("hare-tortoise(decay=0.9, reset_every=100)", None),
        ("hare-tortoise(decay=0.9, reset_every=None)", 2),
    ],
)
@pytest.mark.parametrize("good", [0, 1, 57, 150])
def test_the_first_bad_loss_ends_the_trial_and_is_named(
    good: int, method: str, reset_epochs: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(
        network="tests.lab.small:bad",
        epochs=100,
        scenario="growing(chunks=2, label_noise=0.0)",
        reset_epochs=reset_epochs,
    )
    monkeypatch.setattr("tests.lab.small.BAD_AFTER", good)
    task = task_of(Trial(recipe, method, 1.0, 0), tmp_path, checkpoint_every=0.0)
    result = run_task(task)
    assert result.failure is not None
    assert f"at step {good + 1} of chunk 1" in result.failure
    assert "lower lr" in result.failure
    content = run_of(task).load()
    if good == 0:
        assert content is None
    else:
        assert content is not None
        assert content["position"]["step"] == good
        assert all(torch.isfinite(tensor).all() for tensor in content["model"].values())
    # the result stands: the same command does not train again
    assert run_task(task) == result


def test_weights_that_are_not_finite_under_finite_losses_are_divergence_too(tmp_path: Path) -> None:
    recipe = small(lr=1e38, clip_norm=None, weight_decay=0.0, optimizer="sgd", warmup=0.0)
    result = run_task(task_of(Trial(recipe, "hare-tortoise(decay=0.9, reset_every=1)", 1.0, 0), tmp_path))
    assert result.failure is not None
    assert re.search(r"at step \d of chunk 1|not finite after step \d of chunk 1", result.failure)


def test_other_errors_are_not_taken_for_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(build(Trial(small(), "warm-start", 1.0, 0)))

    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Training, "_step", broken)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        training.finish()
    assert type(error.value) is RuntimeError


def test_losses_are_read_once_in_a_hundred_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = build(
        Trial(small(epochs=30, scenario="growing(chunks=1, label_noise=0.0)"), "warm-start", 1.0, 0)
    )
    training = Training(setup)
    reads: list[int] = []
    check = Training._check_losses

    def counted(self: Training) -> None:
        reads.append(self.position.step)
        check(self)

    monkeypatch.setattr(Training, "_check_losses", counted)
    training.finish()
    total = setup.plan[0].steps
    assert reads == [*range(READ_EVERY, total + 1, READ_EVERY), total][: len(reads)]
    assert reads[-1] == total


def test_a_step_does_not_synchronise(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step asks the device for a number: `.item()` and its kin all end in `_local_scalar_dense`."""
    from torch.utils._python_dispatch import TorchDispatchMode

    setup = build(Trial(small(methods=METHODS[7:]), METHODS[7], 1.0, 0))
    training = Training(setup)
    calls: list[str] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    step = Training._step

    def watched(self: Training, *arguments: Any) -> None:
        with Watch():  # type: ignore[no-untyped-call]
            step(self, *arguments)

    monkeypatch.setattr(Training, "_step", watched)
    training.finish()
    assert any("cross_entropy" in call or "nll_loss" in call for call in calls)
    assert not [call for call in calls if "_local_scalar_dense" in call or "nonzero" in call]
