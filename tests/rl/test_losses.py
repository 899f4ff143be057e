"""Losses: targets, projection, rows and priorities against loops in float64; what a projection must keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hare_tortoise.rl.heads import atom_values, greedy, values
from hare_tortoise.rl.losses import (
    Loss,
    distribution_loss,
    distribution_target,
    project,
    scalar_loss,
    scalar_target,
)

ROWS, ACTIONS, ATOMS = 6, 3, 5
SUPPORT = atom_values(ATOMS, -2.0, 2.0).double()
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def batch(*axes: int, atoms: int | None = None, seed: int = 0) -> Batch:
    """Outputs, actions, returns, discounts, outputs behind the steps, actions there; the third row has ended."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*axes, ACTIONS) if atoms is None else (*axes, ACTIONS, atoms)

    def normal(*sizes: int) -> Tensor:
        return 2 * torch.randn(*sizes, dtype=torch.float64, generator=generator)

    def actions() -> Tensor:
        return torch.randint(ACTIONS, axes, generator=generator)

    discounts = torch.rand(axes, dtype=torch.float64, generator=generator)
    discounts[..., 2] = 0
    return normal(*shape), actions(), normal(*axes), discounts, normal(*shape), actions()


def softmax(logits: list[float]) -> list[float]:
    weights = [math.exp(entry) for entry in logits]
    return [weight / sum(weights) for weight in weights]


def projected(probabilities: list[float], places: list[float], support: list[float]) -> list[float]:
    """Algorithm 1 of Bellemare et al.: each probability goes to the atoms below and above its place."""
    found = [0.0] * len(support)
    spacing = support[1] - support[0]
    for probability, place in zip(probabilities, places, strict=True):
        b = min((min(max(place, support[0]), support[-1]) - support[0]) / spacing, len(support) - 1)
        low, high = math.floor(b), math.ceil(b)
        if low == high:
            found[low] += probability
        else:
            found[low] += probability * (high - b)
            found[high] += probability * (b - low)
    return found


def scalar_oracle(given: Batch) -> tuple[list[float], list[float]]:
    """Losses and priorities of rows, one by one."""
    losses, priorities = [], []
    for predicted, taken, reward, discount, valued, chosen in zip(
        *(each.tolist() for each in given), strict=True
    ):
        error = abs(reward + discount * valued[chosen] - predicted[taken])
        losses.append(error**2 / 2 if error <= 1 else error - 0.5)
        priorities.append(error)
    return losses, priorities


def distribution_oracle(given: Batch, support: list[float]) -> list[float]:
    losses = []
    for predicted, taken, reward, discount, valued, chosen in zip(
        *(each.tolist() for each in given), strict=True
    ):
        places = [reward + discount * atom for atom in support]
        target = projected(softmax(valued[chosen]), places, support)
        own = softmax(predicted[taken])
        losses.append(-sum(t * math.log(p) for t, p in zip(target, own, strict=True)))
    return losses


def of(kind: str, given: Batch, **settings: Any) -> Loss:
    return (
        scalar_loss(*given, **settings)
        if kind == "scalar"
        else distribution_loss(*given, SUPPORT, **settings)
    )


def made(kind: str, *axes: int, seed: int = 0) -> Batch:
    return batch(*axes, atoms=None if kind == "scalar" else ATOMS, seed=seed)


kinds = pytest.mark.parametrize("kind", ["scalar", "distribution"])


def test_rows_and_priorities_of_values() -> None:
    given = batch(ROWS)
    losses, priorities = scalar_oracle(given)
    assert min(priorities) < 1 < max(priorities)
    found = scalar_loss(*given)
    assert found.rows.tolist() == pytest.approx(losses)
    assert found.priorities.tolist() == pytest.approx(priorities)
    assert found.mean.item() == pytest.approx(sum(losses) / ROWS)


def test_rows_and_priorities_of_distributions() -> None:
    given = batch(ROWS, atoms=ATOMS)
    losses = distribution_oracle(given, SUPPORT.tolist())
    found = distribution_loss(*given, SUPPORT)
    assert found.rows.tolist() == pytest.approx(losses)
    assert found.priorities.tolist() == pytest.approx(losses)
    assert found.mean.item() == pytest.approx(sum(losses) / ROWS)


