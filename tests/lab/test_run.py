"""Whole commands: what is missing runs, what is finished stays, and what goes wrong is told."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hare_tortoise.lab import files
from hare_tortoise.lab.archive import archive
from hare_tortoise.lab.code import code_digest
from hare_tortoise.lab.executor import Inline
from hare_tortoise.lab.run import report_runs, run_recipes
from hare_tortoise.lab.trial import Trial
from hare_tortoise.methods import Method
from tests.lab.small import METHODS, Heard, run_of, small, task_of, timeless
from tests.lab.test_kill import command


def test_a_command_runs_only_what_is_missing(tmp_path: Path) -> None:
    recipe = small(seeds=3)
    first = run_recipes([recipe], out=tmp_path, workers=0, quiet=True, command="hare-tortoise compare small")
    assert not first.failures
    assert first.report is not None
    assert first.report.exists()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}
    assert len(stamps) == 6
    more = recipe.replace(seeds=4, methods=(*recipe.methods, "ema(decay=0.9)"))
    run_recipes([more], out=tmp_path, workers=0, quiet=True)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}
    assert len(after) == 12
    assert {path: after[path] for path in stamps} == stamps


def test_a_report_is_written_again_without_training(tmp_path: Path) -> None:
    recipe = small(seeds=3)
    first = run_recipes([recipe], out=tmp_path, workers=0, quiet=True, command="the command")
    assert first.report is not None
    first.report.unlink()
    again = report_runs(tmp_path)
    assert again.comparisons == first.comparisons
    assert again.report is not None
    assert "the command" in again.report.read_text()
    next(tmp_path.rglob("metrics.json")).unlink()
    partly = report_runs(tmp_path)
    assert len(partly.failures) == 1
    assert "not finished" in partly.failures[0]


def test_an_archive_holds_all_that_a_report_needs(tmp_path: Path) -> None:
    first = run_recipes([small(seeds=3)], out=tmp_path / "runs", workers=0, quiet=True, command="the command")
    archive(tmp_path / "runs", tmp_path / "kept" / "mine.json")
    shutil.rmtree(tmp_path / "runs")
    again = report_runs(tmp_path / "kept" / "mine.json")
    assert again.comparisons == first.comparisons
    assert again.report == tmp_path / "kept" / "report.html"
    with pytest.raises(ValueError, match="is an archive already"):
        archive(tmp_path / "kept" / "mine.json", tmp_path / "other.json")
    files.write_json(tmp_path / "other.json", {"rows": []})
    with pytest.raises(ValueError, match="is no archive of a comparison"):
        report_runs(tmp_path / "other.json")


def test_an_archive_tells_what_is_not_finished(tmp_path: Path) -> None:
    run_recipes([small(seeds=3)], out=tmp_path, workers=0, quiet=True)
    next(tmp_path.rglob("metrics.json")).unlink()
    archive(tmp_path, tmp_path / "mine.json")
    (failure,) = report_runs(tmp_path / "mine.json").failures
    assert "not finished" in failure


def test_reports_of_nothing_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no command\.json"):
        report_runs(tmp_path)


def test_wrong_names_are_found_before_anything_runs(tmp_path: Path) -> None:
    for change, says in (
        ({"methods": ("hair-tortoise",)}, "did you mean 'hare-tortoise'"),
        ({"methods": ("ema(decai=0.9)",)}, "did you mean 'decay'"),
        ({"methods": ("ema(0.9)",)}, "write each setting with its name"),
        ({"methods": ("ema(decay=2.0)",)}, r"decay is 2\.0"),
        ({"methods": ("ema(decay=warm(0.9))",)}, "did you mean 'warmup'"),
        ({"network": "mpl"}, "did you mean 'mlp'"),
        ({"network": "nowhere:build"}, "no module named 'nowhere'"),
        ({"network": "tests.lab.small:with_dropot"}, "did you mean 'with_dropout'|with-dropout"),
        ({"source": "digit"}, "did you mean"),
        ({"scenario": "groing"}, "did you mean 'growing'"),
        ({"scenario": "growing(chunk=3)"}, "did you mean 'chunks'"),
        ({"optimizer": "adamx"}, "did you mean"),
        ({"augment": "crop-flop"}, "did you mean"),
    ):
        recipe = small(**change)
        with pytest.raises(ValueError, match=says):
            run_recipes([recipe], out=tmp_path / "out", workers=0, quiet=True)
    assert not (tmp_path / "out" / "runs").exists()


def two_outputs(input_shape: tuple[int, ...], outputs: int) -> Any:
    """A network with too few outputs."""
    return torch.nn.Linear(input_shape[0], 2)


def test_what_does_not_fit_together_is_found_before_anything_runs(tmp_path: Path) -> None:
    for change, says in (
        ({"network": "tests.lab.test_run:two_outputs"}, r"outputs of shape \(2,\)|Target . is out of bounds"),
        ({"network": "resnet18"}, "resnet18"),
        ({"augment": "crop-flip(padding=1)"}, "augmented by crop-flip"),
        ({"network": "mlp(hidden=(4,), batch_norm=True)", "batch_size": 1}, "batches of 1"),
        ({"optimizer": "adamw(betas=3)"}, r"optimizer adamw\(betas=3\)"),
        ({"scenario": "warm-start(first=abc)"}, "first"),
        ({"methods": ("tests.lab.small:BAD_AFTER",)}, "expected a subclass of hare_tortoise.Method"),
        ({"methods": ("tests.lab.test_run:NoSeed",)}, "seed"),
        ({"methods": ("hare-tortoise(decay=0.9, reset_every=None)",)}, "is never reset"),
    ):
        with pytest.raises(ValueError, match=says):
            run_recipes([small(**change)], out=tmp_path / "out", workers=0, quiet=True)
    assert not (tmp_path / "out" / "runs").exists()


class NoSeed(Method):
    """A method of a user that forgot the seed."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model)


