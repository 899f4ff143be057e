"""Self-distillation: learn from the average of one's own weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.functional import log_softmax
from torch.optim import Optimizer

from .ema import EMA
from .hare_tortoise import HareTortoise
from .method import Batches, Change, Loss, Method
from .schedules import Schedule
from .support.deployed import refuse_while_lent
from .support.names import unwrap
from .support.penalties import (
    at_least_float32,
    check_classes,
    check_strength,
    check_tensor,
    mean_of_class_sums,
)
from .support.plain_copy import HALF

_DECAY = 0.999


class SelfDistillation(Method):
    """Add to the loss `strength · T² · KL(softmax(teacher / T) ‖ softmax(outputs / T))`, averaged over the batch.

    The divergence is summed over the classes, so that `strength = 1` weighs it as a cross-entropy, whatever the number
    of classes, and `T²` keeps the size of its gradient when the temperature changes (Hinton et al.). The teacher
    answers the same inputs, in eval mode and without a gradient:

        teacher ← decay · teacher + (1 − decay) · weights

    after each step, an `EMA` of the method's own, or `teacher=` another one: a `HareTortoise` (or `EMA`) of the same
    model, best a member of the same chain, whose tortoise teaches then and no second average is kept; or any module.

    `deployed` is the student; a chain deploys what its averaging member does, so beside `HareTortoise` the tortoise is
    deployed. The official code of Hare & Tortoise evaluates both and does not say which one its paper
    reports; averaging alone, without distilling, is the method `EMA`, and its gain shall not be credited to this one.
    That code also averages the divergence over the classes (its `strength` is this one times the number of
    classes), and has no `T²`.

    Under FSDP2 the teacher's weights are lent to the sharded model for its forward; every process must call `penalty`.

    Args:
        model: the student.
        optimizer: its optimizer(s); without, call `after_step()` after each step.
        strength: finite and at least 0. 1 in the official code, which is this 1 / classes. 0 adds nothing.
        temperature: `T`, positive and finite.
        decay: of the method's own teacher, in [0, 1), or a schedule.
        teacher: a method with a tortoise, or a module; None: an average of the method's own.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; for a `decay` beside a `teacher`, which would be ignored; for a teacher on
            another model, or that is the model itself; at `penalty`, for outputs that are not of shape (batch,
            classes, ...), or a teacher that gives another shape.
        TypeError: the teacher is neither; at `penalty`, inputs or outputs are no tensors.

    References:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; Tarvainen and
        Valpola, "Mean Teachers are Better Role Models", NeurIPS 2017, arXiv 1703.01780; as a baseline in Lee et
        al., arXiv 2406.02596.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> method = SelfDistillation(model)
        >>> inputs = torch.ones(4, 2)
        >>> method.penalty(inputs, model(inputs)).item()  # as long as the student is its teacher
        0.0
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"decay": "decay"}
    averages: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1.0,
        temperature: float = 1.0,
        decay: float | Schedule = _DECAY,
        teacher: HareTortoise | nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        check_strength(strength, "0.01 to 1")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(
                f"temperature is {temperature}, expected a positive finite number; 1 to 4 are usual"
            )
        super().__init__(model, seed=seed)
        _check_teacher(teacher, model, decay)
        self.strength = strength
        self.temperature = temperature
        self._own: _Teacher | None = None
        if teacher is None:
            teacher = self._own = _Teacher(model, decay=decay)
        self._teacher: HareTortoise | nn.Module = teacher
        if optimizer is not None:
            self.attach(optimizer)

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return `strength · T² · KL(teacher ‖ student)`, a scalar, differentiable in the outputs."""
        refuse_while_lent(self.model, "penalty()")
        check_classes(outputs, targets, type(self).__name__)
        check_tensor(inputs, "inputs")
        if not self.strength:
            return outputs.new_zeros(())
        answers = self._answers(inputs)
        check_tensor(answers, "answers of the teacher")
        if answers.shape != outputs.shape:
            raise ValueError(
                f"the teacher gives {tuple(answers.shape)}, expected the shape of the outputs, {tuple(outputs.shape)}: "
                "give the outputs as the network returns them, and a teacher with the same classes"
            )
        teacher = log_softmax(at_least_float32(answers) / self.temperature, dim=1)
        student = log_softmax(at_least_float32(outputs) / self.temperature, dim=1)
        divergence = mean_of_class_sums(teacher.exp() * (teacher - student))
        return self.strength * self.temperature**2 * divergence

    @torch.no_grad()
    def _answers(self, inputs: Tensor) -> Tensor:
        """What the teacher answers, in eval mode."""
        if isinstance(self._teacher, HareTortoise) and self._teacher._average.module is None:
            # The backward of the student's forward looks whether its buffers were written to; they are restored.
            kept = _unsafe_preserve_version_counter(tuple(self.model.buffers()))
            with kept, self._teacher.deployed_weights():
                answers: Tensor = self.model(inputs)
            return answers
        teacher = self.teacher
        # The tortoise of a hare in half precision is in float32.
        if inputs.dtype in HALF:
            inputs = inputs.to(next(teacher.parameters(), inputs).dtype)
        answers = teacher(inputs)
        return answers

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Average the weights into the teacher, if it is the method's own."""
        refuse_while_lent(self.model, "a step")
        if self._own is not None:
            self._claim()
            self._own.after_step(skipped)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Tell a schedule of the decay how many steps follow; the teacher goes on."""
        refuse_while_lent(self.model, "new_data()")
        if self._own is not None:
            self._own.new_data(steps=steps)

    def weights_changed(self, change: Change) -> None:
        """Let the teacher of the method's own follow another member of the chain, as all averages do."""
        if self._own is not None:
            self._own.weights_changed(change)

    @property
    def teacher(self) -> nn.Module:
        """The network that teaches, in eval mode.

        Raises:
            RuntimeError: the model is sharded, so that its average is no module.
        """
        return self._teacher.eval() if isinstance(self._teacher, nn.Module) else self._teacher.tortoise

    def state_dict(self) -> dict[str, Any]:
        """Return the state; a teacher of the method's own is a part of it, one that was given is not."""
        own = {} if self._own is None else {"teacher": self._own.state_dict()}
        return super().state_dict() | own

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state, the teacher of the method's own included."""
        super().load_state_dict(state)
        if self._own is not None:
            self._own.load_state_dict(state["teacher"])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        if self._own is not None:
            self._own.check_state(state.get("teacher", {}))


class _Teacher(EMA):
    """The average inside a method that claims the model itself."""

    def _claim(self) -> None:
        pass


def _check_teacher(teacher: object, model: nn.Module, decay: float | Schedule) -> None:
    if teacher is None:
        return
    if not isinstance(teacher, HareTortoise | nn.Module):
        raise TypeError(
            f"teacher is a {type(teacher).__name__}, expected a method with a tortoise (HareTortoise, EMA) or a module"
        )
    if decay != _DECAY:
        raise ValueError(
            f"decay is {decay} beside a teacher, which has its own or none: leave one of them out"
        )
    if isinstance(teacher, HareTortoise) and unwrap(teacher.model) is not unwrap(model):
        raise ValueError(
            "teacher averages another model: build it on this one, or give its tortoise, a module"
        )
    if isinstance(teacher, nn.Module) and unwrap(teacher) is unwrap(model):
        raise ValueError("teacher is the model itself: give a copy.deepcopy of it, or None for its average")