def test_the_atoms_of_c51_in_single_and_half_precision() -> None:
    predicted, taken, returns, discounts, valued, chosen = batch(ROWS, atoms=51)
    support = atom_values()
    half = (predicted.bfloat16(), taken, returns.float(), discounts.float(), valued.bfloat16(), chosen)
    exact = (predicted.bfloat16().double(), taken, returns, discounts, valued.bfloat16().double(), chosen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distribution_loss(*half, support)
    assert found.rows.dtype == torch.float32
    expected = distribution_oracle(exact, [-10 + 0.4 * index for index in range(51)])
    assert found.rows.tolist() == pytest.approx(expected, rel=1e-4)
    scalar = (half[0][..., 0], taken, half[2], half[3], half[4][..., 0], chosen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scalar_loss(*scalar).rows.dtype == torch.float32
    wide = tuple(each.double() if each.is_floating_point() else each for each in scalar)
    assert scalar_loss(*scalar).rows.tolist() == pytest.approx(scalar_oracle(wide)[0], rel=1e-5)  # type: ignore[arg-type]


@kinds
def test_gradients_are_those_of_the_value_of_the_action_taken_alone(kind: str) -> None:
    given = made(kind, ROWS)
    predicted, valued = given[0].requires_grad_(), given[4].requires_grad_()
    found = of(kind, given)
    torch.autograd.backward(found.mean)
    assert predicted.grad is not None
    assert valued.grad is None
    assert not found.priorities.requires_grad
    for row in range(ROWS):
        touched = predicted.grad[row].reshape(ACTIONS, -1).abs().sum(-1).nonzero()[:, 0]
        assert touched.tolist() == [given[1][row].item()]
    entry = (0, int(given[1][0])) if kind == "scalar" else (0, int(given[1][0]), 1)
    slopes = []
    for step in (1e-5, -1e-5):
        moved = predicted.detach().clone()
        moved[entry] += step
        slopes.append(of(kind, (moved, *given[1:])).mean.item())
    assert predicted.grad[entry].item() == pytest.approx((slopes[0] - slopes[1]) / 2e-5, rel=1e-4)


@kinds
def test_agents_in_one_batch_learn_what_each_would_alone(kind: str) -> None:
    given = made(kind, 2, ROWS)
    weights = torch.rand(2, ROWS, dtype=torch.float64)
    together = given[0].clone().requires_grad_()
    found = of(kind, (together, *given[1:]), weights=weights)
    assert found.mean.shape == (2,)
    torch.autograd.backward(found.mean.sum())
    assert together.grad is not None
    for agent in range(2):
        alone = given[0][agent].clone().requires_grad_()
        rest = [each[agent] for each in given[1:]]
        own = of(kind, (alone, *rest), weights=weights[agent])  # type: ignore[arg-type]
        torch.autograd.backward(own.mean)
        torch.testing.assert_close(together.grad[agent], alone.grad)
        torch.testing.assert_close(found.rows[agent], own.rows)
        torch.testing.assert_close(found.mean[agent], own.mean)
        torch.testing.assert_close(found.priorities[agent], own.priorities)


@kinds
def test_weights_are_on_the_mean_and_not_on_the_priorities(kind: str) -> None:
    given, weights = made(kind, ROWS), torch.linspace(0.2, 1, ROWS, dtype=torch.float64)
    plain, weighted = of(kind, given), of(kind, given, weights=weights)
    assert torch.equal(plain.rows, weighted.rows)
    assert torch.equal(plain.priorities, weighted.priorities)
    expected = sum(w * row for w, row in zip(weights.tolist(), plain.rows.tolist(), strict=True)) / ROWS
    assert weighted.mean.item() == pytest.approx(expected)
    assert of(kind, given, weights=torch.ones(ROWS)).mean.item() == pytest.approx(plain.mean.item())


@kinds
def test_behind_an_end_there_is_no_value(kind: str) -> None:
    given = made(kind, ROWS)
    other = (*given[:4], 100 * given[4], (given[5] + 1) % ACTIONS)
    before, after = of(kind, given), of(kind, other)
    change = (after.rows - before.rows).abs()
    assert change[2] < 1e-12
    assert bool((change[[0, 1, 3, 4, 5]] > 1e-3).all())


def test_an_end_within_the_support_is_a_return_between_two_atoms() -> None:
    logits = torch.zeros(1, ACTIONS, ATOMS, dtype=torch.float64)
    chosen, ended = torch.tensor([1]), torch.zeros(1, dtype=torch.float64)
    for reward, expected in ((0.25, [0, 0, 0.75, 0.25, 0]), (1.0, [0, 0, 0, 1, 0]), (-9.0, [1, 0, 0, 0, 0])):
        target = distribution_target(torch.tensor([reward]).double(), ended, logits, chosen, SUPPORT)
        assert target[0].tolist() == pytest.approx(expected)


def test_double_learning_takes_the_choice_of_one_network_and_the_value_of_the_other() -> None:
    online, target = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[9.0, 5.0, 4.0]])
    one, half = torch.tensor([1.0]), torch.tensor([0.5])
    assert scalar_target(one, half, target, greedy(online)).tolist() == [3.0]
    assert scalar_target(one, half, target, greedy(target)).tolist() == [5.5]
    mask = torch.tensor([True, True, False])
    assert scalar_target(one, half, target, greedy(online, mask)).tolist() == [3.5]
    # of equal values the first counts
    assert scalar_target(one, half, target, greedy(torch.ones(1, 3))).tolist() == [5.5]


