"""What a recipe would cost on one core, worked out without its data: operations of the network times samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import take_apart
from hare_tortoise.lab.evaluation import BATCH_SIZE
from hare_tortoise.lab.plan import ChunkPlan, plan, plan_of, starts_anew
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.stand_in import Layout, layout

# Floating-point operations per second of one core in float32, and what a step takes beside them: for each parameter
# tensor, and for each parameter that the optimizer passes over. `python -m benchmarks.core_rates` measures them. These
# lie between what it gave on a machine with AVX-512 at rest and on one without it, busy: small MLPs 4.5e10 and 2.9e10
# (wide ones 5.6e10 there), the narrow ResNet 7.5e10 and 3.2e10, 120 µs a tensor and 250 to 370. On the second ResNet-18
# had 4e10, VGG-16 2.8e10 narrow and 4.3e10 whole, ViT-Tiny 1.4e10 and 3e10.
RATES: Mapping[str, float] = {"mlp": 4e10, "narrow-resnet": 5e10, "vgg16": 4e10, "vit-tiny": 2.5e10}
OTHER_RATE = 4.5e10
SECONDS_PER_TENSOR = 1.7e-4
SECONDS_PER_PARAMETER = 1.7e-9
# a new optimizer, what a method does to the network, and the row of the metrics
SECONDS_PER_CHUNK = 0.02
# what is judged, where a method averages: the average and the trained network
NETWORKS = 2


@dataclass(frozen=True)
class Cost:
    """Core-seconds of a recipe.

    Args:
        trial: of a trial, the mean over its methods.
        all: of all its methods with all its seeds at all its budgets.
    """

    trial: float
    all: float


def cost(recipe: Recipe) -> Cost | None:
    """Estimate a recipe. None: the size of its data is not known, or its network is not ours.

    Each method trains on what it has access to. At the end of each chunk two networks are judged, on its test sets and
    its training rows; where a recipe is judged online, also on each batch of the first epoch. A judging forward is a
    third of a training step's operations. What methods do beside it is not in it.

    Example:
        >>> from hare_tortoise.lab.recipes import find_recipe
        >>> cost(find_recipe("demo-growing")).trial < 60
        True
    """
    known = layout(recipe.source, recipe.scenario, recipe.validation)
    if known is None or parse(recipe.network).external:
        return None
    # methods differ by what they have access to alone
    anew = {method: starts_anew(take_apart(method)) for method in recipe.methods}
    alike = {kind: method for method, kind in anew.items()}
    by_budget = []
    for budget in recipe.budgets:
        of = {kind: seconds(recipe, method, budget, known) for kind, method in alike.items()}
        by_budget.append(mean(of[kind] for kind in anew.values()))
    trials = len(recipe.methods) * recipe.seeds
    return Cost(trial=mean(by_budget), all=sum(by_budget) * trials)


def seconds(recipe: Recipe, method: str, budget: float, known: Layout) -> float:
    """Estimate one trial, in seconds of one core."""
    chunks = plan_of(recipe, method, budget, plan(recipe, budget, known.kept, known.came))
    work = operations(recipe.network, known.input_shape, known.outputs)
    rate = RATES.get(parse(recipe.network).name, OTHER_RATE)
    rows, passes = _judged(recipe, chunks, known.judged)
    trained = sum(chunk.samples * chunk.epochs for chunk in chunks) + NETWORKS * rows / 3
    steps = sum(chunk.steps for chunk in chunks)
    beside = SECONDS_PER_TENSOR * work.tensors * (steps + NETWORKS * passes / 3)
    beside += SECONDS_PER_PARAMETER * work.parameters * steps + SECONDS_PER_CHUNK * len(chunks)
    return trained * work.operations / rate + beside


def _judged(recipe: Recipe, chunks: Sequence[ChunkPlan], tested: Sequence[int]) -> tuple[int, int]:
    """Rows that a network is judged on over all chunks, and batches that they come in."""
    sizes = [*tested, *(chunk.samples for chunk in chunks)]
    rows, batches = sum(sizes), sum(math.ceil(size / BATCH_SIZE) for size in sizes)
    if recipe.judge == "online":
        rows += sum(chunk.samples for chunk in chunks)
        batches += sum(chunk.steps_per_epoch for chunk in chunks)
    return rows, batches


@dataclass(frozen=True)
class Work:
    """Floating-point operations of forward and backward on one example; parameter tensors, parameters in all."""

    operations: float
    tensors: int
    parameters: int


@functools.lru_cache(maxsize=128)
def operations(network: str, input_shape: tuple[int, ...], outputs: int) -> Work:
    """Count what forward and backward of one example take: of its products, which are nearly all of it.

    Example:
        >>> operations("mlp(hidden=(10,))", (5,), 2).tensors
        4
    """
    with torch.random.fork_rng(devices=[]):  # the weights do not matter, and nobody's draws should change
        built: nn.Module = registry.build_network(parse(network), input_shape, outputs)
    built.eval()  # so that a batch norm takes one example
    # A forward of real numbers: without them, on the device "meta", PyTorch's own workings take several times as long.
    with _Products() as products:
        built(torch.zeros(1, *input_shape))
    sizes = [parameter.numel() for parameter in built.parameters()]
    return Work(products.operations, len(sizes), sum(sizes))


class _Products(TorchFunctionMode):
    """Counts the operations of matrix products and convolutions, with those of their backward.

    Each of both factors that a gradient goes to takes the forward once more. Attention is two products.
    """

    operations = 0

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), settings: Any = None
    ) -> Any:
        result = function(*arguments, **(settings or {}))
        if function in (functional.linear, functional.conv2d):
            inputs, weight = arguments[:2]
            passes = 1 + inputs.requires_grad + weight.requires_grad
            self.operations += passes * 2 * result.numel() * weight[0].numel()
        elif function is functional.scaled_dot_product_attention:
            query, key = arguments[:2]
            self.operations += 3 * 2 * 2 * query.numel() * key.shape[-2]
        return result
