"""What layers and norms do to the channels of a network."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .unit_marks import Followed, Mark
from .unit_tracing import Call, Handler, Tracer
from .unit_types import EXACT, NORMED, Origin


def linear(tracer: Tracer, call: Call) -> Mark | None:
    """A dense layer: the last dimension is read, the rows are new units."""
    return _layer(tracer, call, call.result.ndim - 1, len(call.shape) - 1)


def convolution(tracer: Tracer, call: Call) -> Mark | None:
    """A convolution: the dimension before the spatial ones is read, the rows are new units."""
    spatial = call.get(1, "weight").ndim - 2
    groups = call.get(6, "groups", 1)
    dim = call.result.ndim - spatial - 1
    if groups == 1:
        return _layer(tracer, call, dim, dim)
    weight, mark = call.get(1, "weight"), tracer.mark_of(call.first)
    name = tracer.name_of(weight)
    depthwise = groups == weight.shape[0] and weight.shape[1] == 1
    whole = isinstance(mark, Followed) and mark.dim == dim and mark.repeat == 1
    if not (depthwise and whole and name and isinstance(mark, Followed)):
        tracer.ledger.block(call.marks, "is read by a convolution in groups")
        return _rows(tracer, call, dim)
    layer = tracer.layer_of(name, weight)
    tracer.ledger.rows_belong(name, mark.node, layer)
    vector_of(tracer, call.get(2, "bias"), mark, 0)
    # The channel goes on, with other values: where they pass the next nonlinearity is a place to see it.
    origin = None if mark.origin is None else Origin()
    return replace(mark, layer=layer, origin=origin, likeness=EXACT, seen=None)


def _layer(tracer: Tracer, call: Call, dim: int, read: int) -> Mark | None:
    weight, mark = call.get(1, "weight"), tracer.mark_of(call.first)
    name = tracer.name_of(weight)
    if isinstance(mark, Followed) and name is not None:
        width = tracer.ledger.sizes[mark.node] * mark.repeat
        if mark.dim == read and weight.shape[1] == width and len(call.marks) == 1:
            tracer.ledger.columns.setdefault(name, []).append((mark.node, mark.repeat))
            if mark.origin is not None:
                tracer.ledger.origins.append((mark.node, mark.origin))
            return _rows(tracer, call, dim)
        tracer.ledger.block(call.marks, f"is read along another dimension by {tracer.layer_of(name, weight)}")
    elif call.marks:
        tracer.ledger.block(call.marks, "is read by a layer whose weight is computed")
    if name is not None:
        tracer.ledger.columns.setdefault(name, []).append((None, 1))
    return _rows(tracer, call, dim)


def _rows(tracer: Tracer, call: Call, dim: int) -> Mark | None:
    """The result of a layer: new units, if its weight is a parameter."""
    weight = call.get(1, "weight")
    name = tracer.name_of(weight)
    layer = tracer.layer_of(name, weight)
    if name is None:
        tracer.ledger.left_out.setdefault(layer, "its weight is computed, not a parameter")
        return None
    mark = Followed(tracer.ledger.units_of_rows(name, weight.shape[0], layer), dim, layer)
    vector_of(tracer, call.get(2, "bias"), mark, 0)
    return mark


def vector_of(tracer: Tracer, vector: Tensor | None, mark: Followed, dim: int) -> None:
    """Write down that a vector has entries for the units of a tensor."""
    name = tracer.name_of(vector)
    if name is not None:
        tracer.ledger.vector_belongs(name, mark.node, dim, mark.repeat)


def other_layer(tracer: Tracer, call: Call) -> Mark | None:
    """A layer that is not followed: what it reads is left alone, and so is it."""
    for tensor in call.inputs:
        if (name := tracer.name_of(tensor)) is not None:
            tracer.ledger.left_out.setdefault(name.rpartition(".")[0] or name, f"{call.name} is not followed")
    tracer.ledger.read_by_others(call.marks)
    return tracer.unknown(call)


def norm(first: int, *, layer_norm: bool = False) -> Handler:
    """A norm whose weight and bias are the arguments `first` and the next, running statistics those from 1 on."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        mark = tracer.mark_of(call.first)
        if not isinstance(mark, Followed) or len(call.marks) > 1:
            return tracer.unknown(call)
        start = len(call.shape) - len(call.get(1, "normalized_shape")) if layer_norm else 1
        if not layer_norm and mark.dim != 1:
            return tracer.unknown(call, f"goes through {call.name} along another dimension")
        if mark.dim >= start:
            for position, keyword in enumerate(("running_mean", "running_var", "weight", "bias"), first - 2):
                if first == 3 or keyword in ("weight", "bias"):
                    vector_of(tracer, call.get(position, keyword), mark, mark.dim - start)
        return replace(mark, likeness=NORMED, seen=None)

    return handler
