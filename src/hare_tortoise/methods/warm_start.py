"""Warm start: go on with the weights as they are."""

from __future__ import annotations

from .method import Method


class WarmStart(Method):
    """Continue training on the new data with the old weights: `θ ← θ`; nothing is done.

    The other reference: the loss of plasticity is what this one loses against `FromScratch`.

    Args:
        model: any network.
        optimizer: its optimizer(s); not touched.
        seed: not drawn from; every method takes one.

    References:
        Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> before = model.weight.detach().clone()
        >>> WarmStart(model).new_data()
        >>> bool((model.weight == before).all())
        True
    """
