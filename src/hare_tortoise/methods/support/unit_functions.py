"""What each torch function does to the channels of a network, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from .unit_layers import convolution, linear, norm, other_layer, vector_of
from .unit_marks import Followed, Mark
from .unit_shapes import indexed, moved, padded, reduced, reshaped
from .unit_tracing import Call, Handler, Tracer
from .unit_types import COMPUTED, EXACT, NORMED, POOLED, Origin

_OTHER_LAYERS = (
    "conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc bilinear lstm gru rnn_tanh "
    "rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell multi_head_attention_forward "
    "matmul rmatmul mm bmm addmm baddbmm einsum tensordot scaled_dot_product_attention"
)
_ACTIVATIONS = (
    "relu relu6 leaky_relu rrelu elu selu celu gelu silu mish softplus sigmoid logsigmoid tanh hardtanh hardswish "
    "hardsigmoid softsign tanhshrink hardshrink softshrink threshold sin cos"
)
_NONNEGATIVE = ("relu", "relu6", "sigmoid", "softplus", "hardsigmoid", "abs", "absolute", "square", "exp")
_NONLINEAR = (
    "clamp clamp_min clamp_max clip abs absolute square pow exp expm1 log1p sqrt erf atan arctan sinc"
)
_SAME = (
    "contiguous clone detach to type type_as float double half bfloat16 cpu cuda requires_grad alias positive"
)
_SCALED = (
    "dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout feature_alpha_dropout neg negative"
)
_POOLINGS = (
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


def nonlinear(*, kept: bool) -> Handler:
    """An elementwise function: its result is what is looked at to judge a unit; `kept`: by measures too."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        mark = tracer.mark_of(call.first)
        if not isinstance(mark, Followed) or len(call.marks) > 1:
            lost = tracer.unknown(call)
            if kept and call.result.ndim > 1 and tracer.name_of(call.first) is None:
                known = None if lost is None else lost.dim
                tracer.keep(
                    call, tracer.layer_of(None, None), _guessed_dim(call.result) if known is None else known
                )
            return lost
        origin = Origin(nonnegative=call.name in _NONNEGATIVE)
        if mark.seen is not None and len(call.inputs) == 1:
            origin.offer(COMPUTED, replace(mark.seen, function=_again(call)))
        if kept:
            tracer.keep(call, mark.layer, mark.dim)
        return replace(mark, origin=origin, likeness=EXACT, seen=None)

    return handler


def prelu(tracer: Tracer, call: Call) -> Mark | None:
    """PReLU: one slope, or one for each unit."""
    mark, slope = tracer.mark_of(call.first), call.get(1, "weight")
    if isinstance(mark, Followed) and slope.numel() > 1:
        vector_of(tracer, slope, mark, 0)
    return nonlinear(kept=True)(tracer, call)


def _again(call: Call) -> Callable[[Tensor], Tensor]:
    """The activation as a function of its input alone, which it leaves as it is."""
    rest, kwargs = call.args[1:], {key: value for key, value in call.kwargs.items() if key != "input"}
    in_place = call.result is call.first

    def again(value: Tensor) -> Tensor:
        result: Tensor = call.function(value.clone() if in_place else value, *rest, **kwargs)
        return result

    return again


