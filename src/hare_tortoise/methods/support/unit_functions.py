"""What each torch function does to the channels of a network, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from .unit_marks import Followed, Mark
from .unit_shapes import indexed, moved, reduced, reshaped
from .unit_tracing import Call, Handler, Tracer
from .unit_types import Origin

# Dimension 1 of a weight that these use is not what reads, or their channels are not followed.
_OTHER_LAYERS = (
    "conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc bilinear embedding embedding_bag lstm gru rnn_tanh "
    "rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell multi_head_attention_forward"
)
_NONLINEAR = (
    "relu relu6 leaky_relu rrelu elu selu celu gelu silu mish softplus sigmoid logsigmoid tanh hardtanh hardswish "
    "hardsigmoid softsign tanhshrink hardshrink softshrink threshold clamp clamp_min clamp_max clip abs absolute "
    "square pow exp expm1 log1p sqrt sin cos erf atan arctan sinc"
)
_SAME = (
    "contiguous clone detach to type type_as float double half bfloat16 cpu cuda requires_grad alias positive"
)
_SCALED = (
    "dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout feature_alpha_dropout neg negative "
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d lp_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d interpolate upsample"
)
_SHAPED = "view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel"
_SUMS = "add iadd radd sub isub rsub subtract"
_PRODUCTS = "mul imul rmul multiply div idiv divide truediv itruediv true_divide"
_NOT_READ = (
    "empty_like zeros_like ones_like full_like rand_like randn_like new_empty new_zeros new_ones new_full"
)


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
    _vector(tracer, call.get(2, "bias"), mark, 0)
    # The channel goes on, with other values: where they pass the next nonlinearity is a place to see it.
    origin = None if mark.origin is None else Origin()
    return replace(mark, layer=layer, origin=origin, exact=True, seen=None)


def _layer(tracer: Tracer, call: Call, dim: int, read: int) -> Mark | None:
    weight, mark = call.get(1, "weight"), tracer.mark_of(call.first)
    name = tracer.name_of(weight)
    if isinstance(mark, Followed) and name is not None:
        if mark.dim == read and weight.shape[1] == call.first.shape[read] and len(call.marks) == 1:
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
    _vector(tracer, call.get(2, "bias"), mark, 0)
    return mark


def _vector(tracer: Tracer, vector: Tensor | None, mark: Followed, dim: int) -> None:
    """Write down that a vector has entries for the units of a tensor."""
    name = tracer.name_of(vector)
    if name is not None:
        tracer.ledger.vector_belongs(name, mark.node, dim, mark.repeat)


def other_layer(tracer: Tracer, call: Call) -> Mark | None:
    """A layer that is not followed: what it reads is left alone, and so is it."""
    names = [name for tensor in call.inputs if (name := tracer.name_of(tensor)) is not None]
    if names:
        layer = tracer.layer_of(None, None)
        tracer.ledger.left_out.setdefault(layer, f"{call.name} is not followed")
        for name in names:
            tracer.ledger.left_out.setdefault(name.rpartition(".")[0] or name, f"{call.name} is not followed")
    tracer.ledger.block(call.marks, f"is read by {call.name}, which is not followed")
    return tracer.unknown(call)


def norm(first: int, *, layer_norm: bool = False) -> Handler:
    """A norm whose vectors are the arguments from `first` on (they come one after the other)."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        mark = tracer.mark_of(call.first)
        if not isinstance(mark, Followed) or len(call.marks) > 1:
            return tracer.unknown(call)
        start = len(call.shape) - len(call.get(1, "normalized_shape")) if layer_norm else 1
        if not layer_norm and mark.dim != 1:
            return tracer.unknown(call, f"goes through {call.name} along another dimension")
        vectors = [call.get(first + i, keyword) for i, keyword in enumerate(("weight", "bias"))]
        if call.name in ("batch_norm", "instance_norm"):
            vectors = [
                call.get(i, k) for i, k in enumerate(("running_mean", "running_var", "weight", "bias"), 1)
            ]
        if mark.dim >= start:
            for vector in vectors:
                _vector(tracer, vector, mark, mark.dim - start)
        return replace(mark, exact=False, seen=None)

    return handler


def nonlinear(tracer: Tracer, call: Call) -> Mark | None:
    """An activation: its result is what is looked at to judge a unit."""
    mark = tracer.mark_of(call.first)
    if not isinstance(mark, Followed) or len(call.marks) > 1:
        lost = tracer.unknown(call)
        dim = lost.dim if lost is not None and lost.dim is not None else _guessed_dim(call.result)
        tracer.keep(call, tracer.layer_of(None, None), dim)
        return lost
    origin = Origin()
    if mark.seen is not None and len(call.inputs) == 1:
        again = partial_call(call)
        origin.offer(2, replace(mark.seen, function=again))
    tracer.keep(call, mark.layer, mark.dim)
    return replace(mark, origin=origin, exact=True, seen=None)


def prelu(tracer: Tracer, call: Call) -> Mark | None:
    """PReLU: one slope, or one for each unit."""
    mark, slope = tracer.mark_of(call.first), call.get(1, "weight")
    if isinstance(mark, Followed) and slope.numel() > 1:
        _vector(tracer, slope, mark, 0)
    return nonlinear(tracer, call)


def partial_call(call: Call) -> Callable[[Tensor], Tensor]:
    """The activation as a function of its input alone, which it leaves as it is."""
    function, rest, kwargs = (
        call.function,
        call.args[1:],
        {k: v for k, v in call.kwargs.items() if k != "input"},
    )
    in_place = call.result is call.first

    def again(value: Tensor) -> Tensor:
        result: Tensor = function(value.clone() if in_place else value, *rest, **kwargs)
        return result

    return again


