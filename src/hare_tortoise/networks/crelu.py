"""CReLU: both halves of every pre-activation."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from hare_tortoise.networks.activations import Activation, Network
from hare_tortoise.networks.resizing import Width, replace_activations


class CReLU(Activation):
    """Concatenated rectifiers: `[relu(x), relu(−x)]` along `dim`, twice as wide as `x`.

    No pre-activation is lost: where one half is zero the other is not.

    Args:
        dim: the dimension of the channels: 1 for (batch, channels, …), −1 for (…, features).

    References:
        Shang et al., "Understanding and Improving Convolutional Neural Networks via Concatenated Rectified
        Linear Units", ICML 2016, arXiv 1603.05201.

    Example:
        >>> CReLU()(torch.tensor([[2.0, -3.0]]))
        tensor([[2., 0., 0., 3.]])
    """

    widens = 2

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (…, channels, …) to (…, 2 · channels, …)."""
        return torch.cat((inputs.relu(), inputs.neg().relu()), dim=self.dim)

    def extra_repr(self) -> str:
        """Show the dimension."""
        return f"dim={self.dim}"


def crelu(network: Network, *, width: Width = "double") -> Network:
    """Put `[relu(x), relu(−x)]` in the place of every activation of a network, in place.

    With `width="double"` the layers that read the activation become twice as wide at their inputs, as in the
    code of PLASTIC and Plasticine; with "halve" the layer in front gives half as many channels, so that the shapes
    behind stay and the network gets smaller. (Which of the two Abbas et al. compare was not verified against
    the paper's text.) Layers whose shape changes are drawn anew by their `reset_parameters`, from torch's global
    generator: build the optimizer afterwards.

    Activations are the rectifiers of torch.nn and their kin (ReLU, LeakyReLU, ELU, GELU, SiLU, …), not Tanh and
    Sigmoid, which squash outputs and gates. What cannot change is left as it is and named in a warning: a
    functional activation (`F.relu`), and one behind a residual sum without a projection, where channels before
    and after the activation are added (in resnet18 5 of 17).

    Args:
        network: any network that `torch.fx` can trace (no branching on values of tensors).
        width: "double" or "halve".

    Returns:
        The same network.

    Raises:
        ValueError: nothing in the network can change, or it cannot be traced; another `width`.

    References:
        Abbas et al., "Loss of Plasticity in Continual Deep Reinforcement Learning", CoLLAs 2023, arXiv 2303.07507.

    Example:
        >>> network = crelu(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
        >>> network
        Sequential(
          (0): Linear(in_features=3, out_features=4, bias=True)
          (1): CReLU(dim=-1)
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    if width not in get_args(Width):
        raise ValueError(f'width is {width!r}, expected "double" or "halve"')
    return replace_activations("crelu", network, CReLU, width)