def kept(likeness: int) -> Handler:
    """The units stay where they are; how alike their values are to the activations is told."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        mark = tracer.mark_of(call.first)
        if not isinstance(mark, Followed) or len(call.marks) > 1 or not isinstance(call.result, Tensor):
            return tracer.unknown(call)
        if call.result is call.first and likeness == EXACT:
            return mark
        return replace(mark, likeness=max(mark.likeness, likeness), seen=None)

    return handler


def pooled(tracer: Tracer, call: Call) -> Mark | None:
    """Pooling or interpolation, which merges the entries of the last dimensions: as many as its name says, or all."""
    mark = tracer.mark_of(call.first)
    ndim = len(call.shape)
    spatial = int(call.name[-2]) if call.name.endswith("d") and call.name[-2].isdigit() else ndim - 2
    if isinstance(mark, Followed) and mark.dim >= ndim - spatial:
        return tracer.unknown(call, f"its channels are merged with others by {call.name}")
    return kept(POOLED)(tracer, call)


def shaped(
    find: Callable[[Call, Followed], tuple[int, int] | None], why: str, likeness: int = EXACT
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
        return replace(mark, dim=dim, repeat=repeat, likeness=max(mark.likeness, likeness), seen=None)

    return handler


def elementwise(*, product: bool) -> Handler:
    """A sum or product: the channels of two followed tensors become one unit each."""

    def handler(tracer: Tracer, call: Call) -> Mark | None:
        marks = [mark for mark in call.marks if isinstance(mark, Followed)]
        if len(marks) < len(call.marks) or not marks:
            return tracer.unknown(
                call, "is added to or multiplied by what is not followed" if marks else None
            )
        places = [(tensor.ndim, tracer.mark_of(tensor)) for tensor in call.inputs]
        dims = {mark.dim - ndim for ndim, mark in places if isinstance(mark, Followed)}
        sizes = {(tracer.ledger.sizes[mark.node], mark.repeat) for mark in marks}
        if len(dims) > 1 or len(sizes) > 1:
            return tracer.unknown(call, f"is combined with channels of another shape ({call.name})")
        dim = call.result.ndim + dims.pop()
        for mark in marks[1:]:
            tracer.ledger.unite(marks[0].node, mark.node)
        if len(marks) == 2:
            behind = product or any(mark.origin is not None for mark in marks)
            return replace(marks[-1], dim=dim, origin=Origin() if behind else None, likeness=EXACT, seen=None)
        others = [tensor for tensor in call.inputs if tracer.mark_of(tensor) is None and tensor.numel() > 1]
        if not all(_joins(tracer, tensor, marks[0], dim - call.result.ndim, product) for tensor in others):
            return tracer.unknown(call, "is added to a tensor that no layer computed")
        likeness = max(marks[0].likeness, NORMED if others else POOLED)
        return replace(marks[0], dim=dim, likeness=likeness, seen=None)

    return handler


def _joins(tracer: Tracer, tensor: Tensor, mark: Followed, dim: int, product: bool) -> bool:
    """Whether units stay units when they meet a tensor that holds none: a vector of theirs, a mask."""
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
    add("batch_norm instance_norm", norm(3))
    add("group_norm", norm(2))
    add("layer_norm rms_norm", norm(2, layer_norm=True))
    add(_ACTIVATIONS, nonlinear(kept=True))
    add(_NONLINEAR, nonlinear(kept=False))
    add("prelu", prelu)
    add(_SAME, kept(EXACT))
    add(_SCALED, kept(POOLED))
    add(_POOLINGS, pooled)
    add(_SHAPED, shaped(reshaped, "its channels are merged with others or split by a change of shape"))
    add(
        "permute transpose swapaxes swapdims t T mT H mH movedim moveaxis",
        shaped(moved, "is moved in a way that is not followed"),
    )
    add("pad", shaped(padded, "its channels are padded", POOLED))
    add("mean sum amax amin max min var std", shaped(reduced, "its channels are reduced to one", POOLED))
    add(
        "getitem select narrow index_select",
        shaped(indexed, "its channels are split by indexing", POOLED),
    )
    add(_SUMS, elementwise(product=False))
    add(_PRODUCTS, elementwise(product=True))
    add(_NOT_READ, lambda _tracer, _call: None)
    add("setitem", taken_apart("is partly overwritten"))
    add("cat concat concatenate stack hstack vstack", taken_apart("is concatenated with others"))
    add("chunk split split_with_sizes tensor_split unbind glu", taken_apart("its channels are split"))
    return found


HANDLERS = _table()
