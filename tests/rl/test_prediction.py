"""Self-prediction: the loss against loops in float64, where its gradient goes, what masks and weights do to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hare_tortoise.methods.support.fresh import draw_fresh
from hare_tortoise.networks import Encoder, crelu, minatar_encoder
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.noisy import NoisyLinear
from hare_tortoise.rl.prediction import Prediction, prediction_loss, projection_of, renormalised
from tests.rl.naive_prediction import ACTIONS, HIDDEN, MAPS, ROWS, STEPS, Network, batch, oracle, stepped

HEADS: dict[str, tuple[dict[str, Any], str]] = {
    "two streams": ({}, "head.advantage.0.0"),
    "shared": ({"shared_hidden": True, "atoms": 3}, "head.shared.0"),
    "plain, normed": ({"dueling": False, "layer_norm": True}, "head.advantage.0.0"),
}
MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_is_the_mean_of_masked_weighted_distances(kind: str) -> None:
    settings, layer = HEADS[kind]
    online, target = Network(**settings), Network(seed=1, **settings)
    given, weights = batch(), torch.tensor([0.3, 1.0, 0.6])
    distances = oracle(online, target, given, layer)
    assert min(map(min, distances)) > 0.01
    everything = sum(map(sum, distances)) / (ROWS * STEPS)
    assert prediction_loss(online, target, *given).item() == pytest.approx(everything, rel=1e-10)
    expected = 0.0
    for row, mask, weight in zip(distances, MASK.tolist(), weights.tolist(), strict=True):
        inside = [entry for entry, within in zip(row, mask, strict=True) if within]
        expected += weight * sum(inside) / STEPS / ROWS
    found = prediction_loss(online, target, *given[:3], MASK, weights)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_a_step_is_two_convolutions_of_the_latent_and_the_plane_of_the_action() -> None:
    prediction = Network().ahead
    images = torch.rand(ACTIONS, *MAPS, dtype=torch.float64)
    found = prediction.step(images, torch.arange(ACTIONS))
    for action in range(ACTIONS):
        expected = stepped(images[action].tolist(), action, prediction)
        torch.testing.assert_close(found[action], torch.tensor(expected, dtype=torch.float64))


def test_steps_are_rolled_from_what_was_foretold() -> None:
    online, target, (observations, following, actions, _) = Network(), Network(seed=1), batch()
    assert isinstance(online.encoder, Encoder)
    assert isinstance(target.encoder, Encoder)
    image, total = renormalised(online.encoder.latent(observations)), 0.0
    for k in range(STEPS):
        image = online.ahead.step(image, actions[:, k])
        told = online.ahead.predictor(projection_of(online.head)(image.flatten(1)))
        seen = renormalised(target.encoder.latent(following[:, k])).flatten(1)
        found = projection_of(target.head)(seen)
        total += (2 - 2 * torch.cosine_similarity(told, found)).mean().item() / STEPS
        mask = torch.zeros(ROWS, STEPS, dtype=torch.bool)
        mask[:, : k + 1] = True
        loss = prediction_loss(online, target, observations, following, actions, mask)
        assert loss.item() == pytest.approx(total)


def gradients(network: Network) -> dict[str, bool]:
    """By the name of each layer, whether any of its weights has a gradient."""
    return {
        name.rpartition(".")[0]: bool(parameter.grad is not None and parameter.grad.any())
        for name, parameter in network.named_parameters()
    }


def test_only_the_online_network_learns_and_of_its_head_the_projection_alone() -> None:
    online, target = Network(), Network(seed=1)
    torch.autograd.backward(prediction_loss(online, target, *batch()))
    assert not any(parameter.grad is not None for parameter in target.parameters())
    found = gradients(online)
    assert {name for name, some in found.items() if some} == {
        "encoder.body.0",
        "head.advantage.0.0",
        "prediction.transition.0",
        "prediction.transition.2",
        "prediction.predictor",
    }
    assert len(found) == 8
    for name in ("encoder.body.0", "prediction.transition.0", "prediction.predictor"):
        weight = online.get_parameter(f"{name}.weight")
        assert weight.grad is not None
        place = int(weight.grad.abs().argmax())
        slopes = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.view(-1)[place] += step
                slopes.append(prediction_loss(online, target, *batch()).item())
                weight.view(-1)[place] -= step
        expected = (slopes[0] - slopes[1]) / 2e-6
        assert weight.grad.view(-1)[place].item() == pytest.approx(expected, rel=1e-4)


def test_what_is_outside_of_the_episode_reaches_neither_loss_nor_gradient() -> None:
    online, target, (observations, following, actions, _) = Network(), Network(seed=1), batch()
    other = torch.where(MASK[:, :, None, None, None], following, 1 - following)
    others = torch.where(MASK, actions, (actions + 1) % ACTIONS)
    found = []
    for seen, taken in ((following, actions), (other, others)):
        online.zero_grad()
        loss = prediction_loss(online, target, observations, seen, taken, MASK)
        torch.autograd.backward(loss)
        found.append([loss.detach(), *(p.grad for p in online.parameters() if p.grad is not None)])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    changed = prediction_loss(online, target, observations, other, others, torch.ones_like(MASK))
    assert abs(changed.item() - prediction_loss(online, target, *batch()).item()) > 1e-3
    assert prediction_loss(online, target, *batch()[:3], torch.zeros_like(MASK)).item() == 0


@given(st.lists(st.booleans(), min_size=9, max_size=9), st.lists(st.floats(0, 2), min_size=3, max_size=3))
def test_masks_and_weights_add_up(mask: list[bool], weights: list[float]) -> None:
    online, target, given = Network(), Network(seed=1), batch()
    with torch.no_grad():
        parts = torch.zeros(ROWS, STEPS, dtype=torch.float64)
        for row, step in product(range(ROWS), range(STEPS)):
            alone = torch.zeros(ROWS, STEPS, dtype=torch.bool)
            alone[row, step] = True
            parts[row, step] = prediction_loss(online, target, *given[:3], alone)
        inside, of_rows = torch.tensor(mask).view(ROWS, STEPS), torch.tensor(weights)
        found = prediction_loss(online, target, *given[:3], inside, of_rows)
    assert found.item() == pytest.approx((parts * inside * of_rows[:, None]).sum().item(), abs=1e-12)


def without_change(network: Network, sign: float) -> None:
    """Make the transition pass the latent on, and the predictor give `sign` times the projection."""
    with torch.no_grad():
        for layer in (network.ahead.transition[0], network.ahead.transition[2]):
            assert isinstance(layer, nn.Conv2d)
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
        network.ahead.predictor.weight.copy_(sign * torch.eye(HIDDEN))
        network.ahead.predictor.bias.zero_()


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 0.0), (-1.0, 4.0)])
def test_where_nothing_moves_the_loss_is_0_and_4_if_all_is_told_the_wrong_way_round(
    sign: float, expected: float
) -> None:
    online, (observations, _, actions, inside) = Network(), batch()
    without_change(online, sign)
    following = observations[:, None].expand(-1, STEPS, -1, -1, -1)
    loss = prediction_loss(online, online, observations, following, actions, inside)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.1, 1e3), st.floats(-10, 10), st.integers(0, 1000))
def test_renormalised_latents_fill_0_to_1_whatever_their_scale_and_offset(
    scale: float, offset: float, seed: int
) -> None:
    images = torch.randn(4, *MAPS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    images[3] = offset
    found = renormalised(scale * images + offset)
    for image, row in zip(images[:3], found[:3], strict=True):
        assert row.min().item() == 0
        assert 1 - 1e-3 < row.max().item() < 1
        order = image.flatten().argsort()
        assert bool((row.flatten()[order].diff() >= 0).all())
        torch.testing.assert_close(row, renormalised(image), rtol=0, atol=1e-3)
    assert not bool(found[3].any())


def test_a_latent_that_is_black_everywhere_does_no_harm() -> None:
    online, target, (observations, following, actions, inside) = Network(), Network(seed=1), batch()
    for network in (online, target):
        with torch.no_grad():
            network.get_parameter("encoder.body.0.bias").fill_(-100.0)
    loss = prediction_loss(online, target, observations, following, actions, inside)
    torch.autograd.backward(loss)
    assert 0 < loss.item() <= 4
    for parameter in online.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


def test_the_projection_is_the_first_layer_of_the_head() -> None:
    for settings, layer in HEADS.values():
        network = Network(**settings)
        assert projection_of(network.head) is network.get_submodule(layer)
    doubled = crelu(QHead(6, ACTIONS, hidden=HIDDEN))
    first = projection_of(doubled)
    assert isinstance(first, nn.Linear)
    assert (first.in_features, first.out_features) == (6, HIDDEN)


def test_a_noisy_head_projects_with_its_noise_in_training_and_without_in_evaluation() -> None:
    online, target = Network(noisy=True), Network(seed=1, noisy=True)
    assert isinstance(projection_of(online.head), NoisyLinear)

    def losses(network: Network) -> Iterator[float]:
        for seed in (0, 1, 0):
            network.head.resample(torch.Generator().manual_seed(seed))
            yield prediction_loss(online, target, *batch()).item()

    for network in (online, target):
        first, second, again = losses(network)
        assert first == again != second
        network.eval()
        first, second, _ = losses(network)
        assert first == second
    settled = Network()
    names = set(settled.state_dict())
    settled.load_state_dict({k: v for k, v in online.state_dict().items() if k in names})
    other = Network()
    other.load_state_dict({k: v for k, v in target.state_dict().items() if k in names})
    assert first == pytest.approx(prediction_loss(settled, other, *batch()).item())


def test_half_precision_is_left_before_distances_are_taken() -> None:
    online, target, (observations, following, actions, inside) = Network(), Network(seed=1), batch()
    exact = prediction_loss(online, target, observations, following, actions, inside)
    images = observations.float().to(memory_format=torch.channels_last), following.float()
    for network in (online, target):
        network.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    single = prediction_loss(online, target, *images, actions, inside)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(exact.item(), rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = online.ahead.step(torch.rand(1, *MAPS), torch.tensor([0]))
        loss = prediction_loss(online, target, *images, actions, inside)
    assert loss.dtype == step.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), abs=0.05)
    assert loss.item() != loss.bfloat16().item()
    torch.autograd.backward(loss)
    assert gradients(online)["encoder.body.0"]


def test_compiled_it_is_the_same() -> None:
    torch.compiler.reset()
    online, target = Network(), Network(seed=1)
    compiled = torch.compile(prediction_loss, backend="aot_eager", fullgraph=True)
    found = compiled(online, target, *batch())
    torch.testing.assert_close(found, prediction_loss(online, target, *batch()))


def test_a_prediction_is_drawn_again_as_it_was_built() -> None:
    network, built = Network(), Network(seed=5)
    assert sum(p.numel() for p in network.ahead.parameters()) == 9 * (7 + 3) * 3 + 6 + HIDDEN * (HIDDEN + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(5)
    network.float()
    for module in network.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    for (name, redrawn), expected in zip(network.named_parameters(), built.parameters(), strict=True):
        assert torch.equal(redrawn.double(), expected), name
    drawn = draw_fresh(network, None, torch.Generator())
    assert set(drawn) == {name for name, _ in network.named_parameters()}


def test_it_fits_the_encoders_of_the_library() -> None:
    torch.manual_seed(0)
    encoder, images = minatar_encoder((4, 10, 10)), torch.rand(ROWS, STEPS + 1, 4, 10, 10)
    head = QHead(encoder.features, ACTIONS, hidden=HIDDEN)
    online = changed(encoder=encoder, head=head, prediction=Prediction(encoder.maps, ACTIONS, HIDDEN))
    loss = prediction_loss(online, online, images[:, 0], images[:, 1:], *batch()[2:])
    assert 0 < loss.item() < 4


def changed(**parts: Any) -> Network:
    network = Network()
    for name, part in parts.items():
        setattr(network, name, part)
    return network


def loss_of(position: int, wrong: Tensor) -> Tensor:
    given: list[Tensor] = [*batch(), torch.ones(ROWS)]
    given[position] = wrong
    observations, following, actions, inside, weights = given
    return prediction_loss(Network(), Network(), observations, following, actions, inside, weights)


GIVEN = batch()
LATENT = torch.zeros(2, *MAPS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Prediction((3, 2), ACTIONS, HIDDEN), r"maps is \(3, 2\); expected \(channels, rows"),
        (lambda: Prediction((3, 0, 2), ACTIONS, HIDDEN), r"maps\[1\] is 0"),
        (lambda: Prediction(MAPS, 0, HIDDEN), "actions is 0"),
        (lambda: Prediction(MAPS, ACTIONS, -1), "hidden is -1"),
        (
            lambda: Prediction(MAPS, ACTIONS, HIDDEN).step(LATENT[:, :2], GIVEN[2][:2, 0]),
            r"latent has shape \(2, 2, 2, 3\), expected \(batch, \*\(3, 2, 3\)\)",
        ),
        (lambda: Prediction(MAPS, ACTIONS, HIDDEN).step(LATENT[0], GIVEN[2][:2, 0]), "latent has shape"),
        (
            lambda: Prediction(MAPS, ACTIONS, HIDDEN).step(LATENT, GIVEN[2][:2]),
            r"actions has shape \(2, 3\), but there are 2 latents",
        ),
        (lambda: Prediction(MAPS, ACTIONS, HIDDEN).step(LATENT, GIVEN[2][0]), r"actions has shape \(3,\)"),
        (lambda: loss_of(0, GIVEN[0][:2]), r"observations has shape \(2, 2, 4, 5\), expected \(3, 2, 4, 5\)"),
        (lambda: loss_of(1, GIVEN[1][:, :2]), r"following has shape .*, expected \(3, 3, 2, 4, 5\)"),
        (lambda: loss_of(1, GIVEN[1][:, 0]), r"following has shape \(3, 2, 4, 5\)"),
        (lambda: loss_of(1, GIVEN[1][..., :4]), r"following has shape \(3, 3, 2, 4, 4\)"),
        (lambda: loss_of(2, GIVEN[2][0]), r"actions is torch.int64 of shape \(3,\), expected"),
        (lambda: loss_of(2, GIVEN[2][:, :0]), r"actions is torch.int64 of shape \(3, 0\)"),
        (lambda: loss_of(2, GIVEN[2].int()), "actions is torch.int32"),
        (lambda: loss_of(3, GIVEN[3].float()), "inside is torch.float32, expected bool"),
        (lambda: loss_of(3, GIVEN[3][:, :1]), r"inside has shape \(3, 1\), expected \(3, 3\)"),
        (lambda: loss_of(4, torch.ones(ROWS, 1)), r"weights has shape \(3, 1\), expected \(3,\)"),
        (
            lambda: prediction_loss(changed(encoder=nn.Flatten()), Network(), *batch()),
            "the encoder, a Flatten, has no method `latent`",
        ),
        (
            lambda: prediction_loss(Network(), changed(encoder=nn.Flatten()), *batch()),
            "the encoder, a Flatten, has no method `latent`",
        ),
        (
            lambda: prediction_loss(changed(prediction=None), Network(), *batch()),
            r"the online network has no prediction \(got None\)",
        ),
        (
            lambda: prediction_loss(
                changed(prediction=Prediction(MAPS, ACTIONS, 7).double()), Network(), *batch()
            ),
            "hidden of the prediction is 7, but the hidden layer of the head has 5",
        ),
        (
            lambda: prediction_loss(
                changed(prediction=Prediction((3, 3, 2), ACTIONS, HIDDEN).double()), Network(), *batch()
            ),
            r"latent has shape \(3, 3, 2, 3\), expected \(batch, \*\(3, 3, 2\)\)",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_target_needs_no_prediction_of_its_own() -> None:
    without = changed(prediction=None)
    assert prediction_loss(Network(), without, *batch()) == prediction_loss(Network(), Network(), *batch())
