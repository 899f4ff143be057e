"""Faults known from other implementations, injected: each must turn its check red."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from hare_tortoise.methods import HareTortoise, hare_tortoise
from hare_tortoise.methods.support import average, plain_copy
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.pairs import Group, Pairs
from tests.methods import pair_checks, test_chain
from tests.methods.support import test_plain_copy


class StartsByCopying(HareTortoise):
    """`AveragedModel`: the first update copies the hare."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        if self.steps == 0:
            self._average.pairs.start()
            self._steps.following(skipped if isinstance(skipped, Tensor) else None)
            self._steps.add()
        else:
            super().after_step(skipped)


class WarmsUp(HareTortoise):
    """A decay that is corrected for the start although none was asked for."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        decay, step = self.decay, self.steps + 1
        self.decay = min(float(decay), (1 + step) / (10 + step))  # type: ignore[arg-type]
        super().after_step(skipped)
        self.decay = decay


class ResetsAtTheFirstStep(HareTortoise):
    """The official code: `epoch % reset_every == 0` with epochs from 0, so after the first of each task."""

    def _following_reset(self) -> int | None:
        following = super()._following_reset()
        assert isinstance(self.reset_every, int)
        return None if following is None else following - self.reset_every + 1


class ResetsOneLate(HareTortoise):
    """ema-pytorch with `update_model_with_ema_every=5`: after updates 6, 11, …"""

    def _following_reset(self) -> int | None:
        following = super()._following_reset()
        return following if following is None or self.steps else following + 1


class ResetsBeforeItAverages(HareTortoise):
    """The reset of a step comes before its average."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        if self._next_reset == self.steps + 1:
            self.reset()
        super().after_step(skipped)


class Aliases(HareTortoise):
    """The official code: `fast.data = slow.data`, so that both share storage from then on."""

    def reset(self) -> None:
        for hare, slow in zip(self.model.parameters(), self.tortoise.parameters(), strict=True):
            hare.data = slow.data


class AveragesCounters(HareTortoise):
    """The official code: the integer counter is averaged and becomes float32."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        slow = named_weights(self.tortoise)["1.num_batches_tracked"]
        before = slow.clone()
        super().after_step(skipped)
        hare = named_weights(self.model)["1.num_batches_tracked"]
        slow.data = 0.9 * before + 0.1 * hare


class TruncatesCounters(HareTortoise):
    """`AveragedModel(use_buffers=True)`: the average of the counter is cut to an integer, and stays at 1."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(skipped)
        named_weights(self.tortoise)["1.num_batches_tracked"].fill_(1)


class LeavesCounters(HareTortoise):
    """ema-pytorch: integer buffers are never touched."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(skipped)
        named_weights(self.tortoise)["1.num_batches_tracked"].zero_()


class TrainsTheTortoise(HareTortoise):
    """The official code: before the first epoch the copy is evaluated in training mode."""

    @property
    def tortoise(self) -> nn.Module:
        return super().tortoise.train()


class CountsSkips(HareTortoise):
    """A fused optimizer calls its hooks on skipped steps too; the flag is not looked at."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(None)


class StoresInHalf(HareTortoise):
    """The average of a bfloat16 hare is rounded to bfloat16."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        super().after_step(skipped)
        for tensor in self.tortoise.parameters():
            tensor.data = tensor.data.bfloat16().float()


class SkipsBuffers(HareTortoise):
    """The average takes the parameters only."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings | {"buffers": "none"})


class UpdatesEveryOther(HareTortoise):
    """ema-pytorch: the average follows every tenth step only."""

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        if self.steps % 2:
            self._steps.following(skipped if isinstance(skipped, Tensor) else None)
            self._steps.add()
        else:
            super().after_step(skipped)


@pytest.mark.parametrize(
    ("check", "faulty"),
    [
        (pair_checks.is_average_from_the_first_step, StartsByCopying),
        (pair_checks.is_average_from_the_first_step, WarmsUp),
        (pair_checks.is_average_from_the_first_step, SkipsBuffers),
        (pair_checks.is_average_from_the_first_step, UpdatesEveryOther),
        (pair_checks.resets_at, ResetsAtTheFirstStep),
        (pair_checks.resets_at, ResetsOneLate),
        (pair_checks.averages_before_it_resets, ResetsBeforeItAverages),
        (pair_checks.shares_no_storage, Aliases),
        (pair_checks.counters_are_counts, AveragesCounters),
        (pair_checks.counters_are_counts, TruncatesCounters),
        (pair_checks.counters_are_counts, LeavesCounters),
        (pair_checks.tortoise_evaluates, TrainsTheTortoise),
        (pair_checks.half_precision_does_not_stall, StoresInHalf),
        (lambda build: pair_checks.skipped_steps_do_not_count(build, fused=True), CountsSkips),
    ],
)
def test_a_fault_is_found(check: Callable[[Any], None], faulty: type[HareTortoise]) -> None:
    with pytest.raises(AssertionError):
        check(faulty)


def test_hooks_that_are_copied_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # The official code: `deepcopy` takes the hooks along, which write into the hare.
    monkeypatch.setattr(plain_copy, "copied_hooks", lambda hooks, _name: hooks)
    with pytest.raises(AssertionError):
        pair_checks.hooks_stay_with_the_hare(HareTortoise)


def zeroed(optimizer: torch.optim.Optimizer) -> None:
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.ndim:
                value.zero_()


@pytest.mark.parametrize("forget", [zeroed, lambda optimizer: None], ids=["zeroed moments", "kept"])
def test_optimizer_state_that_is_not_reset_is_found(
    monkeypatch: pytest.MonkeyPatch, forget: Callable[[Any], None]
) -> None:
    monkeypatch.setattr(hare_tortoise, "clear_state", forget)
    with pytest.raises(AssertionError):
        pair_checks.optimizer_starts_anew(HareTortoise, Adam)


def test_a_weight_of_the_wrong_sign_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    average = Group.average
    monkeypatch.setattr(Group, "average", lambda self, decay, weight: average(self, weight, decay))
    with pytest.raises(AssertionError):
        pair_checks.is_average_from_the_first_step(HareTortoise)


def test_a_reset_that_writes_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pairs, "put_back", lambda self: None)
    with pytest.raises(AssertionError):
        pair_checks.averages_before_it_resets(HareTortoise)


def test_names_with_prefixes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # An average keyed by `_orig_mod.` or `module.` does not match the plain model, or silently nothing.
    monkeypatch.setattr(average, "named_weights", lambda model: dict(model.named_parameters()))
    with pytest.raises((AssertionError, KeyError)):
        test_plain_copy.test_names_are_canonical()


def test_an_average_that_does_not_follow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # The official code: what happens to the hare between tasks does not happen to the tortoise.
    monkeypatch.setattr(HareTortoise, "weights_changed", lambda self, change: None)
    with pytest.raises(AssertionError):
        test_chain.test_averages_follow_a_partial_change()
    with pytest.raises(AssertionError):
        test_chain.test_averages_start_anew_after_a_whole_change(0)
