"""Plasticity injection: a fresh head that learns what is to be added to the frozen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .support.deployed import refuse_while_lent
from .support.fresh import Fresh, check_fresh, draw_fresh
from .support.injected import Injected, wrap_head
from .support.names import named_modules, named_weights, unwrap, write
from .support.optimizer_state import forget
from .support.parts import find_part, weights_of_part
from .support.sharding import reshard
from .support.values import whole


class PlasticityInjection(Method):
    """Freeze the head and train a fresh one on top of it: `f(x) = h(x) + h1(x) − h2(x)`.

    At the first `new_data()`, and only then, `h` becomes a frozen copy of the head, `h1` the head that learns, with
    fresh weights, and `h2` a frozen copy of these. The outputs are the same as before; there are as many parameters
    to train as before. A head that is one linear layer gains nothing: the sum is again one linear layer with the
    gradients that it had, and only weight decay and the optimizer's state differ. Name a part with layers in it that
    bend (the authors: everything behind the convolutions).

    The module `head` is wrapped when the method is built, and its weights have other names from then on:
    `head.weight` is `head.trained.weight` (h1, the parameters that your optimizer holds), with the buffers
    `head.old.weight` (h), `head.start.weight` (h2), which are zero before the injection, and `head.injected`. In
    Python `model.head` is the wrapper, and the layer with its `weight` and `in_features` is `model.head.trained`. So
    build the method before you load a checkpoint into the model that was saved with it, and before the other
    methods of a chain, which refuses those that hold averages or initial values under the old names. Functions
    `fresh` of other methods go on to build the network as it was before; it is wrapped like the model.

    The average of a chain does the same with its own head and the same draw: its outputs do not change either.
    A reset of the hare puts also the frozen heads onto their averages. Outside a chain averages do not follow.

    Args:
        model: any network. The head must answer with one tensor; before the injection nothing is changed if its
            answer is zero for zero weights (its last layer is linear).
        optimizer: its optimizer(s); they go on with the same parameters, and forget what they gathered about those
            of the head at the injection.
        head: name of the module, e.g. `"head"` or `"classifier.2"`, without the prefixes of wrappers.
        fresh: builds a new network with the names and shapes that the model had before; None: `reset_parameters` of
            the modules of the head.
        seed: of the draw.

    Raises:
        ValueError: for a head that the model has not or that has no parameters, that is used in two places, shares
            a weight with another layer, or drops out (its three parts would drop different units); without `fresh`,
            for parameters of the head that no `reset_parameters` initialises; at `new_data()`, if `fresh` builds
            another network.
        TypeError: `fresh` is not a function.

    References:
        Nikishin et al., "Deep Reinforcement Learning with Plasticity Injection", NeurIPS 2023, arXiv 2305.15555.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> method = PlasticityInjection(model, head="2")
        >>> before = model(torch.ones(1, 2))
        >>> method.new_data()
        >>> torch.equal(model(torch.ones(1, 2)), before), bool(model[2].injected)
        (True, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh", "head"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        head: str,
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, seed=seed)
        weights_of_part(model, head)
        check_fresh(fresh)
        module = find_part(model, head)
        plain = unwrap(module.trained) if isinstance(module, Injected) else module
        if fresh is None:
            draw_fresh(plain, None, torch.Generator())
        if not isinstance(module, Injected):
            _check_head(model, module, head)
        self.head = head
        self.fresh = fresh
        if optimizer is not None:
            self.attach(optimizer)
        # Last, so that a refused method leaves the model as it was.
        self.injected = module if isinstance(module, Injected) else wrap_head(model, head)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Inject, the first time; afterwards do nothing."""
        refuse_while_lent(self.model, "new_data()")
        reshard(self.model)
        if bool(self.injected.injected):
            return
        phi = self._draw()

        def apply(weights: Mapping[str, Tensor]) -> None:
            for name in phi:
                trained, old, start = (
                    weights[f"{self.head}.{part}.{name}"] for part in ("trained", "old", "start")
                )
                write(old, whole(trained))
                write(trained, phi[name])
                write(start, phi[name])
            weights[f"{self.head}.injected"].fill_(True)

        apply(named_weights(self.model))
        for optimizer in self.optimizers:
            forget(optimizer, self.injected.trained.parameters())
        self.changed(Change(apply))

    def _draw(self) -> dict[str, Tensor]:
        """Fresh weights of the head, by their names within it."""
        fresh = self.fresh
        return draw_fresh(
            unwrap(self.injected.trained),
            None if fresh is None else lambda: self._head_of(fresh()),
            self.generator,
        )

    def _head_of(self, network: nn.Module) -> nn.Module:
        try:
            # What is no module is refused, with its own message, by the one who asks.
            return find_part(network, self.head) if isinstance(network, nn.Module) else network
        except ValueError as error:
            raise ValueError(
                f"the new network has no module {self.head!r}, which the model has; "
                "fresh= must build a network with the model's names and shapes"
            ) from error


def _check_head(model: nn.Module, head: nn.Module, path: str) -> None:
    """Raise a ValueError for a head that cannot be wrapped, or whose answer would change."""
    own = {id(parameter) for parameter in head.parameters()}
    inside = {id(module) for module in head.modules()}
    places = [
        name for name, module in named_modules(model) for child in module.children() if unwrap(child) is head
    ]
    others = [
        name
        for name, module in named_modules(model)
        if id(module) not in inside and any(id(p) in own for p in module._parameters.values())
    ]
    random = [name for name, module in named_modules(head) if isinstance(module, _DropoutNd) and module.p > 0]
    if len(places) > 1:
        raise ValueError(f"head is {path!r}, a module in {len(places)} places of the model, expected one")
    if others:
        raise ValueError(
            f"head is {path!r}, which shares a weight with {', '.join(others)}, expected a head with weights of its own"
        )
    if random:
        raise ValueError(
            f"head is {path!r}, which drops out ({', '.join(random)}), so that its parts would not cancel: name the "
            "layer behind the dropout"
        )
