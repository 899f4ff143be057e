"""The benchmarks run, take turns and judge their figures rightly; no speed is tested here."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parent.parent
pytest.importorskip("ema_pytorch", reason="the extra `bench` is not installed")
sys.path.insert(0, str(ROOT))

from benchmarks import harness, held, method_cases, method_cost, run  # noqa: E402


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


EXPECTED = {
    "averaging": {
        "AveragedModel (get_ema_multi_avg_fn) / hare-tortoise": "at least 1",
        "ema-pytorch / hare-tortoise": "at least 1",
        "ema-pytorch (use_foreach) / hare-tortoise": "at least 1",
        "loop of lerp_ / hare-tortoise": "at least 1",
        "hare-tortoise / _foreach_lerp_ on ready lists": "at most 1.15",
    },
    "small_tensors": {
        "AveragedModel (get_ema_avg_fn) / hare-tortoise": "at least 5",
        "ema-pytorch (use_foreach) / hare-tortoise": "at least 1",
    },
    "throughput": {
        "compare's loop / image folder, samples per second (2 threads)": "at least 3",
        "compare's loop / bare loop, samples per second (2 threads)": "at least 0.9",
    },
    "image_folder": {
        "300 files: stream / plain DataLoader, neither normalised": "at least 0.9",
        "300 files: stream / plain DataLoader, both normalised": "at least 0.9",
        "memory after all images / early": "at most 1.05",
    },
    "memory": {"difference of the peaks / the tortoise's bytes": "at most 1.05"},
    "effective_rank": {
        "effective_rank / torch.linalg.svdvals": "at most 1",
        'effective_rank (method="svd") / torch.linalg.svdvals': "at most 1.2",
        "effective_rank / torch.linalg.svdvals, both of the transpose": "at most 1.2",
        "effective_rank / torch.linalg.svdvals, both in float64": "at most 1.2",
        "relative error against float64, gram": "at most 3.2e-05",
        "relative error against float64, svd": "at most 3.2e-05",
    },
    "agents": {
        "drq, scalar: rate of the whole agent / of its gradient steps alone": "at least 0.88",
        "drq, C51: rate of the whole agent / of its gradient steps alone": "at least 0.88",
        "MinAtar, scalar, a gradient step each 4: rate / of acting and gradient steps alone": "at least 0.7",
        "MinAtar, C51, a gradient step each 4: rate / of acting and gradient steps alone": "at least 0.7",
        "steps per second, drq scalar / Stable-Baselines3, 1 thread": "at least 1.3",
        "steps per second, drq scalar / Stable-Baselines3, 2 threads": "at least 1.3",
    },
    "channels_last": {
        "narrow-resnet, channels last / first": "at most 0.9",
        "resnet18, channels last / first": "at most 0.9",
    },
    "compare": {
        "wall time of two workers against one": "at most 0.6",
        "outside the training loops, one worker": "at most 15",
    },
    "method_cost": {
        f"MLP, batch 8: {method}": f"at most {limit}"
        for limit, methods in {
            5: (
                "hare-tortoise",
                "ema",
                "l2-init",
                "weight-clipping",
                "soft-shrink-perturb",
                "shrink-perturb",
            ),
            10: ("redo", "continual-backprop(maturity=1)", "self-normalized-reset"),
        }.items()
        for method in methods
    },
}


LONG = ("agents", "channels_last", "compare", "image_folder", "memory", "method_cost", "throughput")


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow if each in LONG else ()) for each in run.SCRIPTS],
)
def test_script_prints_a_table_and_writes_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    done = call(f"benchmarks.{name}", "--quick", "--json", str(path))
    assert done.returncode == 0, done.stderr
    outcome = harness.read_outcome(path)
    assert harness.table(outcome) in done.stdout
    assert {row.what: row.target for row in outcome.rows if row.target} == EXPECTED[name]
    assert all(row.value > 0 for row in outcome.rows if row.unit in ("ms", "MiB", "samples/s"))
    assert len({row.what for row in outcome.rows}) == len(outcome.rows)
    assert set(json.loads(path.read_text())) == {"title", "setting", "rows", "pivoted"}


def test_wrong_use_is_answered_and_writes_nothing() -> None:
    before = run.PAGE.read_text() if run.PAGE.exists() else None
    unknown = call("benchmarks", "averages")
    assert unknown.returncode == 2
    assert "averages" in unknown.stderr
    assert "small_tensors" in unknown.stderr
    assert call("benchmarks", "--quick").returncode == 2
    assert (run.PAGE.read_text() if run.PAGE.exists() else None) == before


def test_candidates_take_turns_and_the_order_rotates() -> None:
    order: list[str] = []
    clock = itertools.count(1.0)

    def candidate(name: str) -> float:
        order.append(name)
        return next(clock)

    measured = harness.take_turns({name: lambda name=name: candidate(name) for name in "abc"}, rounds=3)  # type: ignore[misc]
    assert "".join(order) == "abcbcacab"
    assert measured == {"a": [1.0, 6.0, 8.0], "b": [2.0, 4.0, 9.0], "c": [3.0, 5.0, 7.0]}


def test_each_candidate_is_called_as_often_in_every_round() -> None:
    counts = {"a": 0, "b": 0}

    def count(name: str) -> None:
        counts[name] += 1

    times = harness.alternate({name: lambda name=name: count(name) for name in counts}, rounds=4, calls=5)  # type: ignore[misc]
    assert counts == {"a": 2 + 4 * 6, "b": 2 + 4 * 6}
    assert [len(values) for values in times.values()] == [4, 4]
    assert min(min(values) for values in times.values()) >= 0


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    row = harness.ratio_row("", [2.0, 40.0, 3.0, 8.0, 5.0], [1.0, 10.0, 3.0, 2.0, 1.0])
    assert row.value == 4.0
    assert row.spread == (2.0, 4.0)
    assert harness.median_row("", [3.0, 1.0, 2.0], "ms").value == 2.0
    assert harness.quartiles([1.0]) is None


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "verdict"),
    [
        (1.0, None, None, ""),
        (3.0, 3.0, None, "pass"),
        (2.99, 3.0, None, "miss"),
        (1.15, None, 1.15, "pass"),
        (1.16, None, 1.15, "miss"),
        (float("nan"), 3.0, None, "miss"),
        (float("nan"), None, 1.15, "miss"),
    ],
)
def test_verdicts(value: float, at_least: float | None, at_most: float | None, verdict: str) -> None:
    row = harness.Row(what="", value=value, unit="x", at_least=at_least, at_most=at_most)
    assert row.verdict == verdict


def test_a_pivoted_table_has_a_line_for_each_thing() -> None:
    rows = [
        harness.Row(what="small: ema", value=3.0, unit="%", at_most=2.0, spread=(2.5, 4.0)),
        harness.Row(what="large: ema", value=0.5, unit="%", spread=(0.4, 0.6)),
        harness.Row(what="large: crelu", value=40.0, unit="%"),
    ]
    shown = harness.table(harness.Outcome(title="Cost", setting="Here.", rows=rows, pivoted=True))
    assert "| | small | large |" in shown
    assert "| ema | 3 % (2.5 – 4; at most 2: miss) | 0.5 % (0.4 – 0.6) |" in shown
    assert "| crelu |  | 40 % |" in shown


def test_what_a_method_holds_is_counted_once_and_without_the_network() -> None:
    model = torch.nn.Linear(8, 8, bias=False)
    kept = torch.zeros(100)
    inner = SimpleNamespace(model=model, kept=[kept, (kept[:10],)], more={"half": kept.half()})
    method = SimpleNamespace(inner=inner, weight=model.weight, copy=torch.nn.Linear(8, 8, bias=False))
    inner.back = method
    assert held.held_bytes(method, without=[model]) == 400 + 200 + 256
    assert held.held_bytes(method) == 400 + 200 + 256 + 256


def test_what_a_penalty_builds_up_is_counted() -> None:
    bench = method_cost.Bench(method_cases.QUICK)
    bench.plain_seconds.append(1.0)
    inputs, answers = 8 * 12 * 4, 8 * 10 * 4
    _, size = method_cost.own_cost(bench, method_cases.Case("c-chain(window=50)"))
    assert 2 * (inputs + answers) + 2 * 50 * 4 <= size < 2 * (inputs + answers) + 2 * 50 * 4 + 3 * inputs


def test_page_names_targets_machine_and_figures() -> None:
    rows = [
        harness.Row(what="slow / fast", value=4.0, unit="x", spread=(3.5, 4.5), at_least=5.0),
        harness.Row(what="fast", value=1234.5, unit="ms"),
    ]
    page = run.page([harness.Outcome(title="A claim", setting="Two threads.", rows=rows)])
    assert "| A claim: slow / fast | 4× | at least 5 | miss |" in page
    assert "| slow / fast | 4× | 3.5 – 4.5 | at least 5 | miss |" in page
    assert "| fast | 1,234 ms |  |  |  |" in page
    assert "| torch |" in page
    assert "| package ema-pytorch |" in page
    assert "Two threads." in page


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_from_a_checkout(tmp_path: Path) -> None:
    script, out = Path(run.ROOT, "benchmarks", "atari_gpu.py"), tmp_path / "found.json"
    small = ["--device", "cpu", "--seconds", "0.1", "--agents", "1,2", "--capacity", "100", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "updates", *small],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {"1", "2", "processes"}
    assert found["2"]["times the bound"] > 1
