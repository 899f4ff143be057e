"""Sources whose inputs say which row they are, whatever a scenario does to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hare_tortoise.streams import Examples, LoaderSource, Source


def plain_images(count: int = 120, classes: int = 6, *, test: int = 24) -> Source:
    """Images of one colour each, their row number: no permutation or rotation changes them."""
    return Source(
        "plain",
        train_inputs=torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4),
        train_targets=torch.arange(count) % classes,
        test_inputs=torch.arange(test).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4),
        test_targets=torch.arange(test) % classes,
        outputs=classes,
        input_shape=(1, 4, 4),
    )


def read_by_a_loader(source: Source) -> LoaderSource:
    """The same source, not in memory."""
    inputs = torch.cat([source.train_inputs, source.test_inputs])
    return LoaderSource(
        source.name,
        TensorDataset(inputs, torch.zeros(len(inputs))),
        source.train_targets,
        source.test_targets,
        outputs=source.outputs,
        input_shape=source.input_shape,
        content="made",
        workers=0,
    )


def rows_and_labels(examples: Examples | None) -> tuple[list[int], list[int]]:
    """Row numbers of plain images, and their labels, as they are handed out."""
    if examples is None:
        return [], []
    batches = list(examples.batches(50))
    rows = torch.cat([inputs.flatten(1).mean(1) for inputs, _ in batches]).round().long()
    return rows.tolist(), torch.cat([targets for _, targets in batches]).tolist()


def handed_out(examples: Examples) -> tuple[Tensor, Tensor]:
    """All inputs and targets, in order."""
    inputs, targets = zip(*examples.batches(1000), strict=True)
    return torch.cat(inputs), torch.cat(targets)
