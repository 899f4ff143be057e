"""The data of a Probe are the same in every bit each time, or refused; so are answers to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.measures import MEASURES, Measure, Probe
from tests.measures.learner import INPUTS, TARGETS, Learner, learner


class Sampler:
    """Pairs in an order that a function gives anew each time."""

    def __init__(self, order: Callable[[], Tensor]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.order()
        for start in range(0, len(order), 5):
            rows = order[start : start + 5]
            yield INPUTS[rows], TARGETS[rows]


def test_batches_are_as_good_as_a_pair() -> None:
    model, _ = learner()
    dataset = torch.utils.data.TensorDataset(INPUTS, TARGETS)
    names = ["effective-rank", "dormant-ratio", "dead-units", "gradient-norm"]
    expected = Probe(model, (INPUTS, TARGETS), measures=names).take()
    state = torch.get_rng_state()
    for data in (
        torch.utils.data.DataLoader(dataset, batch_size=5),
        Sampler(lambda: torch.arange(12)),
        [(INPUTS, TARGETS)],
    ):
        found = Probe(model, data, measures=names).take()
        assert found == pytest.approx(expected, rel=1e-5)
    # A loader draws a seed from the global generator at each pass.
    assert torch.equal(torch.get_rng_state(), state)


own_generator = torch.Generator()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), shuffle=True),
            r"data is a DataLoader that shuffles \(RandomSampler\), expected the same .*: build it with shuffle=False",
        ),
        (Sampler(lambda: torch.randperm(12)), "data gave other pairs, or another order"),
        (
            Sampler(lambda: torch.randperm(12, generator=own_generator)),
            "data gave other pairs, or another order",
        ),
        (
            Sampler(lambda: torch.from_numpy(np.random.permutation(12))),
            "data gave other pairs, or another order",
        ),
        (
            Sampler(lambda: torch.arange(12)[random.randrange(12) :]),
            "data gave other pairs, or another order",
        ),
        (iter([(INPUTS, TARGETS)]), r"data is a list_iterator, expected .* that can be read again"),
        (INPUTS, "data gave a Tensor, expected pairs of tensors"),
        (7, "data is a int, expected a pair"),
        ([], "data gave no pairs"),
        ((INPUTS, TARGETS[:3]), r"have shapes \(12, 6\) and \(3,\), expected the same number of samples"),
        ((INPUTS[:0], TARGETS[:0]), "expected the same number of samples, at least one"),
    ],
)
def test_data_that_are_not_the_same_each_time_are_refused(data: Any, message: str) -> None:
    model, _ = learner()
    with pytest.raises(ValueError, match=message):
        Probe(model, data, measures=["srank"])


def test_data_that_change_later_are_refused() -> None:
    model, _ = learner()
    orders = [torch.arange(12)] * 3 + [torch.arange(12).flip(0)]
    taken = Probe(model, Sampler(lambda: orders.pop(0)), measures=["srank"])
    taken.take()
    with pytest.raises(ValueError, match="data gave other pairs, or another order"):
        taken.take()


def test_a_network_that_draws_in_eval_mode_is_refused() -> None:
    class Noisy(Learner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + torch.rand(3)

    with pytest.raises(ValueError, match="two forwards of the same inputs"):
        Probe(Noisy(), (INPUTS, TARGETS), measures=["srank"])


def test_all_samples_count_where_they_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = learner()
    names = ["effective-rank", "zero-activation-ratio", "churn", "gradient-norm"]
    whole = Probe(model, (INPUTS, TARGETS), measures=names)
    whole.take()
    monkeypatch.setattr("hare_tortoise.measures.data._ROWS", 5)
    parts = Probe(model, (INPUTS, TARGETS), measures=names)
    parts.take()
    assert parts.take() == pytest.approx(whole.take(), rel=1e-5)


def test_other_data_for_one_taking_alone() -> None:
    model, _ = learner()
    own = Measure(
        take=lambda context: float(context.loss(context.outputs, context.targets)),
        description="loss",
        reading="",
        higher_is=None,
        cost="1",
    )
    measures = {"own": own, **{name: MEASURES[name] for name in ("effective-rank", "churn")}}
    other, labels = INPUTS.flip(1) + 1, TARGETS.flip(0)
    probe = Probe(model, (INPUTS, TARGETS), measures=measures)
    there = Probe(model, (other, labels), measures=measures, loss=doubled)
    taken = [probe.take(), probe.take((other, labels), loss=doubled), probe.take(), probe.take()]
    for name in ("own", "effective-rank"):
        assert taken[1][name] == there.take()[name] != taken[0][name] == taken[2][name]
    # churn needs the answers of the taking before to the same inputs; other labels are no other inputs
    assert ["churn" in found for found in taken] == [False, False, False, True]
    assert probe.take((INPUTS, labels))["churn"] == 0.0


def doubled(outputs: Tensor, targets: Tensor) -> Tensor:
    return 2 * torch.nn.functional.cross_entropy(outputs, targets)
