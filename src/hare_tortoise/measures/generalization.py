"""What continuing costs: the accuracy of a network trained from scratch minus that of the one that continued."""

from __future__ import annotations

import math


def generalization_gap(fresh: float, warm: float) -> float:
    """Test accuracy lost by continuing: `gap = fresh − warm`.

    Args:
        fresh: test accuracy of a network trained from scratch on all the data, finite, in any unit.
        warm: test accuracy of the network that was continued on the same data, finite, in the same unit.

    Returns:
        A float in that unit. Positive: from scratch generalises better, as in the warm-start experiments; 0 or
        negative: nothing was lost by continuing.

    Raises:
        ValueError: an accuracy is not finite.

    References:
        Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020, arXiv 1910.08475; Berariu et al.,
        "A Study on the Plasticity of Neural Networks", arXiv 2106.00042.

    Example:
        >>> generalization_gap(fresh=0.875, warm=0.75)
        0.125
    """
    for name, accuracy in (("fresh", fresh), ("warm", warm)):
        if not math.isfinite(accuracy):
            raise ValueError(f"{name} is {accuracy}, expected a finite test accuracy: evaluate it first")
    return fresh - warm
