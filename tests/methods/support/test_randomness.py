"""Seeding inside a block: every generator is seeded, and put back however the block ends."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from hare_tortoise.methods.support import randomness
from hare_tortoise.methods.support.randomness import seeded


def draws() -> tuple[float, ...]:
    return torch.rand(()).item(), random.random(), float(np.random.rand())


def states() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
    )


def test_the_seed_alone_decides() -> None:
    with seeded(3):
        first = draws()
    draws()
    with seeded(3):
        assert draws() == first
    with seeded(4):
        assert all(new != old for new, old in zip(draws(), first, strict=True))


def fail() -> None:
    draws()
    raise OSError("broken")


def test_all_is_put_back_after_an_error() -> None:
    before = states()
    with pytest.raises(OSError, match="broken"), seeded(0):
        fail()
    assert states() == before


def test_seeds_beyond_numpys_range_are_taken() -> None:
    with seeded(2**63 - 2):
        assert len(set(draws())) == 3


def test_accelerators_are_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(11)
    monkeypatch.setattr(randomness, "_generator", lambda device: {0: generator}[device.index])
    before = generator.get_state()
    drawn = []
    for _ in range(2):
        with seeded(5, [torch.device("cuda", 0), torch.device("cpu"), torch.device("cuda", 0)]):
            drawn.append(torch.rand((), generator=generator).item())
        assert torch.equal(generator.get_state(), before)
    assert drawn[0] == drawn[1]
