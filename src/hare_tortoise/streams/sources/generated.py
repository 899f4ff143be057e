"""Made-up data of any shape, for trying a recipe whose data set is not at hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.prepare import Normalise
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source

# pixels that a prototype is drawn at along each side: what is so coarse survives cropping
COARSE = 4


def generated(
    *,
    shape: tuple[int, ...] | int = (3, 32, 32),
    classes: int = 10,
    rows: int = 2000,
    test_rows: int = 500,
    separation: float = 0.1,
    draw: int = 0,
    root: Path | None = None,
) -> Source:
    """Made-up data: each class a pattern of its own under noise. For trying recipes, not for results.

    An example is `separation · prototype + noise`, both with standard deviation 1 about 0 (prototypes of images are
    drawn at 4 x 4 places and interpolated). Images, of three dimensions, are pixels `128 + 40 · example` in uint8,
    normalised by train; other shapes are float32 as they are. Every class comes as often as every other, but for one.

    Args:
        shape: of an example: (channels, height, width), or (features,), or a number of features.
        classes: 2 or more.
        rows: how many to train on, at least one of each class.
        test_rows: how many to test on, 1 or more.
        separation: how far the classes lie apart, against the noise; 0: they cannot be told apart.
        draw: another number gives other prototypes and noise.
        root: not needed.

    Returns:
        The source.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> source = generated(shape=(1, 8, 8), classes=3, rows=30, test_rows=6)
        >>> source.train_inputs.shape, source.train_inputs.dtype, source.train_targets.bincount().tolist()
        (torch.Size([30, 1, 8, 8]), torch.uint8, [10, 10, 10])
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    _check_settings(shape, classes, rows, test_rows, separation)
    prototypes = separation * _prototypes(classes, shape, draw)
    train, train_targets = _split(prototypes, rows, draw, "train")
    test, test_targets = _split(prototypes, test_rows, draw, "test")
    return Source(
        name="generated",
        train_inputs=train,
        train_targets=train_targets,
        test_inputs=test,
        test_targets=test_targets,
        outputs=classes,
        input_shape=shape,
        prepare=Normalise.of(train) if len(shape) == 3 else None,
    )


def _check_settings(
    shape: tuple[int, ...], classes: int, rows: int, test_rows: int, separation: float
) -> None:
    for name, values, least in (
        ("shape", shape, 1),
        ("classes", (classes,), 2),
        ("rows", (rows,), classes),
        ("test_rows", (test_rows,), 1),
    ):
        if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in values):
            written = values if name == "shape" else values[0]
            raise ValueError(f"{name} is {written!r}: give whole numbers of at least {least}")
    if not is_number(separation) or not 0 <= separation < float("inf"):
        raise ValueError(f"separation is {separation!r}: give a finite number, 0 or more")


def _prototypes(classes: int, shape: tuple[int, ...], draw: int) -> Tensor:
    """(classes, *shape), each with mean 0 and standard deviation 1; one number is left as it is drawn."""
    generator = derived_generator(draw, "generated", "prototypes")
    if len(shape) == 3:
        coarse = torch.randn(classes, shape[0], COARSE, COARSE, generator=generator)
        drawn = F.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=False)
    else:
        drawn = torch.randn(classes, *shape, generator=generator)
    flat = drawn.flatten(1)
    if flat.shape[1] == 1:
        return drawn
    flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, correction=0, keepdim=True)
    return flat.view_as(drawn)


def _split(prototypes: Tensor, count: int, draw: int, split: str) -> tuple[Tensor, Tensor]:
    generator = derived_generator(draw, "generated", split)
    targets = (torch.arange(count) % len(prototypes))[torch.randperm(count, generator=generator)]
    image = prototypes.ndim == 4
    inputs = torch.empty(count, *prototypes.shape[1:], dtype=torch.uint8 if image else torch.float32)
    # in blocks, as noise in float32 takes four times the room of pixels
    for start in range(0, count, 1024):
        block = prototypes[targets[start : start + 1024]]
        block = block + torch.randn(block.shape, generator=generator)
        inputs[start : start + 1024] = (128 + 40 * block).round().clamp(0, 255).byte() if image else block
    return inputs, targets
