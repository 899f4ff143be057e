"""Heads that value actions: dueling or plain, a number or a distribution each, noisy or not; and how to read them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hare_tortoise.networks.layers import check_count
from hare_tortoise.rl.noisy import NoisyLinear as NoisyLinear


class QHead(nn.Module):
    """Values of actions from features.

    Plain: a hidden layer with ReLU, then a linear one, `advantage`, which gives the values themselves. Dueling:

        Q(s, a) = V(s) + A(s, a) − mean over the legal a' of A(s, a')

    from two streams, each with a hidden layer of its own; with `shared_hidden=True` both read the same one. With
    `atoms`, each of these is that many logits of a categorical distribution, and the formula holds for each atom.

    Args:
        features: number of inputs, at least 1.
        actions: number of actions, at least 1; of several games, the largest.
        hidden: width of the hidden layers, at least 1.
        dueling: whether there is a stream for the state and one for the actions.
        atoms: number of atoms of the distribution of each action, at least 2 (C51: 51); None: one number each.
        noisy: whether the layers are `NoisyLinear`.
        shared_hidden: whether both streams of a dueling head read the same hidden layer.
        layer_norm: whether a LayerNorm stands between each hidden layer and its ReLU.

    Raises:
        ValueError: if a size is not an integer of at least 1 (`atoms`: of at least 2), or `shared_hidden` without
            `dueling`.

    References:
        Wang et al., "Dueling Network Architectures for Deep Reinforcement Learning", ICML 2016, arXiv 1511.06581,
        equation 9; Bellemare et al., "A Distributional Perspective on Reinforcement Learning", ICML 2017, arXiv
        1707.06887; together: Hessel et al., "Rainbow", AAAI 2018, arXiv 1710.02298.

    Example:
        >>> head = QHead(3136, 6, atoms=51)
        >>> head(torch.zeros(2, 3136)).shape
        torch.Size([2, 6, 51])
        >>> values(head(torch.zeros(2, 3136)), atom_values()).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        features: int,
        actions: int,
        *,
        hidden: int = 512,
        dueling: bool = True,
        atoms: int | None = None,
        noisy: bool = False,
        shared_hidden: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        check_count("features", features)
        check_count("hidden", hidden)
        self.actions = check_count("actions", actions)
        self.atoms = None if atoms is None else check_count("atoms", atoms)
        if self.atoms == 1:
            raise ValueError("atoms is 1; a distribution must have at least 2, C51 has 51. None: one number")
        if shared_hidden and not dueling:
            raise ValueError(
                "shared_hidden is True without dueling, where there is one stream and nothing to share: give "
                "dueling=True, or leave it out"
            )
        linear: Callable[[int, int], nn.Module] = NoisyLinear if noisy else nn.Linear

        def layer() -> nn.Sequential:
            parts = [nn.LayerNorm(hidden)] if layer_norm else []
            return nn.Sequential(linear(features, hidden), *parts, nn.ReLU())

        def stream(rows: int) -> nn.Sequential:
            own = [] if shared_hidden else [layer()]
            return nn.Sequential(*own, linear(hidden, rows * (self.atoms or 1)))

        self.shared = layer() if shared_hidden else nn.Identity()
        self.value = stream(1) if dueling else None
        self.advantage = stream(actions)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (…, features) to values (…, actions) or to logits (…, actions, atoms), in float32 at least.

        The streams are put together in float32 also under autocast: what distinguishes the actions is small beside the
        value of the state, and half precision would round it away.

        Args:
            features: floating.
            mask: bool, True where an action is legal, one at least, broadcast against (…, actions); None: all are. It
                tells a dueling head what to take the mean over. What comes out at other actions means nothing: `values`
                and `greedy` take the mask too.

        Raises:
            ValueError: if the mask is not bool.
        """
        features = self.shared(features)
        value = None if self.value is None else self.value(features)
        return self.join(value, self.advantage(features), mask)

    def join(self, value: Tensor | None, advantage: Tensor, mask: Tensor | None = None) -> Tensor:
        """Put together what the last layers of the streams gave, (…, 1 or actions, times atoms), as `forward` says."""
        advantages = self._for_each(self.actions, advantage)
        if value is None:
            return advantages
        return self._for_each(1, value) + advantages - self._mean(advantages, mask)

    def resample(self, generator: torch.Generator | None = None) -> None:
        """Draw the noise of all noisy layers anew, in their order; without any, nothing.

        Args:
            generator: to draw from; None: torch's global generator.
        """
        for module in self.modules():
            if isinstance(module, NoisyLinear):
                module.resample(generator)

    def _for_each(self, rows: int, outputs: Tensor) -> Tensor:
        outputs = wide(outputs)
        return outputs if self.atoms is None else torch.unflatten(outputs, -1, (rows, self.atoms))

    def _mean(self, advantage: Tensor, mask: Tensor | None) -> Tensor:
        """The mean over the legal actions, whose dimension is kept."""
        dim = -1 if self.atoms is None else -2
        if mask is None:
            return advantage.mean(dim, keepdim=True)
        legal = _legal(mask) if self.atoms is None else _legal(mask).unsqueeze(-1)
        return advantage.masked_fill(~legal, 0).sum(dim, keepdim=True) / legal.sum(dim, keepdim=True)


def atom_values(
    atoms: int = 51, low: float = -10.0, high: float = 10.0, *, device: torch.device | str | None = None
) -> Tensor:
    """The returns that the atoms of a distribution stand for, evenly spaced from `low` to `high`.

    Args:
        atoms: how many, at least 2.
        low: of the first; finite.
        high: of the last; finite and above `low`.
        device: of the tensor; None: torch's default.

    Returns:
        float32, (atoms,).

    Raises:
        ValueError: if there are fewer atoms, or the ends are not finite or not in order.

    Example:
        >>> atom_values(5, -1.0, 1.0).tolist()
        [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    if isinstance(atoms, bool) or not isinstance(atoms, int) or atoms < 2:
        raise ValueError(f"atoms is {atoms!r}; it must be an integer of at least 2, C51 has 51")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"low is {low!r} and high is {high!r}; they must be finite, low below high, as -10 and 10 are"
        )
    last = atoms - 1
    places = torch.arange(atoms, dtype=torch.float64, device=device)
    # Between ends of opposite sign the one in the middle is 0 itself.
    return ((low * (last - places) + high * places) / last).float()


