"""The loop: bit-identical however it is interrupted, honest about what it measures, stopped by the first bad loss."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.lab.building import Setup, build
from hare_tortoise.lab.job import Moment, StoppedError
from hare_tortoise.lab.store import Run
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Row, Trial, derive_seed
from hare_tortoise.methods import HareTortoise, horizon, portion
from tests.lab.small import METHODS, convolutional, run_of, small, task_of, timeless


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def textbook(trial: Trial, strength: float = 0.0) -> tuple[nn.Module, list[list[float]], list[float]]:
    """The same training written out: its network, the accuracies at the end of each chunk, the last mean losses."""
    setup = build(trial)
    model, recipe, seed = setup.model, trial.recipe, trial.seed
    torch.manual_seed(derive_seed(seed, "training"))
    start = [p.detach().clone() for p in model.parameters()]
    accuracies: list[list[float]] = []
    losses: list[float] = []
    for index in range(len(setup.stream)):
        chunk = setup.stream[index]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
        steps, step = 3 * math.ceil(len(chunk.train) / 64), 0
        for epoch in range(3):
            model.train()
            epoch_losses = []
            generator = torch.Generator().manual_seed(derive_seed(seed, index, "order", epoch))
            for inputs, targets in chunk.train.batches(64, generator=generator, augment=setup.augment):
                optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, step / int(0.1 * steps))
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), targets)
                for weight, origin in zip(model.parameters(), start, strict=True):
                    loss = loss + 0.5 * strength * (weight - origin).square().sum() if strength else loss
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                epoch_losses.append(float(loss.detach()))
                step += 1
        assert step == steps == setup.plan[index].steps
        losses.append(sum(epoch_losses) / len(epoch_losses))
        model.eval()
        accuracies.append([])
        for examples in (chunk.tests["test"], chunk.train):
            ((inputs, targets),) = examples.batches(10_000)
            accuracies[-1].append(float((model(inputs).argmax(1) == targets).double().mean()))
    assert recipe.epochs == 3
    return model, accuracies, losses


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"network": "mlp(hidden=(16,), batch_norm=True)"},
        {"network": "tests.lab.small:with_dropout"},
        {"augment": "tests.lab.small:jitter"},
    ],
)
def test_the_loop_is_the_textbook_loop(change: dict[str, str]) -> None:
    """An independent loop, written out, gives the same weights and accuracies to the bit."""
    recipe = small(scenario="growing(chunks=2, label_noise=0.3)", epochs=3, weight_decay=0.1, **change)
    trial = Trial(recipe, "warm-start", 1.0, 0)
    setup = build(trial)
    rows = Training(setup).finish()
    model, accuracies, losses = textbook(trial)
    assert [[row["test_accuracy"], row["train_accuracy"]] for row in rows] == accuracies
    assert [row["train_loss"] for row in rows] == pytest.approx(losses, rel=1e-12)
    ours, theirs = setup.model.state_dict(), model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_penalty_is_part_of_the_loss() -> None:
    recipe = small(
        scenario="growing(chunks=2, label_noise=0.3)", epochs=3, weight_decay=0.1, network="mlp(hidden=(16,))"
    )
    rows = Training(build(Trial(recipe, "l2-init(strength=0.3)", 1.0, 0))).finish()
    _, accuracies, losses = textbook(Trial(recipe, "warm-start", 1.0, 0), strength=0.3)
    plain = textbook(Trial(recipe, "warm-start", 1.0, 0))[2]
    assert [row["train_loss"] for row in rows] == pytest.approx(losses, rel=1e-4)
    assert losses != pytest.approx(plain, rel=1e-2)
    assert [row["test_accuracy"] for row in rows] == pytest.approx([pair[0] for pair in accuracies], abs=0.01)


def test_every_epoch_chunk_and_seed_has_an_order_of_its_own() -> None:
    orders = []
    for seed in (0, 1):
        training = Training(build(Trial(small(batch_size=2000), "warm-start", 1.0, seed)))
        for training.position.chunk, training.position.epoch in ((0, 0), (0, 1), (1, 0)):
            generator = training._generator("order", training.position.epoch)
            orders.append(tuple(torch.randperm(100, generator=generator).tolist()))
    assert len(set(orders)) == len(orders) == 6


def test_validation_rows_are_measured_and_never_trained_on() -> None:
    setup = build(Trial(small(validation=0.2), "warm-start", 1.0, 0))
    row = Training(setup).finish()[-1]
    chunk = setup.stream[1]
    assert chunk.validation is not None
    assert (len(chunk.train), len(chunk.validation)) == (1120, 280)
    ((inputs, targets),) = chunk.validation.batches(10_000)
    right = float((setup.model.eval()(inputs).argmax(1) == targets).double().mean())
    assert row["validation_accuracy"] == right != row["test_accuracy"]
    assert row["samples"] == 2 * (560 + 1120)


def test_seconds_are_those_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that moves in steps and in evaluations: only the steps count."""
    now = 0.0
    monkeypatch.setattr("hare_tortoise.lab.training.time.perf_counter", lambda: now)
    step = Training._step

    def slow(self: Training, *arguments: Any) -> None:
        nonlocal now
        now += 1.0
        step(self, *arguments)

    def slower(*_: Any) -> Row:
        nonlocal now
        now += 1000.0
        return {"test_accuracy": 0.0}

    monkeypatch.setattr(Training, "_step", slow)
    monkeypatch.setattr("hare_tortoise.lab.training.evaluate", slower)
    setup = build(Trial(small(evaluate_every=1), "warm-start", 1.0, 0))
    rows = Training(setup).finish()
    assert rows[-1]["seconds"] == sum(chunk.steps for chunk in setup.plan)


