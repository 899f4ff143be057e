"""What the display says of a trial's length is what the trial then processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hare_tortoise.lab.progress import Silent
from hare_tortoise.lab.run import run_recipes
from hare_tortoise.lab.sweep import run_sweep
from hare_tortoise.lab.trial import Result
from tests.lab.small import small

# from scratch trains on all 350 rows at last, the others on 175 or 225
LIMITED = small(
    source="digits(rows=350)",
    scenario="limited(chunks=2, memory=50)",
    methods=("from-scratch", "warm-start", "from-scratch+ema(decay=0.9)"),
    network="mlp(hidden=(4,))",
    epochs=(1, 2),
)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Samples of each trial that ends: those that were told before, and those that it processed."""
    found = []

    def finished(self: Silent, index: int, result: Result) -> None:
        found.append((self.tally.samples[index], result.rows[-1]["samples"]))

    monkeypatch.setattr(Silent, "finished", finished)
    return found


def test_of_a_comparison(tmp_path: Path, lengths: list[tuple[int, int]]) -> None:
    run_recipes([LIMITED], out=tmp_path, workers=0, quiet=True)
    assert lengths == [(875, 875), (625, 625), (875, 875)]


def test_of_a_sweep_that_pauses(tmp_path: Path, lengths: list[tuple[int, int]]) -> None:
    recipe, over = LIMITED.replace(validation=0.2), ["decay=0.5,0.9"]
    run_sweep(
        recipe,
        over,
        out=tmp_path,
        method="from-scratch+ema(decay=0.9)",
        search="halving",
        workers=0,
        quiet=True,
    )
    assert len(lengths) > 3
    assert all(told == processed for told, processed in lengths)
    assert {processed for _, processed in lengths} == {140, 700, 520}
