"""Augmentation of whole batches of images, as tensor operations on their device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from hare_tortoise.streams.examples import Augment


def _check_images(inputs: Tensor) -> None:
    if inputs.ndim != 4:
        raise ValueError(
            f"the inputs have the shape {tuple(inputs.shape)}: crop and flip need images, (N, channels, "
            "height, width); take augment=None for other data"
        )


def _draw(high: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    drawn = torch.randint(high, (count,), generator=generator, device=generator.device)
    return drawn.to(device, non_blocking=True)


def shift_and_mirror(
    inputs: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int, fill: float
) -> Tensor:
    """Cut a window out of each padded image, and mirror some of them, in one gather.

    Args:
        inputs: (N, C, H, W).
        top: (N,) int64 in [0, 2·padding], where the window starts in the padded image.
        left: (N,) likewise.
        mirror: (N,) bool, which windows to flip left to right.
        padding: pixels added on each side.
        fill: their value.

    Returns:
        (N, C, H, W): `out[n, c, i, j] = padded[n, c, top[n] + i, left[n] + (W − 1 − j if mirror[n] else j)]`.
    """
    count, channels, height, width = inputs.shape
    padded = functional.pad(inputs, (padding,) * 4, value=fill) if padding else inputs
    row = top[:, None] + torch.arange(height, device=inputs.device)
    across = torch.arange(width, device=inputs.device)
    column = left[:, None] + torch.where(mirror[:, None], width - 1 - across, across)
    index = row[:, :, None] * padded.shape[3] + column[:, None, :]
    index = index.view(count, 1, -1).expand(count, channels, -1)
    return padded.flatten(2).gather(2, index).view(inputs.shape)


def _move(inputs: Tensor, generator: torch.Generator, *, padding: int, mirror: bool, fill: float) -> Tensor:
    _check_images(inputs)
    count, device = len(inputs), inputs.device
    zeros = torch.zeros(count, dtype=torch.int64, device=device)
    top = _draw(2 * padding + 1, count, generator, device) if padding else zeros
    left = _draw(2 * padding + 1, count, generator, device) if padding else zeros
    flipped = _draw(2, count, generator, device) if mirror else zeros
    return shift_and_mirror(inputs, top, left, flipped.bool(), padding, fill)


def _check_padding(padding: int) -> None:
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 1:
        raise ValueError(f"padding is {padding!r}: give a whole number of pixels, at least 1")


def crop_flip(padding: int = 4, fill: float = 0.0) -> Augment:
    """Random crop of the padded image, then a flip left to right of every second one (CIFAR's usual).

    Args:
        padding: pixels added on each side before the crop, 1 or more.
        fill: their value, in the units of the stored images (0: black for uint8).

    Returns:
        `(inputs (N, C, H, W), generator) -> inputs`, which keeps shape and dtype.

    Raises:
        ValueError: `padding` is not a whole number of at least 1; or, when called, the inputs are no images.

    Example:
        >>> images = torch.ones(8, 3, 32, 32, dtype=torch.uint8)
        >>> out = crop_flip(padding=4)(images, torch.Generator().manual_seed(0))
        >>> out.shape == images.shape, out.dtype, bool((out == 0).any())
        (True, torch.uint8, True)
    """
    _check_padding(padding)
    return partial(_move, padding=padding, mirror=True, fill=fill)


def crop(padding: int = 4, fill: float = 0.0) -> Augment:
    """Random crop of the padded image, without flips (digits, letters).

    Args:
        padding: pixels added on each side before the crop, 1 or more.
        fill: their value, in the units of the stored images (0: black for uint8).

    Returns:
        `(inputs (N, C, H, W), generator) -> inputs`, which keeps shape and dtype.

    Raises:
        ValueError: `padding` is not a whole number of at least 1; or, when called, the inputs are no images.

    Example:
        >>> crop(2)(torch.zeros(4, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([4, 1, 8, 8])
    """
    _check_padding(padding)
    return partial(_move, padding=padding, mirror=False, fill=fill)


def flip() -> Augment:
    """A flip left to right of every second image, at random.

    Returns:
        `(inputs (N, C, H, W), generator) -> inputs`, which keeps shape and dtype.

    Raises:
        ValueError: when called, the inputs are no images.

    Example:
        >>> images = torch.tensor([0, 1]).expand(100, 1, 1, 2)
        >>> out = flip()(images, torch.Generator().manual_seed(0))
        >>> sorted({tuple(image.flatten().tolist()) for image in out})
        [(0, 1), (1, 0)]
    """
    return partial(_move, padding=0, mirror=True, fill=0.0)


def _with_global_random(
    inputs: Tensor, generator: torch.Generator, *, transform: Callable[[Tensor], Tensor]
) -> Tensor:
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    on_cuda = inputs.device.type == "cuda"
    with torch.random.fork_rng(devices=[inputs.device] if on_cuda else []):
        torch.default_generator.manual_seed(int(seed))
        if on_cuda:
            with torch.cuda.device(inputs.device):
                torch.cuda.manual_seed(int(seed))
        return transform(inputs)


def per_batch(transform: Callable[[Tensor], Tensor]) -> Augment:
    """Any transform of a batch tensor, for instance those of torchvision's `transforms.v2`.

    What it draws from torch's global generators is made a function of the batch's own generator, and the
    global states are put back. (Draws from `random` or numpy are not.) Most transforms of torchvision draw
    once per call, so one draw holds for the whole batch; `crop_flip` draws for each image.

    Args:
        transform: `inputs (N, C, H, W) -> inputs`, on the device and in the dtype of the stored images.

    Returns:
        `(inputs, generator) -> inputs`.

    Example:
        >>> noise = per_batch(lambda images: images + 0.1 * torch.randn_like(images))
        >>> a = noise(torch.zeros(2, 1, 4, 4), torch.Generator().manual_seed(0))
        >>> bool((a == noise(torch.zeros(2, 1, 4, 4), torch.Generator().manual_seed(0))).all())
        True
    """
    return partial(_with_global_random, transform=transform)


AUGMENTATIONS: dict[str, Callable[..., Augment]] = {"crop": crop, "crop-flip": crop_flip, "flip": flip}
