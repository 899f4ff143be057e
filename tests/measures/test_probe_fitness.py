"""What a Probe cannot measure is told when it is built; a diverged training goes on; no taking is half taken."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD

from hare_tortoise.measures import MEASURES, Context, Measure, Probe, trainability
from hare_tortoise.measures.registry import _PROBE_SAMPLES
from hare_tortoise.methods import HareTortoise

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(40) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def relus() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hare_tortoise.measures.registry._PROBE_STEPS", 3)


@pytest.mark.parametrize("name", MEASURES)
def test_a_training_that_diverges_goes_on(name: str) -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    method = None
    if "deployed" in MEASURES[name].needs:
        method = HareTortoise(model, optimizer, decay=0.5, reset_every=None)
    probe = Probe(model, (X, Y), measures=[name], every=1, optimizer=optimizer, method=method)
    for factor in (1.0, 1.0, math.nan, 1.0):
        optimizer.zero_grad()
        (factor * cross_entropy(model(X), Y)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert [record["step"] for record in probe.records] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for record in probe.records[:2] for value in record.values())
    for record in probe.records[2:]:
        assert record.keys() == probe.records[1].keys()
        assert all(math.isnan(value) for key, value in record.items() if key != "step")


def test_a_taking_that_fails_records_and_remembers_nothing() -> None:
    model = relus()
    probe = Probe(model, (X, Y), measures=["churn", "weight-norm"])
    probe.take()
    before = {key: tensor.clone() for key, tensor in probe.state_dict()["memory"].items()}
    probe.measures["saturated-units"] = MEASURES["saturated-units"]
    with torch.no_grad():
        model.get_parameter("2.bias").add_(1.0)
    with pytest.raises(ValueError, match="no layer has a nonlinearity with bounds") as told:
        probe.take()
    assert told.value.__notes__ == ["raised by the measure saturated-units"]
    assert len(probe.records) == 1
    after = probe.state_dict()["memory"]
    assert before.keys() == after.keys() == {"churn", "inputs"}
    assert torch.equal(before["churn"], after["churn"])
    del probe.measures["saturated-units"]
    assert probe.take()["churn"] == pytest.approx(1.0)


def test_what_cannot_be_taken_is_told_when_the_probe_is_built() -> None:
    names = ["churn", "weight-norm", "saturated-units"]
    model = relus()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="no layer has a nonlinearity with bounds"):
        Probe(model, (X, Y), measures=names, every=100, optimizer=optimizer)
    assert not optimizer._optimizer_step_post_hooks
    with pytest.raises(ValueError, match="no layer has a nonlinearity with bounds"):
        Probe(model, (X, Y), measures=names, every=100)
    # Taken by hand alone: told there.
    Probe(model, (X, Y), measures=names)


def test_trying_out_takes_eight_samples_and_keeps_nothing() -> None:
    seen: list[int] = []

    def count(context: Context) -> float:
        seen.append(len(context.targets))
        return float(len(context.inputs))

    own = Measure(take=count, description="d", reading="r", higher_is=None, cost="c")
    data = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 40, 5)]
    probe = Probe(network(), data, measures={"own": own, "churn": MEASURES["churn"]}, every=1)
    assert (seen, probe.records, probe.state_dict()["memory"]) == ([8], [], {})
    assert probe.take() == {"own": 40.0}


def test_what_warns_of_few_samples_is_not_heard_when_it_is_tried_out() -> None:
    def warning(context: Context) -> float:
        if len(context.inputs) <= 8:
            warnings.warn("few samples", stacklevel=2)
        return 0.0

    own = Measure(take=warning, description="d", reading="r", higher_is=None, cost="c")
    assert Probe(network(), (X, Y), measures={"own": own}, every=1).take() == {"own": 0.0}


def test_names_may_come_from_a_generator() -> None:
    names = ["weight-norm", "srank"]
    probe = Probe(network(), (X, Y), measures=(name for name in names))
    assert list(probe.measures) == names
    assert probe.take().keys() >= set(names)
    with pytest.raises(ValueError, match=r"measures is \(\), expected a list of names"):
        Probe(network(), (X, Y), measures=(name for name in list[str]()))


class Named(nn.Module):
    """Answers with a dict, as language models do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(inputs)}


def named_loss(outputs: Any, targets: Tensor) -> Tensor:
    return cross_entropy(outputs["logits"], targets)


