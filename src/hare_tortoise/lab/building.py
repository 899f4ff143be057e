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
from torch import nn
from torch.nn import functional

from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import Composition, needs_closure, optimizer_of, take_apart, transformed
from hare_tortoise.lab.evaluation import BATCH_SIZE
from hare_tortoise.lab.plan import ChunkPlan, plan, scaled_settings
from hare_tortoise.lab.recipe import FROM_SCRATCH, Recipe
from hare_tortoise.lab.spec import Call, parse
from hare_tortoise.lab.step import gradient_step
from hare_tortoise.lab.trial import Trial, derive_seed
from hare_tortoise.measures import MEASURES, Probe
from hare_tortoise.methods import EMA, Chain, HareTortoise, Method
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
        plan: steps of each chunk at the trial's budget.
        model: the network, with the seed's initial weights.
        method: what keeps it plastic.
        augment: applied to training batches; None: nothing.
        device: where it runs.
        probe: takes the recipe's measures; None: there are none.
    """

    trial: Trial
    composition: Composition
    stream: Stream
    plan: tuple[ChunkPlan, ...]
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
    if stream.task != "classification":
        raise ValueError(f"source {recipe.source}: got a {stream.task} task, expected classification")
    return stream


def build(trial: Trial, *, root: Path | None = None, device: str = "cpu") -> Setup:
    """Build everything that a trial needs.

    Raises:
        ValueError: Something that the recipe names is not there, or does not fit the rest.
    """
    recipe, seed = trial.recipe, trial.seed
    stream = build_stream(recipe, cached_source(recipe.source, root), seed).to(device)
    call, composition = parse(recipe.network), take_apart(trial.method)
    sizes = [len(accessible(chunk, composition).train) for chunk in stream]
    chunk_plans = plan(recipe, trial.budget, sizes)

    def network() -> nn.Module:
        plain = registry.build_network(call, stream.input_shape, stream.outputs)
        return transformed(plain, composition.transforms).to(device)

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "network"))
        model = network()
    method = registry.build_method(
        [(call, scaled_settings(call, trial.budget)) for call in composition.methods],
        model,
        fresh=network,
        head=lambda: registry.head_of(model),
        seeds=[derive_seed(seed, "method", i) for i in range(len(composition.methods))],
    )
    augment = None if recipe.augment is None else _augmentation(recipe.augment)
    probe = build_probe(recipe.measures, stream, model, method, network) if recipe.measures else None
    return Setup(trial, composition, stream, chunk_plans, model, method, augment, torch.device(device), probe)


def accessible(chunk: Chunk, composition: Composition) -> Chunk:
    """Give a chunk with what a composition may train on: from scratch all that came, the others what is kept."""
    anew = any(call.name == FROM_SCRATCH for call in composition.methods)
    return (
        dataclasses.replace(chunk, train=chunk.everything) if anew and chunk.everything is not None else chunk
    )


def build_probe(
    measures: Sequence[str], stream: Stream, model: nn.Module, method: Method, fresh: Callable[[], nn.Module]
) -> Probe | None:
    """Let a probe take measures of the trained network on test rows that stay the same over the stream.

    A measure that compares with the deployed network is left out where a method deploys none of its own; None if
    that leaves nothing.

    Raises:
        ValueError: There is no such measure, or it cannot be taken of this network.
    """
    _check_names(measures)
    taken = [name for name in measures if method.deploys or "deployed" not in MEASURES[name].needs]
    if not taken:
        return None
    examples = next(iter(stream[len(stream) - 1].tests.values()))
    batches = list(examples.batches(BATCH_SIZE, generator=None))
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    rows = torch.linspace(0, len(targets) - 1, min(MEASURED_ROWS, len(targets)), device=targets.device).long()
    needed = {need for name in taken for need in MEASURES[name].needs}
    return Probe(
        model,
        (inputs[rows], targets[rows]),
        measures=taken,
        method=method if "deployed" in needed else None,
        fresh=fresh if "fresh" in needed else None,
    )


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
    generator = torch.Generator().manual_seed(0)
    size = min(2, recipe.batch_size)
    augmented = f", augmented by {recipe.augment}" if recipe.augment else ""
    given = f"inputs {setup.stream.input_shape}{augmented}, batches of {recipe.batch_size}"
    with torch.random.fork_rng():
        setup.model.train()
        with _explained(f"network {recipe.network} on {recipe.source} ({given})"):
            inputs, targets = next(chunk.train.batches(size, generator=generator, augment=setup.augment))
            inputs, targets = inputs[:size], targets[:size]
            network = copy.deepcopy(setup.model)
            functional.cross_entropy(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
        outputs = network(inputs)
        if outputs.shape != (size, setup.stream.outputs):
            raise ValueError(
                f"network {recipe.network}: got outputs of shape {tuple(outputs.shape[1:])}, expected a score for each "
                f"of the {setup.stream.outputs} classes"
            )
        with _explained(f"method {setup.trial.method} on network {recipe.network}"):
            for _ in range(2):
                optimizer = setup.optimizer()
                setup.method.attach(optimizer)
                gradient_step(setup, optimizer, setup.model, inputs, targets)
                setup.method.new_data([(inputs, targets)], loss=functional.cross_entropy, steps=1)
        if setup.probe is not None:
            with _explained(f"measures {', '.join(recipe.measures)} of network {recipe.network}"):
                setup.probe.take()


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
