"""Everything that a trial is made of, built from its recipe: stream, network, method, plan."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import Composition, needs_closure, optimizer_of, take_apart, transformed
from hare_tortoise.lab.plan import ChunkPlan, plan_chunk, scaled_settings, starts_anew
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.scores import Tally, blocked_outputs, loss_of, tally
from hare_tortoise.lab.spec import Call, parse
from hare_tortoise.lab.step import gradient_step
from hare_tortoise.lab.trial import Trial, derive_seed
from hare_tortoise.measures import MEASURES, Probe
from hare_tortoise.methods import EMA, CChain, Chain, HareTortoise, Method, SelfDistillation
from hare_tortoise.methods.method import Loss
from hare_tortoise.streams import AUGMENTATIONS, SCENARIOS, Chunk, Source, Stream, load_source
from hare_tortoise.streams.names import unknown

# on which measures of plasticity are taken: as many as the authors of Hare & Tortoise take
MEASURED_ROWS = 512


@dataclass
class Setup:
    """A trial with everything built.

    Args:
        trial: what is built.
        composition: what the trial's method names.
        stream: the data.
        model: the network, with the seed's initial weights.
        method: what keeps it plastic.
        augment: applied to training batches; None: nothing.
        device: where it runs.
        probe: takes the recipe's measures; None: there are none.
    """

    trial: Trial
    composition: Composition
    stream: Stream
    model: nn.Module
    method: Method
    augment: Callable[..., Any] | None
    device: torch.device
    probe: Probe | None = None
    resettable: list[HareTortoise] = field(init=False)

    def __post_init__(self) -> None:
        members = self.method.members if isinstance(self.method, Chain) else (self.method,)
        self.resettable = [m for m in members if isinstance(m, HareTortoise) and not isinstance(m, EMA)]
        self.resettable = [m for m in self.resettable if m.reset_every is None]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained now; a method may freeze some and free others."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def optimizer(self) -> torch.optim.Optimizer:
        """Build the optimizer of a chunk."""
        recipe = self.trial.recipe
        return optimizer_of(
            self._gradient_step, self.parameters, lr=recipe.lr, weight_decay=recipe.weight_decay
        )

    @property
    def closure(self) -> bool:
        """Whether the optimizer takes the gradient again within a step."""
        return needs_closure(self._gradient_step)

    @property
    def _gradient_step(self) -> Call:
        return self.composition.optimizer or parse(self.trial.recipe.optimizer)

    def chunk(self, index: int) -> Chunk:
        """Give a chunk; its examples are on the device. Who starts from scratch trains on all that came."""
        return accessible(self.stream[index], self.composition)

    def chunk_plan(self, chunk: Chunk) -> ChunkPlan:
        """Give the steps of a chunk at the trial's budget."""
        trial = self.trial
        return plan_chunk(trial.recipe, trial.budget, chunk.index, len(self.stream), len(chunk.train))

    @functools.cached_property
    def plan(self) -> tuple[ChunkPlan, ...]:
        """The steps of all chunks at the trial's budget; each chunk is made for it."""
        return tuple(self.chunk_plan(self.chunk(index)) for index in range(len(self.stream)))

    def blocked(self, chunk: Chunk, test: str | None = None) -> Tensor | None:
        """Say which outputs do not count in a chunk, or in one of its test sets: see `blocked_outputs`."""
        blocked = blocked_outputs(chunk, self.stream.outputs, test)
        return None if blocked is None else blocked.to(self.device)

    def loss(self, chunk: Chunk) -> Loss:
        """Give the loss of a chunk, of outputs and targets."""
        return loss_of(self.stream.task, self.blocked(chunk))

    def tally(self, blocked: Tensor | None) -> Tally:
        """Begin to add up how right answers are."""
        return tally(self.stream.task, self.stream.outputs, self.device, blocked)

    def autocast(self) -> AbstractContextManager[Any]:
        """Give the precision of the forward pass."""
        reduced = self.trial.recipe.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced)


@functools.lru_cache(maxsize=1)
def cached_source(text: str, root: Path | None) -> Source:
    """Load a source, or give the one that this process loaded last."""
    call = parse(text)
    return load_source(call.name, root=root, **{name: registry.build_value(v) for name, v in call.settings})


def build_stream(recipe: Recipe, source: Source, seed: int) -> Stream:
    """Let the scenario of a recipe lay out a source.

    Raises:
        ValueError: There is no such scenario or setting.
    """
    call = parse(recipe.scenario)
    scenario = registry.find("scenario", call, SCENARIOS)
    settings = registry.settings_of("scenario", call, scenario, given=("source", "seed", "validation"))
    with registry.explained("scenario", call):
        stream: Stream = scenario(
            source, **settings, validation=recipe.validation, seed=derive_seed(seed, "stream")
        )
    return stream


