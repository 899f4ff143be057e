"""Everything that a trial is made of, built from its recipe: stream, network, method, plan."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hare_tortoise.lab import registry
from hare_tortoise.lab.plan import ChunkPlan, plan, scaled_settings
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.spec import parse, parse_sum
from hare_tortoise.lab.trial import Trial, derive_seed
from hare_tortoise.methods import EMA, Chain, HareTortoise, Method
from hare_tortoise.streams import AUGMENTATIONS, SCENARIOS, Chunk, Source, Stream, load_source

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass
class Setup:
    """A trial with everything built.

    Args:
        trial: what is built.
        stream: the data.
        plan: steps of each chunk at the trial's budget.
        model: the network, with the seed's initial weights.
        method: what keeps it plastic.
        augment: applied to training batches; None: nothing.
        device: where it runs.
    """

    trial: Trial
    stream: Stream
    plan: tuple[ChunkPlan, ...]
    model: nn.Module
    method: Method
    augment: Callable[..., Any] | None
    device: torch.device
    parameters: list[nn.Parameter] = field(init=False)
    resettable: list[HareTortoise] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        members = self.method.members if isinstance(self.method, Chain) else (self.method,)
        self.resettable = [m for m in members if isinstance(m, HareTortoise) and not isinstance(m, EMA)]
        self.resettable = [m for m in self.resettable if m.reset_every is None]

    def chunk(self, index: int) -> Chunk:
        """Give a chunk; its examples are on the device."""
        return self.stream[index]

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
    chunk_plans = plan(recipe, trial.budget, [len(stream[i].train) for i in range(len(stream))])
    call = parse(recipe.network)

    def network() -> nn.Module:
        return registry.build_network(call, stream.input_shape, stream.outputs).to(device)

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "network"))
        model = network()
    calls = parse_sum(trial.method)
    method = registry.build_method(
        [(call, scaled_settings(call, trial.budget)) for call in calls],
        model,
        fresh=network,
        head=lambda: registry.head_of(model),
        seeds=[derive_seed(seed, "method", i) for i in range(len(calls))],
    )
    augment = None if recipe.augment is None else _augmentation(recipe.augment)
    return Setup(trial, stream, chunk_plans, model, method, augment, torch.device(device))


def build_optimizer(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer of a recipe, fused where torch has it for the device.

    Raises:
        ValueError: There is no such optimizer or setting.
    """
    call = parse(recipe.optimizer)
    kind = registry.find("optimizer", call, OPTIMIZERS)
    settings = registry.settings_of("optimizer", call, kind, given=("params", "lr", "weight_decay"))
    fused = parameters[0].device.type in ("cpu", "cuda", "mps") and not call.external
    settings = {"fused": True, **settings} if fused else settings
    with registry.explained("optimizer", call):
        optimizer: torch.optim.Optimizer = kind(
            parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, **settings
        )
    return optimizer


def try_out(setup: Setup) -> None:
    """Take two training rows forward and backward: what does not fit together is found before anything runs.

    Raises:
        ValueError: The network does not take the inputs, or does not answer with a score for each class.
    """
    recipe, chunk = setup.trial.recipe, setup.stream[0]
    generator = torch.Generator().manual_seed(0)
    size = min(2, recipe.batch_size)
    with torch.random.fork_rng():
        try:
            inputs, targets = next(chunk.train.batches(size, generator=generator, augment=setup.augment))
            network = copy.deepcopy(setup.model).train()
            outputs = network(inputs[:size])
            functional.cross_entropy(outputs, targets[:size]).backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            augmented = f", augmented by {recipe.augment}" if recipe.augment else ""
            given = f"inputs {setup.stream.input_shape}{augmented}, batches of {recipe.batch_size}"
            raise ValueError(f"network {recipe.network} on {recipe.source} ({given}): {error}") from error
    if outputs.shape != (size, setup.stream.outputs):
        raise ValueError(
            f"network {recipe.network}: got outputs of shape {tuple(outputs.shape[1:])}, expected a score for each of "
            f"the {setup.stream.outputs} classes"
        )


def _augmentation(text: str) -> Callable[..., Any]:
    call = parse(text)
    make = registry.find("augmentation", call, AUGMENTATIONS)
    return make(**registry.settings_of("augmentation", call, make))  # type: ignore[no-any-return]
