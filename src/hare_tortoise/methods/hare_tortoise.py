"""Hare & Tortoise: train a fast network, average it into a slow one, and put it back now and then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .schedules import Schedule, check_decay, check_interval, resumed, saved
from .support.average import Average
from .support.deployed import lent, refuse_while_lent
from .support.optimizer_state import clear_state
from .support.pairs import Treatment
from .support.step_count import StepCount

OptimizerState = Literal["keep", "reset"]


class HareTortoise(Method):
    """Average the trained network, the hare, into a slow one, the tortoise; now and then put it back.

    After each optimizer step, and then at every `reset_every`-th:

        tortoise ← decay · tortoise + (1 − decay) · hare
        hare     ← tortoise

    The tortoise starts as a copy of the hare. Floating tensors are averaged, parameters and buffers; integer
    buffers (BatchNorm's counter) are copied. A hare in half precision has a tortoise in float32. Under DDP and
    FSDP2 give the model after it was wrapped or sharded; every process then calls `reset`, `state_dict` and
    `deployed_weights`, because buffers are the first process's there; at a reset (and at `check_every`) all are told
    whether one of them has found the tortoise not finite. There is no other communication.

    Args:
        model: the hare, any module, wrapped or not.
        optimizer: the optimizer(s) that train it; without, call `after_step()` after each step.
        decay: in [0, 1), or a schedule; `1 / (1 − decay)` is the horizon of the average in steps.
        reset_every: optimizer steps from reset to reset, at least 1, or a schedule; None: never by itself.
        buffers: what is done with floating buffers: "average" (the paper), "copy" the hare's at each step, or
            "none": the tortoise keeps its own (of a BatchNorm the statistics of the start, with which it would
            be evaluated), and a reset leaves the hare's.
        optimizer_state: at a reset, "keep" it (the paper) or "reset" it: the next steps are then those of a
            newly built optimizer.
        tortoise: a module to be the tortoise, which keeps its values and dtype (in value-based RL the target
            network); None: a copy of the hare.
        share_frozen: parameters that require no gradient are shared instead of copied, and not saved (for
            adapters on a large model).
        check_every: look for NaN and infinities in the tortoise every so many steps, which waits for the device
            and reads the tortoise once; None: only at resets.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; for a model that cannot be copied; at the first step for a second
            average of the same model outside a chain, or one of a part of it.
        RuntimeError: at a reset, if the tortoise is not finite (nothing is written then); no later than at a
            reset, a save or an evaluation, if layers were replaced or grown: call `rebind()`.

    References:
        Lee et al., "Slow and Steady Wins the Race: Maintaining Plasticity with Hare and Tortoise Networks",
        ICML 2024, arXiv 2406.02596.

    Example:
        >>> import torch
        >>> from hare_tortoise import HareTortoise
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> pair = HareTortoise(model, optimizer, decay=0.5, reset_every=2)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (-model(torch.ones(1, 1))).sum().backward()
        ...     optimizer.step()
        >>> pair.tortoise.weight.item()  # 0.5·(0.5·0 + 0.5·1) + 0.5·2
        1.25
        >>> model.weight.item()
        1.25
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {
        "decay": "decay",
        "reset_every": "interval",
    }
    averages: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        decay: float | Schedule = 0.999,
        reset_every: int | Schedule | None = 1000,
        buffers: Treatment = "average",
        optimizer_state: OptimizerState = "keep",
        tortoise: nn.Module | None = None,
        share_frozen: bool = False,
        check_every: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_choice("buffers", buffers, get_args(Treatment))
        _check_choice("optimizer_state", optimizer_state, get_args(OptimizerState))
        if check_every is not None:
            check_every = check_interval(check_every, "check_every")
        super().__init__(model, seed=seed)
        self._steps = StepCount()
        self.decay = decay
        self.reset_every = reset_every
        self.check_every = check_every
        self.optimizer_state: OptimizerState = optimizer_state
        self._next_check = check_every
        self._average = Average(model, buffers, tortoise, share_frozen)
        if optimizer is not None:
            self.attach(optimizer)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Average, and put the hare back if it is time.

        Args:
            skipped: a scalar on the device, not zero where the gradient scaler skipped the step: it does not
                count then, and leaves the tortoise as it is (but for buffers that the forward has filled with
                infinities, which are averaged). Or a bool. None: the step was taken.
        """
        refuse_while_lent(self.model, "a step")
        self._claim()
        self._refuse_ignored()
        self._average.follow_moves()
        if skipped is True:
            return
        flag = skipped.reshape(()) != 0 if isinstance(skipped, Tensor) else None
        step = self._steps.following(flag)
        decay = self._decay(step) if isinstance(self._decay, Schedule) else self._decay
        if decay is not self._decay and not isinstance(decay, Tensor):
            check_decay(decay, "decay")
        if isinstance(step, int):
            # tortoise ← decay·tortoise + (1 − decay)·hare
            self._average.pairs.average(float(decay))
        else:
            # Filled there, because copying a number to the device would wait for it.
            weight = 1 - decay if isinstance(decay, Tensor) else torch.full_like(step, 1 - decay)
            self._average.pairs.average_on_device(weight, flag)
        self._steps.add()
        if self._next_check is not None and self._steps.at_most >= self._next_check:
            self._check_if_due(self._next_check)
        if self._next_reset is not None and self._steps.at_most >= self._next_reset:
            self._reset_if_due(self._next_reset)

    def reset(self) -> None:
        """Put the hare back onto the tortoise now: `hare ← tortoise`. The intervals run on.

        Call it between a step and the next forward: after a forward, its backward would find other weights than
        the forward had used.

        Raises:
            RuntimeError: the tortoise is not finite, or the network was changed; nothing is written then.
        """
        refuse_while_lent(self.model, "a reset")
        self._refuse_ignored()
        self._average.follow()
        self._average.refuse_non_finite(self.steps, "nothing was written to the hare")
        self._average.agree()
        # hare ← tortoise
        self._average.pairs.put_back()
        if self.optimizer_state == "reset":
            for optimizer in self.optimizers:
                clear_state(optimizer)

    def _reset_if_due(self, at: int) -> None:
        # Reading the count may lower it by the steps that were skipped: the reset then waits for as many.
        if self.steps >= at:
            self.reset()
            self._next_reset = self._following_reset()

    def _check_if_due(self, at: int) -> None:
        if self.check_every is not None and self.steps >= at:
            self._average.refuse_non_finite(self.steps, "found by check_every")
            self._next_check = self.steps + self.check_every

    def _following_reset(self) -> int | None:
        steps, every = self.steps, self._reset_every
        if every is None:
            return None
        if isinstance(every, Schedule):
            return steps + max(1, round(float(every(max(steps, 1)))))
        return steps + every - steps % every

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._steps.read()

    @property
    def decay(self) -> float | Schedule:
        """The decay of the average, a number in [0, 1) or a schedule."""
        return self._decay

    @decay.setter
    def decay(self, decay: float | Schedule) -> None:
        if not isinstance(decay, Schedule):
            check_decay(decay, "decay")
            decay = float(decay)
        self._decay = decay

    @property
    def reset_every(self) -> int | Schedule | None:
        """Optimizer steps from reset to reset; None: never by itself."""
        return self._reset_every

    @reset_every.setter
    def reset_every(self, every: int | Schedule | None) -> None:
        if every is not None and not isinstance(every, Schedule):
            every = check_interval(every, "reset_every")
        self._reset_every = every
        self._next_reset = self._following_reset()

    @property
    def tortoise(self) -> nn.Module:
        """The slow network, a plain module in eval mode; one process alone can evaluate it.

        Each access looks for what was done to the model: take `net = pair.tortoise` before a loop.

        Raises:
            RuntimeError: the model is sharded, so that there is no such module, or was changed meanwhile.
        """
        module = self._average.module
        if module is None:
            raise RuntimeError(
                "the tortoise of a sharded model is no module of its own (a sharded module cannot be copied): "
                "evaluate it by `with pair.deployed_weights(): ...`, or give a module sharded alike by tortoise="
            )
        self._average.follow()
        return module.eval()

    @property
    def deployed(self) -> nn.Module:
        """The network to evaluate and to ship: the tortoise."""
        return self.tortoise

    @contextmanager
    def deployed_weights(self) -> Iterator[None]:
        """Evaluate the tortoise inside the user's own module, which is in eval mode and the hare's dtype then.

        Values, modes and `requires_grad` are restored at the end, also after an exception. The `state_dict()` of
        the module and of its layers still holds the hare inside. Under DDP and FSDP2 every process must enter. A
        step of an optimizer that the pair was not given is not noticed, and undone at the end.

        Raises:
            RuntimeError: for a step, a reset, `new_data()`, a load into the pair or the module, or a second
                `deployed_weights()` inside.

        Example:
            >>> model = torch.nn.Linear(1, 1)
            >>> pair = HareTortoise(model, decay=0.9)
            >>> _ = torch.nn.init.ones_(model.weight)
            >>> with pair.deployed_weights():
            ...     torch.equal(model.weight, pair.tortoise.weight)
            True
            >>> model.weight.item()
            1.0
        """
        refuse_while_lent(self.model, "a second deployed_weights()")
        self._average.follow()
        average = self._average
        with lent(self.model, average.tensors, average.pairs.written_buffers(), self.optimizers):
            yield

    def distance(self) -> float:
        """The distance `‖hare − tortoise‖₂` over all parameters, a monitor; waits for the device.

        Under FSDP2 every process must call it.
        """
        refuse_while_lent(self.model, "distance()")
        self._average.follow()
        return self._average.distance()

    def rebind(self) -> None:
        """Pair hare and tortoise anew after layers were replaced, grown, added or unfrozen.

        What is new, or has a new shape, starts as a copy of the hare; the other averages and the counts go on.

        Raises:
            ValueError: a tortoise that was given by `tortoise=` does not match the changed model.
        """
        refuse_while_lent(self.model, "rebind()")
        self._average.rebind()

    def _check_network(self) -> None:
        self._average.follow()

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Tell schedules that depend on it how many steps follow; averages and counts go on."""
        refuse_while_lent(self.model, "new_data()")
        self._claim()
        if steps is not None and isinstance(self._decay, Schedule):
            self._decay = self._decay.for_steps(steps)
        if steps is not None and isinstance(self._reset_every, Schedule):
            every = self._reset_every.for_steps(steps)
            if every != self._reset_every:
                # The setter counts the interval from here.
                self.reset_every = every

    @torch.no_grad()
    def weights_changed(self, change: Change) -> None:
        """Follow another member of the chain: copy a new network and start anew, or do the same change."""
        refuse_while_lent(self.model, "a change of the weights")
        self._average.follow()
        if change.whole:
            self._average.pairs.start()
            self._restart(0)
        else:
            change.apply(self._average.tensors)

    def _restart(self, steps: int) -> None:
        self._steps = StepCount(steps)
        self._next_reset = self._following_reset()
        self._next_check = None if self.check_every is None else steps + self.check_every

    def state_dict(self) -> dict[str, Any]:
        """The averages by canonical name, the counts and the settings; the hare is saved with the model.

        The tensors are the live ones, as in `nn.Module.state_dict`: copy them, or write them to a file, before
        training goes on. Under DDP and FSDP2 every process must call it.
        """
        self._average.follow()
        return super().state_dict() | {
            "tortoise": self._average.saved(),
            "copied": self._average.copied(),
            "steps": self.steps,
            "next_reset": self._next_reset,
            "settings": self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "decay": saved(self._decay),
            "reset_every": saved(self._reset_every),
            "buffers": self._average.buffers,
            "optimizer_state": self.optimizer_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; training then goes on as if it had never been interrupted.

        Raises:
            ValueError: the state is of another method, of another model (the names that differ are in the
                message), or was saved with other settings; nothing is taken up then.
        """
        super().load_state_dict(state)
        self._decay = resumed("decay", self._decay, state["settings"]["decay"])
        self._reset_every = resumed("reset_every", self._reset_every, state["settings"]["reset_every"])
        self._average.load(state["tortoise"], state["copied"])
        self._restart(int(state["steps"]))
        self._next_reset = state["next_reset"]

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method, this model and these settings."""
        refuse_while_lent(self.model, "loading a state")
        self._average.follow()
        missing = {"generator", "tortoise", "copied", "steps", "next_reset", "settings"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {', '.join(sorted(missing))}: give what {type(self).__name__}.state_dict() gave"
            )
        self._average.check_saved(state["tortoise"])
        resumed("decay", self._decay, state["settings"]["decay"])
        resumed("reset_every", self._reset_every, state["settings"]["reset_every"])
        for name in ("buffers", "optimizer_state"):
            resumed(name, self._settings()[name], state["settings"][name])

    def _refuse_ignored(self) -> None:
        if self.optimizer_state == "reset" and not self.optimizers:
            raise ValueError(
                'optimizer_state is "reset" but no optimizer is attached, so it would be ignored: give the '
                'optimizer, or optimizer_state="keep"'
            )


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
