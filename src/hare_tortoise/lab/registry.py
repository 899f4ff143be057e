"""From names to things: methods, schedules, networks, sources and scenarios, ours or ``package.module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from hare_tortoise import methods
from hare_tortoise.lab.spec import Call, Value, kebab
from hare_tortoise.methods import Chain, Method, Schedule
from hare_tortoise.networks import NETWORKS
from hare_tortoise.streams.names import unknown

Fresh = Callable[[], nn.Module]


def _exported(kind: type) -> dict[str, type]:
    found = (getattr(methods, name) for name in methods.__all__)
    classes = (item for item in found if isinstance(item, type) and issubclass(item, kind))
    return {kebab(item.__name__): item for item in classes if item not in (kind, Chain)}


# a method is called what its file is called: ReDo in redo.py is redo
METHODS: Mapping[str, type[Method]] = {
    kebab(item.__module__.rpartition(".")[2]): item for item in _exported(Method).values()
}

# what the laboratory itself passes to a method
GIVEN = ("self", "model", "optimizer", "fresh", "seed")


def find(what: str, call: Call, known: Mapping[str, Any]) -> Any:
    """Find what a call names: in a table of ours, or by its path.

    Raises:
        ValueError: There is no such name; the message has the nearest ones.
    """
    if call.external:
        return load_external(call.name)
    if call.name not in known:
        raise unknown(what, call.name, known)
    return known[call.name]


def load_external(path: str) -> Any:
    """Import the user's own ``package.module:attribute``, from the current folder too.

    Raises:
        ValueError: There is no such module or attribute.
    """
    module_name, _, attribute = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path!r}: no module named {error.name!r}, looked in {here} and the installed packages"
        ) from None
    try:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise unknown(f"name in {module.__name__}", attribute, public) from None
    return found


def settings_of(
    what: str, call: Call, target: Callable[..., Any], *, given: Iterable[str] = ()
) -> dict[str, Any]:
    """Turn the settings of a call into keyword arguments, schedules built.

    Args:
        what: the kind of thing, for the message.
        call: what was written.
        target: the class or function that will be called.
        given: arguments that the laboratory passes itself.

    Raises:
        ValueError: The target has no such setting, or a setting stands without its name.
    """
    if call.positional:
        raise ValueError(
            f"{what} {call}: write each setting with its name, got {call.positional[0]!r} without one"
        )
    parameters = inspect.signature(target).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)} - set(given)
    for name, _ in call.settings:
        if name not in known and not open_ended:
            raise unknown(f"setting of {what} {call.name}", name, known)
    return {name: build_value(value) for name, value in call.settings}


def build_value(value: Value) -> Any:
    """Build the schedule that a value names; other values stay what they are."""
    if isinstance(value, tuple):
        return tuple(build_value(item) for item in value)
    if not isinstance(value, Call):
        return value
    schedules = _exported(Schedule)
    schedule = find("schedule", value, schedules)
    try:
        return schedule(*map(build_value, value.positional), **dict(value.settings))
    except TypeError as error:
        raise ValueError(f"schedule {value}: {error}") from None


def find_method(call: Call) -> type[Method]:
    """Find the class of a method.

    Raises:
        ValueError: There is no such method, or what the user's path names is no method.
    """
    kind = find("method", call, METHODS)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"method {call.name!r}: got {kind!r}, expected a subclass of hare_tortoise.Method")
    return kind


def deploys(call: Call) -> bool:
    """Whether a method deploys a network of its own."""
    return find_method(call).deployed is not Method.deployed


@contextmanager
def explained(what: str, call: Call) -> Iterator[None]:
    """Tell whose fault it is where what a user named does not take what it is given."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{what} {call}: {error}") from error


def build_method(
    members: Sequence[tuple[Call, Mapping[str, Any]]],
    model: nn.Module,
    *,
    fresh: Fresh,
    head: Callable[[], str],
    seeds: Sequence[int],
) -> Method:
    """Build a method, or the chain of several, on a model.

    Args:
        members: each method of the composition with its settings.
        model: the network that it keeps plastic.
        fresh: gives a newly initialised network of the same shape.
        head: names the module that is the head; a method's own ``head=`` setting comes before it.
        seeds: one for each member.
    """
    built = []
    for (call, given), seed in zip(members, seeds, strict=True):
        kind, settings = find_method(call), dict(given)
        if "fresh" in kind.needs:
            settings["fresh"] = fresh
        if "head" in kind.needs and "head" not in settings:
            settings["head"] = head()
        with explained("method", call):
            built.append(kind(model, seed=seed, **settings))
    return built[0] if len(built) == 1 else chain(built)


def chain(members: Sequence[Method]) -> Chain:
    """Chain methods as written: the last one with a network of its own is deployed."""
    own = [member for member in members if type(member).deployed is not Method.deployed]
    return Chain(*members, deployed=own[-1]) if own else Chain(*members)


def build_network(call: Call, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Build a network by name, with weights from torch's global random state.

    Raises:
        ValueError: There is no such network or setting, or the user's function gives no module.
    """
    build = find("network", call, NETWORKS)
    settings = settings_of("network", call, build, given=("input_shape", "outputs"))
    with explained("network", call):
        network = build(input_shape, outputs, **settings)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"network {call}: got a {type(network).__name__}, expected an nn.Module from build(input_shape, outputs)"
        )
    return network


def head_of(network: nn.Module) -> str:
    """Name the head of a network: its submodule ``head``, else its last linear layer.

    Raises:
        ValueError: There is neither.
    """
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if "head" in dict(network.named_children()):
        return "head"
    if not names:
        raise ValueError(
            "the network has no submodule 'head' and no nn.Linear; name it: head-reset(head='layer')"
        )
    return names[-1]
