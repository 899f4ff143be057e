"""Last-layers reset: fresh last layers, now and then, on features that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .support.call_order import last_called
from .support.deployed import refuse_while_lent
from .support.every import Every, OptimizerState, check_optimizer_state, refuse_ignored
from .support.forward_watch import FirstForward
from .support.fresh import Fresh, check_drawable, check_fresh, draw_fresh
from .support.names import named_weights, write
from .support.optimizer_state import forget
from .support.parts import weights_of_part
from .support.sharding import reshard


class LastLayersReset(Method):
    """Reset the last layers, at each arrival of data or every so many steps: `θ_last ← φ_last`, `φ` a new draw.

    Parameters and buffers of the layers are replaced, in place, frozen ones too, the rest stays; a weight that they
    share with another layer is replaced for both. The average of a chain gets the same layers; outside a chain
    averages do not follow (a target network must be reset too: make it the tortoise of a chain).

    Which layers are last is not guessed from the order in which the network registers them: name them, or give a
    number, and the order in which they are called is looked up by running the network once more, in eval mode, at
    its first forward. Counted are then the modules that hold a weight of two dimensions or more; norms that are
    called among or after them are reset too.

    Args:
        model: any network.
        optimizer: its optimizer(s).
        layers: how many of the last layers, at least 1; or names of modules, e.g. `("body.4", "head")`.
        every: counted optimizer steps from reset to reset, at least 1; `new_data()` then does nothing. None: at
            `new_data()`. The authors: 20,000 updates for SPR on Atari 100k, head only.
        optimizer_state: of the attached optimizers, if any, what they gathered about these layers: "reset", as if
            the parameters had been added just now, or "keep".
        fresh: builds a new network with the same names and shapes; None: `reset_parameters` of the modules.
        seed: of the draws.

    Raises:
        ValueError: a number below 1, or no name; a name of no module, or of one without parameters; `every` below 1;
            another word for `optimizer_state`; "reset" and `every` without an optimizer, at the first step; without
            `fresh`, for parameters that no `reset_parameters` initialises. At the first forward, if there are fewer
            layers, or modules with parameters are not called. At a reset, if `fresh` builds another network.
        RuntimeError: a reset before any forward, where `layers` is a number.
        TypeError: `fresh` is not a function.

    References:
        Nikishin et al., "The Primacy Bias in Deep Reinforcement Learning", ICML 2022, arXiv 2205.07802. Zhou et al.,
        "Fortuitous Forgetting in Connectionist Networks", ICLR 2022, arXiv 2202.00155 (later-layer forgetting).

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> body, head = model[0].weight.detach().clone(), model[2].weight.detach().clone()
        >>> LastLayersReset(model, layers=("2",)).new_data()
        >>> bool((model[0].weight == body).all()), bool((model[2].weight == head).any())
        (True, False)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fresh"})
    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"every": "interval"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        layers: int | str | Sequence[str] = 2,
        every: int | None = None,
        optimizer_state: OptimizerState = "reset",
        fresh: Fresh | None = None,
        seed: int = 0,
    ) -> None:
        check_optimizer_state(optimizer_state)
        self._every = None if every is None else Every(every)
        super().__init__(model, seed=seed)
        check_fresh(fresh)
        self.optimizer_state: OptimizerState = optimizer_state
        self.fresh = fresh
        self.layers: tuple[str, ...] = ()
        if not isinstance(layers, int):
            self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
            check_drawable(model, fresh, self._names())
        elif isinstance(layers, bool) or layers < 1:
            raise ValueError(f"layers is {layers}, expected a number of at least 1, or names of modules")
        self._count = layers if isinstance(layers, int) else 0
        self._first: FirstForward | None = None
        self._look_out()
        if optimizer is not None:
            self.attach(optimizer)

    def _look_out(self) -> None:
        """Wait for the first forward, where the order of calls is not known yet."""
        if self._first is None and self._count and not self.layers:
            self._first = FirstForward(self.model, self._look)

    def _look(self, inputs: Any, named: Any) -> None:
        # A saved state may have told them.
        if not self.layers:
            self.layers = last_called(self.model, self._count, inputs, named)
            check_drawable(self.model, self.fresh, self._names())

    def _let_go(self) -> None:
        if self._first is not None:
            self._first.remove()
            self._first = None

    def after_step(self, skipped: Tensor | bool | None = None) -> None:
        """Count the step, and reset the layers if it is time."""
        refuse_while_lent(self.model, "a step")
        if self._every is not None:
            refuse_ignored(self.optimizer_state, self.optimizers)
            if self._every.due(skipped):
                self._reset()

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Reset the layers; where `every` is given, do nothing."""
        refuse_while_lent(self.model, "new_data()")
        if self._every is None:
            self._reset()

    def _reset(self) -> None:
        if not self.layers:
            raise RuntimeError(
                "the order in which the model calls its layers is not known before its first forward: train first, or "
                'name the layers, e.g. layers=("head",)'
            )
        reshard(self.model)
        phi = draw_fresh(self.model, self.fresh, self.generator, only=self._names())

        def apply(weights: Mapping[str, Tensor]) -> None:
            for name in filter(weights.__contains__, phi):
                write(weights[name], phi[name])

        weights = named_weights(self.model)
        apply(weights)
        if self.optimizer_state == "reset":
            for optimizer in self.optimizers:
                forget(optimizer, [weights[name] for name in phi])
        self.changed(Change(apply))

    def _names(self) -> list[str]:
        """Canonical names of the weights of the layers, each once."""
        if not self.layers:
            raise ValueError('layers is empty, expected names of modules, e.g. layers=("head",)')
        found = [name for layer in self.layers for name in weights_of_part(self.model, layer, "layers")]
        return list(dict.fromkeys(found))

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the layers, and with `every` the count of steps."""
        steps = {} if self._every is None else {"steps": self._every.steps}
        return super().state_dict() | {"layers": list(self.layers)} | steps

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self.layers = tuple(state["layers"])
        if self._every is not None:
            self._every.restart(int(state["steps"]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        missing = {"layers"} | ({"steps"} if self._every is not None else set())
        if missing - state.keys():
            raise ValueError(
                f"state lacks {', '.join(sorted(missing - state.keys()))}: give what LastLayersReset.state_dict() gave"
            )
        for layer in state["layers"]:
            weights_of_part(self.model, layer, "layers of the state")
