"""Several methods on one model, as one method."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Loss, Method
from .support.deployed import refuse_while_lent
from .support.names import unwrap

Averages = Literal["follow", "keep"]


class Chain(Method):
    """Compose methods on one model: what one of them does, the next one finds.

    The chain alone is hooked: it takes over the optimizers of its members and calls them left to right. The
    penalties add: `penalty = Σ member.penalty`. The averages of a chain follow what other members do to the
    weights: after a new network they are copies of it and counts start at zero; after a partial change (Shrink
    & Perturb, a head) they get the same change with the same draw.

    Args:
        methods: the members, at least one, all on the same model; a chain among them is taken apart, and the member
            that it deploys stands for it.
        optimizer: the optimizer(s); None: those that the members were given, if any.
        deployed: the member whose network is deployed; needed where two or more have a network of their own
            (a slow tortoise to reset to, a quick average to ship). None: the only one that has, or the model.
        averages: "follow", or "keep": other members' changes leave the averages alone (as in the authors' code:
            the next reset then undoes the change).

    Raises:
        ValueError: no members, members on different models or with different optimizers, the same member twice
            or of another chain, `averages="keep"` of a chain among them only, or `deployed` missing or no member; a
            member that is older than the layers of the network (build `PlasticityInjection`, which wraps the head,
            before the others).
        RuntimeError: when a member is attached by itself.

    Example:
        >>> import torch
        >>> from hare_tortoise.methods.ema import EMA
        >>> from hare_tortoise.methods.hare_tortoise import HareTortoise
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> slow, quick = HareTortoise(model, reset_every=100), EMA(model, decay=0.9)
        >>> chain = Chain(slow, quick, optimizer=optimizer, deployed=quick)
        >>> optimizer.step()
        >>> slow.steps, quick.steps, chain.deployed is quick.tortoise
        (1, 1, True)
    """

    def __init__(
        self,
        *methods: Method,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        deployed: Method | None = None,
        averages: Averages = "follow",
    ) -> None:
        members: tuple[Method, ...] = tuple(
            member
            for method in methods
            for member in (method.members if isinstance(method, Chain) else (method,))
        )
        _check_members(members, methods)
        _check_current(members)
        if averages not in ("follow", "keep"):
            raise ValueError(f"averages is {averages!r}, expected 'follow' or 'keep'")
        self._kept: bool = averages == "keep"
        if not self._kept and any(isinstance(method, Chain) and method._kept for method in methods):
            raise ValueError(
                'averages is "follow", but a chain among the methods has "keep", which would be lost: give it to this '
                "one as well"
            )
        own = [_deploying(method) for method in methods if method.deploys]
        if deployed is None and len(own) > 1:
            raise ValueError(
                f"{_names(own)} each deploy a network of their own, expected deployed=: name the member"
            )
        if deployed is not None and not any(deployed is member for member in members):
            raise ValueError(
                f"deployed is a {type(deployed).__name__} that is no member: give one of the members"
            )
        super().__init__(members[0].model)
        self.members: tuple[Method, ...] = members
        self._deployed = deployed if deployed is not None else (own[0] if own else None)
        optimizers = _optimizers(members) if optimizer is None else optimizer
        for method in methods:
            method._unhook()
        for member in members:
            member._chain = weakref.ref(self)
            member.listeners = tuple(
                other for other in members if other is not member and not (self._kept and other.averages)
            )
        if optimizers:
            self.attach(optimizers)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the members must be given."""
        return frozenset().union(*(member.needs for member in self.members))

    def _take(self, optimizers: Sequence[Optimizer]) -> None:
        super()._take(optimizers)
        for member in self.members:
            member._take(optimizers)

    def _let_go(self) -> None:
        for member in self.members:
            member._let_go()

    def _check_network(self) -> None:
        for member in self.members:
            member._check_network()

    @property
    def adds_penalty(self) -> bool:
        """Whether any member has something to add to the loss."""
        return any(member.adds_penalty for member in self.members)

    def penalty(self, inputs: Tensor, outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """The sum of the members' penalties, a scalar."""
        total = outputs.new_zeros(())
        for member in self.members:
            if member.adds_penalty:
                total = total + member.penalty(inputs, outputs, targets)
        return total

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Let each member act after an optimizer step, left to right."""
        refuse_while_lent(self.model, "a step")
        for member in self.members:
            member.after_step(skipped)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Let each member act because the data has changed, left to right."""
        refuse_while_lent(self.model, "new_data()")
        for member in self.members:
            member.new_data(batches, loss=loss, steps=steps)

    @property
    def deployed(self) -> nn.Module:
        """The network of the member that is deployed, or the model."""
        return self.model if self._deployed is None else self._deployed.deployed

    @property
    def deploys(self) -> bool:
        """Whether a member deploys a network of its own."""
        return self._deployed is not None and self._deployed.deploys

    def state_dict(self) -> dict[str, Any]:
        """The states of the members, by position and class."""
        return {key: member.state_dict() for key, member in self._keyed()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: it is of a chain with other members; the message names them. Or a member refuses its
                part; nothing is taken up then.
        """
        self.check_state(state)
        for key, member in self._keyed():
            member.load_state_dict(state[key])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of a chain of the same members, and each takes its part."""
        keyed = self._keyed()
        # As a set: written as JSON with sorted keys, the tenth member comes after the first.
        if set(state) != {key for key, _ in keyed}:
            raise ValueError(
                f"state is of a chain of {', '.join(map(str, state)) or 'nothing'}, expected "
                f"{', '.join(key for key, _ in keyed)}: build the chain of the same methods in the same order"
            )
        for key, member in keyed:
            member.check_state(state[key])

    def _keyed(self) -> list[tuple[str, Method]]:
        return [
            (f"{position}.{type(member).__name__}", member) for position, member in enumerate(self.members)
        ]


def _names(methods: Sequence[Method]) -> str:
    return ", ".join(type(method).__name__ for method in methods)


def _check_members(members: Sequence[Method], methods: Sequence[Method]) -> None:
    wrong = [type(member).__name__ for member in members if not isinstance(member, Method)]
    if wrong:
        raise TypeError(
            f"methods hold {', '.join(wrong)}, expected methods: Chain(HareTortoise(...), L2Init(...))"
        )
    if not members:
        raise ValueError("methods is empty, expected at least one: Chain(HareTortoise(...), L2Init(...))")
    if len(set(map(id, members))) < len(members):
        raise ValueError(f"methods ({_names(members)}) name a member twice: build one for each place")
    taken_apart = {id(member) for method in methods if isinstance(method, Chain) for member in method.members}
    held = [
        member
        for member in members
        if id(member) not in taken_apart and member._chain is not None and member._chain() is not None
    ]
    if held:
        raise ValueError(f"{_names(held)} belong to another chain already: build new ones")
    if len({id(unwrap(member.model)) for member in members}) > 1:
        raise ValueError(
            f"methods ({_names(members)}) are on different models, expected one: build them on the same"
        )


def _deploying(method: Method) -> Method:
    return method._deployed if isinstance(method, Chain) and method._deployed is not None else method


def _check_current(members: Sequence[Method]) -> None:
    for member in members:
        try:
            member._check_network()
        except RuntimeError as error:
            raise ValueError(
                f"{type(member).__name__} is older than layers of the network: build, and write, what changes them "
                f"(PlasticityInjection wraps the head) before it. {error}"
            ) from error


def _optimizers(members: Sequence[Method]) -> tuple[Optimizer, ...]:
    given = {tuple(map(id, member.optimizers)): member.optimizers for member in members if member.optimizers}
    if len(given) > 1:
        raise ValueError(
            "the members were given different optimizers, expected the same: give optimizer= to the chain"
        )
    return next(iter(given.values()), ())
