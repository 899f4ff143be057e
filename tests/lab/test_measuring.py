"""Measures in the laboratory: taken over the stream, shown, and told before anything runs where they cannot be."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import Any

import pytest
import torch

from hare_tortoise.lab import files
from hare_tortoise.lab.archive import archive
from hare_tortoise.lab.building import build, build_probe, measured_on
from hare_tortoise.lab.run import report_runs, run_recipes
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.measures import MEASURES, effective_rank, features
from hare_tortoise.methods import Method, WarmStart
from hare_tortoise.streams import Chunk, TensorExamples, load_source
from hare_tortoise.streams.scenarios.accumulating import Accumulating
from tests.lab.small import small, timeless


def test_measures_are_taken_over_the_stream_and_shown(tmp_path: Path) -> None:
    recipe = small(
        measures=("effective_rank", "hare-tortoise-distance"),
        methods=("warm-start", "ema(decay=0.9)"),
        network="mlp(hidden=(16,))",
        seeds=3,
    )
    outcome = run_recipes([recipe], out=tmp_path, workers=0, quiet=True)
    assert not outcome.failures
    rows = [row for path in tmp_path.rglob("metrics.json") for row in files.read_json(path)["rows"]]
    assert len(rows) == 2 * 3 * 2
    assert all(1 < row["measures"]["effective-rank"] <= 16 for row in rows)
    averaged = [row for row in rows if row["tortoise_test_accuracy"] is not None]
    assert len(averaged) == 6
    assert all(("hare-tortoise-distance" in row["measures"]) == (row in averaged) for row in rows)
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "Measures of plasticity" in page
    for name in ("effective-rank", "hare-tortoise-distance"):
        assert html.escape(MEASURES[name].reading) in html.unescape(page) or MEASURES[name].reading in page


def test_measures_are_taken_every_so_many_chunks_and_at_the_end() -> None:
    recipe = small(measures=("weight-norm",), measure_every=2, scenario="growing(chunks=6)", epochs=1)
    rows = Training(build(Trial(recipe, "warm-start", 1.0, 0))).finish()
    assert [row["chunk"] for row in rows if row["measures"]] == [0, 2, 4, 5]
    with pytest.raises(ValueError, match="measure_every: got 0, expected 1 or more chunks"):
        recipe.replace(measure_every=0)


def test_measuring_changes_nothing_of_the_training() -> None:
    plain = small(network="tests.lab.small:with_dropout", evaluate_every=1)
    measured = plain.replace(measures=("effective-rank", "dormant-ratio", "weight-norm"))
    rows = []
    for recipe in (plain, measured):
        found = timeless(Training(build(Trial(recipe, "hare-tortoise(decay=0.9)", 1.0, 0))).finish())
        rows.append([{key: value for key, value in row.items() if key != "measures"} for row in found])
    assert rows[0] == rows[1]


class Explodes(Method):
    """Leaves infinite weights after so many steps."""

    def __init__(self, model: torch.nn.Module, optimizer: Any = None, *, at: int = 8, seed: int = 0) -> None:
        super().__init__(model, optimizer, seed=seed)
        self.left = at

    def after_step(self, skipped: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            with torch.no_grad():
                next(self.model.parameters()).mul_(torch.inf)


@pytest.mark.parametrize("measures", [(), ("dormant-ratio",), ("weight-norm",), ("gradient-norm",)])
def test_weights_that_end_a_chunk_infinite_are_a_failure_of_the_trial(
    measures: tuple[str, ...], tmp_path: Path
) -> None:
    steps = build(Trial(small(epochs=1), "warm-start", 1.0, 0)).plan[0].steps
    method = f"tests.lab.test_measuring:Explodes(at={steps})"
    recipe = small(epochs=1, measures=measures, methods=("warm-start", method))
    outcome = run_recipes([recipe], out=tmp_path, workers=0, quiet=True)
    assert len(outcome.failures) == 1
    assert f"the weights were not finite after step {steps} of chunk 1" in outcome.failures[0]
    archive(tmp_path, tmp_path / "mine.json")
    assert report_runs(tmp_path / "mine.json").failures == outcome.failures


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"measures": ("saturated-units",)}, "measures saturated-units of network mlp"),
        (
            {"optimizer": "tests.lab.test_measuring:NoDecay"},
            "takes no weight_decay, expected one for the recipe's 0.001",
        ),
    ],
)
def test_what_cannot_be_taken_or_built_is_told_before_anything_runs(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        run_recipes([small(**change)], out=tmp_path / "out", workers=0, quiet=True)
    assert not (tmp_path / "out" / "runs").exists()


class NoDecay(torch.optim.SGD):
    """An optimizer of the user's own without weight decay."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)


