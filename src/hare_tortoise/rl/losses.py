"""Losses of values and of distributions of returns, to n-step targets of a target network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hare_tortoise.rl.heads import check_atoms, wide


@dataclass(frozen=True)
class Loss:
    """The loss of a batch, or of a batch of each of G agents.

    Args:
        rows: (…, B), of each row, without its weight.
        mean: (…), over the rows of a batch, each with its weight; with an axis of agents their sum has the gradient
            that each would have alone.
        priorities: (…, B), what the next draw of a row is to go by, detached: `|target − value|`, or the cross-entropy.
            Exponent and offset are the sampler's.
    """

    rows: Tensor
    mean: Tensor
    priorities: Tensor


def scalar_loss(
    predicted: Tensor,
    taken: Tensor,
    returns: Tensor,
    discounts: Tensor,
    valued: Tensor,
    chosen: Tensor,
    *,
    weights: Tensor | None = None,
) -> Loss:
    """Huber loss, with delta 1, of the value of the action taken to its n-step target.

        target = returns + discounts · valued[chosen]
        rows = ½ d² where |d| ≤ 1, else |d| − ½;  d = target − predicted[taken]

    It is double Q-learning where `chosen` is the greedy action of the online network and `valued` is the target
    network's. Nothing flows back through the target.

    Args:
        predicted: (…, B, actions), the values of the online network where the step began.
        taken: (…, B) int64, the actions.
        returns: (…, B), the discounted rewards of n steps, or of fewer, to the end.
        discounts: (…, B), of the value behind them, in [0, 1]; 0: there is none, the episode is over.
        valued: (…, B, actions), the values of the target network behind these steps.
        chosen: (…, B) int64, the action there whose value counts.
        weights: (…, B), of prioritised sampling; None: ones.

    Returns:
        In float32 at least. The priorities are `|d|` (Schaul et al., 2016).

    Raises:
        ValueError: if the shapes do not fit together.

    References:
        van Hasselt et al., "Deep Reinforcement Learning with Double Q-learning", AAAI 2016, arXiv 1509.06461; Schaul et
        al., "Prioritized Experience Replay", ICLR 2016, arXiv 1511.05952.

    Example:
        >>> row = torch.zeros(1, dtype=torch.int64)
        >>> step = (torch.tensor([1.0]), torch.tensor([0.5]))
        >>> scalar_loss(torch.tensor([[1.0, 0.0]]), row, *step, torch.tensor([[4.0, 0.0]]), row).rows
        tensor([1.5000])
    """
    predicted = wide(predicted)
    target = scalar_target(returns, discounts, valued, chosen).to(predicted.dtype)
    _check(predicted.shape[:-1], taken=taken, returns=returns, weights=weights)
    value = _of_action(predicted, taken)
    rows = functional.huber_loss(value, target, reduction="none")
    return _loss(rows, (target - value.detach()).abs(), weights)


def distribution_loss(
    predicted: Tensor,
    taken: Tensor,
    returns: Tensor,
    discounts: Tensor,
    valued: Tensor,
    chosen: Tensor,
    support: Tensor,
    *,
    weights: Tensor | None = None,
) -> Loss:
    """Cross-entropy of the distribution of the action taken to its projected n-step target (C51).

        rows = −Σ_i target_i · log softmax(predicted[taken])_i

    with the target of `distribution_target`. Double Q-learning and the axes are as in `scalar_loss`.

    Args:
        predicted: (…, B, actions, atoms), the logits of the online network where the step began.
        taken: (…, B) int64, the actions.
        returns: (…, B), the discounted rewards of n steps, or of fewer, to the end.
        discounts: (…, B), of the value behind them, in [0, 1]; 0: there is none, the episode is over.
        valued: (…, B, actions, atoms), the logits of the target network behind these steps.
        chosen: (…, B) int64, the action there whose distribution counts.
        support: (atoms,), the returns of the atoms, ascending and evenly spaced: `atom_values()`.
        weights: (…, B), of prioritised sampling; None: ones.

    Returns:
        In float32 at least. The priorities are the rows: Rainbow's are the divergence, which is less by the entropy of
        the target; the cross-entropy is what its implementations take (Dopamine its root).

    Raises:
        ValueError: if the shapes do not fit together.

    References:
        Bellemare et al., "A Distributional Perspective on Reinforcement Learning", ICML 2017, arXiv 1707.06887,
        algorithm 1; Hessel et al., "Rainbow", AAAI 2018, arXiv 1710.02298.

    Example:
        >>> row, logits = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 3, 51)
        >>> step = (torch.tensor([1.0]), torch.tensor([0.0]))
        >>> distribution_loss(logits, row, *step, logits, row, torch.linspace(-10, 10, 51)).rows
        tensor([3.9318])
    """
    check_atoms(predicted, support)
    predicted = wide(predicted)
    target = distribution_target(returns, discounts, valued, chosen, support)
    _check(predicted.shape[:-2], taken=taken, returns=returns, weights=weights)
    logarithms = _of_action(predicted, taken).log_softmax(-1)
    rows = -(target * logarithms).sum(-1)
    return _loss(rows, rows.detach(), weights)


@torch.no_grad()
def scalar_target(returns: Tensor, discounts: Tensor, valued: Tensor, chosen: Tensor) -> Tensor:
    """`returns + discounts · valued[chosen]`, as in `scalar_loss`.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> chosen = torch.tensor([1, 1])
        >>> valued = torch.tensor([[5.0, 4.0], [5.0, 4.0]])
        >>> scalar_target(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), valued, chosen).tolist()
        [3.0, 1.0]
    """
    _check(valued.shape[:-1], returns=returns, discounts=discounts, chosen=chosen)
    return returns + discounts * _of_action(wide(valued), chosen)


@torch.no_grad()
def distribution_target(
    returns: Tensor, discounts: Tensor, valued: Tensor, chosen: Tensor, support: Tensor
) -> Tensor:
    """The distribution of the chosen action, shrunk by the discount, moved by the returns, projected on the atoms.

        project(softmax(valued[chosen]), returns + discounts · support)

    Args:
        returns: (…, B).
        discounts: (…, B).
        valued: (…, B, actions, atoms), logits.
        chosen: (…, B) int64.
        support: (atoms,), ascending and evenly spaced.

    Returns:
        (…, B, atoms), probabilities, in float32 at least.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> support, chosen = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0])
        >>> distribution_target(torch.tensor([0.5]), torch.tensor([0.0]), torch.zeros(1, 2, 3), chosen, support)
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    check_atoms(valued, support)
    _check(valued.shape[:-2], returns=returns, discounts=discounts, chosen=chosen)
    probabilities = _of_action(wide(valued), chosen).softmax(-1)
    return project(probabilities, returns[..., None] + discounts[..., None] * support, support)


