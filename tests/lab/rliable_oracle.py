"""Writes `rliable_oracle.json`: what rliable makes of a few small score matrices, and on which resamples.

rliable needs an old pandas, so it gets an environment of its own, without this package:

    python3 -m venv rliable-env
    rliable-env/bin/pip install 'pandas<3' arch rliable
    rliable-env/bin/python tests/lab/rliable_oracle.py [--seed N] [--repeats N] [--out FILE]

Another seed, more resamples and another file make a larger check of the same kind, with
`RLIABLE_ORACLE=FILE pytest tests/lab/test_aggregates.py`. rliable draws from numpy's global generator; what it drew is
recorded as it goes.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
NAMES = ("iqm", "median", "mean", "optimality_gap")
LEVEL = 0.9
THRESHOLDS = [-0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 4.0]


def matrices(seed: int) -> dict[str, tuple[Any, Any]]:
    """Two score matrices for each case: sizes that 4 does not divide, ties, arrays that are alike or all one number."""
    rng = np.random.default_rng(seed)

    def draw(runs: int, games: int, step: float = 1e-4) -> Any:
        scores = rng.gamma(1.0, 0.7, games) + 0.4 * rng.standard_normal((runs, games))
        return np.round(np.round(scores / step) * step, 6)

    same = draw(3, 5)
    return {
        "5 scores": (draw(5, 1), draw(3, 1)),
        "15 scores": (draw(5, 3), draw(5, 3)),
        "16 scores": (draw(4, 4), draw(4, 4)),
        "26 games": (draw(3, 26), draw(3, 26)),
        "other numbers of runs": (draw(5, 7), draw(3, 7)),
        "ties": (draw(6, 3, step=0.5), draw(5, 3, step=0.5)),
        "alike": (same, same),
        "all one number": (np.full((3, 2), 0.3), np.full((4, 2), 0.3)),
    }


def recording(library: Any) -> list[Any]:
    """Make rliable's two kinds of bootstrap write down the resamples that they draw."""
    drawn: list[Any] = []
    one, two = library.StratifiedBootstrap, library.StratifiedIndependentBootstrap

    class One(one):  # type: ignore[misc, valid-type]
        def update_indices(self) -> Any:
            found = super().update_indices()
            drawn.append(found[0].tolist())
            return found

    class Two(two):  # type: ignore[misc, valid-type]
        def update_indices(self) -> Any:
            found = super().update_indices()
            drawn.append([each[0].tolist() for each in found[0]])
            return found

    library.StratifiedBootstrap, library.StratifiedIndependentBootstrap = One, Two
    return drawn


class Oracle:
    """rliable's figures, with the resamples behind each interval."""

    def __init__(self, repeats: int) -> None:
        self.library, self.metrics = import_module("rliable.library"), import_module("rliable.metrics")
        self.drawn, self.repeats = recording(self.library), repeats

    def aggregates(self, scores: Any) -> Any:
        return np.array([getattr(self.metrics, f"aggregate_{name}")(scores) for name in NAMES])

    def two(self, ours: Any, theirs: Any) -> Any:
        improvement = self.metrics.probability_of_improvement(ours, theirs)
        return np.array([*(self.aggregates(ours) - self.aggregates(theirs)), improvement])

    def curve(self, scores: Any) -> Any:
        steps = range(scores.shape[-1])
        return np.array([self.metrics.aggregate_iqm(scores[..., step]) for step in steps])

    def estimate(self, scores: Any, function: Any) -> dict[str, Any]:
        self.drawn.clear()
        points, intervals = self.library.get_interval_estimates(
            {"it": scores}, function, reps=self.repeats, confidence_interval_size=LEVEL
        )
        return self.found(points["it"], intervals["it"])

    def profile(self, scores: Any) -> dict[str, Any]:
        self.drawn.clear()
        points, intervals = self.library.create_performance_profile(
            {"it": scores}, np.array(THRESHOLDS), reps=self.repeats, confidence_interval_size=LEVEL
        )
        return self.found(points["it"], intervals["it"])

    def found(self, points: Any, intervals: Any) -> dict[str, Any]:
        assert len(self.drawn) == self.repeats
        low, high = intervals.tolist()
        return {"points": points.tolist(), "low": low, "high": high, "indices": list(self.drawn)}


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    np.random.seed(options.seed)  # rliable draws from the global generator
    oracle = Oracle(options.repeats)
    cases = {}
    for name, (ours, theirs) in matrices(options.seed).items():
        cases[name] = {
            "ours": ours.tolist(),
            "theirs": theirs.tolist(),
            "one": oracle.estimate(ours, oracle.aggregates),
            "gap_to_half": float(oracle.metrics.aggregate_optimality_gap(ours, gamma=0.5)),
            "two": oracle.estimate([ours, theirs], oracle.two),
            "profile": oracle.profile(ours),
        }
    steps = np.stack([matrices(options.seed + step)["15 scores"][0] for step in range(3)], axis=-1)
    content = {
        "made_by": {name: version(name) for name in ("rliable", "arch", "numpy", "scipy")},
        "level": LEVEL,
        "names": NAMES,
        "thresholds": THRESHOLDS,
        "cases": cases,
        "curve": {"scores": steps.tolist(), **oracle.estimate(steps, oracle.curve)},
    }
    options.out.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
