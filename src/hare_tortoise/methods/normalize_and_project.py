"""Normalize-and-Project: hold the norm of every weight of a normalised network, and so its effective learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .support.norms import frobenius_norms, quotient, scale, unless
from .support.parts import weights_of_part
from .support.projection import HoldsNorms, Layer, matrix_layers, norm_layers

Affine = Literal["normalize", "keep"]


class NormalizeAndProject(HoldsNorms):
    """Put the weights back to the norms they had, every `every` steps: `W_l ← rho_l · W_l / ‖W_l‖_F`.

    `rho_l` is the norm when the method is built. Where a normalisation follows every layer, the scale of its weight
    does not change the function, but the effective learning rate, which falls as weights grow: this holds it. The
    output layer is not scale-invariant and is left alone. This is the "project" half; the other is the network's:
    normalisations before each nonlinearity (`hare_tortoise.networks.layer_norm` puts them in). Without them
    the projection changes the function, and is a hard constraint on the norms. Biases before a normalisation are
    redundant, and the paper drops them: build such layers with `bias=False`; those that are there stay as they are.

    Scale and offset of a normalisation are not scale-invariant by themselves, but for ReLU and other homogeneous
    activations they are together: with `affine="normalize"` their joint norm is held,
    `(γ, β) ← ρ · (γ, β) / ‖(γ, β)‖`, with `ρ = √features` for the usual start. The paper leaves it open whether to
    normalise or to regularise them; for the latter take `affine="keep"` and add `L2Init(model, layer_norm=True)` or
    weight decay. Frozen weights, embeddings and weights that started at zero stay.

    Averages of a chain are not projected: put this method before them, so that they average projected weights. The
    norms of an average are then at most `rho_l`. A new network (`FromScratch`) has its own norms taken. The paper
    gives the learning rate an explicit schedule, since norms that grow no longer lower it: that is the user's.

    Args:
        model: a network with normalisations; linear, convolutional, recurrent and attention weights are projected.
        optimizer: its optimizer(s); the state is not touched.
        head: the module of the output layer, such as `"head"`, all of which is left alone; None: there is none.
        every: optimizer steps from projection to projection, at least 1. The paper projects after every step, and
            reports that every 1000 steps does nearly the same in Rainbow.
        affine: "normalize" scale and offset jointly, or "keep" them.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a bad setting, a head that the model has not, or a model without weight matrices outside it;
            for a state of another model.
        RuntimeError: after a step, if layers were removed or resized meanwhile.

    References:
        Lyle et al., "Normalization and Effective Learning Rates in Reinforcement Learning", NeurIPS 2024, arXiv
        2407.01800. No code of the authors is known; the treatment of scale and offset follows summaries of the
        paper and was not verified against its text.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
        >>> method = NormalizeAndProject(model, head="3")
        >>> norm = model[0].weight.norm().item()
        >>> _ = model[0].weight.data.mul_(3.0)
        >>> method.after_step()
        >>> round(model[0].weight.norm().item() / norm, 4)
        1.0
    """

    needs: ClassVar[frozenset[str]] = frozenset({"head"})
    in_steps: ClassVar[Mapping[str, Literal["decay", "interval"]]] = {"every": "interval"}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        head: str | None,
        every: int = 1,
        affine: Affine = "normalize",
        seed: int = 0,
    ) -> None:
        if affine not in get_args(Affine):
            raise ValueError(f'affine is {affine!r}, expected "normalize" or "keep"')
        super().__init__(model, every=every, seed=seed)
        left_out = () if head is None else weights_of_part(model, head)
        self.head = head
        self.affine = affine
        matrices = [layer for layer in matrix_layers(model) if layer.weight not in left_out]
        if not matrices:
            raise ValueError(
                f"model ({type(model).__name__}) has no weight matrices outside the head, expected linear, "
                "convolutional, recurrent or attention layers; name the output layer alone by head="
            )
        norms = [layer for layer in norm_layers(model) if layer.weight not in left_out]
        groups = [_parts(layer) for layer in matrices]
        groups += [_parts(layer) for layer in norms if affine == "normalize"]
        # A weight that layers share is projected once.
        self._groups = list(dict.fromkeys(groups))
        self.take_norms()
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Put the weights back to their norms."""
        trained = self.trained(weights, (name for group in self._groups for name in group))
        norms = self.norms(weights)
        projected: list[Tensor] = []
        factors: list[Tensor] = []
        for group in self._groups:
            if all(name in trained for name in group):
                rho = self.rho[group[0]] = self.rho[group[0]].to(norms[group[0]])
                factor = quotient(rho, norms[group[0]])
                # What started at zero has no norm to be put back to.
                factor = torch.where(rho > 0, factor, torch.ones_like(factor))
                projected += [trained[name] for name in group]
                factors += [factor] * len(group)
        scale(projected, unless(skipped, factors))

    def norms(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Norms of the groups by the first of their names."""
        norms = frobenius_norms({name: weights[name] for group in self._groups for name in group})
        return {
            group[0]: torch.stack([norms[name] for name in group]).norm()
            if len(group) > 1
            else norms[group[0]]
            for group in self._groups
        }


def _parts(layer: Layer) -> tuple[str, ...]:
    """The weights of which a layer's norm is taken: a matrix, or scale and offset together."""
    return (layer.weight, layer.bias) if layer.is_norm and layer.bias is not None else (layer.weight,)
