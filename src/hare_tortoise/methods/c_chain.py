"""C-CHAIN: a penalty on what an update changes in the answers to other inputs, the churn."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, mse_loss
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .schedules import check_interval, resumed
from .support.deployed import refuse_while_lent
from .support.names import unwrap
from .support.penalties import (
    at_least_float32,
    check_classes,
    check_strength,
    check_tensor,
    mean_of_class_sums,
)
from .support.recent_means import RecentMeans
from .support.sharding import reshard

Distance = Literal["kl", "cross_entropy", "mse"]
_EPSILON = 1e-8
_PARTS = 64


class CChain(Method):
    """Add to the loss `strength · distance(f(reference), f_before(reference))`, with `f_before` some steps ago.

    The reference inputs are those of an earlier step, not the ones being trained on; what the network answered to
    them `history` steps ago is kept, so that no earlier weights need be. (The authors' code draws its reference batch
    from the replay buffer, and keeps earlier networks.) Both answers are given in eval mode: without dropout, and
    without a trace in the statistics of a BatchNorm. Where gradients are accumulated over several batches each is a
    reference, up to the last 64 of a step; a batch that is given twice (a closure that is called twice, SAM) is one. A
    batch to which not all answers were finite gives no penalty.

        "kl"             Σ_classes p_before · (log p_before − log p), averaged over the batch
        "cross_entropy"  −Σ_classes p_before · log p, averaged: the same gradient (the authors' policies)
        "mse"            (f − f_before)², averaged over batch and outputs (the authors' values)

    After `warmup` steps the strength sets itself, so that the term is on average the share `ratio` of the loss:
    `strength = ratio · mean|loss| / (mean distance + 1e-8)`, means over the last `window` steps. For this the loss is
    computed once more from outputs and targets. The authors use with "mse" ratio 0.01, strength 50 for the first 10,000
    updates and a window of 50,000; with "cross_entropy" of policies ratio 10,000, strength 1. Their code was read, the
    paper's text was not. The other defaults here are for classification and ours.

    `new_data()` begins anew with references and means (the authors' control runs restart the means at a task; their
    DQN is not told of tasks), a new network with references. Under DDP and FSDP2 each process has references and
    means of its own data. A step that a gradient scaler skips on the device is left out of the means.

    Args:
        model: the network; it is called with the inputs alone.
        optimizer: its optimizer(s); without, call `after_step()` after each step.
        ratio: of the term to the loss, finite and at least 0; None: the strength stays.
        strength: before `warmup` is over, or always; finite and at least 0.
        distance: "kl", "cross_entropy" or "mse".
        history: how many steps ago, at least 1. (The authors' index 2 is 1: their 1 is the network itself.)
        warmup: steps with a penalty before the strength sets itself, at least 1.
        window: steps that the means look back, at least 1.
        loss: of outputs and targets, for the ratio; None: cross-entropy (of classes or their probabilities), or
            with "mse", if the targets are no integers, squared error.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad argument; at `penalty`, if targets are missing though there is a ratio, or if the outputs
            have no classes for "kl" and "cross_entropy", or not in their second dimension.
        TypeError: at `penalty`, if inputs or outputs are no tensors.
        RuntimeError: at `penalty`, if the outputs have another shape than before: call `new_data()`.

    References:
        Tang, Obando-Ceron, Castro, Courville and Berseth, "Mitigating Plasticity Loss in Continual Reinforcement
        Learning by Reducing Churn", ICML 2025, arXiv 2506.00592.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> method = CChain(model, ratio=None, strength=0.5, distance="mse")
        >>> for inputs in (torch.ones(1, 1), 2 * torch.ones(1, 1)):
        ...     _ = method.penalty(inputs, model(inputs))
        ...     _ = model.weight.data.add_(3.0)  # a step
        ...     method.after_step()
        >>> inputs = torch.zeros(1, 1)
        >>> method.penalty(inputs, model(inputs)).item()  # 0.5 · (7 − 4)², on the inputs of the first step
        4.5
    """

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {
        "warmup": "interval",
        "window": "interval",
    }

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        ratio: float | None = 0.01,
        strength: float = 1.0,
        distance: Distance = "kl",
        history: int = 1,
        warmup: int = 100,
        window: int = 50_000,
        loss: Loss | None = None,
        seed: int = 0,
    ) -> None:
        if ratio is not None and not (math.isfinite(ratio) and ratio >= 0):
            raise ValueError(
                f"ratio is {ratio}, expected a finite number of at least 0, or None for a fixed strength"
            )
        check_strength(strength, "1 to 50")
        if distance not in get_args(Distance):
            raise ValueError(f'distance is {distance!r}, expected "kl", "cross_entropy" or "mse"')
        super().__init__(model, seed=seed)
        self.ratio = ratio
        self.strength = strength
        self.distance: Distance = distance
        self.history = check_interval(history, "history")
        self.warmup = check_interval(warmup, "warmup")
        self.window = check_interval(window, "window")
        self.loss = loss
        self._means = RecentMeans(self.window)
        # The oldest first; of each step its parts, as gradients may be accumulated: inputs and what was answered.
        self._references: list[list[tuple[Tensor, Tensor]]] = []
        self._precision: AbstractContextManager[object]
        self._begin_step()
        if optimizer is not None:
            self.attach(optimizer)

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return strength times distance on the reference inputs, a scalar, differentiable in the parameters."""
        refuse_while_lent(self.model, "penalty()")
        if not self.strength and not self.ratio:
            return outputs.new_zeros(())
        self._check(inputs, outputs, targets)
        training = outputs.requires_grad
        if training:
            self._keep(inputs)
            self._precision = _autocast(outputs.device.type)
        if len(self._references) <= self.history:
            return outputs.new_zeros(())
        parts = self._references[0]
        reference, before = parts[self._calls % len(parts)]
        known = before.isfinite().all()
        before = torch.where(known, before, 0.0)
        distance = _distance(self._answers(reference), before, self.distance)
        if training and self.ratio is not None:
            # What is not finite does not count in the means.
            seen = torch.where(known, distance.detach(), math.nan)
            self._seen.append(torch.stack((self._loss(outputs, targets).to(seen), seen)))
            del self._seen[:-_PARTS]
        self._calls += int(training)
        return self._strength() * torch.where(known, distance, 0.0)

    def _keep(self, inputs: Tensor) -> None:
        """Keep a copy of the inputs for a reference, unless this step has had them already."""
        if any(kept() is inputs and version == inputs._version for kept, version in self._given):
            return
        self._given.append((weakref.ref(inputs), inputs._version))
        self._inputs.append(inputs.detach().clone())
        # Without a step, or at skipped ones, they would grow on.
        del self._given[:-_PARTS], self._inputs[:-_PARTS]

    def _check(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None) -> None:
        check_tensor(inputs, "inputs")
        check_tensor(outputs, "outputs")
        if self.distance != "mse":
            check_classes(outputs, targets, type(self).__name__)
            if outputs.shape[1] == 1:
                raise ValueError(
                    f"outputs have shape {tuple(outputs.shape)}, one class, expected two or more for distance "
                    f'{self.distance!r}: give distance="mse" for values'
                )
        if self.ratio is not None and targets is None:
            raise ValueError("targets is None, but ratio= needs the loss: give the targets, or ratio=None")

    @torch.no_grad()
    def _loss(self, outputs: Tensor, targets: Tensor | None) -> Tensor:
        """The size of the loss, of which the term is to be a share."""
        if targets is None:
            return outputs.new_zeros(())
        known = at_least_float32(outputs)
        if self.loss is not None:
            return self.loss(known, targets).abs()
        if not targets.is_floating_point():
            return cross_entropy(known, targets)
        loss = mse_loss if self.distance == "mse" else cross_entropy
        return loss(known, targets.to(known))

    @torch.no_grad()
    def _strength(self) -> float | Tensor:
        """The strength now; whether the warm-up is over is known on the device only."""
        means = self._means.means()
        if self.ratio is None or means is None:
            return self.strength
        loss, distance = means
        automatic = self.ratio * loss / (distance + _EPSILON)
        return torch.where(self._means.count >= self.warmup, automatic, self.strength)

    def _answers(self, inputs: Tensor) -> Tensor:
        """What the network answers in eval mode, by itself: unwrapped, uncompiled."""
        network = unwrap(self.model)
        with _evaluated(network):
            answers: Tensor = network(inputs)
        check_tensor(answers, "the network's outputs")
        return at_least_float32(answers)

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Keep the inputs of the step with what the network answers to them now."""
        refuse_while_lent(self.model, "a step")
        if skipped is not True:
            if self._seen:
                flag = skipped if isinstance(skipped, Tensor) else None
                self._means.add(torch.stack(self._seen).mean(0), flag)
            if self._inputs:
                with torch.no_grad(), self._precision:
                    self._references.append([self._reference(inputs) for inputs in self._inputs])
                reshard(self.model)
                self._references = self._references[-self.history - 1 :]
        self._begin_step()

    def _reference(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs with their answers; inputs without finite answers are zeroed, lest gradients be NaN."""
        answers = self._answers(inputs)
        return inputs.masked_fill_(~answers.isfinite().all(), 0), answers

    def _begin_step(self) -> None:
        self._inputs: list[Tensor] = []
        self._seen: list[Tensor] = []
        self._given: list[tuple[weakref.ref[Tensor], int]] = []
        self._calls = 0
        self._precision = nullcontext()

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Begin anew with references and means."""
        self._means = RecentMeans(self.window)
        self._forget()

    def weights_changed(self, change: Change) -> None:
        """Forget what another network answered; of a partial change the next penalty is a part."""
        if change.whole:
            self._forget()

    def _forget(self) -> None:
        self._references = []
        self._begin_step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state: references, what was answered to them, and the means."""
        references = [[{"inputs": x, "answers": y} for x, y in parts] for parts in self._references]
        return super().state_dict() | {
            "references": references,
            "means": self._means.state_dict(),
            "settings": {"history": self.history, "window": self.window},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: it is of another method, or was saved with another history or window.
        """
        super().load_state_dict(state)
        device = next(self.model.parameters()).device
        self._references = [
            [(part["inputs"].to(device), part["answers"].to(device)) for part in parts]
            for parts in state["references"]
        ]
        self._means.load_state_dict(state["means"], device)
        self._begin_step()

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and these settings."""
        super().check_state(state)
        missing = {"references", "means", "settings"} - state.keys()
        if missing:
            raise ValueError(f"state lacks {', '.join(sorted(missing))}: give what CChain.state_dict() gave")
        for name in ("history", "window"):
            resumed(name, getattr(self, name), state["settings"][name])


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _autocast(device: str) -> AbstractContextManager[object]:
    """The precision that the answers are given in, to compare like with like after the step."""
    return torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))


def _distance(answers: Tensor, before: Tensor, distance: Distance) -> Tensor:
    if answers.shape != before.shape:
        raise RuntimeError(
            f"outputs for the reference inputs have shape {tuple(answers.shape)}, but had {tuple(before.shape)}: "
            "call new_data() after changing the network"
        )
    if distance == "mse":
        return mse_loss(answers, before)
    now, then = log_softmax(answers, dim=1), log_softmax(before, dim=1)
    return mean_of_class_sums(then.exp() * ((then if distance == "kl" else 0) - now))
