"""Self-distillation against the divergence by its definition, in NumPy and float64."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax

from hare_tortoise.methods import EMA, Chain, FromScratch, HareTortoise, SelfDistillation, self_distillation
from hare_tortoise.methods.schedules import horizon
from hare_tortoise.testing import Network, Run, batch

STRENGTH, TEMPERATURE = 0.7, 3.0


def by_definition(teacher: Tensor, student: Tensor, temperature: float) -> float:
    """Σ_classes p (log p − log q), the mean over samples, times T²."""
    p, q = (_softmax(tensor.detach().double().numpy() / temperature) for tensor in (teacher, student))
    return float(temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean())


def _softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def moved(
    kind: type[SelfDistillation] = SelfDistillation, **settings: Any
) -> tuple[SelfDistillation, nn.Module]:
    """A student that has gone away from its teacher."""
    torch.manual_seed(0)
    model = Network().double()
    method = kind(model, strength=STRENGTH, temperature=TEMPERATURE, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return method, model


def check_equation(kind: type[SelfDistillation] = SelfDistillation) -> None:
    method, model = moved(kind)
    inputs, _ = batch(0, torch.float64)
    before = copy.deepcopy(method.teacher.state_dict())
    outputs = model(inputs)
    value = method.penalty(inputs, outputs)
    answers = method.teacher(inputs)
    expected = STRENGTH * by_definition(answers, outputs, TEMPERATURE)
    assert value.item() == pytest.approx(expected, rel=1e-10)
    (gradient,) = torch.autograd.grad(value, outputs, retain_graph=True)
    # T² · 1/T · (q − p) / batch
    apart = softmax(outputs / TEMPERATURE, 1) - softmax(answers / TEMPERATURE, 1)
    torch.testing.assert_close(gradient, STRENGTH * TEMPERATURE * apart / len(inputs), rtol=1e-9, atol=1e-12)
    value.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    for name, tensor in method.teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name


class WithoutTheSquare(SelfDistillation):
    """No T², as in the official code."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        return super().penalty(inputs, outputs, targets) / self.temperature**2


