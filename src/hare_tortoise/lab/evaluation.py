"""Accuracy of the networks of a trial, without a trace in the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from hare_tortoise.streams import Chunk, Examples

if TYPE_CHECKING:
    from hare_tortoise.lab.building import Setup
    from hare_tortoise.lab.trial import Row

# large enough to be quick, small enough for the activations of a wide ResNet
BATCH_SIZE = 512


def evaluate(setup: Setup, chunk: Chunk) -> Row:
    """Measure the accuracies of a row; see `hare_tortoise.lab.training` for their names."""
    hare, deployed = setup.model, setup.method.deployed
    tests = {name: accuracy(setup, deployed, examples) for name, examples in chunk.tests.items()}
    test = next(iter(tests))
    train = accuracy(setup, deployed, chunk.train)
    row: Row = {"test_accuracy": tests[test], "train_accuracy": train, "tests": tests}
    if chunk.validation is not None:
        row["validation_accuracy"] = accuracy(setup, deployed, chunk.validation)
    if deployed is hare:
        return row | {
            "hare_test_accuracy": tests[test],
            "hare_train_accuracy": train,
            "tortoise_test_accuracy": None,
        }
    return row | {
        "hare_test_accuracy": accuracy(setup, hare, chunk.tests[test]),
        "hare_train_accuracy": accuracy(setup, hare, chunk.train),
        "tortoise_test_accuracy": tests[test],
    }


@torch.no_grad()
def accuracy(setup: Setup, network: nn.Module, examples: Examples) -> float:
    """Share of examples whose largest output is their target, in eval mode; the network's mode is restored."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=setup.device)
    with setup.autocast():
        for inputs, targets in examples.batches(BATCH_SIZE, generator=None):
            right += (network(inputs).argmax(1) == targets).sum()
    for module, training in modes.items():
        module.training = training
    return int(right) / len(examples)