def values(outputs: Tensor, support: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """The value of each action: what a head gives, or the expectation of its distribution.

        values = Σ_i softmax(outputs)_i · support_i

    Args:
        outputs: (…, actions) without a support, logits (…, actions, atoms) with one.
        support: (atoms,), what `atom_values` gives; None: the outputs are the values.
        mask: bool, True where an action is legal, broadcast against (…, actions): −∞ elsewhere. None: all are.

    Returns:
        (…, actions), in float32 at least.

    Raises:
        ValueError: if there are not as many atoms in both, or the mask is not bool.

    Example:
        >>> values(torch.tensor([[0.0, 0.0], [0.0, 100.0]]), torch.tensor([-1.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    found = wide(outputs)
    if support is not None:
        check_atoms(outputs, support)
        # No matrix product: autocast would round the probabilities to half precision.
        found = (found.softmax(-1) * support).sum(-1)
    return found if mask is None else found.masked_fill(~_legal(mask), -torch.inf)


def greedy(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The legal action of the highest value, the first of several.

    Args:
        values: (…, actions).
        mask: bool, True where an action is legal, one at least, broadcast against `values`; None: all are.

    Returns:
        int64, (…).

    Raises:
        ValueError: if the mask is not bool.

    Example:
        >>> greedy(torch.tensor([[1.0, 3.0, 3.0], [9.0, 0.0, 2.0]]), torch.tensor([False, True, True])).tolist()
        [1, 2]
    """
    if mask is not None:
        values = values.masked_fill(~_legal(mask), -torch.inf)
    return values.argmax(-1)


def wide(outputs: Tensor) -> Tensor:
    """A tensor itself, or in float32 where it is of half precision.

    Example:
        >>> wide(torch.zeros(1, dtype=torch.bfloat16)).dtype, wide(torch.zeros(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    # What torch.fx puts in the place of a tensor is none, and has no dtype.
    half = isinstance(outputs, Tensor) and outputs.dtype in (torch.float16, torch.bfloat16)
    return outputs.float() if half else outputs


def check_atoms(outputs: Tensor, support: Tensor) -> None:
    """Raise a ValueError unless the last dimension of `outputs` is that of the support."""
    if support.ndim != 1 or outputs.ndim < 2 or outputs.shape[-1] != len(support):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)} and support {tuple(support.shape)}; expected logits "
            "(…, actions, atoms) and a support (atoms,): build head and support with as many atoms"
        )


def _legal(mask: Tensor) -> Tensor:
    # What torch.fx puts in the place of a mask is no tensor.
    if isinstance(mask, Tensor) and mask.dtype is not torch.bool:
        raise ValueError(
            f"mask is {mask.dtype}, expected bool, True where an action is legal: give mask.bool()"
        )
    return mask
