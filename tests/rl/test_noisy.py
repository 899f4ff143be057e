"""Noisy layers: the formula in loops, the start that is published, and what the noise follows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch

from hare_tortoise import HareTortoise
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.noisy import NoisyLinear

INPUTS = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def noisy_head() -> QHead:
    torch.manual_seed(0)
    return QHead(5, 4, hidden=6, noisy=True).double()


def noisy_layer(inputs: int = 3, outputs: int = 2) -> NoisyLinear:
    torch.manual_seed(0)
    layer = NoisyLinear(inputs, outputs).double()
    with torch.no_grad():
        layer.weight_sigma.uniform_(0.1, 1.0)
        layer.bias_sigma.uniform_(0.1, 1.0)
    layer.resample(torch.Generator().manual_seed(5))
    return layer


def test_a_noisy_layer_is_the_formula() -> None:
    layer, x = noisy_layer(), torch.randn(4, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    e_in, e_out = (torch.randn(size, generator=generator).tolist() for size in (3, 2))

    def f(e: float) -> float:
        return math.copysign(math.sqrt(abs(e)), e)

    for row in range(4):
        for j in range(2):
            expected = layer.bias[j].item() + layer.bias_sigma[j].item() * f(e_out[j])
            for i in range(3):
                weight = layer.weight[j, i].item() + layer.weight_sigma[j, i].item() * f(e_out[j]) * f(
                    e_in[i]
                )
                expected += weight * x[row, i].item()
            assert layer(x)[row, j].item() == pytest.approx(expected, rel=1e-6)


def test_a_noisy_layer_is_without_noise_in_evaluation() -> None:
    layer, x = noisy_layer(), torch.randn(4, 3, dtype=torch.float64)
    assert not torch.allclose(layer(x), x @ layer.weight.T + layer.bias)
    layer.eval()
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_noise_starts_as_published_and_is_sign_and_root_of_normal_numbers() -> None:
    torch.manual_seed(0)
    layer = NoisyLinear(400, 900)
    for sigma in (layer.weight_sigma, layer.bias_sigma):
        assert sorted(set(sigma.flatten().tolist())) == pytest.approx([0.5 / 20])
    for mean in (layer.weight, layer.bias):
        assert mean.abs().max().item() == pytest.approx(1 / 20, rel=0.01)
        assert mean.var().item() == pytest.approx((1 / 20) ** 2 / 3, rel=0.15)
    noise = torch.cat([layer.noise_in, layer.noise_out])
    # ε² of the noise is |e| of a normal number, whose mean is √(2/π)
    assert noise.square().mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.08)
    assert noise.square().square().mean().item() == pytest.approx(1, abs=0.2)
    assert abs(noise.mean().item()) < 0.08


def test_noise_follows_its_generator_alone() -> None:
    head, features = noisy_head(), INPUTS
    state = torch.get_rng_state()
    drawn = []
    for seed in (7, 8, 7):
        head.resample(torch.Generator().manual_seed(seed))
        drawn.append(head(features))
        assert torch.equal(head(features), drawn[-1])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], drawn[1])
    layers = [module for module in head.modules() if isinstance(module, NoisyLinear)]
    assert len(layers) == 4
    generator = torch.Generator().manual_seed(7)
    for layer in layers:
        layer.resample(generator)
    assert torch.equal(head(features), drawn[0])
    assert len({layer.noise_in[0].item() for layer in layers}) == 4
    head.resample()
    assert not torch.equal(torch.get_rng_state(), state)


def test_noise_moves_with_its_layer_and_is_copied_but_neither_saved_nor_averaged() -> None:
    head = noisy_head()
    layer = next(module for module in head.modules() if isinstance(module, NoisyLinear))
    assert layer.noise_in.dtype == torch.float64
    moved = NoisyLinear(3, 2).to("meta")
    assert (moved.noise_in.device.type, moved.noise_out.device.type) == ("meta", "meta")
    twin = copy.deepcopy(head)
    before = twin(INPUTS)
    head.resample()
    assert torch.equal(twin(INPUTS), before)
    assert [key for key in head.state_dict() if "noise" in key] == []
    assert list(head.buffers()) == []
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    pair = HareTortoise(head, optimizer, tortoise=twin, decay=0.5, reset_every=1)
    noise = [
        module.noise_out.clone()
        for module in (*head.modules(), *twin.modules())
        if isinstance(module, NoisyLinear)
    ]
    head(INPUTS).square().sum().backward()
    optimizer.step()
    after = [
        module.noise_out
        for module in (*head.modules(), *pair.tortoise.modules())
        if isinstance(module, NoisyLinear)
    ]
    assert all(torch.equal(a, b) for a, b in zip(noise, after, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: NoisyLinear(0, 2), "inputs is 0"), (lambda: NoisyLinear(2, True), "outputs is True")],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
