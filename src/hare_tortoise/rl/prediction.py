"""Self-prediction in latent space (SPR): what the encoder will see some steps ahead, told from the actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hare_tortoise.networks.layers import check_count, check_counts
from hare_tortoise.rl.heads import QHead, wide

_SMALL = 1e-5


class Predicts(Protocol):
    """A network with an encoder of images, a head, and perhaps a prediction."""

    @property
    def encoder(self) -> nn.Module:
        """Has a method `latent`, as `networks.Encoder`, from (batch, channels, height, width) to (batch, *maps)."""

    @property
    def head(self) -> QHead:
        """Reads the latent, flat; its first hidden layer is the projection."""

    @property
    def prediction(self) -> Prediction | None:
        """Steps the latent ahead."""


class Prediction(nn.Module):
    """A transition model of latents, and the predictor behind the projection.

        step(z, a) = renormalised(relu(second ∗ relu(first ∗ [z, planes of a])))

    with `first` and `second` convolutions of 3×3 with a padding of 1 that give as many channels as `z` has. Of the
    planes, one for each action, that of `a` is 1 and the others are 0. `predictor` is one linear layer. All weights are
    drawn as torch draws those of its layers (the convolutions of Dopamine's and BBF's agents: Glorot's, uniform). The
    original SPR has a batch norm in its transition model too; those of Dopamine and BBF, like this one, have none.

    Args:
        maps: shape of a latent, (channels, rows, columns): `encoder.maps`.
        actions: number of actions, at least 1; of several games, the largest.
        hidden: width of the projection, at least 1: that of the head's hidden layer.

    Raises:
        ValueError: if a size is not an integer of at least 1, or `maps` are not three.

    References:
        Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive Representations", ICLR 2021, arXiv
        2007.05929; as in BBF: Schwarzer et al., "Bigger, Better, Faster: Human-level Atari with human-level
        efficiency", ICML 2023, arXiv 2305.19452.

    Example:
        >>> prediction = Prediction((64, 7, 7), 6, 512)
        >>> prediction.step(torch.rand(2, 64, 7, 7), torch.tensor([0, 5])).shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(self, maps: Sequence[int], actions: int, hidden: int) -> None:
        super().__init__()
        shape = check_counts("maps", maps)
        if len(shape) != 3:
            raise ValueError(
                f"maps is {shape}; expected (channels, rows, columns), what an encoder of images gives before it is "
                "flattened: encoder.maps"
            )
        channels = shape[0]
        self.maps, self.actions = shape, check_count("actions", actions)
        self.transition = nn.Sequential(
            nn.Conv2d(channels + actions, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
        )
        self.predictor = nn.Linear(check_count("hidden", hidden), hidden)

    def step(self, latent: Tensor, actions: Tensor) -> Tensor:
        """Tell the latent one step ahead.

        Args:
            latent: (B, *maps), floating, renormalised.
            actions: (B,) int64, from 0 to `self.actions − 1`.

        Returns:
            (B, *maps), renormalised, in float32 at least.

        Raises:
            ValueError: if the shapes do not fit together.
        """
        if latent.ndim != 4 or latent.shape[1:] != self.maps:
            raise ValueError(
                f"latent has shape {tuple(latent.shape)}, expected (batch, *{self.maps}): build the prediction with "
                "the maps of the encoder, `encoder.maps`"
            )
        if actions.shape != latent.shape[:1]:
            raise ValueError(
                f"actions has shape {tuple(actions.shape)}, but there are {len(latent)} latents; give one for each"
            )
        chosen = functional.one_hot(actions, self.actions).to(latent.dtype)
        planes = chosen[:, :, None, None].expand(-1, -1, *self.maps[1:])
        return renormalised(self.transition(torch.cat((latent, planes), 1)))


def renormalised(latent: Tensor) -> Tensor:
    """Move and scale each latent into [0, 1].

        (latent − low) / (high − low + 1e-5)

    with `low` and `high` the extremes of the one latent, over all channels and places. One that is the same everywhere
    becomes 0.

    Args:
        latent: (…, channels, rows, columns), floating.

    Returns:
        The same shape, in float32 at least.

    Example:
        >>> renormalised(torch.tensor([[[[2.0, 4.0], [6.0, 10.0]]]])).round(decimals=3).tolist()
        [[[[0.0, 0.25], [0.5, 1.0]]]]
    """
    latent = wide(latent)
    low, high = latent.amin((-3, -2, -1), keepdim=True), latent.amax((-3, -2, -1), keepdim=True)
    return (latent - low) / (high - low + _SMALL)


def projection_of(head: QHead) -> nn.Module:
    """Find the first layer of a head, linear or noisy: the hidden layer that is shared, or else the advantages' own.

    It is taken without the ReLU (and the LayerNorm) behind it, as in the published agents. Where the streams have a
    hidden layer each, the original SPR takes both side by side.

    Example:
        >>> head = QHead(64, 4, hidden=16, shared_hidden=True)
        >>> projection_of(head) is head.shared[0]
        True
    """
    hidden = head.advantage[0] if isinstance(head.shared, nn.Identity) else head.shared
    return next(hidden.children())


def prediction_loss(
    online: Predicts,
    target: Predicts,
    observations: Tensor,
    following: Tensor,
    actions: Tensor,
    inside: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """How far what the online network foretells is from what the target network sees there (SPR).

        z_0 = renormalised(online.encoder.latent(observations)),  z_k = step(z_{k−1}, actions_k)
        prediction_k = predictor(projection(z_k))
        target_k = target's projection(renormalised(target.encoder.latent(following_k)))
        rows = 1/K · Σ_k inside_k · (2 − 2 · cos(prediction_k, target_k)),  k = 1 … K
        loss = mean over the rows of weights · rows

    `2 − 2 · cos` is the squared distance of the two at unit length, from 0 to 4. The sum is divided by K also where
    fewer steps are inside, as in the code of SPR and of BBF. Nothing flows back through the target. Its own
    `prediction` is not used.

    A choice of ours: latents are renormalised for the prediction alone, on both sides, and the head values actions from
    the encoder's output as it is. In the published agents (SPR, Dopamine's, BBF) the head too reads it renormalised.
    A noisy head projects with its noise in training and without it in evaluation; the published agents project without.

    Args:
        online: whose encoder, projection and prediction are trained.
        target: whose encoder and projection give the targets.
        observations: (B, channels, height, width), floating, augmented: where each row begins.
        following: (B, K, channels, height, width), floating, augmented: what was seen 1 to K steps later.
        actions: (B, K) int64: the action that led to each, the first taken at `observations`.
        inside: (B, K) bool: whether it still belongs to the episode; once False, so for the rest of the row.
        weights: (B,), of prioritised sampling; None: ones.

    Returns:
        One number, in float32 at least.

    Raises:
        ValueError: if the shapes do not fit together, there is no row or no step, `actions` is not int64 or `inside`
            not bool, the encoder has no `latent`, or the online network no prediction, or one of another width.

    References:
        Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive Representations", ICLR 2021, arXiv
        2007.05929.
    """
    _check(observations, following, actions, inside, weights)
    predicted = _predicted(online, observations, actions)
    with torch.no_grad():
        seen = _latent(target, following.flatten(0, 1))
        found = torch.unflatten(projection_of(target.head)(seen.flatten(1)), 0, actions.shape)
    distances = 2 - 2 * functional.cosine_similarity(wide(predicted), wide(found), dim=-1)
    rows = distances.masked_fill(~inside, 0).mean(1)
    return (rows if weights is None else weights * rows).mean()


def _predicted(network: Predicts, observations: Tensor, actions: Tensor) -> Tensor:
    """Foretell the projections of K steps, (B, K, hidden)."""
    prediction = getattr(network, "prediction", None)
    if not isinstance(prediction, Prediction):
        raise ValueError(
            f"the online network has no prediction (got {prediction!r}): give it a Prediction as the attribute "
            "`prediction`"
        )
    latent = _latent(network, observations)
    ahead = []
    for taken in actions.unbind(1):
        latent = prediction.step(latent, taken)
        ahead.append(latent)
    projected = projection_of(network.head)(torch.stack(ahead, 1).flatten(2))
    hidden = prediction.predictor.in_features
    if projected.shape[-1] != hidden:
        raise ValueError(
            f"hidden of the prediction is {hidden}, but the hidden layer of the head has {projected.shape[-1]}: build "
            "both with the same"
        )
    told: Tensor = prediction.predictor(projected)
    return told


def _latent(network: Predicts, images: Tensor) -> Tensor:
    latent = getattr(network.encoder, "latent", None)
    if not callable(latent):
        raise ValueError(
            f"the encoder, a {type(network.encoder).__name__}, has no method `latent`, which gives what it makes of "
            "images before it is flattened: add one, or do without prediction (prediction=0 in a recipe)"
        )
    return renormalised(cast(Callable[[Tensor], Tensor], latent)(images))


def _check(
    observations: Tensor, following: Tensor, actions: Tensor, inside: Tensor, weights: Tensor | None
) -> None:
    """Raise a ValueError unless all are of the same rows and steps: nothing is broadcast."""
    if actions.ndim != 2 or not actions.numel() or actions.dtype != torch.int64:
        raise ValueError(
            f"actions is {actions.dtype} of shape {tuple(actions.shape)}, expected torch.int64 of shape (rows, steps), "
            "at least one of each: the action that led to each following observation"
        )
    if inside.dtype != torch.bool:
        raise ValueError(
            f"inside is {inside.dtype}, expected bool, True within the episode: give inside.bool()"
        )
    rows, steps = actions.shape
    expected = {
        "observations": (observations, (rows, *observations.shape[1:])),
        "following": (following, (rows, steps, *observations.shape[1:])),
        "inside": (inside, (rows, steps)),
        "weights": (weights, (rows,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape}: actions are of {rows} rows and {steps} "
                "steps ahead"
            )