numbers = st.floats(-30, 30, allow_nan=False)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), numbers), min_size=1, max_size=8),
    st.integers(2, 60),
    st.floats(-12, 3),
    st.floats(0.5, 20),
)
def test_a_projection_keeps_the_sum_and_the_clipped_mean_and_touches_two_atoms(
    pairs: list[tuple[float, float]], atoms: int, low: float, width: float
) -> None:
    total = sum(weight for weight, _ in pairs)
    probabilities, places = [weight / total for weight, _ in pairs], [place for _, place in pairs]
    support = torch.linspace(low, low + width, atoms, dtype=torch.float64)
    found = project(torch.tensor(probabilities).double(), torch.tensor(places).double(), support)
    assert found.shape == (atoms,)
    assert bool((found >= 0).all())
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    clipped = [min(max(place, low), low + width) for place in places]
    mean = sum(p * place for p, place in zip(probabilities, clipped, strict=True))
    assert (found * support).sum().item() == pytest.approx(mean, abs=1e-5 * (1 + abs(low) + width))
    oracle = projected(probabilities, places, support.tolist())
    assert found.tolist() == pytest.approx(oracle, abs=1e-5)
    assert len(found.nonzero()) <= 2 * len(pairs)


@given(numbers, st.floats(0, 1), st.integers(0, 1000))
def test_a_target_is_a_distribution_whose_mean_is_the_bellman_target_within_the_support(
    reward: float, discount: float, seed: int
) -> None:
    logits = torch.randn(1, ACTIONS, 51, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    chosen, support = torch.tensor([seed % ACTIONS]), atom_values().double()
    target = distribution_target(
        torch.tensor([reward]).double(), torch.tensor([discount]).double(), logits, chosen, support
    )
    assert target.sum().item() == pytest.approx(1)
    mean = values(logits, support)[0, chosen].item()
    if abs(reward) + 10 * discount <= 10:
        assert (target * support).sum().item() == pytest.approx(reward + discount * mean, abs=1e-5)
    if reward - 10 * discount >= 10:
        assert target[0, -1].item() == pytest.approx(1)
    if reward + 10 * discount <= -10:
        assert target[0, 0].item() == pytest.approx(1)


def test_nothing_moves_where_returns_are_zero_and_undiscounted() -> None:
    logits = torch.randn(4, ACTIONS, 51, generator=torch.Generator().manual_seed(0))
    chosen, support = torch.tensor([0, 1, 2, 0]), atom_values()
    target = distribution_target(torch.zeros(4), torch.ones(4), logits, chosen, support)
    expected = logits[range(4), chosen].softmax(-1)
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(target.sum(-1), torch.ones(4), rtol=0, atol=1e-6)


def test_the_loss_is_least_at_the_target_itself() -> None:
    given = batch(ROWS, atoms=ATOMS)
    predicted, taken, returns, discounts, valued, chosen = given
    target = distribution_target(returns, discounts, valued, chosen, SUPPORT)
    predicted[torch.arange(ROWS), taken] = target.clamp(min=1e-12).log()
    entropy = -(target * target.clamp(min=1e-12).log()).sum(-1)
    torch.testing.assert_close(distribution_loss(*given, SUPPORT).rows, entropy)


@kinds
def test_compiled_it_is_the_same(kind: str) -> None:
    torch.compiler.reset()
    given = made(kind, ROWS)
    compiled: Callable[..., Loss] = torch.compile(of, backend="aot_eager", fullgraph=True)
    found, expected = compiled(kind, given), of(kind, given)
    torch.testing.assert_close(found.rows, expected.rows)
    torch.testing.assert_close(found.mean, expected.mean)


def replaced(given: Batch, position: int, value: Tensor) -> Batch:
    return (*given[:position], value, *given[position + 1 :])  # type: ignore[return-value]


@kinds
@pytest.mark.parametrize(
    ("position", "name"), [(1, "taken"), (2, "returns"), (3, "discounts"), (5, "chosen")]
)
def test_a_tensor_of_another_shape_is_named_and_never_broadcast(kind: str, position: int, name: str) -> None:
    given = made(kind, ROWS)
    for wrong in (given[position][:, None], given[position][:1], given[position][0]):
        with pytest.raises(ValueError, match=rf"{name} has shape .* of rows \({ROWS},\); expected one entry"):
            of(kind, replaced(given, position, wrong))


@kinds
def test_weights_and_networks_of_other_rows_are_named(kind: str) -> None:
    given = made(kind, ROWS)
    with pytest.raises(ValueError, match=r"weights has shape \(6, 1\)"):
        of(kind, given, weights=torch.ones(ROWS, 1))
    with pytest.raises(ValueError, match=r"returns has shape \(6,\), but .* of rows \(5,\)"):
        of(kind, replaced(given, 4, given[4][:5]))
    with pytest.raises(ValueError, match=r"taken has shape \(6,\), but .* of rows \(5,\)"):
        of(kind, replaced(given, 0, given[0][:5]))


def test_a_support_of_other_atoms_is_named() -> None:
    given = batch(ROWS, atoms=ATOMS)
    with pytest.raises(ValueError, match=r"outputs have shape \(6, 3, 5\) and support \(4,\)"):
        distribution_loss(*given, SUPPORT[:4])
    with pytest.raises(ValueError, match=r"outputs have shape \(6, 3, 4\) and support \(5,\)"):
        distribution_loss(*replaced(given, 4, given[4][..., :4]), SUPPORT)
