"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from hare_tortoise.networks.layers import check_count, check_counts
from hare_tortoise.networks.transforms import ActivationName, with_options


class MLP(nn.Module):
    """Flatten, `body` (Linear, perhaps BatchNorm, ReLU, per hidden layer), `head` (Linear)."""

    def __init__(self, features: int, hidden: Sequence[int], outputs: int, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers.append(nn.Linear(features, width))
            if batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU())
            features = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, *input_shape) to (batch, outputs)."""
        outputs: Tensor = self.head(self.body(inputs))
        return outputs


def mlp(
    input_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (256, 256),
    batch_norm: bool = False,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> MLP:
    """Multilayer perceptron with ReLU, and BatchNorm if wanted.

    Per hidden layer `x ← relu(norm(W·x + b))`, then a linear `head`. The paper's network for MNIST is
    `hidden=(512, 256), batch_norm=True` (Lee et al., ICML 2024).

    Args:
        input_shape: shape of one input, of any number of dimensions; it is flattened.
        outputs: number of outputs, at least 1.
        hidden: width of each hidden layer, each at least 1; empty for a linear model.
        batch_norm: whether BatchNorm stands between each hidden Linear and its ReLU. It needs batches of at
            least two in training.
        activation: "crelu", "fourier" or "aid" in the place of every ReLU, with their default settings (the transforms
            of the same names take others); None: ReLU.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, *input_shape) to (batch, outputs).

    Raises:
        ValueError: if a size is not an integer of at least 1, `batch_norm`, `activation` or
            `layer_norm` would change no layer, or there is no such activation.

    Example:
        >>> import torch
        >>> network = mlp((1, 28, 28), 10, hidden=(512, 256), batch_norm=True)
        >>> network(torch.zeros(4, 1, 28, 28)).shape
        torch.Size([4, 10])
    """
    shape = check_counts("input_shape", input_shape)
    if not shape:
        raise ValueError("input_shape is (); it must have at least one dimension, such as (64,)")
    widths = check_counts("hidden", hidden)
    if batch_norm and not widths:
        raise ValueError("batch_norm is True and hidden is (): it norms nothing. Give hidden layers")
    network = MLP(prod(shape), widths, check_count("outputs", outputs), batch_norm)
    return with_options(network, activation, layer_norm)
