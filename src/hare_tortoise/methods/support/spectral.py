"""The largest singular value of each weight, followed through training by power iteration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .names import is_sharded, known_weight, named_modules, named_weights
from .norm_layers import is_norm
from .sharding import reshard

_START = 30
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


_COMPUTED_FROM = ("_orig", "_g", "_v")


def own_matrices(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield the weights that act as matrices, with their modules and their names in these; shared ones repeatedly.

    >>> [(type(module), name) for module, name, _ in own_matrices(nn.Linear(2, 1))]
    [(<class 'torch.nn.modules.linear.Linear'>, 'weight')]
    """
    for _, module in named_modules(model):
        if is_norm(module) or isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        for name, tensor in module._parameters.items():
            if tensor is None or "weight" not in name or tensor.ndim < 2 or not tensor.is_floating_point():
                continue
            if not _is_ingredient(module, name):
                yield module, name, tensor


def _is_ingredient(module: nn.Module, name: str) -> bool:
    """Whether a weight is computed from this parameter: `weight_g`, `weight_v` (weight norm), `weight_orig`."""
    computed = (name.removesuffix(suffix) for suffix in _COMPUTED_FROM if name.endswith(suffix))
    return any(whole not in module._parameters and hasattr(module, whole) for whole in computed)


def matrix_names(model: nn.Module) -> dict[str, int]:
    """Return the canonical names of the weights that act as matrices, each with the dimension of its outputs.

    These are the floating parameters with two or more dimensions and "weight" in their own name, but for those of
    embeddings, which are tables, and of normalisations: the weights of linear, convolutional, recurrent and attention
    layers. The dimension of the outputs is the first, in a transposed convolution the second. What a layer keeps
    stacked in one weight (the three projections of an attention layer, the gates of a recurrent one) is one matrix.
    Left alone is what a weight is computed from, which is not the weight: by a parametrization, by the older
    `weight_norm` and `spectral_norm`, by pruning.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 2))
    >>> matrix_names(model)
    {'0.weight': 0, '2.weight': 1}
    """
    weights = {id(tensor): name for name, tensor in named_weights(model).items()}
    found: dict[str, int] = {}
    for module, _, weight in own_matrices(model):
        found.setdefault(weights[id(weight)], int(isinstance(module, _TRANSPOSED)))
    return found


def checked_matrix_names(model: nn.Module) -> dict[str, int]:
    """Return what `matrix_names` returns, or raise a ValueError where there are none."""
    found = matrix_names(model)
    if not found:
        raise ValueError(
            f"model ({type(model).__name__}) has no weight matrices, expected parameters called weight with two "
            "or more dimensions (of linear, convolutional, recurrent or attention layers)"
        )
    return found


def as_matrix(weight: Tensor, outputs: int = 0) -> Tensor:
    """View a weight as a matrix of shape (outputs, inputs · kernel), at least in float32.

    >>> as_matrix(torch.zeros(4, 3, 2, 2)).shape, as_matrix(torch.zeros(4, 3, 2, 2), outputs=1).shape
    (torch.Size([4, 12]), torch.Size([3, 16]))
    """
    matrix = (weight.transpose(0, outputs) if outputs else weight).flatten(1)
    return matrix.to(torch.promote_types(weight.dtype, torch.float32))


