"""Augmentation against loops over pixels; what each row draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from hare_tortoise.rl import augmentation
from hare_tortoise.rl.augmentation import draw_shifts, intensity, random_shift, shifted


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def moved(observations: Tensor, shifts: Tensor, padding: int) -> Tensor:
    """One pixel at a time: the padded image is never made."""
    out = torch.empty_like(observations)
    agents, rows, frames, height, width = observations.shape
    for g in range(agents):
        for b in range(rows):
            down, right = (int(x) - padding for x in shifts[g, b])
            for s in range(frames):
                for i in range(height):
                    for j in range(width):
                        row, column = min(max(i + down, 0), height - 1), min(max(j + right, 0), width - 1)
                        out[g, b, s, i, j] = observations[g, b, s, row, column]
    return out


@settings(max_examples=30)
@given(
    sizes=st.tuples(
        st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 5), st.integers(1, 5)
    ),
    padding=st.integers(1, 4),
    dtype=st.sampled_from([torch.uint8, torch.bool, torch.float32]),
    seed=st.integers(0, 99),
)
def test_rows_are_moved_pixel_by_pixel(
    sizes: tuple[int, ...], padding: int, dtype: torch.dtype, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(2 if dtype == torch.bool else 256, sizes, generator=source).to(dtype)
    shifts = torch.randint(2 * padding + 1, (*sizes[:2], 2), generator=source)
    expected = moved(images, shifts, padding)
    out = shifted(images, shifts, padding)
    assert out.dtype == dtype
    assert torch.equal(out, expected)
    # The form for other devices does not need one.
    rows = images.flatten(0, 1)
    assert torch.equal(
        augmentation._by_gather(rows, shifts.flatten(0, 1), padding).view(images.shape), expected
    )


def test_the_shifts_are_those_of_the_generators() -> None:
    images = torch.randint(256, (2, 3, 2, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    before = images.clone()
    out = random_shift(images, 2, generators(1, 2))
    for g, seed in enumerate((1, 2)):
        drawn = torch.randint(5, (3, 2), generator=generators(seed)[0])
        assert torch.equal(out[g : g + 1], moved(images[g : g + 1], drawn[None], 2))
        alone = random_shift(images[g : g + 1], 2, generators(seed))
        assert torch.equal(out[g], alone[0])
    assert torch.equal(images, before)


def test_every_shift_is_as_likely_and_two_calls_differ() -> None:
    chance = generators(4)
    drawn = draw_shifts(chance, 8100, 4)
    assert drawn.shape == (1, 8100, 2)
    counts = torch.bincount(drawn[0, :, 0] * 9 + drawn[0, :, 1], minlength=81)
    assert len(counts) == 81
    assert chisquare(counts.numpy()).pvalue > 0.01
    again = draw_shifts(chance, 8100, 4)
    assert abs(float((again == drawn).float().mean()) - 1 / 9) < 0.02


def test_without_padding_nothing_is_moved_or_drawn() -> None:
    (chance,) = generators(0)
    before = chance.get_state()
    images = torch.ones(1, 2, 1, 4, 4)
    assert random_shift(images, 0, [chance]) is images
    assert intensity(images, 0.0, [chance]) is images
    assert torch.equal(chance.get_state(), before)


def test_intensity_is_a_clipped_normal_factor_for_each_row() -> None:
    values = torch.rand(2, 200, 2, 3, generator=torch.Generator().manual_seed(1))
    out = intensity(values, 0.05, generators(5, 6))
    clipped, expected = 0, values.double()
    for g, seed in enumerate((5, 6)):
        noise = torch.randn(200, generator=generators(seed)[0]).tolist()
        for b in range(200):
            kept = min(max(noise[b], -2.0), 2.0)
            clipped += kept != noise[b]
            expected[g, b] *= 1 + 0.05 * kept
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=0)
    assert clipped > 5
    assert out.dtype == torch.float32
    half = intensity(values.bfloat16(), 0.05, generators(5, 6))
    assert half.dtype == torch.bfloat16


def test_bad_input_is_refused() -> None:
    images = torch.zeros(2, 3, 1, 4, 4)
    with pytest.raises(ValueError, match="padding is -1"):
        random_shift(images, -1, generators(0, 1))
    with pytest.raises(ValueError, match="there are 1 generators, expected one for each of 2 agents"):
        random_shift(images, 4, generators(0))
    with pytest.raises(ValueError, match="expected at least 4 axes"):
        random_shift(images[0, 0], 4, generators(0))
    with pytest.raises(ValueError, match="there are 3 generators"):
        intensity(images, 0.05, generators(0, 1, 2))
    with pytest.raises(ValueError, match=r"scale is -0\.1"):
        intensity(images, -0.1, generators(0, 1))
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        intensity(images.to(torch.uint8), 0.05, generators(0, 1))
