"""Means over a window against NumPy's over the last values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hare_tortoise.methods.support.recent_means import RecentMeans


def test_they_are_the_means_of_the_last_values_that_count() -> None:
    rng = np.random.default_rng(0)
    means, kept = RecentMeans(4), []
    assert means.means() is None
    for number, (one, other) in enumerate(rng.normal(size=(15, 2))):
        if number % 5 == 1:
            means.add(torch.tensor([one, other]), torch.tensor(1.0))
        elif number % 5 == 2:
            means.add(torch.tensor([one, float("nan")], dtype=torch.float64))
        else:
            means.add(torch.tensor([one, other]), torch.tensor(0.0))
            kept.append((one, other))
        found = means.means()
        assert found is not None
        assert found.numpy() == pytest.approx(np.mean(kept[-4:], axis=0), rel=1e-12)
        assert means.count.item() == len(kept)


def test_a_saved_state_goes_on() -> None:
    means, again = RecentMeans(3), RecentMeans(3)
    again.load_state_dict(means.state_dict(), torch.device("cpu"))
    assert again.means() is None
    for value in range(5):
        means.add(torch.tensor([float(value)]))
    again.load_state_dict(means.state_dict(), torch.device("cpu"))
    for each in (means, again):
        each.add(torch.tensor([7.0]))
    one, other = means.means(), again.means()
    assert one is not None
    assert other is not None
    assert one.item() == other.item() == pytest.approx((3 + 4 + 7) / 3)