def same(tracer: Tracer, call: Call) -> Mark | None:
    """The same values."""
    mark = tracer.mark_of(call.first)
    return mark if call.result is call.first else _kept(mark, len(call.marks), tracer, call, exact=True)


def scaled(tracer: Tracer, call: Call) -> Mark | None:
    """Other values, channel by channel, in the same dimension."""
    return _kept(tracer.mark_of(call.first), len(call.marks), tracer, call, exact=False)


def _kept(mark: Mark | None, marks: int, tracer: Tracer, call: Call, *, exact: bool) -> Mark | None:
    kept = isinstance(mark, Followed) and marks == 1 and isinstance(call.result, Tensor)
    if not kept or not isinstance(mark, Followed):
        return tracer.unknown(call)
    return replace(mark, exact=mark.exact and exact, seen=None)


def shaped(
    find: Callable[[Call, Followed], tuple[int, int] | None], why: str, *, exact: bool = True
) -> Handler:
    """A change of shape; `find` gives the new dimension and entries per unit, or None where units are taken apart."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        mark = tracer.mark_of(call.first)
        if not isinstance(mark, Followed) or len(call.marks) > 1:
            return tracer.unknown(call)
        place = find(call, mark)
        if place is None:
            return tracer.unknown(call, why)
        dim, repeat = place
        return replace(mark, dim=dim, repeat=repeat, exact=mark.exact and exact, seen=None)

    return handler


def elementwise(*, product: bool) -> Handler:
    """A sum or product: the channels of two followed tensors become one unit each."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        marks = [mark for mark in call.marks if isinstance(mark, Followed)]
        if len(marks) < len(call.marks) or not marks:
            return tracer.unknown(
                call, "is added to or multiplied by what is not followed" if marks else None
            )
        dims = {
            _from_right(tensor, mark)
            for tensor in call.inputs
            if isinstance(mark := tracer.mark_of(tensor), Followed)
        }
        sizes = {(tracer.ledger.sizes[mark.node], mark.repeat) for mark in marks}
        if len(dims) > 1 or len(sizes) > 1:
            return tracer.unknown(call, f"is combined with channels of another shape ({call.name})")
        dim = call.result.ndim + dims.pop()
        for mark in marks[1:]:
            tracer.ledger.unite(marks[0].node, mark.node)
        if len(marks) == 2:
            behind = product or any(mark.origin is not None for mark in marks)
            return replace(marks[-1], dim=dim, origin=Origin() if behind else None, exact=True, seen=None)
        for tensor in call.inputs:
            if tracer.mark_of(tensor) is None and not _joins(
                tracer, tensor, marks[0], dim - call.result.ndim, product
            ):
                return tracer.unknown(call, "is added to a tensor that no layer computed")
        return replace(marks[0], dim=dim, exact=False, seen=None)

    return handler


def _from_right(tensor: Tensor, mark: Followed) -> int:
    return mark.dim - tensor.ndim


def _joins(tracer: Tracer, tensor: Tensor, mark: Followed, dim: int, product: bool) -> bool:
    """Whether units stay units when they meet a tensor that holds none: a number, a vector of theirs, a mask."""
    if tensor.numel() == 1:
        return True
    name, width = tracer.name_of(tensor), tracer.ledger.sizes[mark.node] * mark.repeat
    if name is not None and tensor.numel() == width and -dim <= tensor.ndim and tensor.shape[dim] == width:
        tracer.ledger.vector_belongs(name, mark.node, tensor.ndim + dim, mark.repeat)
        return True
    if name is not None:
        tracer.ledger.used.setdefault(name, "an elementwise product or sum")
    return product


def taken_apart(why: str) -> Handler:
    """A function that is known not to keep the units of a tensor, with the reason to tell."""
    return lambda tracer, call: tracer.unknown(call, f"{why} ({call.name})")


def _guessed_dim(tensor: Tensor) -> int:
    return 1 if tensor.ndim >= 4 else tensor.ndim - 1


def _table() -> dict[str, Handler]:
    found: dict[str, Handler] = {}

    def add(names: str | Iterable[str], handler: Handler) -> None:
        found.update(dict.fromkeys(names.split() if isinstance(names, str) else names, handler))

    add("linear", linear)
    add("conv1d conv2d conv3d", convolution)
    add(_OTHER_LAYERS, other_layer)
    add("batch_norm instance_norm", norm(1))
    add("group_norm", norm(2))
    add("layer_norm rms_norm", norm(2, layer_norm=True))
    add(_NONLINEAR, nonlinear)
    add("prelu", prelu)
    add(_SAME, same)
    add(_SCALED, scaled)
    add(_SHAPED, shaped(reshaped, "its channels are merged with others or split by a change of shape"))
    add(
        "permute transpose swapaxes swapdims t T mT H mH movedim moveaxis",
        shaped(moved, "is moved in a way that is not followed"),
    )
    add("mean sum amax amin var std", shaped(reduced, "its channels are reduced to one", exact=False))
    add(
        "getitem select narrow index_select",
        shaped(indexed, "its channels are split by indexing", exact=False),
    )
    add(_SUMS, elementwise(product=False))
    add(_PRODUCTS, elementwise(product=True))
    add(_NOT_READ, lambda _tracer, _call: None)
    add("setitem", taken_apart("is partly overwritten"))
    add("cat concat concatenate stack hstack vstack", taken_apart("is concatenated with others"))
    add("chunk split split_with_sizes tensor_split unbind glu", taken_apart("its channels are split"))
    return found


HANDLERS = _table()
