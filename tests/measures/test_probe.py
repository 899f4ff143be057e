"""A Probe takes what is due, when it is due, and training does not notice."""

from __future__ import annotations

import copy
import io
import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from hare_tortoise.measures import (
    MEASURES,
    Context,
    Measure,
    Probe,
    distance_from_initialization,
    effective_rank,
    features,
    weight_norm,
)
from hare_tortoise.methods import EMA, Chain, HareTortoise, L2Init, WarmStart
from tests.measures.learner import INPUTS, TARGETS, Learner, learner


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, between: Callable[[], object]
) -> list[Any]:
    """Train on two micro-batches per step, with noise; call `between` at every moment of it; give all that there is."""
    trace: list[Any] = []
    for _ in range(steps):
        optimizer.zero_grad()
        for x, y in zip(INPUTS.chunk(2), TARGETS.chunk(2), strict=True):
            noise = torch.randn(x.shape) + random.random() + float(np.random.rand())
            loss = cross_entropy(model(x + 0.1 * noise), y)
            between()
            loss.backward()  # type: ignore[no-untyped-call]
            between()
        trace.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        optimizer.step()
        between()
        trace.append([module.training for module in model.modules()])
    trace += [copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())]
    return [*trace, torch.get_rng_state(), str(random.getstate()), str(np.random.get_state())]


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.fixture(scope="module")
def undisturbed_training() -> list[Any]:
    return seeded_training(lambda: None)


def seeded_training(between: Callable[[], object], steps: int = 3) -> list[Any]:
    random.seed(0)
    np.random.seed(0)
    model, optimizer = learner()
    return train(model, optimizer, steps, between)


@pytest.mark.parametrize("name", MEASURES)
def test_taking_does_not_change_training_by_a_bit(
    name: str, undisturbed_training: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hare_tortoise.measures.registry._PROBE_STEPS", 3)
    random.seed(0)
    np.random.seed(0)
    model, optimizer = learner()
    needs = MEASURES[name].needs
    method = HareTortoise(model, decay=0.5, reset_every=None) if "deployed" in needs else None
    taken = Probe(model, (INPUTS, TARGETS), measures=[name], every=1, optimizer=optimizer, method=method)
    # Three steps of five moments each; the hook comes before the last of them. The second derivatives take their time.
    moments = itertools.count()
    seldom = 4 if "hessian" in name else 1
    assert_same(
        train(model, optimizer, 3, lambda: next(moments) % seldom or taken.take()), undisturbed_training
    )
    every = [0] * 4 + [1] * 6 + [2] * 6 + [3] * 2
    assert [record["step"] for record in taken.records] == (every if seldom == 1 else [0, 1, 1, 1, 2, 2, 3])
    assert all(np.isfinite(value) for record in taken.records for value in record.values())
    assert any(name in record for record in taken.records)


def test_a_probe_that_disturbs_would_be_seen(undisturbed_training: list[Any]) -> None:
    for disturb in (lambda: torch.rand(1), random.random, np.random.rand):
        with pytest.raises(AssertionError):
            assert_same(seeded_training(disturb), undisturbed_training)
    model, optimizer = learner()
    with pytest.raises(AssertionError):
        assert_same(train(model, optimizer, 3, lambda: model(INPUTS)), undisturbed_training)


def test_values_are_those_of_the_functions() -> None:
    model, optimizer = learner()
    start = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    names = ["effective-rank", "weight-norm", "distance-from-initialization", "dormant-ratio", "feature-norm"]
    taken = Probe(model, (INPUTS, TARGETS), measures=names, every=2, optimizer=optimizer)
    train(model, optimizer, 4, lambda: None)
    assert [record["step"] for record in taken.records] == [2, 4]
    record = taken.records[-1]
    model.eval()
    assert record["effective-rank"] == effective_rank(features(model, INPUTS)).item()
    assert record["feature-norm"] == features(model, INPUTS).double().norm(dim=1).mean().item()
    assert record["weight-norm"] == weight_norm(model)
    assert record["weight-norm/layer/head.bias"] == pytest.approx(float(model.head.bias.detach().norm()))
    assert record["distance-from-initialization"] == distance_from_initialization(model, start) > 0
    assert {
        "dormant-ratio/0",
        "dormant-ratio/0.1",
        "dormant-ratio/layer/body.0",
        "dormant-ratio/layer/body.4",
    } <= set(record)


def check_records(kind: type[Probe]) -> None:
    taken = kind(learner()[0], (INPUTS, TARGETS), measures=["zero-activation-ratio", "stable-rank"], every=1)
    taken.step()
    assert taken.records[0].keys() >= {"step", "zero-activation-ratio", "stable-rank"}


class Discarding(Probe):
    """The fault of the official code: what was measured is thrown away before it is logged."""

    def take(self, *given: Any, **named: Any) -> dict[str, float]:
        found = super().take(*given, **named)
        self.records[-1] = {"step": self.steps}
        return found


def test_what_is_taken_is_recorded() -> None:
    check_records(Probe)
    with pytest.raises(AssertionError):
        check_records(Discarding)


def test_a_loop_of_ones_own_and_skipped_steps() -> None:
    model, _ = learner()
    taken = Probe(model, (INPUTS, TARGETS), measures=["weight-norm"], every=2)
    for skipped in (None, True, torch.tensor(1.0), False, torch.tensor([0.0]), None):
        taken.step(skipped)
    assert taken.steps == 4
    assert [record["step"] for record in taken.records] == [2, 4]
    taken.take()
    assert [record["step"] for record in taken.records] == [2, 4, 4]
    assert taken.take().keys() == taken.records[-1].keys() - {"step"}


def test_steps_of_several_optimizers_and_of_a_rebuilt_one() -> None:
    model, _ = learner()
    first, second = SGD(model.body.parameters(), lr=0.1), SGD(model.head.parameters(), lr=0.1)
    taken = Probe(model, (INPUTS, TARGETS), measures=["weight-norm"], every=2, optimizer=[first, second])
    for _ in range(2):
        first.step()
        second.step()
    rebuilt = SGD(model.parameters(), lr=0.1)
    taken.attach(rebuilt)
    second.step()
    rebuilt.step()
    assert taken.steps == 3
    rebuilt.step()
    taken.detach()
    rebuilt.step()
    assert [record["step"] for record in taken.records] == [2, 4]


def test_a_resumed_run_continues_the_records() -> None:
    names = ["distance-from-initialization", "churn", "weight-norm"]

    def start() -> tuple[nn.Module, AdamW, Probe]:
        model, optimizer = learner()
        return model, optimizer, Probe(model, (INPUTS, TARGETS), measures=names, every=2, optimizer=optimizer)

    random.seed(0)
    np.random.seed(0)
    model, optimizer, whole = start()
    train(model, optimizer, 7, lambda: None)

    random.seed(0)
    np.random.seed(0)
    model, optimizer, first = start()
    train(model, optimizer, 3, lambda: None)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), first.state_dict(), torch.get_rng_state()], file)
    random_states = random.getstate(), np.random.get_state()
    file.seek(0)
    model_state, optimizer_state, probe_state, random_state = torch.load(file, weights_only=True)

    model, optimizer = learner()
    with torch.no_grad():
        model.head.weight.add_(1)
    later = Probe(model, (INPUTS, TARGETS), measures=names, every=2, optimizer=optimizer)
    model.load_state_dict(model_state)
    optimizer.load_state_dict(optimizer_state)
    later.load_state_dict(probe_state)
    torch.set_rng_state(random_state)
    random.setstate(random_states[0])
    np.random.set_state(random_states[1])
    train(model, optimizer, 4, lambda: None)
    assert [record["step"] for record in later.records] == [2, 4, 6]
    assert later.records == whole.records
    assert ["churn" in record for record in later.records] == [False, True, True]


