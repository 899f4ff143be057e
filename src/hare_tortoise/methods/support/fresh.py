"""Newly initialised weights for a model, drawn without touching the model or the global random states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .blank import blank_copy
from .injected import wrap_alike
from .names import named_modules, named_weights, unwrap
from .randomness import seeded
from .values import whole

Fresh = Callable[[], nn.Module]
_SHOWN = 8


def draw_fresh(
    model: nn.Module,
    fresh: Fresh | None,
    generator: torch.Generator,
    only: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Draw a newly initialised set of weights for a model.

    With `fresh` they are those of the network that it builds. Without it, `reset_parameters` of every module is
    run, children before parents, on a copy of the module tree whose parameters are empty; a shared parameter
    is drawn once, by the first of its owners. Initialisers that a model runs elsewhere than in
    `reset_parameters` are not known to this way: pass `fresh` for such a model.

    Ranks whose generators are in the same state draw the same weights, sharded or not.

    Args:
        model: what the weights are for; its weights are read for shape and name only.
        fresh: builds a network with the names and shapes of `model`; None: use `reset_parameters`.
        generator: one number is taken from it, the seed of the draw.
        only: the canonical names that are wanted; None: all parameters and buffers.

    Returns:
        Whole (unsharded) tensors by canonical name; buffers that no initialiser touches have the model's values.

    Raises:
        ValueError: `fresh` gives something else than a new network with the same names and shapes, or, without
            `fresh`, some of the parameters wanted are not initialised by any `reset_parameters`.
        TypeError: `fresh` is not callable.

    >>> model = nn.Linear(3, 2)
    >>> drawn = draw_fresh(model, None, torch.Generator().manual_seed(0))
    >>> sorted(drawn), tuple(drawn["weight"].shape), torch.equal(drawn["weight"], model.weight)
    (['bias', 'weight'], (2, 3), False)
    """
    check_fresh(fresh)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    wanted = {name: tensor for name, tensor in named_weights(model).items() if only is None or name in only}
    with seeded(seed, {tensor.device for tensor in wanted.values()}), torch.no_grad():
        network = (
            _drawn_by_modules(model, None if only is None else wanted)
            if fresh is None
            else _built(fresh, model)
        )
    drawn = named_weights(network)
    _check_match(drawn, wanted, complete=only is None)
    if fresh is None:
        _check_covered(drawn, wanted)
    return {name: whole(drawn[name]) for name in wanted}


def check_fresh(fresh: Fresh | None) -> None:
    """Raise a TypeError if `fresh` is neither None nor a function."""
    if fresh is not None and (isinstance(fresh, nn.Module) or not callable(fresh)):
        raise TypeError(
            f"fresh is a {type(fresh).__name__}, expected a function without arguments that builds a new network; "
            "write fresh=lambda: MyNetwork(...)"
        )


def check_drawable(model: nn.Module, fresh: Fresh | None, only: Collection[str] | None = None) -> None:
    """Raise now what `draw_fresh` would raise at the first change of the data, as far as it costs little.

    A network is built by `fresh` only when it is needed; `reset_parameters` is tried.
    """
    check_fresh(fresh)
    if fresh is None:
        draw_fresh(model, None, torch.Generator(), only)


def _built(fresh: Fresh, model: nn.Module) -> nn.Module:
    network = fresh()
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"fresh() gave a {type(network).__name__}, expected a torch.nn.Module; "
            "pass a function that builds a network"
        )
    own = set(map(id, _tensors(unwrap(model))))
    if any(id(tensor) in own for tensor in _tensors(unwrap(network))):
        raise ValueError(
            "fresh() gave a network that shares weights with the model, expected a new one; "
            "build the network inside the function"
        )
    wrap_alike(network, model)
    return network