class PowerIteration:
    """Estimates `σ = uᵀ W v` of the largest singular value of weights, with vectors that follow the training.

    One iteration is `u ← W v / ‖W v‖`, `v ← Wᵀ u / ‖Wᵀ u‖`. The vectors change in `advance` only, so that between
    two steps `σ` is a linear function of `W` with the gradient `u vᵀ`, which is that of the singular value once the
    vectors have converged. Vectors of a weight that is zero or not finite stay as they are.

    Under FSDP2 only vectors are communicated; every process has the same ones.

    Args:
        model: read at each call, whatever wraps it.
        generator: the vectors are drawn from it, once; equal generators give equal vectors.
        names: of the weights, of those that `matrix_names` gives; None: all of them.

    Raises:
        ValueError: the model has none of them.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    >>> power = PowerIteration(model, torch.Generator().manual_seed(0))
    >>> round(power.sigmas()["weight"].item(), 4)
    3.0
    """

    def __init__(
        self, model: nn.Module, generator: torch.Generator, names: Iterable[str] | None = None
    ) -> None:
        self.model = model
        found = checked_matrix_names(model)
        self.outputs = found if names is None else {name: found[name] for name in names}
        reshard(model)
        weights = named_weights(model)
        self._shapes = {name: weights[name].shape for name in self.outputs}
        self.u: dict[str, Tensor] = {}
        self.v: dict[str, Tensor] = {}
        for name, outputs in self.outputs.items():
            matrix = as_matrix(weights[name].detach(), outputs)
            rows, columns = matrix.shape
            u = torch.zeros(rows)
            v = torch.nn.functional.normalize(torch.randn(columns, generator=generator), dim=0)
            self.u[name], self.v[name] = u.to(matrix.device, matrix.dtype), v.to(matrix.device, matrix.dtype)
        self.advance(_START)

    @torch.no_grad()
    def advance(self, iterations: int = 1, skipped: Tensor | None = None) -> None:
        """Iterate with the weights as they are now.

        Args:
            iterations: how many; one after each step is enough, `start()` after a change of the weights.
            skipped: a scalar on the device, not zero where nothing is to change.
        """
        for name, matrix in self._matrices().items():
            u, v = self.u[name], self.v[name]
            for _ in range(iterations):
                u = _direction(_times(matrix, v), u)
                v = _direction(_times(matrix.T, u), v)
            if skipped is not None:
                kept = skipped.reshape(()) != 0
                u, v = torch.where(kept, self.u[name], u), torch.where(kept, self.v[name], v)
            self.u[name], self.v[name] = u, v

    def start(self) -> None:
        """Iterate as often as at the start, after the weights were changed by something else than a step."""
        self.advance(_START)

    def sigmas(self, *, trained_only: bool = False) -> dict[str, Tensor]:
        """Return `σ = uᵀ W v` of each weight, scalars that are differentiable in the weights.

        Args:
            trained_only: leave out the weights that require no gradient.
        """
        return {
            name: torch.dot(self.u[name], _times(matrix, self.v[name]))
            for name, matrix in self._matrices().items()
            if not trained_only or matrix.requires_grad
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the vectors by name."""
        return {"u": dict(self.u), "v": dict(self.v)}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError that names what differs, if saved vectors are of other weights."""
        other = [
            name
            for own, saved in ((self.u, state.get("u", {})), (self.v, state.get("v", {})))
            for name in sorted(own.keys() | saved.keys())
            if name not in own or name not in saved or own[name].shape != saved[name].shape
        ]
        if other:
            raise ValueError(
                f"the saved state is of another model: the vectors of {', '.join(dict.fromkeys(other))} differ in "
                "name or shape; load it into a method that was built on the same model"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up saved vectors."""
        self.check_state(state)
        for own, saved in ((self.u, state["u"]), (self.v, state["v"])):
            own.update({name: saved[name].to(tensor, copy=True) for name, tensor in own.items()})

    def _matrices(self) -> dict[str, Tensor]:
        """The weights as matrices; vectors are moved to where these are."""
        reshard(self.model)
        weights = named_weights(self.model)
        matrices = {}
        for name, outputs in self.outputs.items():
            matrix = as_matrix(known_weight(weights, name, self._shapes[name]), outputs)
            for vectors in (self.u, self.v):
                if vectors[name].device != matrix.device or vectors[name].dtype != matrix.dtype:
                    vectors[name] = vectors[name].to(matrix.device, matrix.dtype)
            matrices[name] = matrix
        return matrices


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return `matrix · vector`, whole on every process."""
    # Autocast would multiply in half precision, in which σ is known to two digits.
    with torch.autocast(matrix.device.type, enabled=False):
        if not is_sharded(matrix):
            return matrix @ vector
        from torch.distributed.tensor import DTensor, Replicate

        mesh = cast(Any, matrix).device_mesh
        everywhere = DTensor.from_local(vector, mesh, [Replicate()] * mesh.ndim, run_check=False)
        return cast(Tensor, cast(Any, matrix @ everywhere).full_tensor())


def _direction(vector: Tensor, otherwise: Tensor) -> Tensor:
    """Return the unit vector, or the other one where there is none."""
    length = torch.linalg.vector_norm(vector)
    return torch.where((length > 0) & length.isfinite(), vector / length, otherwise)