def build(
    trial: Trial, *, root: Path | None = None, device: str = "cpu", stream: Stream | None = None
) -> Setup:
    """Build everything that a trial needs.

    Args:
        trial: what to build.
        root: folder of known data sets.
        device: where it runs.
        stream: of the trial's recipe and seed, if there is one already.

    Raises:
        ValueError: Something that the recipe names is not there, or does not fit the rest.
    """
    recipe, seed = trial.recipe, trial.seed
    if stream is None:
        stream = build_stream(recipe, cached_source(recipe.source, root), seed)
    stream = stream.to(device)
    call, composition = parse(recipe.network), take_apart(trial.method)
    input_shape, outputs = stream.input_shape, stream.outputs

    def network() -> nn.Module:
        plain = registry.build_network(call, input_shape, outputs)
        return laid_out(transformed(plain, composition.transforms).to(device))

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "network"))
        model = network()
    method = registry.build_method(
        [(call, _settings(call, trial, stream, composition)) for call in composition.methods],
        model,
        fresh=network,
        head=lambda: registry.head_of(model),
        seeds=[derive_seed(seed, "method", i) for i in range(len(composition.methods))],
    )
    if stream.task == "regression":
        _refuse_classes(trial.method, method)
    augment = None if recipe.augment is None else _augmentation(recipe.augment)
    probe = build_probe(recipe.measures, stream, model, method, network) if recipe.measures else None
    return Setup(trial, composition, stream, model, method, augment, torch.device(device), probe)


def laid_out(network: nn.Module) -> nn.Module:
    """Lay the kernels of a network on the CPU out with the channels last, which its convolutions are faster with.

    The values and shapes stay as they are; a step of a ResNet takes about 0.75 of the time with AVX-512, 0.8 to 0.94
    without (`benchmarks/channels_last.py`). On a GPU nothing is changed: what is faster there depends on its precision.
    """
    kernels = [parameter for parameter in network.parameters() if parameter.dim() >= 4]
    if all(kernel.dim() == 4 and kernel.device.type == "cpu" for kernel in kernels):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it for modules
    return network


def _refuse_classes(text: str, method: Method) -> None:
    """See to it that no method makes probabilities of the numbers that a network predicts."""
    for member in method.members if isinstance(method, Chain) else (method,):
        apart = isinstance(member, CChain) and member.distance != "mse"
        if isinstance(member, SelfDistillation) or apart:
            instead = "give c-chain(distance=mse)" if apart else "leave it out"
            raise ValueError(
                f"method {text}: got a stream of numbers to predict, expected classes, as {type(member).__name__} "
                f"compares probabilities of them: {instead}"
            )


def _settings(call: Call, trial: Trial, stream: Stream, composition: Composition) -> dict[str, Any]:
    """Give the settings of a method; a schedule that goes by the steps to come is told those of the first chunk."""
    settings = scaled_settings(call, trial.budget)
    waiting = [name for name, value in settings.items() if getattr(value, "steps", 0) is None]
    if waiting:
        samples = len(accessible(stream[0], composition).train)
        first = plan_chunk(trial.recipe, trial.budget, 0, len(stream), samples)
        settings |= {name: settings[name].for_steps(first.steps) for name in waiting}
    return settings


def accessible(chunk: Chunk, composition: Composition) -> Chunk:
    """Give a chunk with what a composition may train on: from scratch all that came, the others what is kept."""
    if chunk.everything is None or not starts_anew(composition):
        return chunk
    return dataclasses.replace(chunk, train=chunk.everything)


def build_probe(
    measures: Sequence[str], stream: Stream, model: nn.Module, method: Method, fresh: Callable[[], nn.Module]
) -> Probe | None:
    """Let a probe take measures of the trained network, by itself on test rows of the last chunk.

    A measure that compares with the deployed network is left out where a method deploys none of its own; None if
    that leaves nothing.

    Raises:
        ValueError: There is no such measure, or it cannot be taken of this network.
    """
    _check_names(measures)
    taken = [name for name in measures if method.deploys or "deployed" not in MEASURES[name].needs]
    if not taken:
        return None
    data, loss = measured_on(stream[len(stream) - 1], stream)
    needed = {need for name in taken for need in MEASURES[name].needs}
    return Probe(
        model,
        data,
        measures=taken,
        method=method if "deployed" in needed else None,
        fresh=fresh if "fresh" in needed else None,
        loss=loss,
    )


