"""How the output of a network scales with its layers: which factors the bias of each layer has to be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .names import named_weights, unwrap
from .untouched import untouched

Path = tuple[str, ...]
"""The weights whose factors multiply: a tensor that was computed with this path is scaled by all of them."""

_LAYERS = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
# f(c·x) = c·f(x) for positive c.
_HOMOGENEOUS = frozenset(
    {
        "relu",
        "leaky_relu",
        "rrelu",
        "prelu",
        "dropout",
        "alpha_dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "flatten",
        "unflatten",
        "view",
        "reshape",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "movedim",
        "contiguous",
        "clone",
        "to",
        "float",
        "double",
        "half",
        "mean",
        "sum",
        "amax",
        "amin",
        "neg",
        "__getitem__",
        "select",
        "narrow",
        "expand",
        "detach",
    }
)
_PRODUCTS = ("mul", "__mul__", "__rmul__", "__imul__", "div", "__truediv__", "__itruediv__")
_SUMS = ("add", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__isub__")


def bias_paths(model: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Path]:
    """Run a network once and find, for each bias behind the last normalisation, the weights that it scales with.

    If every weight `W_l` is multiplied by a factor `c_l`, and every bias by the product of the factors of its path,
    then the output is multiplied by the product of the factors of its own path: the network stays proportional.
    The path is followed through linear and convolutional layers, and through homogeneous functions (ReLU, dropout,
    pooling, reshaping …); a normalisation starts a new one with its own scale; a sum goes on if both terms have the
    same. Everything else (tanh, GELU, attention, a residual sum of unequal terms) ends the path, because there is no
    factor that would keep the network proportional. Also left out is a bias that is used twice in unequal places.

    The network runs in eval mode without gradient; modes, buffers and global random states are then as before.

    Args:
        model: wrapped or not.
        args: of its forward.
        kwargs: of its forward.

    Returns:
        Paths by the name of the bias, in the order of the layers. The biases left out have no path.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> bias_paths(model, (torch.ones(1, 2),), {})
    {'0.bias': ('0.weight',), '2.bias': ('0.weight', '2.weight')}
    """
    network = unwrap(model)
    follower = _Follower(network, args, kwargs)
    with untouched(model), torch.no_grad(), torch.compiler.set_stance("force_eager"), follower:
        network(*args, **kwargs)
    return {name: path for name, path in follower.biases.items() if path is not None}


class _Follower(TorchFunctionMode):
    """Follows the path of each tensor through the functions that a forward calls."""

    def __init__(self, network: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.biases: dict[str, Path | None] = {}
        # The tensors are kept: the identity of one that is gone may be given to another.
        self._paths: dict[int, tuple[Tensor, Path]] = {}
        for value in (*args, *kwargs.values()):
            self._set(value, ())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "").removesuffix("_") if not _dunder(func) else func.__name__
        path = self._path_after(name, args, kwargs)
        for value in result if isinstance(result, tuple) else (result,):
            self._set(value, path)
        return result

    def _path_after(self, name: str, args: Any, kwargs: dict[str, Any]) -> Path | None:
        first = args[0] if args else kwargs.get("input")
        path = self._get(first)
        if name in _LAYERS:
            weight = self._name(_argument(args, kwargs, 1, "weight"))
            after = None if path is None or weight is None else (*path, weight)
            return self._layer(after, _argument(args, kwargs, 2, "bias"))
        if name in _NORMS:
            place = {"batch_norm": 3, "instance_norm": 3, "rms_norm": 2}.get(name, 2)
            weight = self._name(_argument(args, kwargs, place, "weight"))
            # Only what comes after the last normalisation has to go on in proportion.
            self.biases = dict.fromkeys(self.biases, None)
            bias = None if name == "rms_norm" else _argument(args, kwargs, place + 1, "bias")
            return self._layer(() if weight is None else (weight,), bias)
        if name in _SUMS:
            terms = [self._get(value) for value in args[:2]]
            return path if len(terms) == 2 and terms[0] == terms[1] else None
        by_number = name in _PRODUCTS and not any(isinstance(value, Tensor) for value in args[1:2])
        return path if by_number or name in _HOMOGENEOUS else None

    def _layer(self, path: Path | None, bias: Any) -> Path | None:
        """Note the path of a bias; where one is used twice in unequal places there is none."""
        name = self._name(bias)
        if name is not None:
            self.biases[name] = path if self.biases.get(name, path) == path else None
        return path if name is None else self.biases[name]

    def _name(self, tensor: Any) -> str | None:
        """The name of a weight, which under FSDP2 is another object inside its module's forward."""
        return next((name for name, own in named_weights(self.network).items() if own is tensor), None)

    def _get(self, value: Any) -> Path | None:
        found = self._paths.get(id(value))
        return None if found is None else found[1]

    def _set(self, value: Any, path: Path | None) -> None:
        if isinstance(value, Tensor):
            if path is None:
                self._paths.pop(id(value), None)
            else:
                self._paths[id(value)] = (value, path)


def _dunder(func: Any) -> bool:
    return getattr(func, "__name__", "").startswith("__")


def _argument(args: Any, kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)