NEED_A_TENSOR = {"ntk-rank", "churn", "trainability"}
NEED_A_LOSS = {name for name in MEASURES if name.startswith(("gradient", "zero-gradient", "hessian"))}


@pytest.mark.parametrize("name", [name for name in MEASURES if not MEASURES[name].needs & {"deployed"}])
def test_outputs_in_a_dict(name: str) -> None:
    plain = network()
    model = Named(plain)
    given = partial(Probe, model, (X, Y), measures=[name])
    if name in NEED_A_TENSOR:
        with pytest.raises(
            ValueError, match=r"the model answers with a dict, .* a module that gives the logits"
        ):
            given(loss=named_loss).take()
        return
    if name in NEED_A_LOSS:
        with pytest.raises(TypeError, match=r"the model answers with a dict, .* give loss=, a function"):
            given().take()
    found = given(loss=named_loss).take()
    assert found[name] == pytest.approx(Probe(plain, (X, Y), measures=[name]).take()[name], rel=1e-6)


def test_an_error_of_the_loss_itself_is_left_as_it_is() -> None:
    def broken(outputs: Tensor, _targets: Tensor) -> Tensor:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        Probe(network(), (X, Y), measures=["gradient-norm"], loss=broken).take()


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (
            network().bfloat16(),
            X,
            r"inputs are of torch.float32, the weights .* of torch.bfloat16: give data .*",
        ),
        (network(), X.double(), r"inputs are of torch.float64, .* inputs.to\(torch.float32\)"),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()), X.half()[:, None], "inputs are of torch.float16"),
    ],
)
def test_data_of_another_dtype_than_the_model(model: nn.Module, inputs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Probe(model, (inputs, Y), measures=["weight-norm"])


def test_a_model_that_casts_its_inputs_takes_any_dtype() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.as_tensor(self.inner(inputs.float()))

    assert Probe(Casting(), (X.double(), Y), measures=["srank"]).take()["srank"] > 0
    # What fails for another reason says so.
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Probe(network(), (X[:, :2], Y), measures=["srank"])


def halved(outputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(outputs, labels) / 2


def check_trainability(inputs: Callable[[Tensor], Tensor], loss: Callable[..., Tensor]) -> None:
    """Of more samples than are fitted, spread over all, with the loss of the probe."""
    torch.manual_seed(3)
    many = torch.randn(3 * _PROBE_SAMPLES, 6) * torch.linspace(0.1, 3, 3 * _PROBE_SAMPLES)[:, None]
    model = network()
    taken = Probe(model, (many, torch.arange(len(many)) % 3), measures=["trainability"], loss=halved).take()
    expected = trainability(model, None, inputs(many), 3, steps=3, loss=loss)
    assert taken["trainability"] == pytest.approx(expected.item(), rel=1e-5)


def spread(inputs: Tensor) -> Tensor:
    return inputs[torch.linspace(0, len(inputs) - 1, _PROBE_SAMPLES, dtype=torch.float64).round().long()]


def test_trainability_is_of_samples_spread_evenly_and_of_the_loss_of_the_probe() -> None:
    check_trainability(spread, halved)


FAULTS: list[tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = [
    (lambda inputs: inputs[:_PROBE_SAMPLES], halved),
    (lambda inputs: inputs[-_PROBE_SAMPLES:], halved),
    (spread, cross_entropy),
]


@pytest.mark.parametrize(("inputs", "loss"), FAULTS, ids=["the first", "the last", "another loss"])
def test_other_samples_or_another_loss_are_seen(
    inputs: Callable[[Tensor], Tensor], loss: Callable[..., Tensor]
) -> None:
    with pytest.raises(AssertionError):
        check_trainability(inputs, loss)


def test_trainability_of_what_has_no_classes_is_refused() -> None:
    model = network()
    for targets in (torch.randn(40, 3), torch.softmax(torch.randn(40, 3), 1)):
        with pytest.raises(ValueError, match=r"targets are of torch\.float32, expected class labels"):
            Probe(model, (X, targets), measures=["trainability"], loss=mse_loss, every=1)
    positions = nn.Sequential(nn.Linear(6, 12), nn.Unflatten(1, (3, 4)))
    labels = torch.zeros(40, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"outputs have shape \(8, 3, 4\), expected \(samples, classes\)"):
        Probe(positions, (X, labels), measures=["trainability"], every=1)