def measured_on(chunk: Chunk, stream: Stream) -> tuple[tuple[Tensor, Tensor], Loss]:
    """Give the rows that measures are taken on after a chunk, and the loss of them.

    They are spread evenly over the chunk's first test set: of its own task where the inputs or the labels change, the
    same rows all along where it stays the same.
    """
    test, examples = next(iter(chunk.tests.items()))
    count = len(examples)
    rows = torch.linspace(0, count - 1, min(MEASURED_ROWS, count)).long()
    inputs, targets = examples.at(rows.tolist())
    blocked = blocked_outputs(chunk, stream.outputs, test)
    return (inputs, targets), loss_of(stream.task, None if blocked is None else blocked.to(targets.device))


def check_measures(recipe: Recipe) -> None:
    """See to it that each measure of a recipe is there, and can be taken with one of its methods at least.

    Raises:
        ValueError: There is no such measure, or it compares with a deployed network and no method has one.
    """
    _check_names(recipe.measures)
    idle = [name for name in recipe.measures if "deployed" in MEASURES[name].needs]
    if idle and not any(
        registry.deploys(call) for text in recipe.methods for call in take_apart(text).methods
    ):
        raise ValueError(
            f"measure {idle[0]}: got methods {', '.join(recipe.methods)}, expected one that deploys a network of its "
            "own to compare with: add ema or hare-tortoise to the methods, or leave the measure out"
        )


def _check_names(measures: Sequence[str]) -> None:
    for name in measures:
        if "(" in name:
            raise ValueError(
                f"measure {name!r}: got settings, expected a name alone, as measures have no settings here; "
                "hare-tortoise measures lists them"
            )
        if name not in MEASURES:
            raise ValueError(
                f"{unknown('measure', name, MEASURES)}; hare-tortoise measures says what each is"
            )


def try_out(setup: Setup) -> None:
    """Train on two rows, and let them be new data: what does not fit together is found before anything runs.

    The setup is used up: its network is not the initial one any more.

    Raises:
        ValueError: The network does not take the inputs, or does not answer with a score for each class; or the
            method, or a measure, does not fit the network.
    """
    recipe, chunk = setup.trial.recipe, setup.stream[0]
    size = min(2, recipe.batch_size)
    augmented = f", augmented by {recipe.augment}" if recipe.augment else ""
    given = f"inputs {setup.stream.input_shape}{augmented}, batches of {recipe.batch_size}"
    loss = setup.loss(chunk)
    with torch.random.fork_rng():
        setup.model.train()
        with _explained(f"network {recipe.network} on {recipe.source} ({given})"):
            inputs, targets = _first_rows(setup, chunk, size)
            network = copy.deepcopy(setup.model)
            outputs = network(inputs)
            _check_outputs(setup, outputs, targets)
            loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
        with _explained(f"method {setup.trial.method} on network {recipe.network}"):
            for _ in range(2):
                optimizer = setup.optimizer()
                setup.method.attach(optimizer)
                gradient_step(setup, optimizer, setup.model, inputs, targets, loss=loss)
                setup.method.new_data([(inputs, targets)], loss=loss, steps=1)
        if setup.probe is not None:
            with _explained(f"measures {', '.join(recipe.measures)} of network {recipe.network}"):
                setup.probe.take()


def _first_rows(setup: Setup, chunk: Chunk, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = next(chunk.train.batches(size, generator=generator, augment=setup.augment))
    return inputs[:size], targets[:size]


def _check_outputs(setup: Setup, outputs: Tensor, targets: Tensor) -> None:
    """See to it that the network answers what the stream asks for."""
    count, numbers = setup.stream.outputs, setup.stream.task == "regression"
    asked = f"each of the {count} numbers" if numbers else f"a score for each of the {count} classes"
    if outputs.shape != (len(targets), count):
        raise ValueError(
            f"network {setup.trial.recipe.network}: got outputs of shape {tuple(outputs.shape[1:])}, expected {asked}"
        )
    if numbers and targets.shape != outputs.shape:
        raise ValueError(
            f"source {setup.trial.recipe.source}: got targets of shape {tuple(targets.shape[1:])}, expected "
            f"({count},), a row of numbers for each example"
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error


def _augmentation(text: str) -> Callable[..., Any]:
    call = parse(text)
    make = registry.find("augmentation", call, AUGMENTATIONS)
    return make(**registry.settings_of("augmentation", call, make))  # type: ignore[no-any-return]
