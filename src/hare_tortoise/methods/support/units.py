"""The graph of units: which rows, columns and vectors of a network's weights belong to which hidden channel."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .forward_watch import paused
from .names import named_modules, named_weights, unwrap
from .randomness import seeded
from .sharding import reshard
from .unit_functions import HANDLERS
from .unit_tracing import Tracer
from .unit_types import Outgoing, PerUnit, Tap, UnitGraph, Units

__all__ = ["Outgoing", "PerUnit", "Tap", "UnitGraph", "Units", "activations", "trace_units"]


def trace_units(model: nn.Module, *args: Any, **kwargs: Any) -> UnitGraph:
    """Find the units of a network by running it once on the inputs given.

    A unit is a channel of a hidden layer (Linear, Conv; modules or functions) that passes a nonlinearity and is
    then read by such layers only. Its channel is followed through norms, activations, dropout, pooling, flattening,
    other changes of shape, and sums and products with other channels, which become one unit with it. The network
    runs eagerly, in eval mode and without gradients; modes, buffers and the global random states are afterwards as
    before. The order in which modules are declared does not matter.

    Args:
        model: any network, wrapped (DDP, `torch.compile`) or not; sharded (FSDP2) models are resharded, and all
            processes must call.
        *args: inputs of a forward.
        **kwargs: further inputs.

    Returns:
        The sets of units, and by layer why others are left out (concatenation, attention, shared weights …), those
        that did not run among them.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> units, = trace_units(model, torch.zeros(2, 1, 8, 8)).groups
        >>> units.name, units.size, units.incoming, units.biases, units.outgoing
        ('0', 4, ('0.weight',), ('0.bias',), (Outgoing(weight='3.weight', repeat=36),))
    """
    tracer = _traced(model, args, kwargs, keep=False)
    weights = named_weights(model)
    frozen = [name for name, tensor in weights.items() if _is_frozen(tensor)]
    buffers = {name for name, tensor in weights.items() if not isinstance(tensor, nn.Parameter)}
    graph = _graph(tracer, frozen, buffers)
    return UnitGraph(graph.groups, {**graph.left_out, **_not_run(tracer)})


def activations(model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, tuple[Tensor, int]]:
    """Return what comes out of every nonlinearity in one forward, and the dimension of its channels.

    The nonlinearities are elementwise functions and modules; the names are those of the layers before them (with
    `#2` where a layer has several). Units that cannot be reset are among them. The network runs as in
    `trace_units`.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> [(name, tensor.shape, dim) for name, (tensor, dim) in activations(model, torch.ones(5, 3)).items()]
        [('0', torch.Size([5, 4]), 1)]
    """
    return _traced(model, args, kwargs, keep=True).kept or {}


def _is_frozen(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and not tensor.requires_grad


def _traced(model: nn.Module, args: Any, kwargs: Any, *, keep: bool) -> Tracer:
    reshard(model)
    network = unwrap(model)
    tracer = Tracer(network, HANDLERS, keep)
    devices = {tensor.device for tensor in named_weights(model).values()}
    with paused(), _undisturbed(network), seeded(0, devices), torch.no_grad(), tracer:
        result = network(*args, **kwargs)
    tracer.output(result)
    reshard(model)
    return tracer


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Eval mode, nothing compiled; afterwards modes and buffers are as before."""
    modes = [(module, module.training) for _, module in named_modules(network)]
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for _, module in named_modules(network)
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with ExitStack() as stack:
        # What is compiled would run without being seen. Where nothing was, its machinery need not be loaded.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for module, _ in modes:
            module.training = False
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for place, name, buffer, value in buffers:
                    place[name] = buffer
                    buffer.copy_(value)


def _not_run(tracer: Tracer) -> dict[str, str]:
    """Layers that the network did not use, and that are trained: what is done elsewhere does not reach them."""
    names = {id(tensor): name for name, tensor in named_weights(tracer.network).items()}
    found = {}
    for name, module in named_modules(tracer.network):
        if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or name in tracer.calls:
            continue
        trained = [names.get(id(tensor)) for tensor in module.parameters() if tensor.requires_grad]
        if trained and not tracer.touched.intersection(trained):
            found[name] = "did not run in the first forward: its weights are left alone"
    return found


def _graph(tracer: Tracer, frozen: list[str], buffers: set[str]) -> UnitGraph:
    """Gather what belongs to each set of units, and why others are left out."""
    ledger = tracer.ledger
    ledger.settle()
    rows = ledger.gathered((node, weight) for weight, node in ledger.rows.items())
    vectors = ledger.gathered(
        (node, PerUnit(name, *place)) for name, (node, *place) in ledger.vectors.items()
    )
    columns = ledger.gathered(
        (node, Outgoing(weight, repeat))
        for weight, reads in ledger.columns.items()
        for node, repeat in reads
        if node is not None
    )
    origins = ledger.gathered(ledger.origins)
    reasons = {ledger.find(node): reason for node, reason in reversed(ledger.reasons.items())}
    inner = {ledger.find(node) for node in ledger.consumed}
    outputs = {ledger.find(node) for node in ledger.outputs} - inner
    layers = {weight: layer for layer, weight in reversed(ledger.layers.items())}
    groups, left_out = [], dict(ledger.left_out)
    for root, weights in rows.items():
        outgoing = columns.get(root, [])
        # Layers of buffers are frozen copies (the heads of plasticity injection), with no units of their own to reset.
        if (not outgoing and root in outputs) or buffers.issuperset(weights):
            continue
        names = [layer for layer, weight in ledger.layers.items() if weight in weights]
        biases = [vector.name for vector in vectors.get(root, []) if _is_bias(vector, weights)]
        units = Units(
            name=layers[weights[0]],
            size=ledger.sizes[root],
            incoming=tuple(weights),
            biases=tuple(biases),
            per_unit=tuple(vector for vector in vectors.get(root, []) if vector.name not in biases),
            outgoing=tuple(outgoing),
            taps=_unique((origin.tap for origin in origins.get(root, [])), tracer.calls),
            gradient_taps=_unique((origin.gradient_tap for origin in origins.get(root, [])), tracer.calls),
        )
        reason = reasons.get(root) or _flaw(units, bool(origins.get(root)), frozen, buffers)
        if reason is None:
            groups.append(units)
        else:
            left_out.update((name, reason) for name in names)
    return UnitGraph(tuple(groups), left_out)


def _is_bias(vector: PerUnit, weights: list[str]) -> bool:
    """Whether a vector is the bias of one of the layers of a set."""
    owner, _, name = vector.name.rpartition(".")
    return name == "bias" and any(weight.rpartition(".")[0] == owner for weight in weights)


def _unique(taps: Iterable[Tap | None], calls: Mapping[str, int]) -> tuple[Tap, ...]:
    found = dict.fromkeys(tap for tap in taps if tap is not None)
    return tuple(replace(tap, calls=calls[tap.module]) for tap in found)


def _flaw(units: Units, active: bool, frozen: list[str], buffers: set[str]) -> str | None:
    """Why a set of units that nothing else speaks against cannot be used; None: it can."""
    if not units.outgoing:
        return "is read by no layer that is followed"
    if not active:
        return "no nonlinearity stands between it and what reads it"
    if not units.taps or not units.gradient_taps:
        return "its activation is neither given to nor returned by a module: use an activation module"
    untrained = [name for name in units.incoming if name in buffers]
    if untrained:
        return f"{untrained[0]} is a buffer"
    held = [name for name in (*units.drawn, *(read.weight for read in units.outgoing)) if name in frozen]
    return f"{held[0]} requires no gradient" if held else None