def test_a_state_that_does_not_fit_is_refused() -> None:
    model, _ = learner()
    names = ["distance-from-initialization"]
    taken = Probe(model, (INPUTS, TARGETS), measures=names)
    other = Probe(model, (INPUTS + 1, TARGETS), measures=names)
    with pytest.raises(ValueError, match="the state is of a probe on other data"):
        other.load_state_dict(taken.state_dict())
    smaller = Probe(nn.Linear(6, 3), (INPUTS, TARGETS), measures=names)
    with pytest.raises(ValueError, match="the saved state is of another model"):
        smaller.load_state_dict(taken.state_dict())
    with pytest.raises(ValueError, match="state lacks data, initial, memory, records, steps"):
        taken.load_state_dict({})


def test_measures_share_their_forwards() -> None:
    model, _ = learner()
    names = [
        "dormant-ratio",
        "dead-units",
        "zero-activation-ratio",
        "effective-rank",
        "srank",
        "feature-norm",
        "churn",
    ]
    taken = Probe(model, (INPUTS, TARGETS), measures=names)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    taken.take()
    # One that is followed through the layers, one for outputs and features.
    assert len(forwards) == 2


def test_the_deployed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hare_tortoise.measures.registry._PROBE_STEPS", 2)
    model, optimizer = learner()
    pair = HareTortoise(model, optimizer, decay=0.9, reset_every=3)
    data = (INPUTS, TARGETS)
    names = ["weight-norm", "hare-tortoise-distance", "gradient-norm"]
    of_hare = Probe(model, data, measures=names, every=1, optimizer=optimizer, method=pair)
    of_tortoise = Probe(model, data, measures=["trainability", *names], method=pair, of="deployed")
    train(model, optimizer, 3, lambda: None)
    distances = [record["hare-tortoise-distance"] for record in of_hare.records]
    assert distances[0] > 0
    # At the reset the two are one, because the method was hooked before the probe.
    assert distances[2] == 0
    train(model, optimizer, 1, lambda: None)
    found = of_tortoise.take()
    assert found["weight-norm"] == weight_norm(pair.tortoise) != weight_norm(model)
    assert found["hare-tortoise-distance"] == pytest.approx(pair.distance(), rel=1e-6)
    assert found["gradient-norm"] > 0
    assert not any(parameter.requires_grad for parameter in pair.tortoise.parameters())
    with (
        pair.deployed_weights(),
        pytest.raises(RuntimeError, match="taking measures inside deployed_weights"),
    ):
        of_hare.take()


