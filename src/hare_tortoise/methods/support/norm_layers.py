"""What a normalisation layer is, for the methods that treat its scale and offset otherwise than other weights."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises activations: BatchNorm, InstanceNorm, LayerNorm, GroupNorm, RMSNorm of torch.

    Subclasses of these count; what a user wrote from scratch is not known. (LocalResponseNorm has no weights.)

    >>> is_norm(nn.LayerNorm([3, 8, 8])), is_norm(nn.InstanceNorm2d(3)), is_norm(nn.Linear(3, 3))
    (True, True, False)
    """
    return isinstance(module, _NORMS)


def is_layer_norm(module: nn.Module) -> bool:
    """Whether a module normalises each sample by itself, over all its features, as LayerNorm does.

    So do RMSNorm, and a GroupNorm with a single group, which is the LayerNorm of convolutions.

    >>> is_layer_norm(nn.RMSNorm(3)), is_layer_norm(nn.GroupNorm(1, 4)), is_layer_norm(nn.GroupNorm(2, 4))
    (True, True, False)
    """
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) or (
        isinstance(module, nn.GroupNorm) and module.num_groups == 1
    )
