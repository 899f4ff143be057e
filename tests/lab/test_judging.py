"""What counts in a chunk: masked outputs, numbers to predict, predictions before the step; against loops by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.lab.building import Setup, build, try_out
from hare_tortoise.lab.online import answers_by_mode
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes.every_method import METHODS
from hare_tortoise.lab.scores import Fit, blocked_outputs, loss_of
from hare_tortoise.lab.step import gradient_step
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial, derive_seed
from hare_tortoise.networks import mlp
from hare_tortoise.streams import Chunk, Examples, TensorExamples
from tests.lab.small import small, timeless
from tests.lab.test_every_method import SOONER
from tests.lab.test_training import interrupted

STREAMS = "tests.lab.streams_to_judge"
PAIR = "hare-tortoise(decay=0.9, reset_every=7)"
OF_CLASSES = {"self-distillation", "c-chain"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def recipe_on(stream: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {"scenario": f"{STREAMS}:{stream}", "network": "mlp(hidden=(16,))"}
    return small(**{**values, **changes})


def setup_on(stream: str, method: str = "warm-start", **changes: Any) -> Setup:
    return build(Trial(recipe_on(stream, methods=(method,), **changes), method, 1.0, 0))


def whole(examples: Examples) -> tuple[Tensor, Tensor]:
    (batch,) = examples.batches(10_000)
    return batch


def test_masks_of_a_chunk() -> None:
    examples = TensorExamples(torch.zeros(1, 1), torch.zeros(1))
    yes, no = True, False

    def blocked(test: str | None = None, outputs: int = 3, **given: Any) -> list[bool] | None:
        chunk = Chunk(0, "one", examples, None, {"a": examples}, outputs, **given)
        found = blocked_outputs(chunk, 4, test)
        return None if found is None else found.tolist()

    assert blocked(outputs=4) is None
    assert blocked(outputs=4, active=torch.ones(4, dtype=torch.bool)) is None
    assert blocked() == [no, no, no, yes]
    assert blocked(active=torch.tensor([yes, no, yes, yes])) == [no, yes, no, yes]
    assert blocked(active=torch.tensor([yes, no, yes])) == [no, yes, no, yes]
    # a mask of a test set stands alone, for this test set
    own = {"a": torch.tensor([no, no, no, yes])}
    assert blocked("a", active=torch.tensor([yes, no, yes, yes]), test_active=own) == [yes, yes, yes, no]
    assert blocked("b", test_active=own) == blocked(test_active=own) == [no, no, no, yes]
    with pytest.raises(ValueError, match=r"shape \(2,\), expected bool of shape \(4,\)"):
        blocked(active=torch.tensor([yes, no]))
    with pytest.raises(ValueError, match="leaves no output"):
        blocked(active=torch.zeros(4, dtype=torch.bool))


def test_a_masked_loss_is_that_of_a_smaller_head() -> None:
    torch.manual_seed(0)
    full, targets, counts = nn.Linear(5, 6), torch.tensor([0, 2, 3, 0]), torch.tensor([0, 2, 3])
    inputs = torch.randn(4, 5)
    lesser = nn.Linear(5, 3)
    with torch.no_grad():
        lesser.weight.copy_(full.weight[counts])
        lesser.bias.copy_(full.bias[counts])
    blocked = torch.ones(6, dtype=torch.bool)
    blocked[counts] = False
    loss = loss_of("classification", blocked)(full(inputs), targets)
    other = F.cross_entropy(lesser(inputs), torch.tensor([0, 1, 2, 0]))
    torch.testing.assert_close(loss, other)
    for each in (loss, other):
        each.backward()  # type: ignore[no-untyped-call]
    assert full.weight.grad is not None
    torch.testing.assert_close(full.weight.grad[counts], lesser.weight.grad)
    assert not full.weight.grad[blocked].any()


def test_masked_outputs_are_neither_trained_nor_answered() -> None:
    setup = setup_on("masked", weight_decay=0.0)
    head = setup.model.get_parameter("head.weight").detach().clone()
    rows = Training(setup).finish()
    moved = (setup.model.get_parameter("head.weight") != head).any(1).tolist()
    assert moved == [True, False, True, True, True, True, False, False, False, False]
    chunk = setup.stream[1]
    for name, allowed in (("a", [0, 2, 3, 4, 5]), ("b", [0, 1, 2, 3, 4, 5])):
        inputs, targets = whole(chunk.tests[name])
        answers = setup.model.eval()(inputs).detach().numpy()[:, allowed].argmax(1)
        right = np.array(allowed)[answers] == targets.numpy()
        assert rows[1]["tests"][name] == right.mean()
    assert rows[1]["test_accuracy"] == rows[1]["tests"]["a"]
    assert "validation_accuracy" in rows[1]
    assert "hare_tests" not in rows[1]


def test_rows_have_tests_of_both_networks_and_baselines() -> None:
    setup = setup_on("plain", PAIR, epochs=1)
    row = Training(setup).finish()[-1]
    assert row["baselines"] == {"same": 0.25}
    for key, network in (("tests", setup.method.deployed), ("hare_tests", setup.model)):
        for name, found in row[key].items():
            inputs, targets = whole(setup.stream[1].tests[name])
            assert found == float((network.eval()(inputs).argmax(1) == targets).double().mean())
    assert row["hare_tests"]["a"] == row["hare_test_accuracy"] != row["test_accuracy"]


def r_squared(answers: Tensor, targets: Tensor) -> float:
    known, found = targets.double().numpy(), answers.detach().double().numpy()
    return float(1 - ((known - found) ** 2).sum() / ((known - known.mean(0)) ** 2).sum())


def test_numbers_are_predicted() -> None:
    setup = setup_on("numbers", PAIR, epochs=40, lr=1e-2, batch_size=16)
    first, last = Training(setup).finish()
    chunk = setup.stream[1]
    for network, prefix in ((setup.method.deployed, ""), (setup.model, "hare_")):
        for examples, key in ((chunk.tests["a"], "test_accuracy"), (chunk.train, "train_accuracy")):
            inputs, targets = whole(examples)
            assert last[prefix + key] == pytest.approx(r_squared(network.eval()(inputs), targets), abs=1e-9)
    inputs, targets = whole(chunk.tests["a"])
    error = (setup.method.deployed(inputs) - targets).double().square().mean()
    assert last["test_error"] == pytest.approx(float(error), rel=1e-6)
    assert last["test_accuracy"] > first["test_accuracy"]
    assert last["test_accuracy"] > 0.5


def test_a_tally_of_numbers_is_exact_far_from_zero() -> None:
    generator = np.random.default_rng(0)
    known = generator.normal(size=(1000, 3)) + 1e6
    found = known + generator.normal(size=(1000, 3))
    tally = Fit(torch.device("cpu"), 3)
    for part in np.split(np.arange(1000), [1, 400, 512]):
        tally.add(torch.from_numpy(found[part]), torch.from_numpy(known[part]))
    score = tally.score(tally.sums.tolist())
    residual = ((known - found) ** 2).sum()
    assert score.accuracy == pytest.approx(1 - residual / ((known - known.mean(0)) ** 2).sum(), rel=1e-9)
    assert score.error == pytest.approx(residual / 3000, rel=1e-9)
    alike = Fit(torch.device("cpu"), 1)
    alike.add(torch.ones(4, 1), torch.ones(4, 1))
    assert alike.score(alike.sums.tolist()).accuracy == 1.0
    alike.add(torch.zeros(1, 1), torch.ones(1, 1))
    assert alike.score(alike.sums.tolist()).accuracy == 0.0


@pytest.mark.parametrize("method", ["self-distillation", "l2-init+c-chain"])
def test_numbers_are_no_probabilities(method: str) -> None:
    with pytest.raises(ValueError, match="got a stream of numbers to predict, expected classes") as raised:
        setup_on("numbers", method)
    assert f"method {method}" in str(raised.value)
    try_out(setup_on("numbers", "c-chain(distance=mse)"))


def test_what_does_not_fit_numbers_is_told() -> None:
    with pytest.raises(ValueError, match="measures trainability of network"):
        try_out(setup_on("numbers", measures=("trainability",)))
    with pytest.raises(ValueError, match=r"shape \(3,\), expected each of the 2 numbers"):
        try_out(setup_on("numbers", network="tests.lab.test_judging:three"))


def three(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return mlp(input_shape, 3)


def online_by_hand(setup: Setup, network: str) -> list[float]:
    """Train as the recipe says, and let each batch of the first epoch be predicted in eval mode before its step."""
    recipe, found = setup.trial.recipe, []
    torch.manual_seed(derive_seed(0, "training"))
    for index in range(len(setup.stream)):
        chunk, plan = setup.chunk(index), setup.plan[index]
        if index:
            setup.method.new_data(steps=plan.steps)
        optimizer, step = setup.optimizer(), 0
        setup.method.attach(optimizer)
        answers: list[Tensor] = []
        known: list[Tensor] = []
        for epoch in range(recipe.epochs if isinstance(recipe.epochs, int) else 0):
            order = torch.Generator().manual_seed(derive_seed(0, index, "order", epoch))
            for inputs, targets in chunk.train.batches(recipe.batch_size, generator=order):
                if epoch == 0:
                    judged = setup.method.deployed if network == "deployed" else setup.model
                    random = torch.get_rng_state()
                    with torch.no_grad():
                        answers.append(judged.eval()(inputs))
                    assert torch.equal(torch.get_rng_state(), random)
                    known.append(targets)
                setup.model.train()
                optimizer.param_groups[0]["lr"] = plan.learning_rate(step)
                gradient_step(setup, optimizer, setup.model, inputs, targets, loss=setup.loss(chunk))
                step += 1
        given, targets = torch.cat(answers), torch.cat(known)
        if setup.stream.task == "regression":
            found.append(r_squared(given, targets))
            continue
        blocked = setup.blocked(chunk)
        given = given if blocked is None else given.masked_fill(blocked, -math.inf)
        found.append(float((given.argmax(1) == targets).double().mean()))
    return found


@pytest.mark.parametrize("method", ["warm-start", PAIR])
@pytest.mark.parametrize(
    ("stream", "network"),
    [
        ("masked", "mlp(hidden=(16,))"),
        ("plain", "tests.lab.small:with_dropout"),
        ("plain", "mlp(hidden=(16,), batch_norm=True)"),
        ("numbers", "mlp(hidden=(16,))"),
    ],
)
def test_online_accuracy_is_that_before_each_step(stream: str, network: str, method: str) -> None:
    given = {"judge": "online", "network": network, "evaluate_every": 1, "batch_size": 16, "epochs": 2}
    given["lr"] = 1e-2
    rows = Training(setup_on(stream, method, **given)).finish()
    assert len(rows) == 4
    for key, which in (("online_accuracy", "deployed"), ("hare_online_accuracy", "hare")):
        expected = online_by_hand(setup_on(stream, method, **given), which)
        assert [row[key] for row in rows] == pytest.approx(np.repeat(expected, 2), abs=1e-9)
    same = [row["online_accuracy"] == row["hare_online_accuracy"] for row in rows]
    assert all(same) is (method == "warm-start")


def test_to_be_judged_online_changes_no_training() -> None:
    given = {"network": "tests.lab.small:with_dropout", "epochs": 2}
    tests, online = (
        timeless(Training(setup_on("plain", PAIR, judge=judge, **given)).finish())
        for judge in ("test", "online")
    )
    keys = {"online_accuracy", "hare_online_accuracy"}
    assert all(keys <= row.keys() for row in online)
    assert [{k: v for k, v in row.items() if k not in keys} for row in online] == tests


def test_which_networks_answer_by_their_mode() -> None:
    assert not answers_by_mode(mlp((4,), 3))
    assert answers_by_mode(mlp((4,), 3, batch_norm=True))
    assert answers_by_mode(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    assert answers_by_mode(Helped())


class Helped(nn.Module):
    """Asks for its mode in a method that its forward calls."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self._scaled(inputs)

    def _scaled(self, inputs: Tensor) -> Tensor:
        return inputs * 2 if self.training else inputs


