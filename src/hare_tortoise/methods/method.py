"""The base class of every method: the moments at which it can act, and the hook that calls it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .support.names import named_weights, unwrap
from .support.sharding import reshard

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]

# Which method averages a network. Weak on both sides: what nobody holds any more claims nothing.
_AVERAGED_BY: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Method]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Change:
    """What a method did to the weights of the model, so that the averages of a chain can follow it.

    Args:
        apply: does the same, with the same draw, to other tensors in place. Its argument maps canonical
            names to tensors, as `named_weights` gives them.
        whole: the network is a new one; averages start again as copies of it and counts start at zero.
    """

    apply: Callable[[Mapping[str, Tensor]], None]
    whole: bool = False


class Method:
    """A way to keep a network plastic: overrides the moments at which it acts.

    A subclass overrides `penalty` (a term for the loss), `after_step` (after each optimizer step) or `new_data`
    (a chunk, a task), and leaves the rest. It draws from `self.generator` only, and tells the averages of a
    chain by `self.changed(Change(...))` what it did to the weights.

    Args:
        model: the network, wrapped (DDP, `torch.compile`) or not; it must have parameters.
        optimizer: the optimizer, or several (a step is then the last one's), that train the model. With it
            `after_step` is called by itself after each step; without it, the user calls `after_step`.
        seed: of the method's own generator.

    Raises:
        ValueError: the model has no parameters; the optimizers hold none of them, or miss one that requires
            a gradient.
        TypeError: something that is not a module or an optimizer is given.

    Example:
        >>> import torch
        >>> from hare_tortoise.methods import Method
        >>> class Count(Method):
        ...     steps = 0
        ...     def after_step(self, skipped=None):
        ...         self.steps += 1
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> count = Count(model, optimizer)
        >>> optimizer.step()
        >>> count.steps
        1
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """What the method must be given: "fresh", "head", "batches", "loss"."""

    in_steps: ClassVar[Mapping[str, Literal["decay", "interval", "rate"]]] = {}
    """The settings that are counted in optimizer steps, which a budget scales, and how: a rate is per step."""

    averages: ClassVar[bool] = False
    """Whether the method averages the weights: one such method, or chain, for a model."""

    def __init__(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None, *, seed: int = 0
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}, expected a torch.nn.Module")
        if next(model.parameters(), None) is None:
            raise ValueError(
                f"model ({type(model).__name__}) has no parameters, expected a network with weights; "
                "build the method after the layers of the network"
            )
        self.model = model
        self.generator = torch.Generator().manual_seed(seed)
        self.listeners: tuple[Method, ...] = ()
        self._optimizers: tuple[weakref.ref[Optimizer], ...] = ()
        self._handle: Any = None
        self._claimed = False
        self._chain: weakref.ref[Method] | None = None
        if optimizer is not None:
            self.attach(optimizer)

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The attached optimizers, those of them that still exist."""
        # Held weakly: the optimizer's hook holds the method, and a circle would keep both, weights included.
        found = (reference() for reference in self._optimizers)
        return tuple(optimizer for optimizer in found if optimizer is not None)

    def attach(self, optimizer: Optimizer | Sequence[Optimizer]) -> Self:
        """Hook a rebuilt or reloaded optimizer; counts and averages go on.

        Args:
            optimizer: one, or several of which the last one's step is the step.

        Raises:
            ValueError: together they hold no parameter of the model, or miss one that requires a gradient.
            RuntimeError: the method is a member of a chain, which is what must be attached.
        """
        if self._chain is not None and self._chain() is not None:
            raise RuntimeError(
                f"this {type(self).__name__} is a member of a chain, which alone is hooked: attach the chain"
            )
        optimizers = _checked(optimizer, self.model)
        self._unhook()
        self._take(optimizers)

        def hook(stepped: Optimizer, _args: Any, _kwargs: Any) -> None:
            # A fused optimizer is stepped by the gradient scaler on a skipped step too, and carries this.
            self.after_step(getattr(stepped, "found_inf", None))

        # A compiled `optimizer.step` must not trace what the method does: its counts are Python's.
        untraced = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]
        self._handle = optimizers[-1].register_step_post_hook(untraced)
        return self

    def detach(self) -> None:
        """Unhook from optimizer and model, and leave the model to another averaging method."""
        self._unhook()
        self._let_go()

    def _unhook(self) -> None:
        """Do as `detach`, but leave alone what waits for a forward of the model."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._take(())
        network = unwrap(self.model)
        owner = _AVERAGED_BY.get(network)
        if owner is not None and owner() is self:
            del _AVERAGED_BY[network]

    def _look_out(self) -> None:
        """Wait for a forward of the model, where that is needed: called when optimizers are attached."""

    def _let_go(self) -> None:
        """Take away what waits for a forward of the model."""

    def _check_network(self) -> None:
        """Raise a RuntimeError if the network is no longer the one that the method was built on."""

    def _take(self, optimizers: Sequence[Optimizer]) -> None:
        self._claimed = False
        self._optimizers = tuple(map(weakref.ref, optimizers))
        if optimizers:
            self._look_out()

    def _claim(self) -> None:
        """Make sure that no other averaging method is at work on the model."""
        if self._claimed:
            return
        self._claim_once()
        self._claimed = True

    def _claim_once(self) -> None:
        chain = None if self._chain is None else self._chain()
        method = self if chain is None else chain
        network = unwrap(self.model)
        reference = _AVERAGED_BY.get(network)
        owner = None if reference is None else reference()
        if owner is method:
            return
        if owner is not None:
            raise ValueError(
                f"{type(method).__name__} averages a model that {type(owner).__name__} averages already: compose "
                "them by Chain(...), or call detach() on the one that is not wanted; if that one is not at hand any "
                "more, build a new optimizer, and the method with it"
            )
        _refuse_overlap(method, network)
        _AVERAGED_BY[network] = weakref.ref(method)

    @property
    def adds_penalty(self) -> bool:
        """Whether `penalty` has anything to add to the loss."""
        return type(self).penalty is not Method.penalty

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """A term to add to the loss, a scalar.

        Args:
            inputs: what the network was given, shape (batch, ...).
            outputs: what it answered, shape (batch, ...).
            targets: what was asked for.
        """
        return outputs.new_zeros(())

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Act after an optimizer step; called by the hook when an optimizer is attached.

        Args:
            skipped: a scalar on the device, not zero where the gradient scaler skipped the step, or a bool;
                None: it was taken.
        """

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Act because the data has changed: a chunk, a task. Acts at every call.

        Args:
            batches: pairs of inputs and targets, for the methods that name them in `needs`.
            loss: of outputs and targets, for the methods that name it in `needs`.
            steps: the number of optimizer steps until the next call.
        """

    def changed(self, change: Change) -> None:
        """Tell the other members of the chain what was done to the weights."""
        for listener in self.listeners:
            listener.weights_changed(change)

    def weights_changed(self, change: Change) -> None:
        """Follow what another member of the chain did to the weights."""

    @property
    def deployed(self) -> nn.Module:
        """The network to evaluate and to ship."""
        return self.model

    @property
    def deploys(self) -> bool:
        """Whether `deployed` is a network of the method's own."""
        return type(self).deployed is not Method.deployed

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings and containers: loads with `weights_only=True`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: the state is that of another method or model; the message names the keys.
        """
        self.check_state(state)
        self.generator.set_state(state["generator"].cpu())

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state can be taken up; nothing is changed.

        A chain asks all its members before it loads any. A subclass that refuses states in `load_state_dict`
        refuses them here as well.
        """
        if "generator" not in state:
            raise ValueError(
                f"state has the keys {sorted(map(str, state))}, expected those of {type(self).__name__}, "
                "'generator' among them: load what the state_dict() of the same method gave"
            )


def _refuse_overlap(method: Method, network: nn.Module) -> None:
    """Raise a ValueError if a part of the network, or a network it is a part of, is averaged already."""
    parts = set(network.modules())
    for other, reference in list(_AVERAGED_BY.items()):
        owner = reference()
        if owner is not None and (other in parts or network in other.modules()):
            raise ValueError(
                f"{type(method).__name__} averages a {type(network).__name__}, and {type(owner).__name__} a "
                f"{type(other).__name__}, of which one is a part of the other: average one of them, or call detach() "
                "on the method that is not wanted"
            )


def _checked(optimizer: Optimizer | Sequence[Optimizer], model: nn.Module) -> tuple[Optimizer, ...]:
    optimizers = tuple(optimizer) if isinstance(optimizer, list | tuple) else (cast(Optimizer, optimizer),)
    if not optimizers:
        raise TypeError("optimizer is empty, expected a torch.optim.Optimizer or several")
    for item in optimizers:
        if not isinstance(item, Optimizer):
            inner = isinstance(getattr(item, "optimizer", None), Optimizer)
            cure = "give the one that it wraps (`.optimizer`)" if inner else "or several in a list"
            raise TypeError(f"optimizer is a {type(item).__name__}, expected a torch.optim.Optimizer: {cure}")
        if not hasattr(item, "_optimizer_step_post_hooks"):
            raise TypeError(
                f"optimizer is a {type(item).__name__} without the hooks of torch.optim.Optimizer: call "
                "super().__init__(params, defaults) in its __init__, or give the optimizer that it wraps"
            )
    reshard(model)
    held = {id(p) for item in optimizers for group in item.param_groups for p in group["params"]}
    own = {name: tensor for name, tensor in named_weights(model).items() if isinstance(tensor, nn.Parameter)}
    if held.isdisjoint(map(id, own.values())):
        raise ValueError(
            f"optimizer ({', '.join(type(item).__name__ for item in optimizers)}) holds no parameter of the model: "
            "build it from the parameters of this model, after the model was moved or sharded"
        )
    missed = [name for name, tensor in own.items() if tensor.requires_grad and id(tensor) not in held]
    if missed:
        raise ValueError(
            f"optimizer misses {', '.join(missed[:8])}{' …' if len(missed) > 8 else ''}, expected every parameter that "
            "requires a gradient: give all optimizers as a list, or freeze what is not trained"
        )
    return optimizers