def _drawn_by_modules(model: nn.Module, wanted: Mapping[str, Tensor] | None) -> nn.Module:
    """Run the initialisers of all modules, or of those that have a say in the tensors wanted."""
    if wanted is None:
        network = blank_copy(model)
        return _initialised(network, set(network.modules()))
    concerned = _concerned(model, set(map(id, wanted.values())))
    modules = dict(named_modules(model))
    network = blank_copy(model, {id(tensor) for name in concerned for tensor in _own(modules[name])})
    try:
        return _initialised(network, {module for name, module in named_modules(network) if name in concerned})
    except RuntimeError:
        # One of them writes to a module elsewhere, whose weights are no more than a place there: run all.
        return _drawn_by_modules(model, None)


def _initialised(network: nn.Module, modules: Collection[nn.Module]) -> nn.Module:
    """Run the initialisers of some modules, children before parents; a shared parameter is its first owner's."""
    drawn: set[int] = set()
    for module in _children_first(network):
        reset = getattr(module, "reset_parameters", None)
        # A parametrised module would write to a tensor that it computes, and the write would be lost.
        if module not in modules or not callable(reset) or parametrize.is_parametrized(module):
            continue
        own = [parameter for parameter in module._parameters.values() if parameter is not None]
        kept = [(parameter, parameter.clone()) for parameter in own if id(parameter) in drawn]
        reset()
        for parameter, value in kept:
            parameter.copy_(value)
        drawn.update(map(id, own))
    return network


def _concerned(model: nn.Module, wanted: Collection[int]) -> set[str]:
    """The names of the modules whose initialisers have a say in some tensors, known by identity.

    These are their owners, and where a module around an owner has an initialiser too, all inside that one: it may
    reach any of them.
    """
    found: set[str] = set()
    modules = dict(named_modules(model))
    for name, module in modules.items():
        if any(id(tensor) in wanted for tensor in _own(module)):
            found.add(name)
            around = [part for part in modules if _is_inside(name, part)]
            for part in around:
                if callable(getattr(modules[part], "reset_parameters", None)):
                    found.update(inner for inner in modules if inner == part or _is_inside(inner, part))
    return found


def _is_inside(name: str, part: str) -> bool:
    return name != part and (not part or name.startswith(f"{part}."))


def _own(module: nn.Module) -> list[Tensor]:
    tensors = (*module._parameters.values(), *module._buffers.values())
    return [tensor for tensor in tensors if tensor is not None]


def _children_first(module: nn.Module) -> Iterator[nn.Module]:
    """Yield each module of a tree once, a parent after all its children."""
    seen: set[int] = set()

    def walk(module: nn.Module) -> Iterator[nn.Module]:
        seen.add(id(module))
        for child in module.children():
            if id(child) not in seen:
                yield from walk(child)
        yield module

    yield from walk(module)


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return chain(module.parameters(), module.buffers())


def _check_match(drawn: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, complete: bool) -> None:
    """Raise a ValueError if what was drawn is not named and shaped as what is wanted."""
    if missing := [name for name in wanted if name not in drawn]:
        raise ValueError(
            f"the new network has no {_listed(missing)}, which the model has; "
            "fresh= must build a network with the model's names and shapes"
        )
    if complete and (extra := [name for name in drawn if name not in wanted]):
        raise ValueError(
            f"the new network has {_listed(extra)}, which the model has not; "
            "fresh= must build a network with the model's names and shapes"
        )
    for name, tensor in wanted.items():
        if drawn[name].shape != tensor.shape:
            raise ValueError(
                f"{name} has shape {tuple(drawn[name].shape)} in the new network, expected the model's "
                f"{tuple(tensor.shape)}; fresh= must build a network with the model's names and shapes"
            )


def _check_covered(drawn: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a parameter is still empty after all initialisers have run."""
    empty = [
        name for name in wanted if isinstance(drawn[name], nn.Parameter) and bool(drawn[name].isnan().any())
    ]
    if empty:
        raise ValueError(
            f"reset_parameters of the model's modules does not initialise {_listed(empty)}; "
            "pass fresh=, a function that builds a new network, e.g. fresh=lambda: MyNetwork(...)"
        )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
