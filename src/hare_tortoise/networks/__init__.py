"""The networks of the papers: functions from an input shape and a number of outputs to a module.

Each has a submodule `head`, the last layer or layers, and draws its weights from torch's global generator, so
that `torch.manual_seed` fixes them. Every parameter belongs to a module with a `reset_parameters`. The transforms give
a network, one of these or any other, other activations, or a LayerNorm before each.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from hare_tortoise.networks.aid import AID as AID
from hare_tortoise.networks.aid import aid as aid
from hare_tortoise.networks.crelu import CReLU as CReLU
from hare_tortoise.networks.crelu import crelu as crelu
from hare_tortoise.networks.encoder import EncodedNetwork as EncodedNetwork
from hare_tortoise.networks.encoder import Encoder as Encoder
from hare_tortoise.networks.fourier import Fourier as Fourier
from hare_tortoise.networks.fourier import fourier as fourier
from hare_tortoise.networks.impala import impala as impala
from hare_tortoise.networks.impala import impala_encoder as impala_encoder
from hare_tortoise.networks.layer_norm import layer_norm as layer_norm
from hare_tortoise.networks.minatar import minatar as minatar
from hare_tortoise.networks.minatar import minatar_encoder as minatar_encoder
from hare_tortoise.networks.mlp import mlp as mlp
from hare_tortoise.networks.nature import nature as nature
from hare_tortoise.networks.nature import nature_encoder as nature_encoder
from hare_tortoise.networks.resnet import narrow_resnet as narrow_resnet
from hare_tortoise.networks.resnet import resnet18 as resnet18
from hare_tortoise.networks.transforms import TRANSFORMS as TRANSFORMS
from hare_tortoise.networks.vgg import vgg16 as vgg16
from hare_tortoise.networks.vit import vit_tiny as vit_tiny

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "impala": impala,
    "minatar": minatar,
    "mlp": mlp,
    "narrow-resnet": narrow_resnet,
    "nature": nature,
    "resnet18": resnet18,
    "vgg16": vgg16,
    "vit-tiny": vit_tiny,
}

__all__ = [
    "AID",
    "NETWORKS",
    "TRANSFORMS",
    "CReLU",
    "EncodedNetwork",
    "Encoder",
    "Fourier",
    "aid",
    "crelu",
    "fourier",
    "impala",
    "impala_encoder",
    "layer_norm",
    "minatar",
    "minatar_encoder",
    "mlp",
    "narrow_resnet",
    "nature",
    "nature_encoder",
    "resnet18",
    "vgg16",
    "vit_tiny",
]
