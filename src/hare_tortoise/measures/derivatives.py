"""Derivatives of a network in its parameters, sample by sample, and the products of all of them with all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from hare_tortoise.methods import Loss
from hare_tortoise.methods.support.sharding import in_parts

from .undisturbed import check_deterministic, undisturbed

Values = Callable[..., Tensor]
# Rows of about 256 MiB in float32 are held at a time, and as much again to multiply them with.
_ELEMENTS = 2**26
_WIDTH = 2**13


@contextmanager
def differentiated(model: nn.Module, inputs: Tensor) -> Iterator[nn.Module]:
    """Give the network inside its wrappers, undisturbed, for derivatives of any order.

    Raises:
        ValueError: a layer is in train mode and would draw or fill statistics, the answers to the same inputs differ,
            no parameter requires a gradient, or the weights are sharded.

    >>> with differentiated(nn.Linear(2, 1), torch.ones(1, 2)) as network:
    ...     len(parameters(network))
    2
    """
    if in_parts(model):
        raise ValueError(
            "the model is sharded (FSDP2), expected whole weights: take derivatives of a model that is not, with the "
            "weights of get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
        )
    if len(inputs) == 0:
        raise ValueError("inputs holds no sample, expected one or more")
    check_deterministic(model, inputs[:8])
    # The quicker kernels of attention have no second derivative.
    with undisturbed(model) as network, sdpa_kernel(SDPBackend.MATH):
        if not parameters(network):
            raise ValueError(
                "no parameter of the model requires a gradient: there is nothing to take derivatives in"
            )
        yield network


def loss_of(loss: Loss, outputs: Any, targets: Tensor) -> Tensor:
    """The loss of outputs and targets; where the network gives no tensor and the loss fails, what to do is told.

    Raises:
        TypeError: the outputs are no tensor, and the loss does not take them.

    >>> loss_of(lambda outputs, targets: outputs["logits"].sum(), {"logits": torch.ones(2)}, torch.zeros(2))
    tensor(2.)
    """
    try:
        return loss(outputs, targets)
    except (TypeError, AttributeError) as error:
        if isinstance(outputs, Tensor):
            raise
        raise TypeError(
            f"the model answers with a {type(outputs).__name__}, which the loss does not take: give loss=, a function "
            "of that and of the targets, or wrap the model in a module that gives the logits"
        ) from error


def parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by the name that the module gives them; a shared one once."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def gram(
    network: nn.Module,
    values: Values,
    samples: tuple[Tensor, ...],
    *,
    chunk: int | None = None,
    scaled: bool = False,
) -> Tensor:
    """Inner products of the derivatives of all values of all samples: `K = J·Jᵀ`.

    Args:
        network: as `differentiated` gives it.
        values: of the outputs for a batch of one sample and of the rest of it; any shape.
        samples: inputs first, then what else `values` needs, each of shape (samples, ...).
        chunk: how many samples are differentiated at once; None: as many as fit into 256 MiB. Where that is less
            than all of them, the blocks are computed again for each pair of blocks.
        scaled: divide each row of `J` by its largest magnitude first; a row of zeros stays one.

    Returns:
        Shape (samples·values, samples·values), the values of a sample beside each other.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1 sample")
    if any(len(part) != len(samples[0]) for part in samples):
        raise ValueError(
            f"inputs and targets have {[len(part) for part in samples]} samples, expected as many of each"
        )
    with torch.no_grad():
        each = _of_sample(network, values, tuple(part[0] for part in samples)).numel()
    size = sum(parameter.numel() for parameter in parameters(network).values())
    step = chunk or max(1, _ELEMENTS // (each * size))

    def rows_of(part: tuple[Tensor, ...]) -> Tensor:
        rows = jacobian(network, values, part)
        return _scaled(rows) if scaled else rows

    parts = list(zip(*(torch.split(part, step) for part in samples), strict=True))
    blocks: list[list[Tensor]] = [[] for _ in parts]
    for i, part in enumerate(parts):
        rows = rows_of(part)
        for j in range(i):
            blocks[i].append(blocks[j][i].T)
        for other in parts[i:]:
            columns = rows if other is part else rows_of(other)
            blocks[i].append(_products(rows, columns))
    return torch.cat([torch.cat(row, dim=1) for row in blocks])


def jacobian(network: nn.Module, values: Values, samples: tuple[Tensor, ...]) -> Tensor:
    """Derivatives of the values of each sample in all parameters, shape (samples·values, parameters).

    By `torch.func.vmap`; sample by sample for a network that it cannot run, such as one that decides by its inputs.
    """
    weights = {name: parameter.detach() for name, parameter in parameters(network).items()}

    def of_sample(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        return _of_sample(network, values, sample, weights)

    in_dims = (None, *(0 for _ in samples))
    try:
        found = cast(Any, vmap(jacrev(of_sample), in_dims))(weights, *samples)
    except RuntimeError:
        return torch.stack(
            [row for sample in zip(*samples, strict=True) for row in _rows(network, values, sample)]
        )
    return torch.cat([part.flatten(0, 1).flatten(1) for part in found.values()], dim=1)


def _scaled(rows: Tensor) -> Tensor:
    # The square of a gradient of 1e-23 is zero in float32.
    largest = rows.abs().amax(1, keepdim=True)
    return rows / largest.masked_fill(largest == 0, 1.0)


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """`rows·columnsᵀ`, summed in parts: in one go, float32 is off by 4e-4 after ten million terms."""
    parts = zip(torch.split(rows, _WIDTH, 1), torch.split(columns, _WIDTH, 1), strict=True)
    return torch.stack([row @ column.T for row, column in parts]).sum(0)


def _rows(network: nn.Module, values: Values, sample: tuple[Tensor, ...]) -> Iterator[Tensor]:
    weights = list(parameters(network).values())
    for value in _of_sample(network, values, sample):
        found = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
        yield torch.cat([gradient.flatten() for gradient in found])


def _of_sample(
    network: nn.Module, values: Values, sample: tuple[Tensor, ...], weights: dict[str, Tensor] | None = None
) -> Tensor:
    inputs, *rest = (part.unsqueeze(0) for part in sample)
    outputs = network(inputs) if weights is None else functional_call(network, weights, (inputs,))
    return values(outputs, *rest).flatten()
