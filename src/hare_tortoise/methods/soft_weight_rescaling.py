"""Soft Weight Rescaling: draw the norm of every layer softly back to its initial one, the function in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .support.forward_watch import FirstForward
from .support.norms import frobenius_norms, quotient, scale, unless
from .support.parts import weights_of_part
from .support.projection import HoldsNorms, matrix_layers, norm_layers
from .support.proportional import Path, bias_paths


class SoftWeightRescaling(HoldsNorms):
    """Rescale every layer after each optimizer step: `W_l ← c_l · W_l`, `b_l ← C_l · b_l`.

        c_l = (strength · rho_l + (1 − strength) · ‖W_l‖_F) / ‖W_l‖_F
        C_l = Π c_i over the layers from the last normalisation up to l,   before that   C_l = c_l

    `rho_l` is the norm when the method is built. Layers are linear and convolutional ones and the like, and
    normalisations, with the scale as `W` and the offset as `b`. The biases get the product because the output of a
    network with ReLU is then multiplied by a constant: its decisions stay as they are. (As printed, the paper's
    Algorithm 1 would take the factor of the layer before the last normalisation into the product as well, which
    breaks its Theorem 1: here the product starts with that normalisation.)

    Which layers lie behind the last normalisation, and what each bias has to be multiplied by, is found by running the
    network once, in eval mode, with the inputs of the first forward in training, following the tensors. A product
    is formed along linear layers, convolutions, homogeneous functions (ReLU, dropout, pooling, reshaping) and sums
    of equals; where something else comes (tanh, GELU, attention, an identity shortcut), no factor would keep the
    network in proportion, and the biases that follow get their own `c_l`, as they do before the first forward. So an
    MLP, a VGG and a transformer that ends with a norm and a head are kept in proportion, a ResNet is not. (With
    BatchNorm this is so for the statistics of a batch; the running ones, used in eval, follow in training.)
    `biases` says what was found. Frozen weights and embeddings stay.

    Averages of a chain are not rescaled: put this method before them, so that they average what is used. A new
    network (`FromScratch`) has its own norms taken. In half precision a factor near 1 is rounded away: keep
    weights in float32, and cast by autocast.

    Args:
        model: any network with linear, convolutional, recurrent or attention layers.
        optimizer: its optimizer(s); the state is not touched.
        strength: λ of the features, from 0 (nothing changes) to 1 (the initial norms are held). The authors try
            1e-4 to 1; 1e-4 was best for their MLP, 1e-3 for their CNN.
        head_strength: λ of the classifier, which the authors choose by itself in networks with normalisations;
            None: the same.
        head: the module that `head_strength` is for; given with it, and only then.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a strength out of its range, a head without strength or the reverse, a head that the model
            has not, a model without layers; for a state of another model.
        RuntimeError: after a step, if layers were removed or resized meanwhile.

    References:
        Oh, Park, Han and Kim, "Recovering Plasticity of Neural Networks via Soft Weight Rescaling", arXiv 2507.04683.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        >>> method = SoftWeightRescaling(model, strength=0.5)
        >>> inputs = torch.ones(1, 2)
        >>> before = model(inputs).detach().mul_(9.0)  # as much as the changes below make of it, if biases follow
        >>> with torch.no_grad():
        ...     for weight, factor in zip(model.parameters(), (3.0, 3.0, 3.0, 9.0)):
        ...         _ = weight.mul_(factor)
        >>> method.after_step()
        >>> ratios = model(inputs) / before  # both norms go from 3 to 2 times the initial one
        >>> [round(ratio, 4) for ratio in ratios.flatten().tolist()]
        [0.4444, 0.4444, 0.4444]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        strength: float = 1e-3,
        head_strength: float | None = None,
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("strength", strength), ("head_strength", head_strength)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a number from 0 to 1; 1e-4 to 1e-1 are usual")
        if (head is None) != (head_strength is None):
            raise ValueError(
                f"head is {head!r} and head_strength is {head_strength}, expected both or neither: one alone would "
                "be ignored"
            )
        super().__init__(model, seed=seed)
        self.strength = strength
        self.head_strength = head_strength
        self.head = head
        self._in_head = frozenset(() if head is None else weights_of_part(model, head))
        matrices = matrix_layers(model)
        if not matrices:
            raise ValueError(
                f"model ({type(model).__name__}) has no weight matrices, expected linear, convolutional, recurrent or "
                "attention layers"
            )
        self._layers = [*matrices, *norm_layers(model)]
        self.biases: dict[str, Path] = {layer.bias: (layer.weight,) for layer in self._layers if layer.bias}
        """The weights by whose factors each bias is multiplied."""
        self.take_norms()
        self._first: FirstForward | None = None
        self._followed = False
        self._look_out()
        if optimizer is not None:
            self.attach(optimizer)

    def project(self, weights: Mapping[str, Tensor], skipped: Tensor | None) -> None:
        """Rescale the layers."""
        matrices = self.trained(weights, self.rho)
        biases = self.trained(weights, self.biases)
        factors: dict[str, Tensor] = {}
        for name, norm in frobenius_norms(matrices).items():
            strength = self.strength
            if self.head_strength is not None and name in self._in_head:
                strength = self.head_strength
            rho = self.rho[name] = self.rho[name].to(norm)
            factors[name] = quotient(strength * rho + (1 - strength) * norm, norm)
        for bias in biases:
            path = [factors[name] for name in self.biases[bias] if name in factors]
            if path:
                factors[bias] = torch.stack([factor.to(path[-1]) for factor in path]).prod()
        both = matrices | biases
        scale([both[name] for name in factors], unless(skipped, list(factors.values())))

    def norms(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the norms of the weights of the layers, biases left out."""
        return frobenius_norms({layer.weight: weights[layer.weight] for layer in self._layers})

    def _look_out(self) -> None:
        """Wait for the first forward in training, to see how the network is connected."""
        if self._first is None and not self._followed:
            self._first = FirstForward(self.model, self._follow, in_training=True)

    def _follow(self, args: Any, kwargs: Any) -> None:
        self._followed = True
        found = bias_paths(self.model, args, kwargs)
        self.biases |= {name: found[name] for name in self.biases if name in found}

    def _let_go(self) -> None:
        if self._first is not None:
            self._first.remove()
            self._first = None
