"""The vision transformer, in its Tiny size, for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hare_tortoise.networks.layers import check_count, check_image
from hare_tortoise.networks.transforms import ActivationName, with_options

HEADS = 3


class Patches(nn.Module):
    """Cut (batch, channels, height, width) into (batch, patches, patch · patch · channels)."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Return the patches row by row, the pixels of each row by row with their channels together."""
        batch, channels, height, width = images.shape
        rows, columns = height // self.patch, width // self.patch
        grid = images.reshape(batch, channels, rows, self.patch, columns, self.patch)
        return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


class Tokens(nn.Module):
    """Put a class token first and add a position embedding; both are learned and drawn from N(0, 1).

    A module of its own, so that they have a `reset_parameters` like any layer.
    """

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, patches + 1, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both anew."""
        nn.init.normal_(self.class_token)
        nn.init.normal_(self.position)

    def forward(self, patches: Tensor) -> Tensor:
        """Map (batch, patches, dim) to (batch, patches + 1, dim)."""
        class_tokens = self.class_token.expand(patches.shape[0], -1, -1)
        return torch.cat((class_tokens, patches), dim=1) + self.position


class Attention(nn.Module):
    """Multi-head self-attention from Linear layers, behind a LayerNorm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, dim) to the same shape."""
        batch, count, dim = tokens.shape
        packed: Tensor = self.query_key_value(self.norm(tokens))
        query, key, value = packed.reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        outputs: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, dim))
        return outputs


class Block(nn.Module):
    """`x ← x + attention(x)`, then `x ← x + feed_forward(x)`."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, dim) to the same shape."""
        tokens = tokens + self.attention(tokens)
        outputs: Tensor = tokens + self.feed_forward(tokens)
        return outputs


class VisionTransformer(nn.Module):
    """`embedding` of the patches, `tokens`, `body` of blocks, `norm`; the `head` reads the class token."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        *,
        patch: int,
        dim: int,
        heads: int,
        depth: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        features = patch * patch * channels
        self.embedding = nn.Sequential(
            Patches(patch), nn.LayerNorm(features), nn.Linear(features, dim), nn.LayerNorm(dim)
        )
        self.tokens = Tokens((height // patch) * (width // patch), dim)
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Sequential(*(Block(dim, heads, hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, outputs)."""
        tokens = self.body(self.dropout(self.tokens(self.embedding(inputs))))
        outputs: Tensor = self.head(self.norm(tokens)[:, 0])
        return outputs


def vit_tiny(
    input_shape: Sequence[int],
    outputs: int,
    *,
    patch: int = 4,
    dropout: float = 0.1,
    width: int = 192,
    depth: int = 12,
    activation: ActivationName | None = None,
    layer_norm: bool = False,
) -> VisionTransformer:
    """Vision transformer of the Tiny size (width 192, 3 heads, 12 blocks) with a class token.

    Per block `x ← x + attention(norm(x))`, `x ← x + mlp(norm(x))` with 768 hidden units and GELU; the query,
    key and value projections have no bias, and LayerNorm stands before and after the embedding of the
    patches. The paper's network for CIFAR-100 (Dosovitskiy et al., ICLR 2021; Lee et al., ICML 2024):
    5,373,700 parameters at (3, 32, 32) and 100 outputs.

    Args:
        input_shape: (channels, height, width); height and width multiples of `patch`.
        outputs: number of outputs, at least 1.
        patch: side of a patch in pixels, at least 1.
        dropout: share dropped of the embedding, the attention weights and each sublayer's output, in [0, 1).
        width: of a token, a multiple of the 3 heads; the hidden layers are 4 times as wide. Below 192 it is no ViT-Tiny
            of the publication, but one for a single core.
        depth: number of blocks, at least 1.
        activation: "crelu", "fourier" or "aid" for every GELU, as the transforms by default; None: GELU.
        layer_norm: whether a LayerNorm stands before every activation, as the transform `layer_norm` puts it.

    Returns:
        A module from (batch, channels, height, width) to (batch, outputs).

    Raises:
        ValueError: if a size is not an integer of at least 1, the image is not a multiple of the patch,
            `dropout` lies outside [0, 1), or there is no such activation.

    Example:
        >>> import torch
        >>> network = vit_tiny((3, 32, 32), 100)
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 100])
    """
    shape = check_image("vit_tiny", input_shape)
    check_count("patch", patch)
    if shape[1] % patch or shape[2] % patch:
        raise ValueError(
            f"input_shape is {shape} and patch is {patch}; height and width must be multiples of the patch"
        )
    _check_sizes(width, dropout)
    network = VisionTransformer(
        shape,
        check_count("outputs", outputs),
        patch=patch,
        dim=width,
        heads=HEADS,
        depth=check_count("depth", depth),
        hidden=4 * width,
        dropout=float(dropout),
    )
    return with_options(network, activation, layer_norm)


def _check_sizes(width: int, dropout: float) -> None:
    if isinstance(dropout, bool) or not isinstance(dropout, float | int) or not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout!r}; it must be a number in [0, 1)")
    if check_count("width", width) % HEADS:
        raise ValueError(f"width is {width}; it must be a multiple of the {HEADS} heads, such as 192")
