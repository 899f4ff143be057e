"""The trainability probe: whether a network still learns something new as well as a fresh one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam, Optimizer

from hare_tortoise.methods import Loss
from hare_tortoise.methods.support.fresh import Fresh, draw_fresh
from hare_tortoise.methods.support.names import named_weights, write
from hare_tortoise.methods.support.plain_copy import HALF, plain_copy
from hare_tortoise.methods.support.randomness import seeded
from hare_tortoise.methods.support.sharding import in_parts

from .features import one_tensor
from .undisturbed import dtypes_told, undisturbed

BuildOptimizer = Callable[[list[nn.Parameter]], Optimizer]
_adam: BuildOptimizer = partial(Adam, lr=1e-3)


def trainability(
    model: nn.Module,
    fresh: Fresh | None,
    inputs: Tensor,
    outputs: int,
    *,
    steps: int,
    seed: int = 0,
    optimizer: BuildOptimizer = _adam,
    batch_size: int | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """The loss after fitting random labels from this checkpoint minus that from a fresh network: `C = c(θ) − c(θ0)`.

    Copies are trained, with the same labels, batches and budget, and a new optimizer each; `c` is the loss over all
    inputs after that, in eval mode. Frozen parameters stay so; every module is fitted in train mode. The model, its
    hooks and optimizer, and the global random states stay as they are. With BatchNorm take 50 steps at least.

    Args:
        model: any network that can be copied, in any mode; half precision is fitted in float32. Not sharded.
        fresh: builds a new network with the names and shapes of the model; None: `reset_parameters` of each module.
        inputs: shape (samples, ...), on the model's device.
        outputs: number of classes, at least 2 and at most the network's outputs; labels are drawn uniformly.
        steps: the budget, at least 1. Too many hide the difference: then both fit all labels.
        seed: of labels, batches, the fresh network and dropout.
        optimizer: builds an optimizer from a list of parameters; its learning rate is part of the budget.
        batch_size: samples per step, reshuffled in each pass; None: all.
        loss: of outputs and class labels, a scalar.

    Returns:
        A scalar tensor. Positive: the checkpoint learns worse than a fresh network; not finite: a fit diverged.

    Raises:
        ValueError: a number is out of range, the model cannot be copied, `fresh` builds another network, or the answers
            are not of shape (samples, classes).
        TypeError: `fresh` is not callable.

    References:
        Definition 2.1 of Klein et al., "Plasticity Loss in Deep Reinforcement Learning: A Survey", arXiv 2411.04832;
        fresh random labels: Lyle et al., ICML 2023, arXiv 2303.01486. Steps and optimizer are not fixed there.

    Example:
        >>> inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> dead = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> _ = dead[0].weight.data.zero_(), dead[0].bias.data.fill_(-1.0)
        >>> trainability(dead, None, inputs, 2, steps=100).item() > 0
        True
    """
    _check(model, inputs, outputs, steps, batch_size)
    inputs = inputs.float() if inputs.dtype in HALF else inputs
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(outputs, inputs.shape[:1], generator=generator).to(inputs.device)
    batches = [index.to(inputs.device) for index in _batches(len(inputs), batch_size, steps, generator)]
    with undisturbed(model, seed=seed):
        # Copied here, where the optimizer's `.grad` are out of sight.
        networks = _copy(model), _copy(model)
        _write(networks[1], draw_fresh(model, fresh, generator))
        _check_width(networks[0], inputs, outputs)
        losses = [_fit(network, inputs, labels, batches, optimizer, loss, seed) for network in networks]
    return losses[0] - losses[1]


@torch.no_grad()
def _write(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    weights = named_weights(network)
    for name, value in values.items():
        write(weights[name], value)


def _copy(model: nn.Module) -> nn.Module:
    """A copy without hooks, in which the same parameters require a gradient."""
    network = plain_copy(model)
    own = named_weights(model)
    for name, tensor in named_weights(network).items():
        if isinstance(tensor, nn.Parameter):
            tensor.requires_grad_(own[name].requires_grad)
    return network


def _fit(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    batches: list[Tensor],
    optimizer: BuildOptimizer,
    loss: Loss,
    seed: int,
) -> Tensor:
    """Train a network, and return its loss over all samples after that."""
    network.train()
    stepper = optimizer([parameter for parameter in network.parameters() if parameter.requires_grad])
    with seeded(seed, {inputs.device}):
        for batch in batches:
            stepper.zero_grad()
            loss(network(inputs[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            stepper.step()
    with torch.no_grad():
        return loss(network.eval()(inputs), labels)


def _batches(samples: int, size: int | None, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """As many batches as there are steps, each pass over the samples in a new order; what is left of one is dropped."""
    size = size or samples
    left = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(left) < size:
            left = torch.arange(samples) if size == samples else torch.randperm(samples, generator=generator)
        yield left[:size]
        left = left[size:]


def _check(model: nn.Module, inputs: Tensor, outputs: int, steps: int, batch_size: int | None) -> None:
    if len(inputs) == 0:
        raise ValueError("inputs holds no sample, expected one or more")
    if outputs < 2:
        raise ValueError(f"outputs is {outputs}, expected at least 2 classes: one label cannot be random")
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    if batch_size is not None and not 1 <= batch_size <= len(inputs):
        raise ValueError(
            f"batch_size is {batch_size}, expected from 1 to the {len(inputs)} samples, or None for all"
        )
    if in_parts(model):
        raise ValueError(
            "the model is sharded (FSDP2) and cannot be copied: probe a model that is not, with the weights of "
            "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("no parameter of the model requires a gradient: there is nothing to train")


def _check_width(network: nn.Module, inputs: Tensor, outputs: int) -> None:
    with torch.no_grad(), dtypes_told(network, inputs):
        shape = one_tensor(network.eval()(inputs[:1])).shape
    if len(shape) != 2:
        raise ValueError(
            f"the network answers a sample in shape {tuple(shape)}, expected (1, classes): one label is drawn for each "
            "sample; wrap it in a module that answers so"
        )
    if shape[1] < outputs:
        raise ValueError(
            f"the network answers a sample in shape {tuple(shape)}, expected (1, classes) with at least {outputs} "
            f"classes, since outputs is {outputs}"
        )
