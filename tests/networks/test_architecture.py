"""The computations of the networks against formulas written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from hare_tortoise.networks import mlp, resnet18, vgg16, vit_tiny
from hare_tortoise.networks.resnet import ResidualBlock
from hare_tortoise.networks.vit import Attention, Block, Patches


def sizes_behind(network: nn.Module, stages: nn.Module, inputs: Tensor) -> list[tuple[int, ...]]:
    """Shapes of the outputs of `stages`, without the batch."""
    seen: list[tuple[int, ...]] = []
    for stage in stages.children():
        stage.register_forward_hook(lambda _module, _inputs, outputs: seen.append(tuple(outputs.shape[1:])))
    network(inputs)
    return seen


def batch_norm(x: Tensor, module: nn.BatchNorm2d) -> Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    weight, bias = module.weight[:, None, None], module.bias[:, None, None]
    return (x - mean) / (variance + module.eps).sqrt() * weight + bias


def test_mlp_is_relu_of_affine_maps() -> None:
    network = mlp((2, 3), 4, hidden=(5, 6)).double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    first, second = (module for module in network.body if isinstance(module, nn.Linear))
    h = (x.reshape(7, 6) @ first.weight.T + first.bias).clamp(min=0)
    h = (h @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(network(x), h @ network.head.weight.T + network.head.bias)


def test_mlp_norms_between_the_affine_map_and_relu() -> None:
    order = [type(module).__name__ for module in mlp((6,), 4, hidden=(5,), batch_norm=True).body]
    assert order == ["Flatten", "Linear", "BatchNorm1d", "ReLU"]
    assert [type(module).__name__ for module in mlp((6,), 4, hidden=()).body] == ["Flatten"]


def test_residual_block_adds_its_shortcut_before_the_last_relu() -> None:
    block = ResidualBlock(3, 4, stride=2).double()
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    conv1, norm1, _, conv2, norm2 = block.residual
    conv3, norm3 = block.shortcut
    tensors = [conv.weight for conv in (conv1, conv2, conv3) if isinstance(conv, nn.Conv2d)]
    norms = [norm for norm in (norm1, norm2, norm3) if isinstance(norm, nn.BatchNorm2d)]
    h = batch_norm(conv2d(x, tensors[0], stride=2, padding=1), norms[0]).clamp(min=0)
    h = batch_norm(conv2d(h, tensors[1], padding=1), norms[1])
    shortcut = batch_norm(conv2d(x, tensors[2], stride=2), norms[2])
    torch.testing.assert_close(block(x), (h + shortcut).clamp(min=0))


def test_resnet18_keeps_the_image_in_stem_and_first_stage_and_averages_at_the_end() -> None:
    network = resnet18((3, 32, 32), 10).eval()
    x = torch.randn(2, 3, 32, 32)
    assert network.stem(x).shape == (2, 64, 32, 32)
    expected = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert sizes_behind(network, network.body, x) == expected
    features = network.body(network.stem(x))
    torch.testing.assert_close(network.head(features.sum((2, 3)) / 16), network(x), rtol=1e-4, atol=1e-5)


def test_vgg16_halves_five_times_and_flattens() -> None:
    network = vgg16((3, 64, 64), 200).eval()
    expected = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2), (2048,)]
    assert sizes_behind(network, network.body, torch.randn(1, 3, 64, 64)) == expected
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 13
    assert all(conv.bias is not None for conv in convolutions)


def test_patches_are_cut_row_by_row_with_the_channels_of_a_pixel_together() -> None:
    images = torch.randn(2, 3, 8, 4)
    patches = Patches(4)(images)
    assert patches.shape == (2, 2, 48)
    for row in range(2):
        square = images[:, :, 4 * row : 4 * row + 4, :]
        assert torch.equal(patches[:, row], square.movedim(1, -1).reshape(2, 48))


def test_attention_is_softmax_of_scaled_products() -> None:
    attention = Attention(12, heads=3, dropout=0.5).double().eval()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = (attention.norm(x) @ attention.query_key_value.weight.T).chunk(3, dim=-1)
    heads = []
    for i in range(3):
        q, k, v = (tensor[..., 4 * i : 4 * i + 4] for tensor in (query, key, value))
        heads.append((q @ k.transpose(1, 2) / 4**0.5).softmax(-1) @ v)
    torch.testing.assert_close(attention(x), attention.out(torch.cat(heads, dim=-1)))


def test_attention_drops_weights_only_in_training() -> None:
    attention = Attention(12, heads=3, dropout=0.5).double()
    attention.out = nn.Sequential(nn.Identity())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_block_adds_attention_then_feed_forward() -> None:
    block = Block(12, heads=3, hidden=24, dropout=0.1).double().eval()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    h = x + block.attention(x)
    torch.testing.assert_close(block(x), h + block.feed_forward(h))


def test_vit_reads_the_class_token_and_knows_where_a_patch_stands() -> None:
    network = vit_tiny((1, 8, 8), 5).double().eval()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    tokens = network.tokens(network.embedding(x))
    assert tokens.shape == (2, 5, 192)
    position, class_token = network.tokens.position, network.tokens.class_token
    torch.testing.assert_close(tokens[:, 0], (class_token + position[:, :1]).expand(2, -1, -1)[:, 0])
    torch.testing.assert_close(tokens[:, 1:], network.embedding(x) + position[:, 1:])
    torch.testing.assert_close(network(x), network.head(network.norm(network.body(tokens))[:, 0]))
    swapped = torch.cat((x[..., 4:], x[..., :4]), dim=-1)
    assert not torch.allclose(network(swapped), network(x), atol=1e-3)


def test_vit_dropout_is_off_in_evaluation_and_follows_its_setting() -> None:
    x = torch.randn(2, 1, 8, 8)
    network = vit_tiny((1, 8, 8), 5)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    without = vit_tiny((1, 8, 8), 5, dropout=0)
    assert torch.equal(without(x), without(x))


def test_narrow_ones_have_the_same_layers_and_fewer_channels() -> None:
    whole, narrow = vgg16((3, 32, 32), 10), vgg16((3, 32, 32), 10, width=8)
    shapes = [[p.shape for p in network.body.parameters()] for network in (whole, narrow)]
    assert [len(each) for each in shapes] == [len(shapes[0])] * 2
    assert all(wide[0] == 8 * few[0] for wide, few in zip(*shapes, strict=True))
    small = vit_tiny((3, 32, 32), 10, width=24, depth=2)
    assert (len(small.body), small.head.in_features) == (2, 24)
    with pytest.raises(ValueError, match="width is 25; it must be a multiple of the 3 heads"):
        vit_tiny((3, 32, 32), 10, width=25)