def test_samples_are_those_that_were_processed() -> None:
    setup = build(Trial(small(epochs=3), "from-scratch", 1.0, 0))
    rows = Training(setup).finish()
    sizes = [len(chunk.train) for chunk in setup.stream]
    assert [row["samples"] for row in rows] == [3 * sizes[0], 3 * (sizes[0] + sizes[1])]
    assert [row["last"] for row in rows] == [True, True]
    assert [row["step"] for row in rows] == [chunk.steps for chunk in setup.plan]


def interrupted(trial: Trial, out: Path, every: int) -> tuple[list[Row], int]:
    """Run a trial that is stopped and started anew from its checkpoint after every so many steps."""
    task = task_of(trial, out)
    run = run_of(task)
    run.open()
    stops = 0
    while True:
        setup = build(trial)
        count = 0

        def report(_: Moment) -> bool:
            nonlocal count
            count += 1
            return count == every

        try:
            return Training(setup, run, report_every=0.0, report=report).finish(), stops
        except StoppedError:
            stops += 1
            torch.rand(stops)  # whatever else the process drew meanwhile


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_equals_uninterrupted(method: str, tmp_path: Path) -> None:
    recipe = small(
        methods=(method,), epochs=2, evaluate_every=1, scenario="growing(chunks=2, label_noise=0.5)"
    )
    trial = Trial(recipe, method, 1.0, 0)
    whole = Training(build(trial)).finish()
    rows, stops = interrupted(trial, tmp_path, 9)
    assert stops >= 5
    assert timeless(rows) == timeless(whole)


