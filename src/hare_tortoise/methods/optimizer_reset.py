"""Optimizer reset: the weights go on, the optimizer starts anew."""

from __future__ import annotations

from .method import Batches, Loss, Method
from .support.optimizer_state import clear_state


class OptimizerReset(Method):
    """Forget the optimizer's state at each arrival of data: `m ← 0, v ← 0, t ← 0` for Adam.

    The next steps are bit for bit those of an optimizer newly built from the same class and groups. Learning
    rates and everything else that is set in the groups stay, and so do schedulers that hold the optimizer.

    Args:
        model: any network; its weights are not touched.
        optimizer: the optimizer(s) to reset; may be given later, by `attach`.
        seed: not drawn from; every method takes one.

    Raises:
        RuntimeError: at `new_data()`, if no optimizer was given.

    References:
        Asadi, Fakoor and Sabach, "Resetting the Optimizer in Deep RL", NeurIPS 2023, arXiv 2306.17833.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> method = OptimizerReset(model, optimizer)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> method.new_data()
        >>> len(optimizer.state)
        0
    """

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Forget what the optimizer has gathered."""
        if not self.optimizers:
            raise RuntimeError(
                "OptimizerReset has no optimizer to reset; give it one: OptimizerReset(model, optimizer) or "
                "method.attach(optimizer)"
            )
        for optimizer in self.optimizers:
            clear_state(optimizer)