class OfficialKL(SelfDistillation):
    """`nn.KLDivLoss()` with its default reduction, the mean over batch and classes."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        student = log_softmax(outputs / self.temperature, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of this very fault
            apart = kl_div(student, softmax(self._answers(inputs) / self.temperature, 1))
        return self.strength * self.temperature**2 * apart


class TheOtherWayRound(SelfDistillation):
    """KL of the teacher from the student."""

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        student, teacher = (log_softmax(x / self.temperature, 1) for x in (outputs, self._answers(inputs)))
        return self.strength * self.temperature**2 * (student.exp() * (student - teacher)).sum(1).mean()


class TeacherInTrainMode(SelfDistillation):
    """Fills the statistics of the teacher's BatchNorm, and answers by those of the batch."""

    def _answers(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            answers: Tensor = self.teacher.train()(inputs)
        return answers


class TeacherIsTheStudent(SelfDistillation):
    """The teacher shares the student's weights."""

    def _answers(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            answers: Tensor = self.model(inputs)
        return answers


FAULTS = [WithoutTheSquare, OfficialKL, TheOtherWayRound, TeacherInTrainMode, TeacherIsTheStudent]


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_seen(kind: type[SelfDistillation]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


def test_the_mean_over_classes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_distillation, "mean_of_class_sums", lambda values: values.mean())
    with pytest.raises(AssertionError):
        check_equation()


def test_the_official_fault_is_one_divided_by_the_classes() -> None:
    inputs, _ = batch(0, torch.float64)
    ours, official = moved(), moved(OfficialKL)
    ratio = official[0].penalty(inputs, official[1](inputs)) / ours[0].penalty(inputs, ours[1](inputs))
    assert ratio.item() == pytest.approx(1 / 3)


def test_the_teacher_is_the_ema_of_the_weights_and_the_student_is_deployed() -> None:
    run = Run.start(lambda m, o: SelfDistillation(m, o, decay=0.7, strength=2.0))
    assert isinstance(run.method, SelfDistillation)
    expected = {name: tensor.detach().double() for name, tensor in run.model.named_parameters()}
    for step in range(5):
        run.train(step, step + 1)
        for name, tensor in run.model.named_parameters():
            expected[name] = 0.7 * expected[name] + 0.3 * tensor.detach().double()
    for name, tensor in run.method.teacher.named_parameters():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert run.method.deployed is run.model
    assert not run.method.deploys


def test_it_leaves_the_tortoise_of_a_chain_to_be_deployed() -> None:
    model = Network()
    pair = HareTortoise(model, decay=0.5, reset_every=2)
    chain = Chain(pair, SelfDistillation(model, decay=0.9))
    chain.after_step()
    chain.after_step()
    assert chain.deployed is pair.tortoise


@pytest.mark.parametrize("kind", [HareTortoise, EMA])
def test_the_tortoise_of_another_member_can_teach(kind: type[HareTortoise]) -> None:
    """A module teaches as the method does whose tortoise it is; no second average is kept."""
    torch.manual_seed(0)
    model = Network()
    pair = kind(model, decay=0.5)
    method = SelfDistillation(model, teacher=pair)
    chain = Chain(pair, method)
    inputs, _ = batch(0)
    with torch.no_grad():
        model.head.weight.add_(1.0)
    outputs = model(inputs)
    before = method.penalty(inputs, outputs).item()
    assert before == pytest.approx(by_definition(pair.tortoise(inputs), outputs, 1.0), rel=1e-5)
    chain.after_step()
    assert 0 < method.penalty(inputs, outputs).item() < before
    assert method.teacher is pair.tortoise
    by_module = SelfDistillation(model, teacher=pair.tortoise)
    assert by_module.penalty(inputs, outputs).item() == method.penalty(inputs, outputs).item()
    assert list(method.state_dict()) == list(by_module.state_dict()) == ["generator"]
    by_module.new_data()
    by_module.after_step()


def test_after_a_new_network_the_teacher_is_a_copy_of_it() -> None:
    model = Network()
    method = SelfDistillation(model)
    chain = Chain(FromScratch(model), method)
    with torch.no_grad():
        model.head.weight.add_(1.0)
    chain.new_data()
    assert torch.equal(method.teacher.get_parameter("head.weight"), model.head.weight)


def test_a_second_average_outside_a_chain_is_refused() -> None:
    model = Network()
    pair, method = HareTortoise(model), SelfDistillation(model)
    pair.after_step()
    with pytest.raises(
        ValueError, match="SelfDistillation averages a model that HareTortoise averages already"
    ):
        method.after_step()


def test_a_skipped_step_leaves_the_teacher() -> None:
    method, _ = moved(decay=0.5)
    before = copy.deepcopy(method.teacher.state_dict())
    method.after_step(True)
    for name, tensor in method.teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_student_in_half_precision_has_a_teacher_in_float32() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(torch.bfloat16)
    method = SelfDistillation(model)
    inputs = torch.randn(5, 4, dtype=torch.bfloat16)
    value = method.penalty(inputs, model(inputs))
    assert value.dtype == torch.float32
    assert abs(value.item()) < 1e-3


def test_teachers_and_outputs_that_do_not_fit_are_refused() -> None:
    model = Network()
    inputs, _ = batch(0)
    with pytest.raises(ValueError, match="teacher averages another model"):
        SelfDistillation(model, teacher=HareTortoise(Network()))
    with pytest.raises(ValueError, match="teacher is the model itself"):
        SelfDistillation(model, teacher=model)
    with pytest.raises(
        ValueError, match=r"the teacher gives \(8, 2\), expected the shape of the outputs, \(8, 3\)"
    ):
        SelfDistillation(model, teacher=nn.Linear(6, 2)).penalty(inputs, model(inputs))
    with pytest.raises(ValueError, match=r"outputs have shape \(8,\), expected \(batch, classes"):
        SelfDistillation(model).penalty(inputs, torch.zeros(8))
    assert not SelfDistillation(model, strength=0.0).penalty(inputs, model(inputs)).requires_grad


def test_a_schedule_of_the_decay_is_told_how_many_steps_follow() -> None:
    method, model = moved(decay=horizon(0.1))
    method.new_data(steps=40)  # 1 − 1 / (0.1 · 40) = 0.75
    start = method.teacher.get_parameter("head.weight").clone()
    method.after_step()
    expected = 0.75 * start + 0.25 * model.get_parameter("head.weight")
    torch.testing.assert_close(method.teacher.get_parameter("head.weight"), expected)


def test_a_module_teaches_in_eval_mode() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    model = nn.Linear(6, 3)
    inputs, _ = batch(0)
    outputs = model(inputs)
    value = SelfDistillation(model, teacher=teacher).penalty(inputs, outputs)
    assert teacher[1].num_batches_tracked == 0
    assert value.item() == pytest.approx(by_definition(teacher.eval()(inputs), outputs, 1.0), rel=1e-5)
