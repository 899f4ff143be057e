"""Following the channels of a network through one forward: which functions are called, on what, in which module."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from .names import named_modules, named_weights
from .unit_marks import Followed, Ledger, Lost, Mark, reasons_of
from .unit_types import Tap


@dataclass
class Call:
    """A call of a torch function while the network runs; `shape` is that of the first argument before the call."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    marks: list[Mark]
    inputs: list[Tensor]
    result: Any = None

    def get(self, position: int, keyword: str, default: Any = None) -> Any:
        """An argument by position or keyword."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(keyword, default)

    @property
    def first(self) -> Any:
        """The first argument."""
        return self.args[0] if self.args else self.kwargs.get("input")


Handler = Callable[["Tracer", Call], Mark | None]


class Tracer(TorchFunctionMode):
    """Marks each tensor that holds units, and writes down in a ledger what belongs to them.

    Args:
        network: without wrappers; run it once inside `with tracer:`, in eval mode and without gradients.
        keep: whether the tensors behind nonlinearities are kept, in `kept`, by the layer that produced them.
    """

    def __init__(self, network: nn.Module, handlers: Mapping[str, Handler], keep: bool = False) -> None:
        super().__init__()
        self.network = network
        self.handlers = handlers
        self.ledger = Ledger()
        self.kept: dict[str, tuple[Tensor, int]] | None = {} if keep else None
        self._marks: Any = WeakTensorKeyDictionary()
        self._running: list[tuple[str, nn.Module]] = []
        self.calls: dict[str, int] = {}
        """How often each module was called."""
        self.touched: set[str] = set()
        """The parameters and buffers that were read."""
        self._before: dict[int, Tensor] = {}
        self._known: Any = WeakTensorKeyDictionary()
        self._names: dict[int, tuple[str, Tensor]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Tracer:
        # Tensors that are not among these, nor computed in sight, are computed from units, perhaps, and out of sight.
        # (So, it seems, are those that gc.freeze() hides: what reads them is left alone, with a word.)
        # A process has objects by the million and few types: those are asked, and the objects not one by one.
        objects = gc.get_objects()
        kinds = {kind for kind in set(map(type, objects)) if issubclass(kind, Tensor)}
        self._before = {id(item): item for item in objects if type(item) in kinds}
        for name, module in named_modules(self.network):
            if isinstance(module, torch.jit.ScriptModule):
                if not any(name.startswith(f"{scripted}.") for scripted in self.ledger.left_out):
                    self.ledger.left_out[name] = "is a scripted module, which is not followed"
                continue
            self._handles.append(
                module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
            )
            self._handles.append(module.register_forward_hook(partial(self._leave, name)))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._before.clear()
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function and mark what it gives."""
        kwargs = kwargs or {}
        inputs = list(tensors_in((args, kwargs)))
        shape = tuple(inputs[0].shape) if inputs else ()
        self._notice(inputs, _name(func))
        marks = [found for tensor in inputs if (found := self.mark_of(tensor)) is not None]
        call = Call(_name(func), func, args, kwargs, shape, marks, inputs)
        call.result = func(*args, **kwargs)
        self._follow(call)
        return call.result

    def _follow(self, call: Call) -> None:
        outputs = list(tensors_in(call.result))
        if call.name == "tolist":
            self.ledger.block(call.marks, "is made a list of numbers")
        if not outputs and call.name != "setitem":
            return
        handler = self.handlers.get(call.name)
        mark = self.unknown(call) if handler is None else handler(self, call)
        # Arrays come from out of sight, perhaps from units.
        foreign = not call.inputs and any(hasattr(value, "__array_interface__") for value in call.args)
        for tensor in outputs or call.inputs[:1]:
            if not foreign:
                self._known[tensor] = True
            self.mark(tensor, self._fitting(call, tensor, mark))

    def _fitting(self, call: Call, tensor: Tensor, mark: Mark | None) -> Mark | None:
        """A mark, unless the dimension of the units has another size than they have: then it is lost."""
        if not isinstance(mark, Followed) or (
            mark.dim < tensor.ndim and tensor.shape[mark.dim] == self.ledger.sizes[mark.node] * mark.repeat
        ):
            return mark
        return Lost({mark.node: f"its channels change in number ({call.name})"})

    def _notice(self, inputs: Sequence[Tensor], what: str) -> None:
        """Note which weights are read; leave alone all sets so far if a tensor comes from out of sight."""
        for tensor in inputs:
            if (name := self.name_of(tensor)) is not None:
                self.touched.add(name)
            elif not (
                id(tensor) in self._before or tensor in self._known or isinstance(tensor, nn.Parameter)
            ):
                self.ledger.block(
                    range(len(self.ledger.parents)),
                    f"{what} reads what was computed out of sight (scripted, or not by torch), perhaps from it",
                )
                self._known[tensor] = True

    def unknown(self, call: Call, why: str | None = None) -> Lost | None:
        """What comes out of a function that is not followed."""
        for tensor in call.inputs:
            if (name := self.name_of(tensor)) is not None:
                self.ledger.used.setdefault(name, call.name)
        if not call.marks:
            return None
        if any(isinstance(tensor, nn.Parameter) and tensor.ndim > 1 for tensor in call.inputs):
            self.ledger.read_by_others(call.marks)
        reason = why or f"goes through {call.name}, which is not followed"
        reasons: dict[int, str] = {}
        for mark in call.marks:
            reasons |= {node: told for node, told in reasons_of(mark, reason).items() if node not in reasons}
        same = isinstance(call.result, Tensor) and call.result.ndim == len(call.shape)
        return Lost(reasons, call.marks[0].dim if same else None)

    def mark_of(self, value: object) -> Mark | None:
        """What is known of a tensor, if anything."""
        return cast(Mark | None, self._marks.get(value)) if isinstance(value, Tensor) else None

    def mark(self, tensor: Tensor, mark: Mark | None) -> None:
        """Write down what is known of a tensor."""
        if mark is not None:
            self._marks[tensor] = mark
        else:
            self._marks.pop(tensor, None)

    def name_of(self, tensor: object) -> str | None:
        """The canonical name of a parameter or buffer; None: the tensor is none."""
        if not isinstance(tensor, Tensor) or self.mark_of(tensor) is not None:
            return None
        known = self._names.get(id(tensor))
        if known is None and isinstance(tensor, nn.Parameter):
            # Under FSDP2 other tensors stand in the modules while they run.
            self._names = {id(own): (name, own) for name, own in named_weights(self.network).items()}
            known = self._names.get(id(tensor))
        return None if known is None or known[1] is not tensor else known[0]

    def layer_of(self, weight: str | None, tensor: Tensor | None) -> str:
        """What to call the layer that is running: its module, or its weight if the module has others."""
        name, module = self._running[-1]
        own = module._parameters.get("weight")
        if name and (weight is None or own is tensor):
            return name
        return weight.removesuffix(".weight") if weight else name or type(module).__name__

    def keep(self, call: Call, layer: str, dim: int) -> None:
        """Keep what comes out of a nonlinearity."""
        if self.kept is not None:
            name, number = layer, 2
            while name in self.kept:
                name, number = f"{layer}#{number}", number + 1
            # Others may write into the result.
            self.kept[name] = (call.result.clone(), dim)

    def output(self, value: object) -> None:
        """Take note of what the network gave: those units are not inner ones."""
        given = list(tensors_in(value))
        self._notice(given, "the output of the network")
        for tensor in given:
            mark = self.mark_of(tensor)
            if mark is not None:
                self.ledger.outputs.update(reasons_of(mark, ""))
                self.ledger.block([mark], "reaches the output of the network")

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = self.calls.get(name, 0)
        self.calls[name] = call + 1
        self._running.append((name, module))
        for position, value in (*enumerate(args), *kwargs.items()):
            self._see(value, Tap(name, call, True, position, 0))

    def _leave(self, name: str, module: nn.Module, _args: Any, result: Any) -> None:
        self._running.pop()
        call = self.calls[name] - 1
        if isinstance(result, tuple | list):
            for position, value in enumerate(result):
                self._see(value, Tap(name, call, False, position, 0))
        else:
            self._see(result, Tap(name, call, False, None, 0))

    def _see(self, value: object, tap: Tap) -> None:
        mark = self.mark_of(value)
        if not isinstance(mark, Followed) or not isinstance(value, Tensor):
            return
        tap = replace(tap, dim=mark.dim - value.ndim, repeat=mark.repeat)
        if not tap.given:
            self.mark(value, replace(mark, seen=tap))
        if mark.origin is not None:
            mark.origin.offer(mark.likeness, tap)


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors_in(vars(value))


def _name(function: Any) -> str:
    """`add` for `torch.add`, `Tensor.add_`, `Tensor.__add__`; for a property of tensors its name."""
    name = str(getattr(function, "__name__", function))
    if name == "__get__":
        name = str(getattr(function.__self__, "__name__", name))
    return name.strip("_")