def test_a_crash_is_explained_and_no_older_report_passes_for_the_answer(tmp_path: Path) -> None:
    run_recipes([small(seeds=1)], out=tmp_path, workers=0, quiet=True)
    assert (tmp_path / "report.html").exists()
    recipe = small(network="tests.lab.test_run:late", methods=("warm-start",))
    outcome = run_recipes([recipe], out=tmp_path, workers=0, quiet=True)
    assert outcome.report is None
    assert not (tmp_path / "report.html").exists()
    assert len(outcome.failures) == 1
    assert "RuntimeError: too late" in outcome.failures[0]


class Late(torch.nn.Module):
    """A network that fails after its second batch in training."""

    calls = 0

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(inputs, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > 2:
            raise RuntimeError("too late")
        outputs: torch.Tensor = self.head(inputs)
        return outputs


def late(input_shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    """A network that fails after its second batch in training."""
    return Late(input_shape[0], outputs)


def test_fewer_rows_do_not_pass_for_the_published_setting(tmp_path: Path) -> None:
    published = small(scale="paper", rows=50_000, seeds=3)
    (comparison,) = run_recipes([published], out=tmp_path, workers=0, quiet=True).comparisons
    assert comparison.scale == "1,400 of 50,000 training rows"
    whole = small(scale="paper", rows=1400, seeds=3)
    (comparison,) = run_recipes([whole], out=tmp_path, workers=0, quiet=True).comparisons
    assert comparison.scale == "paper"


def test_a_run_recognises_its_own_trial(tmp_path: Path) -> None:
    recipe = small(epochs=(1, 1), measures=("weight-norm",))
    for _ in range(2):
        assert run_of(task_of(Trial(recipe, "warm-start", 1.0, 0), tmp_path)).open() == []


def test_the_metrics_of_another_run_are_not_taken(tmp_path: Path) -> None:
    one, two = (task_of(Trial(small(), "warm-start", 1.0, seed), tmp_path) for seed in (0, 1))
    first, _ = Inline().run([one, two], Heard([one, two]))
    (run_of(one).folder / "metrics.json").write_bytes((run_of(two).folder / "metrics.json").read_bytes())
    heard = Heard([one])
    (again,) = Inline().run([one], heard)
    assert first is not None
    assert again is not None
    assert timeless(again.rows) == timeless(first.rows)
    assert "is that of run" in heard.notes[0]


def test_data_that_change_while_the_command_runs_are_noticed(tmp_path: Path) -> None:
    task = task_of(Trial(small(), "warm-start", 1.0, 0), tmp_path)
    stale = dataclasses.replace(task, identity={**task.identity, "data": "as it was"})
    heard = Heard([stale])
    assert Inline().run([stale], heard) == [None]
    assert "changed while the command ran" in heard.crashes[0]


def test_code_is_digested_with_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    package = tmp_path / "users_package"
    (package / "deep").mkdir(parents=True)
    sources = {
        "users_package/__init__.py": "",
        "users_package/net.py": "from .deep.layers import width\nimport users_constants, sys\ndef build(): ...\n",
        "users_package/deep/__init__.py": "",
        "users_package/deep/layers.py": "width = 3\n",
        "users_package/unused.py": "",
        "users_constants.py": "SIZE = 1\n",
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    before = code_digest(["users_package.net:build"])
    assert {"users_constants", "users_package.deep.layers", "users_package.net"} <= set(before)
    assert "users_package.unused" not in before
    assert "sys" not in before
    for name in ("users_package/deep/layers.py", "users_constants.py"):
        (tmp_path / name).write_text(sources[name] + "# changed\n")
        assert code_digest(["users_package.net:build"]) != before
        (tmp_path / name).write_text(sources[name])
    assert code_digest(["users_package.net:build"]) == before


def test_a_failed_trial_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lab.small.BAD_AFTER", 5)
    bad = small(name="bad", network="tests.lab.small:bad", seeds=3)
    outcome = run_recipes([bad, small(seeds=3)], out=tmp_path, workers=0, quiet=True)
    assert len(outcome.failures) == 6
    assert all("at step 6 of chunk 1" in line for line in outcome.failures)
    assert outcome.report is not None
    assert outcome.report.exists()
    assert [comparison.recipe for comparison in outcome.comparisons] == ["bad", "small"]


def test_changed_data_and_code_are_told_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    code = tmp_path / "users_network.py"
    text = "from torch import nn\ndef build(shape, outputs):\n    return nn.Linear(shape[0], outputs)\n"
    code.write_text(text)
    data = tmp_path / "mine.npz"
    x, y = np.random.default_rng(0).normal(size=(80, 3)), np.arange(80) % 2
    np.savez(data, x=x, y=y)
    recipe = small(source=str(data), network="users_network:build", methods=("warm-start",))

    def again() -> tuple[int, str]:
        from hare_tortoise.lab.building import cached_source

        cached_source.cache_clear()
        run_recipes([recipe], out=tmp_path / "out", workers=0)
        return len(list((tmp_path / "out").rglob("metrics.json"))), capsys.readouterr().err

    assert again()[0] == 1
    count, shown = again()
    assert count == 1
    assert "not used" not in shown
    code.write_text(text + "# changed\n")
    count, shown = again()
    assert count == 2
    assert "was done with other code: not used" in shown
    np.savez(data, x=x + 1, y=y)
    count, shown = again()
    assert count == 3
    assert "was done with other data: not used" in shown


def test_a_full_disk_leaves_what_is_finished(tmp_path: Path) -> None:
    """A real limit on the size of files: the write fails in the middle, as on a full disk."""
    first = task_of(Trial(small(), "warm-start", 1.0, 0), tmp_path)
    second = task_of(Trial(small(network="mlp(hidden=(512, 512))"), "warm-start", 1.0, 1), tmp_path)
    heard = Heard([first, second])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        results = Inline().run([first, second], heard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert results[0] is not None
    assert results[1] is None
    assert "File too large" in heard.crashes[1]
    assert not list(tmp_path.rglob("*.part"))
    assert timeless(run_of(first).finished()[0]) == timeless(results[0].rows)  # type: ignore[index]
    again = Inline().run([first, second], Heard([first, second]))
    assert all(result is not None for result in again)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_writes_checkpoints(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = command(
        out, checkpoint_every=1e9, epochs=60
    )  # of some seconds each, so that none is at its end
    while not (tmp_path / "under-way").exists():  # a worker has told how far it is: it trains
        assert process.poll() is None
        time.sleep(0.02)
    assert not list(out.rglob("checkpoint.safetensors"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert list(out.rglob("checkpoint.safetensors"))
    for path in out.rglob("*.json"):
        files.read_json(path)
    for path in out.rglob("*.safetensors"):
        files.read_tensors(path)
    assert not list(out.rglob("*.part"))
    assert command(out, epochs=60).wait(120) == 0


@pytest.mark.slow
def test_two_commands_on_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The second finds the first at work, waits for each trial, and takes its result."""
    out = tmp_path / "out"
    both = [command(out, checkpoint_every=1e9), command(out, checkpoint_every=1e9)]
    stamps: dict[Path, set[int]] = {}
    while any(process.poll() is None for process in both):
        for path in out.rglob("metrics.json"):
            stamps.setdefault(path, set()).add(path.stat().st_mtime_ns)
        time.sleep(0.02)
    assert [process.returncode for process in both] == [0, 0]
    assert len(stamps) == 4
    assert all(len(times) == 1 for times in stamps.values())  # written once: trained once
    for path in stamps:
        files.read_json(path)


def test_nothing_that_is_read_or_written_is_a_pickle(tmp_path: Path) -> None:
    run_recipes([small()], out=tmp_path, workers=0, quiet=True)
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    assert kinds == {".json", ".md", ".safetensors", ".html", ".svg"}
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text())


def test_the_deployed_network_of_a_run_can_be_taken_out(tmp_path: Path) -> None:
    task = task_of(Trial(small(), METHODS[7], 1.0, 0), tmp_path)
    Inline().run([task], Heard([task]))
    weights = run_of(task).weights()
    assert "head.weight" in weights
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