def test_a_method_that_deploys_nothing_or_is_not_needed() -> None:
    model, _ = learner()
    data = (INPUTS, TARGETS)
    pair = HareTortoise(model)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"measures": ["hare-tortoise-distance"]}, "hare-tortoise-distance needs a network that is deployed"),
        ({"of": "deployed"}, 'of="deployed" needs a network that is deployed: give the method by method='),
        ({"of": "deployed", "method": WarmStart(model)}, "WarmStart has none of its own"),
        ({"of": "deployed", "method": Chain(L2Init(model), WarmStart(model))}, "Chain has none of its own"),
        ({"method": pair}, "method would be ignored"),
        ({"of": "deployed", "method": HareTortoise(Learner())}, "method is at work on another model"),
        ({"of": "tortoise"}, "of is 'tortoise', expected"),
        ({"fresh": Learner}, "fresh would be ignored"),
    ]
    for settings, message in refused:
        with pytest.raises(ValueError, match=message):
            Probe(model, data, **{"measures": ["weight-norm"], **settings})
    chain = Chain(pair, L2Init(model))
    assert Probe(model, data, measures=["weight-norm"], method=chain, of="deployed").take()["weight-norm"] > 0
    wrapped = nn.DataParallel(Learner())
    taken = Probe(wrapped, data, measures=["weight-norm"], method=EMA(wrapped), of="deployed")
    assert taken.take()["weight-norm"] > 0


def test_bad_settings_are_refused() -> None:
    model, optimizer = learner()
    data = (INPUTS, TARGETS)
    measures: Any
    for measures in ([], "srank", {}):
        with pytest.raises(
            ValueError, match=r"measures is .*, expected a list of names, at least one, of dormant-ratio"
        ):
            Probe(model, data, measures=measures)
    with pytest.raises(ValueError, match="no measure is called 'rank'; there are dormant-ratio"):
        Probe(model, data, measures=["srank", "rank"])
    for every in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="every is"):
            Probe(model, data, measures=["srank"], every=every)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every is None, so that optimizer would be ignored"):
        Probe(model, data, measures=["srank"], optimizer=optimizer)
    with pytest.raises(TypeError, match="optimizer is a Learner, expected a torch"):
        Probe(model, data, measures=["srank"], every=1, optimizer=model)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every is None"):
        Probe(model, data, measures=["srank"]).attach(optimizer)
    with pytest.raises(ValueError, match="head is 'tail'"):
        Probe(model, data, measures=["srank"], head="tail").take()


def test_a_measure_of_ones_own() -> None:
    model, _ = learner()

    def top(context: Context) -> dict[str, float]:
        assert not context.model.training
        assert context.outputs.shape == (12, 3)
        return {
            "": context.outputs.max().item(),
            "loss": context.loss(context.outputs, context.targets).item(),
        }

    own = Measure(take=top, description="d", reading="r", higher_is=None, cost="c")
    found = Probe(model, (INPUTS, TARGETS), measures={"top": own, "srank": MEASURES["srank"]}).take()
    assert found.keys() == {"top", "top/loss", "srank"}
    model.eval()
    assert found["top/loss"] == cross_entropy(model(INPUTS), TARGETS).item()


def test_under_compile_and_wrappers() -> None:
    model, optimizer = learner()
    compiled: Any = torch.compile(model, backend="aot_eager")
    names = ["effective-rank", "dormant-ratio", "weight-norm"]
    taken = Probe(compiled, (INPUTS, TARGETS), measures=names, every=1, optimizer=optimizer)
    compiled(INPUTS).sum().backward()
    optimizer.step()
    assert taken.records[0].keys() == {"step", *Probe(model, (INPUTS, TARGETS), measures=names).take()}
    assert model.training


# torch's own: raised by an import that its compiler makes.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_a_compiled_step_is_counted() -> None:
    model, _ = learner()
    optimizer = SGD(model.parameters(), lr=0.1)
    step: Any = torch.compile(optimizer.step, backend="aot_eager")
    taken = Probe(model, (INPUTS, TARGETS), measures=["weight-norm"], every=2, optimizer=optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        cross_entropy(model(INPUTS), TARGETS).backward()  # type: ignore[no-untyped-call]
        step()
    assert [record["step"] for record in taken.records] == [2, 4]
    assert taken.records[0]["weight-norm"] != taken.records[1]["weight-norm"]


def test_the_registry_says_what_a_report_shows() -> None:
    for name, measure in MEASURES.items():
        assert name == name.lower().replace("_", "-")
        assert measure.description[0].isupper()
        assert not measure.description.endswith(".")
        assert measure.reading.endswith(".")
        assert measure.cost
        assert measure.higher_is in ("better", "worse", None)
