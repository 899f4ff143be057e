"""The handwritten digits that come with scikit-learn: small, and always there."""

from __future__ import annotations

from pathlib import Path

import torch

from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source

TRAIN = 1400


def digits(*, root: Path | None = None) -> Source:
    """1,797 handwritten digits of 8 x 8 pixels; comes with scikit-learn, nothing to download.

    1,400 to train on and 397 to test on, one split for every seed. Inputs are `pixels / 16 − 0.3`, (64,).

    Args:
        root: not needed; the data come with scikit-learn.

    Returns:
        The source.

    Example:
        >>> source = digits()
        >>> len(source.train_inputs), len(source.test_inputs), source.input_shape, source.outputs
        (1400, 397, (64,), 10)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=derived_generator(0, "digits"))
    inputs = (torch.from_numpy(pixels).float() / 16 - 0.3)[order]
    targets = torch.from_numpy(labels).long()[order]
    return Source(
        name="digits",
        train_inputs=inputs[:TRAIN].clone(),
        train_targets=targets[:TRAIN].clone(),
        test_inputs=inputs[TRAIN:].clone(),
        test_targets=targets[TRAIN:].clone(),
        outputs=10,
        input_shape=(64,),
    )
