"""The training of one trial: chunk after chunk, checkpointed, bit-identical however often it is interrupted.

Each evaluation is a row:

| key | what |
|---|---|
| ``chunk``, ``chunk_name``, ``epoch``, ``step`` | where: epoch and step are counted within the chunk, from 1 |
| ``last`` | whether it is the last evaluation of its chunk |
| ``samples`` | samples processed by gradient steps so far, over all chunks |
| ``seconds`` | wall-clock seconds of training so far, the methods' work included, evaluation apart |
| ``test_accuracy`` | of the deployed network on the chunk's test set, 0 … 1; ``validation_accuracy`` likewise |
| ``test_error`` | of numbers: mean squared error of the deployed network on the chunk's test set |
| ``hare_test_accuracy``, ``tortoise_test_accuracy`` | of the trained network; of the average (None if there is none) |
| ``train_accuracy``, ``hare_train_accuracy`` | on the chunk's training rows as they were trained on, noise included |
| ``train_loss`` | mean over the steps of the last epoch, penalties included |
| ``measures`` | of plasticity, of the trained network on rows of the chunk's first test set; {} if not due |
| ``tests`` | accuracies of the deployed network on every test set of the chunk, by name |
| ``hare_tests`` | of the trained network; where there are several test sets and another network is deployed |
| ``online_accuracy`` | of the deployed network on the batches of the chunk's first epoch, each before the step on it |
| ``hare_online_accuracy`` | of the trained network, likewise; both where the recipe's ``judge`` is ``online`` |
| ``baselines`` | accuracies on the test set of predictors that learn nothing, by name; where the chunk has any |

What is predicted online is the batch as it is trained on, augmented or not, in eval mode; ``seconds`` has it in them.

Outputs that do not count in a chunk (``Chunk.outputs``, ``Chunk.active``) are masked: they have no part in the loss
and are never an answer. Where numbers are predicted the loss is the mean squared error, and every ``…accuracy`` is
R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² over the rows that are judged and all numbers of a row, ȳ the mean over these rows; it
may be negative, and where all targets are alike it is 1 without an error, else 0.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hare_tortoise.lab.building import Setup, measured_on
from hare_tortoise.lab.evaluation import evaluate
from hare_tortoise.lab.job import Moment, Report, StoppedError, go_on
from hare_tortoise.lab.online import Online
from hare_tortoise.lab.plan import ChunkPlan
from hare_tortoise.lab.step import gradient_step
from hare_tortoise.lab.store import Run
from hare_tortoise.lab.trial import Row, derive_seed
from hare_tortoise.methods.method import Loss
from hare_tortoise.streams import Chunk

# losses stay on the device and are read once in so many steps
READ_EVERY = 100


class DivergedError(RuntimeError):
    """The loss of a trial was not finite."""


@dataclass
class Position:
    """Where a trial is, and what it has measured."""

    chunk: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


class Training:
    """One trial in training.

    Args:
        setup: the trial with everything built: network, method, stream, plan.
        run: where checkpoints go; None: nowhere.
        checkpoint_every: seconds between checkpoints.
        report_every: seconds between reports.
        report: is told where the training is; returns True to stop it.
    """

    def __init__(
        self,
        setup: Setup,
        run: Run | None = None,
        *,
        checkpoint_every: float = 20.0,
        report_every: float = 0.5,
        report: Report = go_on,
    ) -> None:
        self.setup, self.run, self.report = setup, run, report
        self.model, self.method, self.recipe = setup.model, setup.method, setup.trial.recipe
        self.forward: Callable[..., Any] = torch.compile(self.model) if self.recipe.compile else self.model
        self.checkpoint_every, self.report_every = checkpoint_every, report_every
        self.checkpoint_due = time.perf_counter() + checkpoint_every
        self.report_due = time.perf_counter() + report_every
        self.position = Position()
        self.losses = torch.zeros(READ_EVERY, device=setup.device)
        exact = torch.float32 if setup.device.type == "mps" else torch.float64  # all that MPS has
        self.epoch_loss = torch.zeros((), dtype=exact, device=setup.device)
        self.optimizer: torch.optim.Optimizer | None = None
        self.lr_shares: list[float] = []
        self.loss: Loss = F.cross_entropy
        self.online = Online(setup) if self.recipe.judge == "online" else None
        self.predicted: dict[str, Any] = {}
        self._load()

    def finish(self, chunks: int | None = None) -> list[Row]:
        """Train to the end of the stream and give the rows.

        Args:
            chunks: pause after so many chunks, with a checkpoint; None: go to the end.

        Raises:
            DivergedError: The loss was not finite; the last finite checkpoint is kept.
            StoppedError: `report` asked for it.
        """
        place, length = self.position, len(self.setup.stream)
        end = length if chunks is None else min(chunks, length)
        while place.chunk < end:
            chunk = self.setup.chunk(place.chunk)
            chunk_plan = self.setup.chunk_plan(chunk)
            self._enter(chunk)
            if place.step == 0:
                self._begin(chunk, chunk_plan)
            while place.epoch < chunk_plan.epochs:
                self._epoch(chunk, chunk_plan)
            place.chunk, place.epoch, place.step = place.chunk + 1, 0, 0
            if place.chunk == length:
                self._save({"deployed": self.method.deployed.state_dict()})
            elif place.chunk == end:
                self._checkpoint()
        return place.rows

    def _enter(self, chunk: Chunk) -> None:
        """Take up a chunk, from its beginning or from where a checkpoint left it."""
        self.loss = self.setup.loss(chunk)
        if self.online is not None and self.position.step > 0:
            self.online.begin(chunk)
            self.online.load_state_dict(self.predicted)

    def _begin(self, chunk: Chunk, chunk_plan: ChunkPlan) -> None:
        since = self._clock()
        if self.position.chunk > 0:
            batches = chunk.train.batches(self.recipe.batch_size, generator=self._generator("new data"))
            self.method.new_data(batches, loss=self.loss, steps=chunk_plan.steps)
        if self.online is not None:
            self.online.begin(chunk)
        self._build_optimizer()
        self.position.seconds += self._clock() - since

    def _build_optimizer(self) -> torch.optim.Optimizer:
        self.optimizer = self.setup.optimizer()
        # an optimizer with a learning rate of its own keeps it, under the recipe's warm-up
        self.lr_shares = [group["lr"] / self.recipe.lr for group in self.optimizer.param_groups]
        self.method.attach(self.optimizer)
        return self.optimizer

    def _epoch(self, chunk: Chunk, chunk_plan: ChunkPlan) -> None:
        """Train what is left of an epoch, then do what is due at its end."""
        place, since = self.position, time.perf_counter()
        self.model.train()
        for inputs, targets in self._batches(chunk):
            with self._naming_divergence():
                self._step(inputs, targets, chunk_plan.learning_rate(place.step))
            if place.step % READ_EVERY == 0:
                self._check_losses()
            now = time.perf_counter()
            if now >= self.checkpoint_due or now >= self.report_due:
                place.seconds += self._clock() - since
                self._pause(now)
                since = time.perf_counter()
        place.epoch, place.batch = place.epoch + 1, 0
        if chunk_plan.reset_epochs is not None and (place.epoch - 1) % chunk_plan.reset_epochs == 0:
            with self._naming_divergence():
                for pair in self.setup.resettable:
                    pair.reset()
        place.seconds += self._clock() - since
        last, every = place.epoch == chunk_plan.epochs, self.recipe.evaluate_every
        if last or (every is not None and place.epoch % every == 0):
            self._check_losses()
            self._check_weights()
            place.rows.append(self._row(chunk, chunk_plan, last))
        self.epoch_loss.zero_()

    def _row(self, chunk: Chunk, chunk_plan: ChunkPlan, last: bool) -> Row:
        row = self._where(chunk, last) | {"train_loss": float(self.epoch_loss) / chunk_plan.steps_per_epoch}
        row |= evaluate(self.setup, chunk) | ({} if self.online is None else self.online.row())
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise DivergedError(f"{name} was {value} in chunk {self.position.chunk + 1}; try a lower lr")
        return row | {"measures": self._measure(chunk)}

    def _batches(self, chunk: Chunk) -> Iterator[tuple[Tensor, Tensor]]:
        generator = self._generator("order", self.position.epoch)
        batches = chunk.train.batches(self.recipe.batch_size, generator=generator, augment=self.setup.augment)
        return itertools.islice(batches, self.position.batch, None)

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(
            derive_seed(self.setup.trial.seed, self.position.chunk, *purpose)
        )

    def _step(self, inputs: Tensor, targets: Tensor, lr: float) -> None:
        place, optimizer = self.position, self.optimizer
        assert optimizer is not None
        for group, share in zip(optimizer.param_groups, self.lr_shares, strict=True):
            group["lr"] = lr * share

        def on_loss(loss: Tensor) -> None:
            self.losses[place.step % READ_EVERY] = loss
            self.epoch_loss.add_(loss)
            place.step, place.batch = place.step + 1, place.batch + 1
            place.samples += len(targets)

        online = self.online if place.epoch == 0 else None
        if online is not None:
            online.ask(inputs, targets)

        def on_outputs(outputs: Tensor) -> None:
            if online is not None:
                online.take(outputs, targets)

        gradient_step(
            self.setup,
            optimizer,
            self.forward,
            inputs,
            targets,
            loss=self.loss,
            on_loss=on_loss,
            on_outputs=on_outputs,
        )

    @contextmanager
    def _naming_divergence(self) -> Iterator[None]:
        """Name the first bad step where a method finds the weights not finite before the losses are read."""
        try:
            yield
        except RuntimeError as error:
            self._check_losses()
            self._check_weights(error)
            raise

    def _check_weights(self, cause: Exception | None = None) -> None:
        """Find weights that the last step left not finite: no loss has told of them yet."""
        floating = [tensor for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        if not all(bool(tensor.isfinite().all()) for tensor in floating):
            step, chunk = self.position.step, self.position.chunk + 1
            raise DivergedError(f"the weights were not finite after step {step} of chunk {chunk}") from cause

    def _measure(self, chunk: Chunk) -> dict[str, float | None]:
        """Take the recipe's measures; a figure that is not finite is None."""
        place, last = self.position.chunk, len(self.setup.stream) - 1
        if self.setup.probe is None or (place % self.recipe.measure_every and place != last):
            return {}
        data, loss = measured_on(chunk, self.setup.stream)
        taken = self.setup.probe.take(data, loss=loss)
        return {name: value if math.isfinite(value) else None for name, value in taken.items()}

    def _clock(self) -> float:
        """Read the clock once the device has done what it was given."""
        if self.setup.device.type == "cuda":
            torch.cuda.synchronize(self.setup.device)
        elif self.setup.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def _check_losses(self) -> None:
        """Read the losses since the last reading; the first that is not finite ends the trial."""
        count = self.position.step % READ_EVERY or min(self.position.step, READ_EVERY)
        losses = self.losses[:count].cpu()
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            place = int(bad[0])
            raise DivergedError(
                f"the loss was {float(losses[place])} at step {self.position.step - count + place + 1} of chunk "
                f"{self.position.chunk + 1}; try a lower lr, a longer warmup or a tighter clip_norm"
            )

    def _pause(self, now: float) -> None:
        stop = False
        if now >= self.report_due:
            self.report_due = now + self.report_every
            place = self.position
            judged = "test_accuracy" if self.online is None else "online_accuracy"
            accuracy = place.rows[-1][judged] if place.rows else None
            where = f"chunk {place.chunk + 1}/{len(self.setup.stream)}"
            stop = self.report(Moment(place.samples, where, "" if accuracy is None else f"{accuracy:.3f}"))
        if stop or now >= self.checkpoint_due:
            self._check_losses()
            self._checkpoint()
        if stop:
            raise StoppedError("stopped on request; the checkpoint is written")

    def _where(self, chunk: Chunk, last: bool) -> Row:
        place = self.position
        return {
            "chunk": place.chunk,
            "chunk_name": chunk.name,
            "epoch": place.epoch,
            "step": place.step,
            "samples": place.samples,
            "seconds": place.seconds,
            "last": last,
        }

    def _checkpoint(self) -> None:
        assert self.optimizer is not None
        self._save(
            {
                "model": self.model.state_dict(),
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "probe": None if self.setup.probe is None else self.setup.probe.state_dict(),
                "epoch_loss": self.epoch_loss,
                "online": None if self.online is None else self.online.state_dict(),
                "random": torch.get_rng_state(),
                "cuda_random": torch.cuda.get_rng_state() if self.setup.device.type == "cuda" else None,
            }
        )

    def _save(self, content: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.save({"position": asdict(self.position), **content})
        self.checkpoint_due = time.perf_counter() + self.checkpoint_every

    def _load(self) -> None:
        content = self.run.load() if self.run is not None else None
        if content is None:
            torch.manual_seed(derive_seed(self.setup.trial.seed, "training"))
            return
        self.position = Position(**content["position"])
        if self.position.chunk == len(self.setup.stream):
            return
        self.model.load_state_dict(content["model"])
        # before the optimizer: a method may have frozen some of the parameters and freed others
        self.method.load_state_dict(content["method"])
        self._build_optimizer().load_state_dict(content["optimizer"])
        if self.setup.probe is not None:
            self.setup.probe.load_state_dict(content["probe"])
        self.epoch_loss.copy_(content["epoch_loss"])
        self.predicted = content.get("online") or {}
        torch.set_rng_state(content["random"])
        if content["cuda_random"] is not None:
            torch.cuda.set_rng_state(content["cuda_random"])