@pytest.mark.parametrize(
    "optimizer",
    ["tests.lab.test_measuring:NoDecay", "torch.optim:RMSprop", "adam(foreach=True)", "sgd(fused=False)"],
)
def test_optimizers_are_given_what_they_take(optimizer: str) -> None:
    trial = Trial(small(optimizer=optimizer, weight_decay=0.0), "warm-start", 1.0, 0)
    assert len(Training(build(trial)).finish()) == 2


def test_a_measure_is_left_out_where_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    recipe = small(measures=("hare-tortoise-distance",), methods=("warm-start", "ema(decay=0.9)"))
    assert not run_recipes([recipe], out=tmp_path, workers=0, quiet=True).failures


def test_the_probe_measures_the_trained_network_on_rows_of_the_last_chunk() -> None:
    setup = build(Trial(small(measures=("effective-rank",)), "ema(decay=0.9)", 1.0, 0))
    assert setup.probe is not None
    assert setup.probe.model is setup.model
    assert setup.probe.of == "hare"
    assert setup.probe.data.pair is not None
    inputs, targets = setup.probe.data.pair
    ((rows, labels),) = setup.stream[1].tests["test"].batches(10_000)
    assert len(targets) == min(512, len(labels))
    assert torch.equal(inputs[0], rows[0])
    assert torch.equal(inputs[-1], rows[-1])


def test_measures_are_taken_on_rows_of_the_task_that_was_just_trained() -> None:
    recipe = small(measures=("effective-rank",), scenario="permuted(tasks=3, order=independent)", epochs=1)
    setup = build(Trial(recipe, "warm-start", 1.0, 0))
    expected, seen = list[float](), list[torch.Tensor]()

    class Watching(Training):
        def _row(self, chunk: Chunk, *rest: Any) -> Any:
            (inputs, _), _ = measured_on(chunk, setup.stream)
            seen.append(inputs)
            with torch.no_grad():
                setup.model.eval()
                expected.append(effective_rank(features(setup.model, inputs)).item())
                setup.model.train()
            return super()._row(chunk, *rest)

    rows = Watching(setup).finish()
    assert [row["measures"]["effective-rank"] for row in rows] == expected
    assert len({tuple(inputs[0].flatten().tolist()) for inputs in seen}) == 3
    assert torch.equal(seen[1], next(iter(setup.stream[1].tests["test"].batches(10_000)))[0][: len(seen[1])])


class Shifting(Accumulating):
    """Each chunk brings a test set of its own."""

    def chunk(self, index: int) -> Chunk:
        chunk = super().chunk(index)
        ((inputs, targets),) = chunk.tests["test"].batches(10_000)
        return dataclasses.replace(chunk, tests={"test": TensorExamples(inputs + index, targets)})


def test_where_test_sets_differ_it_is_the_last_that_counts() -> None:
    source = load_source("digits")
    stream = Shifting(
        source, name="shifting", ends=(100, 200), noise=(0.0, 0.0), names=("a", "b"), validation=0.0, seed=0
    )
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)
    )
    probe = build_probe(["weight-norm"], stream, model, WarmStart(model), lambda: model)
    assert probe is not None
    assert probe.data.pair is not None
    first, last = (next(iter(stream[i].tests["test"].batches(10_000)))[0] for i in (0, 1))
    assert torch.equal(probe.data.pair[0][0], last[0])
    assert not torch.equal(first[0], last[0])


def test_a_measure_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown measure 'efective-rank'; did you mean 'effective-rank'"):
        run_recipes([small(measures=("efective-rank",))], out=tmp_path, workers=0, quiet=True)
