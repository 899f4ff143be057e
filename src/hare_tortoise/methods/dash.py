"""DASH: shrink each weight vector by how little it points where the new data pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.optim import Optimizer

from .method import Batches, Change, Loss, Method
from .support.dense import dense_layers
from .support.deployed import refuse_while_lent
from .support.names import is_sharded, local, named_weights, unwrap
from .support.sharding import process_groups, reshard
from .support.untouched import untouched
from .support.values import share, whole


class DASH(Method):
    """Direction-aware shrinking at each arrival of data: `w ← s·w`, `s = clamp(cos(G, w), lambda_, 1)`.

    `G` is an average of the negative gradient over one pass of the new data, batch by batch:
    `G ← (1 − alpha)·G + alpha·(−∇L)`, from zero. `w` is the weight vector of a neuron (a row) of a linear layer, the
    kernel of one output and one input channel of a convolution, or a whole bias. What points where the new data
    pulls is kept, the rest shrinks, never below `lambda_`. Other parameters (norms, embeddings, transposed
    convolutions), frozen ones and buffers stay. No gradient counts as a zero one, and gives `lambda_`.

    The pass runs in eval mode, as in effect it does in the authors' code: statistics of a BatchNorm, gradients,
    modes and global random states are afterwards as before. Their batches there are as large as a chunk, oldest
    first; with small batches `G` covers about the last `1 / alpha`. The average of a chain gets the same `s`;
    outside a chain averages do not follow. Under DDP `G` is averaged over the processes; under FSDP2 give every
    process equally many batches.

    Args:
        model: any network with a linear or convolutional layer.
        optimizer: its optimizer(s); the state is not touched.
        alpha: weight of the newest batch in `G`, above 0, at most 1. The authors' 0.3; they also use 0.1.
        lambda_: least factor, from 0 to 1. The authors' 0.3; they also use 0.05 and 0.1. 1 changes nothing.
        seed: not drawn from; every method takes one.

    Raises:
        ValueError: for a setting out of its range; without any such layer; for a layer whose weight is computed; at
            `new_data()`, without `batches` or `loss`, without any batch, or if all these layers are frozen.
        RuntimeError: at `new_data()`, if gradients or weights are not finite; nothing is written then.

    References:
        Shin et al., "DASH: Warm-Starting Neural Network Training in Stationary Settings without Loss of
        Plasticity", NeurIPS 2024, arXiv 2410.23495. Kernels and biases are treated as in the authors' code; this
        was not verified against the text of the paper.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> data = [(torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0]]))]
        >>> DASH(model, alpha=1.0, lambda_=0.1).new_data(data, loss=nn.functional.mse_loss)
        >>> [round(value, 4) for value in model.weight[0].tolist()]  # cos = 3/5
        [1.8, 2.4]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"batches", "loss"})

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        alpha: float = 0.3,
        lambda_: float = 0.3,
        seed: int = 0,
    ) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(
                f"alpha is {alpha}, expected a number above 0 and at most 1: 0.3 or 0.1 are usual"
            )
        if not 0 <= lambda_ <= 1:
            raise ValueError(f"lambda_ is {lambda_}, expected a number from 0 to 1: the least factor")
        super().__init__(model, seed=seed)
        dense_layers(model)
        self.alpha, self.lambda_ = alpha, lambda_
        if optimizer is not None:
            self.attach(optimizer)

    def new_data(
        self, batches: Batches | None = None, *, loss: Loss | None = None, steps: int | None = None
    ) -> None:
        """Pass over the batches once, and shrink the weights."""
        refuse_while_lent(self.model, "new_data()")
        if batches is None or loss is None:
            raise ValueError(
                "DASH takes gradients on the new data: give new_data(batches, loss=...), pairs of inputs and targets "
                "and a function of outputs and targets"
            )
        factors = self._factors(self._directions(batches, loss))

        @torch.no_grad()
        def apply(weights: Mapping[str, Tensor]) -> None:
            for name in filter(weights.__contains__, factors):
                theta = weights[name]
                s = share(theta, factors[name].expand(theta.shape))
                local(theta).copy_(s * local(theta).to(s.dtype))

        apply(named_weights(self.model))
        self.changed(Change(apply))

    def _vectors(self) -> dict[str, Tensor]:
        """The weights and biases to shrink, by name."""
        weights = named_weights(self.model)
        layers = dense_layers(self.model)
        names = [layer.weight for layer in layers] + [
            layer.bias for layer in layers if layer.bias is not None
        ]
        return {name: weights[name] for name in names if weights[name].requires_grad}

    def _directions(self, batches: Batches, loss: Loss) -> dict[str, Tensor]:
        """`G` by name, whole tensors, the same on all processes."""
        network = unwrap(self.model)
        empty = True
        with untouched(network), torch.enable_grad():
            thetas = self._vectors()
            if not thetas:
                raise ValueError(
                    "no weight of a linear or convolutional layer of the model requires a gradient, expected one at "
                    "least: unfreeze what is to be shrunk, or leave DASH out"
                )
            directions = {name: _zeros(theta) for name, theta in thetas.items()}
            for inputs, targets in batches:
                empty = False
                gradients = _gradients(network, loss(network(inputs), targets), list(thetas.values()))
                for direction, gradient in zip(directions.values(), gradients, strict=True):
                    # G ← (1 − alpha)·G + alpha·(−∇L)
                    direction.mul_(1 - self.alpha)
                    if gradient is not None:
                        direction.sub_(gradient.to(direction.dtype), alpha=self.alpha)
        if empty:
            raise ValueError("batches is empty, expected at least one pair of inputs and targets")
        for direction in directions.values():
            # Sharded gradients are averaged by the backward.
            if not is_sharded(direction):
                _average(direction, process_groups(self.model))
        return {name: whole(direction) for name, direction in directions.items()}

    @torch.no_grad()
    def _factors(self, directions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`s` by name, each of a shape that broadcasts to that of the weight.

        Raises:
            RuntimeError: some are not finite.
        """
        factors = {}
        for name, theta in self._vectors().items():
            w, g = whole(theta).to(directions[name].dtype), directions[name]
            # A row, a kernel (output, input, …), or a bias as one vector.
            start = {1: 0, 2: 1}.get(w.ndim, 2)
            cosine = cosine_similarity(
                g.flatten(start), w.flatten(start), dim=-1, eps=torch.finfo(w.dtype).tiny
            )
            s = cosine.clamp(self.lambda_, 1.0)
            factors[name] = s.reshape(s.shape + (1,) * (w.ndim - start))
        bad = [name for name, s in factors.items() if not bool(s.isfinite().all())]
        if bad:
            raise RuntimeError(
                f"the gradient on the new data, or the weight, is not finite in {', '.join(bad[:8])}; nothing was "
                "changed: look at the loss of the new data"
            )
        return factors


def _gradients(network: nn.Module, loss: Tensor, thetas: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not any(map(is_sharded, thetas)):
        # Not by backward(), which would call optimizers that are hooked to it.
        return torch.autograd.grad(loss, thetas, allow_unused=True)
    # Only a backward brings the gradients of the gathered weights to the shards.
    loss.backward()  # type: ignore[no-untyped-call]
    reshard(network)
    gradients = [theta.grad for theta in thetas]
    for parameter in network.parameters():
        parameter.grad = None
    return gradients


def _zeros(theta: Tensor) -> Tensor:
    return torch.zeros_like(theta.detach(), dtype=torch.promote_types(theta.dtype, torch.float32))


def _average(direction: Tensor, groups: Sequence[Any]) -> None:
    """Average over the processes of the groups, in place; nothing on one process."""
    for group in groups:
        import torch.distributed as dist

        dist.all_reduce(direction, group=group)
        direction.div_(cast(Any, dist).get_world_size(group))
