"""Deep Fourier features: sine and cosine of every pre-activation."""

from __future__ import annotations

import torch
from torch import Tensor

from hare_tortoise.networks.activations import Activation, Network
from hare_tortoise.networks.resizing import replace_activations


class Fourier(Activation):
    """`[sin(x), cos(x)]` along `dim`, twice as wide as `x`.

    Where one of the two is flat the other is nearly linear, so that a unit never stops passing on gradients.

    Args:
        dim: the dimension of the channels: 1 for (batch, channels, …), −1 for (…, features).

    References:
        Lewandowski, Schuurmans and Machado, "Plastic Learning with Deep Fourier Features", ICLR 2025,
        arXiv 2410.20634.

    Example:
        >>> Fourier()(torch.zeros(1, 2))
        tensor([[0., 0., 1., 1.]])
    """

    widens = 2

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (…, channels, …) to (…, 2 · channels, …)."""
        return torch.cat((inputs.sin(), inputs.cos()), dim=self.dim)

    def extra_repr(self) -> str:
        """Show the dimension."""
        return f"dim={self.dim}"


def fourier(network: Network) -> Network:
    """Put `[sin(x), cos(x)]` in the place of every activation of a network, in place.

    The layer in front of each activation gives half as many channels: the widths that the following layers read
    stay, and the network gets smaller. In a residual network whose activations stand before the convolutions
    (pre-activation) the stream itself, and the norms on it, have half as many channels. (Plasticine doubles the
    layers behind instead; halves are what is said of the paper.) The layers in front are drawn anew by their
    `reset_parameters`, from torch's global generator: build the optimizer afterwards. An initialisation of the
    paper's own is not known to us, and was not verified against its text: each layer keeps its own.

    Activations are the rectifiers of torch.nn and their kin (ReLU, LeakyReLU, ELU, GELU, SiLU, …), not Tanh and
    Sigmoid. What cannot change is left as it is and named in a warning: functional activations (`F.relu`), those
    behind a residual sum without a projection (in resnet18 5 of 17), and layers of odd width.

    Args:
        network: any network that `torch.fx` can trace (no branching on values of tensors).

    Returns:
        The same network.

    Raises:
        ValueError: nothing in the network can change, or it cannot be traced.

    References:
        Lewandowski, Schuurmans and Machado, "Plastic Learning with Deep Fourier Features", ICLR 2025,
        arXiv 2410.20634.

    Example:
        >>> network = fourier(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
        >>> network
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=True)
          (1): Fourier(dim=-1)
          (2): Linear(in_features=4, out_features=2, bias=True)
        )
    """
    return replace_activations("fourier", network, Fourier, "halve")