@pytest.mark.parametrize("stream", ["masked", "numbers"])
@pytest.mark.parametrize("network", ["mlp(hidden=(16,))", "tests.lab.small:with_dropout"])
def test_interrupted_equals_uninterrupted(stream: str, network: str, tmp_path: Path) -> None:
    recipe = recipe_on(stream, methods=(PAIR,), judge="online", network=network, batch_size=16, epochs=2)
    trial = Trial(recipe, recipe.methods[0], 1.0, 0)
    complete = Training(build(trial)).finish()
    rows, stops = interrupted(trial, tmp_path, 4)
    assert stops >= 5
    assert timeless(rows) == timeless(complete)


@pytest.mark.parametrize("stream", ["masked", "numbers"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str, stream: str) -> None:
    method = SOONER.get(method, method)
    if stream == "numbers" and any(name in method for name in OF_CLASSES):
        method = "c-chain(distance=mse)"
    setup = setup_on(stream, method, network="mlp(hidden=(16, 16))", epochs=3, judge="online")
    rows = Training(setup).finish()
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    assert all(tensor.isfinite().all() for tensor in setup.method.deployed.state_dict().values())
    if stream == "masked":
        assert rows[-1]["train_accuracy"] > 0.2


@pytest.mark.parametrize(
    "method", ["self-distillation(decay=0.5)", "c-chain(warmup=1)", "spectral-decoupling(strength=0.1)"]
)
def test_a_penalty_gets_the_outputs_as_they_are(method: str) -> None:
    """So it compares like with like, and stays finite and differentiable beside a mask."""
    setup = setup_on("masked", method)
    chunk, optimizer, seen = setup.chunk(0), setup.optimizer(), []
    setup.method.attach(optimizer)
    penalty = setup.method.penalty

    def watched(inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        seen.append(
            (outputs.detach().clone(), setup.model(inputs).detach(), penalty(inputs, outputs, targets))
        )
        return seen[-1][2]

    setup.method.penalty = watched  # type: ignore[method-assign]
    for _ in range(3):
        inputs, targets = chunk.train.at(range(32))
        gradient_step(setup, optimizer, setup.model, inputs, targets, loss=setup.loss(chunk))
    for given, answered, term in seen:
        assert torch.equal(given, answered)
        assert term.isfinite()
    assert seen[-1][2] > 0
    assert all(parameter.isfinite().all() for parameter in setup.parameters)