def test_interrupted_convolutions(tmp_path: Path) -> None:
    trial = Trial(convolutional(METHODS[7]), METHODS[7], 1.0, 0)
    setup = build(trial)
    kernels = [parameter for parameter in setup.model.parameters() if parameter.dim() == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    whole = Training(setup).finish()
    rows, stops = interrupted(trial, tmp_path, 3)
    assert stops >= 2
    assert timeless(rows) == timeless(whole)


def test_interrupted_with_dropout_and_augmentation(tmp_path: Path) -> None:
    recipe = small(network="tests.lab.small:with_dropout", augment="tests.lab.small:jitter", epochs=2)
    trial = Trial(recipe, "warm-start", 1.0, 0)
    whole = Training(build(trial)).finish()
    rows, stops = interrupted(trial, tmp_path, 9)
    assert stops >= 5
    assert timeless(rows) == timeless(whole)


def test_evaluating_more_often_changes_nothing_else() -> None:
    trials = [Trial(small(evaluate_every=every, epochs=3), METHODS[4], 1.0, 0) for every in (None, 1)]
    seldom, often = (timeless(Training(build(trial)).finish()) for trial in trials)
    assert len(often) == 6
    assert [row for row in often if row["last"]] == seldom


def test_hare_and_tortoise_are_both_measured() -> None:
    setup = build(Trial(small(), "hare-tortoise(decay=0.99, reset_every=1000)", 1.0, 0))
    row = Training(setup).finish()[-1]
    assert isinstance(setup.method, HareTortoise)

    def right(network: nn.Module) -> float:
        ((inputs, targets),) = setup.stream[1].tests["test"].batches(10_000)
        return float((network.eval()(inputs).argmax(1) == targets).double().mean())

    assert row["hare_test_accuracy"] == right(setup.model)
    assert row["tortoise_test_accuracy"] == row["test_accuracy"] == right(setup.method.tortoise)
    assert row["hare_test_accuracy"] != row["tortoise_test_accuracy"]


def test_the_official_resets_come_after_the_epochs_0_k_2k(monkeypatch: pytest.MonkeyPatch) -> None:
    method = "hare-tortoise(decay=0.9, reset_every=None)"
    setup = build(Trial(small(epochs=(7, 5), reset_epochs=3), method, 1.0, 0))
    training = Training(setup)
    steps: list[tuple[int, int]] = []
    reset = HareTortoise.reset

    def counted(self: HareTortoise) -> None:
        steps.append((training.position.chunk, training.position.step))
        reset(self)

    monkeypatch.setattr(HareTortoise, "reset", counted)
    training.finish()
    assert steps == [(i, step) for i, chunk in enumerate(setup.plan) for step in chunk.reset_steps]
    assert len(steps) == 3 + 2


def test_a_compiled_network_trains_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, compiled = (
        Training(build(Trial(small(compile=flag), METHODS[4], 1.0, 0))).finish() for flag in (False, True)
    )
    assert [row["test_accuracy"] for row in compiled] == pytest.approx(
        [row["test_accuracy"] for row in plain], abs=0.01
    )
    assert [row["train_loss"] for row in compiled] == pytest.approx(
        [row["train_loss"] for row in plain], rel=1e-4
    )


def test_a_resumed_run_repeats_at_most_one_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which a step takes a second: a checkpoint after every five, and the next run begins there."""
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("hare_tortoise.lab.training.time.perf_counter", tick)
    trial = Trial(small(epochs=20, scenario="growing(chunks=1)"), METHODS[7], 1.0, 0)
    run = run_of(task_of(trial, tmp_path))
    run.open()
    saved: list[int] = []
    save = Run.save

    def noted(self: Run, content: Any) -> None:
        saved.append(content["position"]["step"])
        save(self, content)

    monkeypatch.setattr(Run, "save", noted)
    Training(build(trial), run, checkpoint_every=5.0, report_every=1e9).finish()
    gaps = [later - earlier for earlier, later in itertools.pairwise([0, *saved[:-1]])]
    assert len(gaps) > 50
    assert max(gaps) <= 5

    class DiedError(Exception):
        pass

    def die(self: Training, *_: Any) -> None:
        if self.position.step == saved[10] + 4:
            raise DiedError
        step(self, *_)

    step = Training._step
    for path in tmp_path.rglob("checkpoint.safetensors"):
        path.unlink()
    monkeypatch.setattr(Training, "_step", die)
    with pytest.raises(DiedError):
        Training(build(trial), run, checkpoint_every=5.0, report_every=1e9).finish()
    assert Training(build(trial), run).position.step >= saved[10] + 4 - 5


def test_bfloat16_trains() -> None:
    exact = Training(build(Trial(small(epochs=5), METHODS[7], 1.0, 0))).finish()
    reduced = Training(build(Trial(small(epochs=5, precision="bfloat16"), METHODS[7], 1.0, 0))).finish()
    assert timeless(reduced) != timeless(exact)
    assert reduced[-1]["test_accuracy"] == pytest.approx(exact[-1]["test_accuracy"], abs=0.15)


def test_methods_of_one_seed_see_the_same_data_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Tensor]] = {}
    step = Training._step

    def watched(self: Training, inputs: Tensor, targets: Tensor, lr: float) -> None:
        of = seen.setdefault(self.setup.trial.method, [])
        if not of:
            of.extend(p.detach().clone() for p in self.model.parameters())
        of.extend((inputs, targets, torch.tensor(lr)))
        step(self, inputs, targets, lr)

    monkeypatch.setattr(Training, "_step", watched)
    recipe = small(methods=METHODS, scenario="growing(chunks=2, label_noise=0.5)")
    for method in METHODS:
        Training(build(Trial(recipe, method, 1.0, 3))).finish()
    first, *others = seen.values()
    for other in others:
        assert len(other) == len(first)
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    Training(build(Trial(recipe, METHODS[0], 1.0, 4))).finish()


def test_setup_is_a_pure_function_of_the_trial() -> None:
    def weights(setup: Setup) -> list[Tensor]:
        return [p.detach() for p in setup.model.parameters()]

    trial = Trial(small(), "warm-start", 1.0, 0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build(trial)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = build(trial)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    other = build(Trial(small(), "warm-start", 1.0, 1))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_every_seed_has_data_and_draws_of_its_own() -> None:
    setups = [build(Trial(small(scenario="growing(chunks=2)"), METHODS[3], 1.0, seed)) for seed in (0, 1)]
    first, second = (next(setup.stream[0].train.batches(2000)) for setup in setups)
    assert not torch.equal(first[0], second[0])
    for setup in setups:  # equal weights, so that what differs afterwards was drawn
        for parameter in setup.model.parameters():
            nn.init.constant_(parameter, 0.1)
        setup.method.new_data()
    one, two = (setup.model.get_parameter("head.weight") for setup in setups)
    assert not torch.equal(one, two)


def test_a_schedule_that_goes_by_the_steps_to_come_knows_those_of_every_chunk() -> None:
    recipe = small(epochs=3)
    trial = Trial(recipe, "hare-tortoise(decay=horizon(share=0.5), reset_every=portion(share=0.25))", 1.0, 0)
    told = build(trial)
    steps = [chunk.steps for chunk in told.plan]
    assert isinstance(told.method, HareTortoise)
    assert told.method.decay == horizon(0.5, steps=steps[0])
    assert told.method.reset_every == portion(0.25, steps=steps[0])
    written = f"hare-tortoise(decay=horizon(share=0.5, steps={steps[0]}), "
    written += f"reset_every=portion(share=0.25, steps={steps[0]}))"
    same = build(Trial(recipe, written, 1.0, 0))
    assert timeless(Training(told).finish()) == timeless(Training(same).finish())
    assert told.method.decay == horizon(0.5, steps=steps[1])
