"""Taking measures during training without disturbing it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from hare_tortoise.methods import Loss, Method
from hare_tortoise.methods.schedules import check_interval
from hare_tortoise.methods.support.deployed import refuse_while_lent
from hare_tortoise.methods.support.fresh import Fresh
from hare_tortoise.methods.support.names import local, named_weights, unwrap
from hare_tortoise.methods.support.step_count import StepCount
from hare_tortoise.methods.support.values import loaded_snapshot, snapshot

from .context import Context
from .data import Data, Pair, digest_of_inputs
from .registry import MEASURES, Measure
from .undisturbed import check_deterministic, undisturbed

Network = Literal["hare", "deployed"]


class Probe:
    """Take measures of a network every so many optimizer steps, in any training loop.

    Training goes on bit for bit as without it: weights, buffers, gradients, optimizer, random states and modes. The
    measures are taken in eval mode, on the same data unless `take` is given others. A network that has diverged is
    measured too: figures of what is not finite are NaN (norms may be infinite), and the training goes on.

    Args:
        model: the network that is trained, wrapped (DDP, `torch.compile`) or not; under FSDP2 every process has a
            probe.
        data: inputs and targets, or an iterable of such pairs that gives the same ones in the same order each time
            (it is read twice at once, and again at each `take`); moved to the model's device. A few hundred samples
            to a few thousand, all in memory, in the dtype that the model takes.
            Measures of units and features run them in parts of 256 (or as they come);
            those of gradients, curvature and trainability in one forward with a graph (of at most 512 for the latter
            two), in memory as a training step on so many would be.
        measures: names of `MEASURES`, or a mapping of names to `Measure`, for measures of your own.
        every: optimizer steps from one taking to the next, at least 1; None: only `take()` takes them. With a number
            the measures are tried out at once on eight samples, so that none ends the training later; that costs as
            many passes as a taking, on those few, and records nothing.
        optimizer: the optimizer(s) of which the last one's step is counted; without, call `step()` after each step. A
            method that acts on the same optimizer is built first: the probe then measures what it left.
        method: the method at work on the model, for measures that compare with what it deploys.
        of: measure the "hare", which is the model itself, or the network that the method has "deployed".
        head: name of the output layer, whose input are the features; None: the last Linear that is called.
        fresh: builds a new network of the same form, for measures that compare with one; None: the `reset_parameters`
            of each module.
        loss: of outputs and targets, a scalar; outputs are what the model answers with, a dict too. Trainability asks
            it of random class labels: targets that are floating are refused there.

    Raises:
        ValueError: for an unknown measure, or one that needs a method that deploys a network of its own; for data that
            shuffle or can be read only once; for a model whose answers to the same inputs differ in eval mode, or that
            is of another dtype than the data; for a measure that cannot be taken of this network (without `every` at
            a taking); and at a taking if the data have changed.
        TypeError: `loss` does not take what the model answers with.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> data = torch.eye(4), torch.tensor([0, 1, 0, 1])
        >>> probe = Probe(model, data, measures=["effective-rank", "weight-norm"], every=2, optimizer=optimizer)
        >>> for _ in range(4):
        ...     optimizer.zero_grad()
        ...     cross_entropy(model(data[0]), data[1]).backward()
        ...     optimizer.step()
        >>> [record["step"] for record in probe.records], 1 <= probe.records[-1]["effective-rank"] <= 4
        ([2, 4], True)
    """

    def __init__(
        self,
        model: nn.Module,
        data: Pair | Iterable[Pair],
        *,
        measures: Iterable[str] | Mapping[str, Measure],
        every: int | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        method: Method | None = None,
        of: Network = "hare",
        head: str | None = None,
        fresh: Fresh | None = None,
        loss: Loss = cross_entropy,
    ) -> None:
        self.measures = _chosen(measures)
        if of not in get_args(Network):
            raise ValueError(f'of is {of!r}, expected "hare" or "deployed"')
        if every is not None:
            every = check_interval(every, "every")
        elif optimizer is not None:
            raise ValueError(
                "every is None, so that optimizer would be ignored: give every=, or leave it out"
            )
        _check_method(model, method, of, self.measures)
        self.model, self.method, self.of = model, method, of
        if fresh is not None and not _needed("fresh", self.measures):
            raise ValueError("fresh would be ignored: none of the measures compares with a fresh network")
        self.head, self.loss, self.every, self.fresh = head, loss, every, fresh
        self.records: list[dict[str, float]] = []
        self._memory: dict[str, Tensor] = {}
        self._handle: Any = None
        self._count_from(0)
        with undisturbed(model) as network:
            self.data = Data(data)
            check_deterministic(network, self.data.example[0][0].to(_device(network)))
        self._initial = snapshot(model, _parameters(model)) if _needed("initial", self.measures) else {}
        if every is not None:
            self._try_out()
        if optimizer is not None:
            self.attach(optimizer)

    @property
    def steps(self) -> int:
        """The number of optimizer steps that counted; waits for the device where a scaler may skip some."""
        return self._steps.read()

    def attach(self, optimizer: Optimizer | Sequence[Optimizer]) -> Self:
        """Count the steps of a rebuilt or reloaded optimizer; the count goes on.

        Raises:
            TypeError: it is no optimizer.
            ValueError: `every` is None, so that nothing would be taken.
        """
        optimizers: Sequence[Any] = optimizer if isinstance(optimizer, list | tuple) else [optimizer]
        if not optimizers or not all(isinstance(item, Optimizer) for item in optimizers):
            raise TypeError(
                f"optimizer is a {type(optimizer).__name__}, expected a torch.optim.Optimizer or several"
            )
        if self.every is None:
            raise ValueError(
                "every is None, so that counting steps would take nothing: build the probe with every="
            )
        self.detach()

        def hook(stepped: Optimizer, _args: Any, _kwargs: Any) -> None:
            # A fused optimizer is stepped by the gradient scaler on a skipped step too, and carries this.
            self.step(getattr(stepped, "found_inf", None))

        self._handle = optimizers[-1].register_step_post_hook(torch.compiler.disable(hook))  # type: ignore[no-untyped-call]
        return self

    def detach(self) -> None:
        """Unhook from the optimizer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def step(self, skipped: Tensor | bool | None = None) -> None:
        """Count an optimizer step, and take the measures if they are due; the optimizer's hook calls it.

        Args:
            skipped: a scalar on the device, not zero where the gradient scaler skipped the step, or a bool: it does
                not count then. None: it was taken.
        """
        if skipped is True:
            return
        self._steps.following(skipped.reshape(()) != 0 if isinstance(skipped, Tensor) else None)
        self._steps.add()
        # Reading the count may lower it by the steps that were skipped: the taking then waits for as many.
        if self._next is not None and self._steps.at_most >= self._next and self.steps >= self._next:
            self._count_from(self.steps)
            self.take()

    def take(self, data: Pair | None = None, *, loss: Loss | None = None) -> dict[str, float]:
        """Take all measures now; a record of them is kept, with the step.

        Args:
            data: inputs and targets for this taking alone, where what the network is trained on changes, as from task
                to task; None: those of the probe. Churn compares takings on the same inputs, one after the other.
            loss: of these; None: that of the probe.

        Returns:
            The figure of each measure under its name, and its details under `name/detail`.

        Raises:
            ValueError: the data have changed, or a measure cannot be taken of this network: nothing is recorded then,
                and churn still compares with the last taking that succeeded.
            TypeError: `loss` does not take what the model answers with.
            RuntimeError: the model has the weights of the tortoise at the moment (`deployed_weights()`).
        """
        refuse_while_lent(self.model, "taking measures")
        batches = self.data.batches() if data is None else Data(data).batches()
        values, self._memory = self._found(batches, loss)
        self.records.append({"step": self.steps, **values})
        return values

    def _try_out(self) -> None:
        # Of few samples some figures are not known well; here they are thrown away.
        with warnings.catch_warnings(action="ignore"):
            self._found(self.data.example)

    def _found(
        self, batches: Sequence[Pair], loss: Loss | None = None
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """The figures on these data, and what the measures remember of them."""
        inputs, memory = digest_of_inputs(batches), dict(self._memory)
        if not torch.equal(inputs, memory.get("inputs", inputs).cpu()):
            memory.clear()  # answers to other inputs are nothing to compare with
        memory["inputs"] = inputs
        deployed = None if self.method is None else self.method.deployed
        values: dict[str, float] = {}
        with ExitStack() as undo:
            trained = undo.enter_context(undisturbed(self.model))
            if deployed is not None:
                deployed = undo.enter_context(undisturbed(deployed))
                _require_gradients_alike(trained, deployed)
            context = Context(
                model=deployed if deployed is not None and self.of == "deployed" else trained,
                batches=_moved(batches, _device(trained)),
                loss=loss or self.loss,
                trained=trained,
                deployed=deployed,
                initial=self._initial,
                head=self.head,
                fresh=self.fresh,
                memory=memory,
            )
            for name, measure in self.measures.items():
                try:
                    found = measure.take(context)
                except Exception as error:
                    error.add_note(f"raised by the measure {name}")
                    raise
                found = found if isinstance(found, dict) else {"": found}
                values |= {f"{name}/{key}" if key else name: float(value) for key, value in found.items()}
        return values, memory

    def state_dict(self) -> dict[str, Any]:
        """Records, counts, initial weights and what measures remember: loads with `weights_only=True`."""
        return {
            "records": [dict(record) for record in self.records],
            "steps": self.steps,
            "initial": dict(self._initial),
            "memory": dict(self._memory),
            "data": self.data.digest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state: records and counts go on.

        Raises:
            ValueError: it is of a probe on other data or of another model.
        """
        missing = {"records", "steps", "initial", "memory", "data"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {', '.join(sorted(missing))}, expected what the state_dict() of a probe gave"
            )
        if state["data"] != self.data.digest:
            raise ValueError(
                "the state is of a probe on other data: its records would not continue these; give the same"
            )
        if self._initial:
            self._initial = loaded_snapshot(self._initial, state["initial"])
        device = _device(self.model)
        self._memory = {key: tensor.to(device) for key, tensor in state["memory"].items()}
        self.records = [dict(record) for record in state["records"]]
        self._count_from(state["steps"])

    def _count_from(self, steps: int) -> None:
        self._steps = StepCount(steps)
        self._next = None if self.every is None else steps + self.every - steps % self.every


def _moved(batches: Iterable[Pair], device: torch.device) -> list[Pair]:
    return [(inputs.to(device), targets.to(device)) for inputs, targets in batches]


def _chosen(measures: Iterable[str] | Mapping[str, Measure]) -> dict[str, Measure]:
    if not isinstance(measures, str | Mapping):
        measures = tuple(measures)
    if isinstance(measures, str) or not measures:
        raise ValueError(f"measures is {measures!r}, expected a list of names, at least one, of {_known()}")
    if isinstance(measures, Mapping):
        return dict(measures)
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ValueError(f"no measure is called {', '.join(map(repr, unknown))}; there are {_known()}")
    return {name: MEASURES[name] for name in measures}


def _known() -> str:
    return ", ".join(MEASURES)


def _needed(what: str, measures: Mapping[str, Measure]) -> list[str]:
    return [name for name, measure in measures.items() if what in measure.needs]


def _check_method(
    model: nn.Module, method: Method | None, of: Network, measures: Mapping[str, Measure]
) -> None:
    wanted = _needed("deployed", measures) + (['of="deployed"'] if of == "deployed" else [])
    if method is None:
        if wanted:
            raise ValueError(
                f"{', '.join(wanted)} needs a network that is deployed: give the method by method="
            )
        return
    if unwrap(method.model) is not unwrap(model):
        raise ValueError("method is at work on another model than the one that is measured: give its own")
    if not wanted:
        raise ValueError(
            'method would be ignored: give of="deployed", a measure that needs it, or leave it out'
        )
    if not method.deploys:
        raise ValueError(
            f"{', '.join(wanted)} needs a network that is deployed, and {type(method).__name__} has none of its own: "
            "give a HareTortoise, an EMA, or a Chain that has one"
        )


def _require_gradients_alike(trained: nn.Module, deployed: nn.Module) -> None:
    # The tortoise is kept without gradients; some measures take them. The block it is called in puts that back.
    own = named_weights(deployed)
    for name, tensor in named_weights(trained).items():
        if isinstance(tensor, nn.Parameter):
            own[name].requires_grad_(tensor.requires_grad)


def _parameters(model: nn.Module) -> list[str]:
    return [name for name, tensor in named_weights(model).items() if isinstance(tensor, nn.Parameter)]


def _device(model: nn.Module) -> torch.device:
    return next(local(parameter).device for parameter in model.parameters())