@torch.no_grad()
def project(probabilities: Tensor, places: Tensor, support: Tensor) -> Tensor:
    """Share out the probabilities of places among the two atoms beside each, in the proportion of their nearness.

        projected_j = Σ_i probabilities_i · max(0, 1 − |clip(places_i) − support_j| / Δ)

    with Δ the distance of two atoms and `clip` to the ends of the support. The sum stays, and so does the mean, but for
    what is clipped.

    Args:
        probabilities: (…, P).
        places: (…, P), the returns that they are of.
        support: (atoms,), ascending and evenly spaced.

    Returns:
        (…, atoms).

    Example:
        >>> project(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 7.0]), torch.tensor([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.375, 0.625]
    """
    last = len(support) - 1
    spacing = (support[-1] - support[0]) / last
    # In units of the spacing the two shares of a place add up to one but for the rounding of one subtraction.
    steps = ((places - support[0]) / spacing).clamp(0, last)
    atoms = torch.arange(last + 1, device=support.device, dtype=steps.dtype)
    shares = (1 - (steps[..., :, None] - atoms).abs()).clamp(min=0)
    # No matrix product: autocast would round both to half precision.
    return (probabilities[..., :, None] * shares).sum(-2)


def _loss(rows: Tensor, priorities: Tensor, weights: Tensor | None) -> Loss:
    weighted = rows if weights is None else weights * rows
    return Loss(rows=rows, mean=weighted.mean(-1), priorities=priorities)


def _of_action(outputs: Tensor, actions: Tensor) -> Tensor:
    """The entries of one action of each row: (…, B, actions[, atoms]) to (…, B[, atoms])."""
    dim = actions.dim()
    index = actions.reshape(*actions.shape, *(1,) * (outputs.dim() - dim))
    return outputs.take_along_dim(index, dim).squeeze(dim)


def _check(rows: torch.Size, **given: Tensor | None) -> None:
    """Raise a ValueError unless each tensor has one entry for each row: nothing is broadcast."""
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != rows:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but the outputs of the networks are of rows {tuple(rows)}; "
                "expected one entry for each row: give it without the axes of actions and atoms"
            )
