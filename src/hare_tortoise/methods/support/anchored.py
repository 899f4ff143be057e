"""What methods share that remember the initial weights: these are a part of their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hare_tortoise.methods.method import Method

from .names import named_weights
from .sharding import reshard
from .values import check_snapshot, loaded_snapshot


class Anchored(Method):
    """A method with initial weights `theta0`, by canonical name, which it saves and takes up again."""

    theta0: dict[str, Tensor]

    def _present(self) -> dict[str, Tensor]:
        """Return the weights of the model by canonical name; the model must be resharded.

        Raises:
            RuntimeError: some of those whose initial values are remembered are gone.
        """
        weights = named_weights(self.model)
        if gone := [name for name in self.theta0 if name not in weights]:
            raise RuntimeError(
                f"the model has no {', '.join(gone[:8])}{' …' if len(gone) > 8 else ''} any more, of which "
                f"{type(self).__name__} has the initial values: build it after what changes the layers of the network "
                "(PlasticityInjection wraps the head)"
            )
        return weights

    def _check_network(self) -> None:
        reshard(self.model)
        self._present()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; `θ0` is a part of it."""
        return super().state_dict() | {"theta0": dict(self.theta0)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state, `θ0` included."""
        super().load_state_dict(state)
        self.theta0 = loaded_snapshot(self.theta0, state["theta0"])

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless a saved state is of this method and model."""
        super().check_state(state)
        check_snapshot(self.theta0, state.get("theta0", {}))
