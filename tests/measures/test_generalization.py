"""The generalisation gap by hand."""

from __future__ import annotations

import math

import pytest

from hare_tortoise.measures.generalization import generalization_gap


def test_it_is_positive_where_from_scratch_is_better() -> None:
    assert generalization_gap(fresh=0.9, warm=0.8) == pytest.approx(0.1)
    assert generalization_gap(fresh=80.0, warm=90.0) == pytest.approx(-10.0)


@pytest.mark.parametrize(("fresh", "warm", "name"), [(math.nan, 0.5, "fresh"), (0.5, math.inf, "warm")])
def test_what_is_no_accuracy_is_refused(fresh: float, warm: float, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is (nan|inf)"):
        generalization_gap(fresh=fresh, warm=warm)
