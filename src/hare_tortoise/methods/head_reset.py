"""Head reset: a fresh last layer, the features kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss
from .support.anchored import Anchored
from .support.deployed import refuse_while_lent
from .support.fresh import Fresh, check_drawable, check_fresh, draw_fresh
from .support.names import write
from .support.parts import weights_of_part
from .support.sharding import reshard
from .support.values import snapshot

To = Literal["fresh", "initial"]


class HeadReset(Anchored):
    """Reset the head at each arrival of data: `θ_head ← φ_head`, the rest stays as it is.

    `φ` is a fresh draw, or with `to="initial"` what the head was when the method was built (the official code of
    Hare & Tortoise). Parameters and buffers of the head are replaced, in place, frozen ones too; a weight that the
    head shares with another layer is replaced for both. The head of a chain's average is replaced by the same
    `φ_head`; outside a chain averages do not follow.

    Args:
        model: any network.
        optimizer: its optimizer(s); the state is not touched. Build a new one, or chain with `OptimizerReset`.
        head: name of the module to reset, e.g. `"head"` or `"classifier.2"`, without the prefixes of wrappers.
        to: "fresh", drawn anew each time, or "initial".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
            It is called for fresh heads only.
        seed: of the draws.

    Raises:
        ValueError: for a head that the model has not or that has no parameters, for another word in `to`; without
            `fresh`, for parameters of the head that no `reset_parameters` initialises, by name; at `new_data()`, if
            `fresh` builds another network.
        TypeError: `fresh` is not a function.
        RuntimeError: at `new_data()` with `to="initial"`, if layers of the head were removed or renamed meanwhile.

    References:
        Nikishin et al., "The Primacy Bias in Deep Reinforcement Learning", ICML 2022, arXiv 2205.07802.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> body, head = model[0].weight.detach().clone(), model[2].weight.detach().clone()
        >>> HeadReset(model, head="2").new_data()
        >>> bool((model[0].weight == body).all()), bool((model[2].weight == head).any())
        (True, False)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh", "head"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        head: str,
        to: To = "fresh",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        if to not in get_args(To):
            raise ValueError(f'to is {to!r}, expected "fresh" or "initial"')
        super().__init__(model, seed=seed)
        names = weights_of_part(model, head)
        if to == "fresh":
            check_drawable(model, fresh, names)
        else:
            check_fresh(fresh)
        self.head = head
        self.to = to
        self.fresh = fresh
        self.theta0 = snapshot(model, names) if to == "initial" else {}
        if optimizer is not None:
            self.attach(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Reset the head."""
        refuse_while_lent(self.model, "new_data()")
        reshard(self.model)
        present, phi = self._present(), self._values()

        def apply(weights: Mapping[str, Tensor]) -> None:
            for name in filter(weights.__contains__, phi):
                write(weights[name], phi[name])

        apply(present)
        self.changed(Change(apply))

    def _values(self) -> Mapping[str, Tensor]:
        if self.to == "initial":
            return self.theta0
        return draw_fresh(self.model, self.fresh, self.generator, only=weights_of_part(self.model, self.head))
