from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hare_tortoise.streams import AUGMENTATIONS, Augment, crop, crop_flip, flip, per_batch
from hare_tortoise.streams.augment import shift_and_mirror

Move = Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def oracle(images: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int, fill: float) -> Tensor:
    """One image and one pixel at a time."""
    _, channels, height, width = images.shape
    out = torch.full_like(images, fill)
    for n, image in enumerate(images):
        for i in range(height):
            for j in range(width):
                row = int(top[n]) - padding + i
                column = int(left[n]) - padding + (width - 1 - j if mirror[n] else j)
                if 0 <= row < height and 0 <= column < width:
                    for c in range(channels):
                        out[n, c, i, j] = image[c, row, column]
    return out


def check(
    move: Move, channels: int, height: int, width: int, padding: int, dtype: torch.dtype, fill: float
) -> None:
    source = generator(5)
    images = torch.randint(1, 256, (4, channels, height, width), generator=source).to(dtype)
    top, left = torch.randint(2 * padding + 1, (2, 4), generator=source)
    mirror = torch.tensor([True, False, True, False])
    out = move(images, top, left, mirror, padding, fill)
    assert out.dtype == dtype
    assert torch.equal(out, oracle(images, top, left, mirror, padding, fill))


@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.integers(0, 3),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    fill=st.sampled_from([0.0, 3.0]),
)
def test_every_image_is_moved_as_if_alone(
    channels: int, height: int, width: int, padding: int, dtype: torch.dtype, fill: float
) -> None:
    check(shift_and_mirror, channels, height, width, padding, dtype, fill)


def test_the_check_notices_known_faults() -> None:
    def one_draw_for_all(
        x: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int, fill: float
    ) -> Tensor:
        return shift_and_mirror(x, top[:1].expand(4), left[:1].expand(4), mirror, padding, fill)

    def shift_after_mirror(
        x: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int, fill: float
    ) -> Tensor:
        turned = torch.where(mirror.view(-1, 1, 1, 1), x.flip(3), x)
        return shift_and_mirror(turned, top, left, torch.zeros_like(mirror), padding, fill)

    def rows_for_columns(
        x: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int, fill: float
    ) -> Tensor:
        return shift_and_mirror(x, left, top, mirror, padding, fill)

    for fault in (one_draw_for_all, shift_after_mirror, rows_for_columns):
        with pytest.raises(AssertionError):
            check(fault, 2, 5, 5, 2, torch.uint8, 0.0)


def test_all_offsets_and_both_directions_come_equally_often() -> None:
    images = torch.zeros(9000, 1, 3, 3)
    images[:, 0, 1, 1] = 1.0
    out = crop(1)(images, generator())
    frequency = out.sum(0)[0] / len(images)
    assert torch.allclose(frequency, torch.full((3, 3), 1 / 9), atol=0.015)
    line = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    assert float(flip()(line, generator())[:, 0, 0, 0].mean()) == pytest.approx(0.5, abs=0.03)
    lefts = crop_flip(1)(torch.tensor([1.0, 2.0]).expand(6000, 1, 1, 2), generator())
    kinds = {tuple(row) for row in lefts[:, 0, 0].tolist()}
    assert kinds == {(0, 0), (1, 2), (2, 1), (0, 1), (1, 0), (2, 0), (0, 2)}


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentations_by_name(name: str) -> None:
    augment = AUGMENTATIONS[name]()
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=generator())
    kept = images.clone()
    first, again = augment(images, generator(1)), copy.deepcopy(augment)(images, generator(1))
    assert torch.equal(first, again)
    assert torch.equal(images, kept)
    assert not torch.equal(first, augment(images, generator(2)))
    assert (AUGMENTATIONS[name].__doc__ or "").splitlines()[0].endswith(".")


def test_any_transform_of_a_batch_draws_from_the_batches_own_generator() -> None:
    def transform(images: Tensor) -> Tensor:
        return images + torch.randn_like(images)

    augment = per_batch(transform)
    source = generator(7)
    state = source.get_state()
    first, second = (augment(torch.zeros(2, 1, 2, 2), source) for _ in range(2))
    source.set_state(state)
    assert torch.equal(first, augment(torch.zeros(2, 1, 2, 2), source))
    assert not torch.equal(first, second)


def test_a_failing_transform_leaves_the_global_state_as_it_was() -> None:
    def transform(images: Tensor) -> Tensor:
        torch.rand(3)
        raise KeyError("a fault of the user's")

    before = copy.deepcopy(torch.get_rng_state())
    with pytest.raises(KeyError, match="a fault of the user's"):
        per_batch(transform)(torch.zeros(1), generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("build", [crop, crop_flip])
@pytest.mark.parametrize("padding", [0, -1, 1.5, True])
def test_bad_padding(build: Callable[[int], Augment], padding: int) -> None:
    with pytest.raises(ValueError, match="padding is"):
        build(padding)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 64\): crop and flip need images"):
        crop_flip()(torch.zeros(5, 64), generator())
