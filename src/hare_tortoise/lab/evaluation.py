"""Accuracy of the networks of a trial, without a trace in the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hare_tortoise.lab.scores import Score, read
from hare_tortoise.streams import Chunk, Examples

if TYPE_CHECKING:
    from hare_tortoise.lab.building import Setup
    from hare_tortoise.lab.trial import Row

# large enough to be quick, small enough for the activations of a wide ResNet
BATCH_SIZE = 512

# examples with the outputs that do not count there
Judged = tuple[Examples, Tensor | None]


def evaluate(setup: Setup, chunk: Chunk) -> Row:
    """Measure the accuracies of a row; see `hare_tortoise.lab.training` for their names."""
    hare, deployed = setup.model, setup.method.deployed
    networks = [deployed] if deployed is hare else [deployed, hare]
    trained_on = (chunk.train, setup.blocked(chunk))
    sets: list[Judged] = [(examples, setup.blocked(chunk, name)) for name, examples in chunk.tests.items()]
    # one after the other over the same batches: reading and preparing them costs as much as a small network does
    (*tests, train) = scores(setup, networks, [*sets, trained_on])
    row: Row = {
        "test_accuracy": tests[0][0].accuracy,
        "train_accuracy": train[0].accuracy,
        "tests": {name: each[0].accuracy for name, each in zip(chunk.tests, tests, strict=True)},
    }
    if chunk.validation is not None:
        ((validation,),) = scores(setup, [deployed], [(chunk.validation, trained_on[1])])
        row["validation_accuracy"] = validation.accuracy
    # the last of the networks is the trained one, be it deployed or not
    row |= {
        "hare_test_accuracy": tests[0][-1].accuracy,
        "hare_train_accuracy": train[-1].accuracy,
        "tortoise_test_accuracy": None if deployed is hare else tests[0][0].accuracy,
    }
    if deployed is not hare and len(tests) > 1:
        row["hare_tests"] = {name: each[1].accuracy for name, each in zip(chunk.tests, tests, strict=True)}
    if tests[0][0].error is not None:
        row["test_error"] = tests[0][0].error
    if chunk.baselines:
        row["baselines"] = dict(chunk.baselines)
    return row


@torch.no_grad()
def scores(setup: Setup, networks: Sequence[nn.Module], sets: Sequence[Judged]) -> list[list[Score]]:
    """Score networks on sets of examples, in eval mode: for each set one score of each network, in order."""
    tallies = [[setup.tally(blocked) for _ in networks] for _, blocked in sets]
    with in_eval_mode(*networks), setup.autocast():
        for (examples, _), of_set in zip(sets, tallies, strict=True):
            for inputs, targets in examples.batches(BATCH_SIZE, generator=None):
                for network, tally in zip(networks, of_set, strict=True):
                    tally.add(network(inputs), targets)
    found = iter(read([tally for of_set in tallies for tally in of_set]))
    return [[next(found) for _ in networks] for _ in sets]


@contextmanager
def in_eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Put networks in eval mode, and the mode of each of their modules back afterwards."""
    modes = {module: module.training for network in networks for module in network.modules()}
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
