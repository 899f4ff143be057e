"""Heads: values, distributions and masks against loops in float64; the sizes that were measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hare_tortoise.methods.support.fresh import draw_fresh
from hare_tortoise.methods.support.units import trace_units
from hare_tortoise.networks import crelu, impala_encoder, layer_norm, nature_encoder
from hare_tortoise.rl.heads import QHead, atom_values, greedy, values
from hare_tortoise.rl.noisy import NoisyLinear

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"dueling": False},
    "two streams": {},
    "shared hidden layer": {"shared_hidden": True},
    "noisy": {"noisy": True},
    "normed": {"layer_norm": True},
    "plain C51": {"dueling": False, "atoms": 3},
    "C51": {"atoms": 3},
    "shared C51": {"atoms": 3, "shared_hidden": True, "noisy": True, "layer_norm": True},
}
kinds = pytest.mark.parametrize("kind", KINDS)
MASK = torch.tensor([True, False, True, True])


def single(kind: str, seed: int = 0) -> QHead:
    torch.manual_seed(seed)
    return QHead(5, 4, hidden=6, **KINDS[kind])


def build(kind: str) -> QHead:
    return single(kind).double()


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def dueling(value: list[float], advantage: list[list[float]], legal: list[bool]) -> list[list[float]]:
    """Wang et al.'s equation 9 for one row: by action, then by atom (one where there are none)."""
    found = []
    for own in advantage:
        row = []
        for atom, entry in enumerate(own):
            others = [advantage[a][atom] for a in range(len(advantage)) if legal[a]]
            row.append(value[atom] + entry - sum(others) / len(others))
        found.append(row)
    return found


def streams(head: QHead, features: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out of both streams, in the order of actions, then atoms."""
    assert head.value is not None
    hidden = head.shared(features)
    return head.value(hidden), head.advantage(hidden).reshape(len(features), head.actions, head.atoms or 1)


@pytest.mark.parametrize("mask", [None, MASK, MASK.roll(1)], ids=["all", "three", "other three"])
@pytest.mark.parametrize("kind", [kind for kind, settings in KINDS.items() if settings.get("dueling", True)])
def test_a_dueling_head_is_the_formula(kind: str, mask: Tensor | None) -> None:
    head, features = build(kind), inputs(3)
    outputs = head(features, mask).detach().reshape(3, 4, -1)
    legal = [True] * 4 if mask is None else mask.tolist()
    for row, (value, advantage) in enumerate(zip(*streams(head, features), strict=True)):
        expected = dueling(value.tolist(), advantage.tolist(), legal)
        torch.testing.assert_close(outputs[row], torch.tensor(expected, dtype=torch.float64))


def test_a_mask_may_differ_from_row_to_row() -> None:
    head, features = build("C51"), inputs(2)
    masks = torch.stack([MASK, ~MASK])
    together = head(features, masks)
    for row in range(2):
        alone = head(features[row : row + 1], masks[row])
        torch.testing.assert_close(together[row], alone[0])
    # of a single legal action the advantage is its own mean
    torch.testing.assert_close(together[1, 1], head.get_submodule("value")(features)[1])


@pytest.mark.parametrize("kind", ["two streams", "C51"])
def test_half_precision_keeps_apart_actions_that_differ_little_beside_the_value(kind: str) -> None:
    head, features = single(kind), inputs(3).float()
    for name, scale in (("value", 100.0), ("advantage", 0.01)):
        last = list(head.get_submodule(name).children())[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(features)
        value, advantage = streams(head, features)
    assert (outputs.dtype, value.dtype, advantage.dtype) == (torch.float32, torch.bfloat16, torch.bfloat16)
    exact = advantage.double()
    expected = value.double().reshape(3, 1, -1) + exact - exact.mean(1, keepdim=True)
    torch.testing.assert_close(outputs.double().reshape(3, 4, -1), expected, rtol=1e-6, atol=1e-6)


@kinds
def test_illegal_actions_do_not_reach_legal_ones(kind: str) -> None:
    head, features = build(kind), inputs(3)
    before = head(features, MASK)[:, MASK]
    before.square().sum().backward()
    last = [module for module in head.advantage.modules() if isinstance(module, nn.Linear | NoisyLinear)][-1]
    rows = slice(head.atoms or 1, 2 * (head.atoms or 1))
    assert last.weight.grad is not None
    assert not bool(last.weight.grad[rows].any())
    assert bool(last.weight.grad[: rows.start].any())
    with torch.no_grad():
        last.bias[rows] += 100.0
    torch.testing.assert_close(head(features, MASK)[:, MASK], before, rtol=0, atol=0)


@kinds
def test_a_head_has_any_leading_axes(kind: str) -> None:
    head, features = build(kind), inputs(2, 3)
    outputs = head(features, MASK)
    assert outputs.shape == (2, 3, 4, *([3] if head.atoms else []))
    torch.testing.assert_close(outputs[1], head(features[1], MASK))


@pytest.mark.parametrize("kind", ["plain", "plain C51"])
def test_a_plain_head_is_its_one_stream(kind: str) -> None:
    head, features = build(kind), inputs(3)
    assert head.value is None
    assert torch.equal(head(features).flatten(1), head.advantage(features))
    assert torch.equal(head(features, MASK), head(features))


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


# Parameters in millions, measured in the networks of the publications' codes, for the six actions of Pong.
MEASURED: dict[str, tuple[Any, dict[str, Any], int, float]] = {
    "Nature VALID, scalar, one hidden layer": ({}, {"shared_hidden": True}, 1_687_719, 1.69),
    "Nature VALID, C51, two streams": ({}, {"atoms": 51}, 3_473_413, 3.47),
    "the same, noisy (PLASTIC)": ({}, {"atoms": 51, "noisy": True}, 6_868_842, 6.9),
    "Nature SAME, scalar, one hidden layer": ({"padding": "same"}, {"shared_hidden": True}, 4_047_015, 4.05),
    "Nature SAME, C51, one hidden layer": (
        {"padding": "same"},
        {"atoms": 51, "shared_hidden": True},
        4_226_565,
        4.23,
    ),
    "IMPALA x1, C51, one hidden layer": ({"width": 1}, {"atoms": 51, "shared_hidden": True}, 2_263_861, 2.3),
    "IMPALA x4, C51, one of 2048 (BBF without SPR)": (
        {"width": 4},
        {"atoms": 51, "shared_hidden": True, "hidden": 2048},
        34_005_157,
        34,
    ),
}


@pytest.mark.parametrize(("encoder", "head", "parameters", "millions"), MEASURED.values(), ids=MEASURED)
def test_agents_have_the_sizes_that_were_measured(
    encoder: dict[str, Any], head: dict[str, Any], parameters: int, millions: float
) -> None:
    with torch.device("meta"):
        body = (impala_encoder if "width" in encoder else nature_encoder)((4, 84, 84), **encoder)
        found = count(body, QHead(body.features, 6, **head))
    hidden, outputs = head.get("hidden", 512), head.get("atoms", 1)
    layers = 1 if head.get("shared_hidden") else 2
    dense = layers * (body.features + 1) * hidden + (hidden + 1) * outputs * (1 + 6)
    assert found == count(body) + dense * (2 if head.get("noisy") else 1) == parameters
    assert abs(found / 1e6 - millions) < (0.06 if millions == 6.9 or millions == 2.3 else 0.006)


@kinds
def test_a_head_is_drawn_again_as_it_was_built(kind: str) -> None:
    head, expected = single(kind), single(kind, seed=3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(3)
    for module in head.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    for (name, redrawn), built in zip(head.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(redrawn, built), name
    assert torch.equal(head(inputs(2).float()), expected(inputs(2).float()))
    drawn = draw_fresh(head, None, torch.Generator())
    assert set(drawn) == {name for name, _ in head.named_parameters()}


def test_methods_see_the_units_of_a_head() -> None:
    network = nn.Sequential(nature_encoder((1, 36, 36)), QHead(64, 4, hidden=6, atoms=3))
    graph = trace_units(network, torch.zeros(2, 1, 36, 36))
    assert [units.size for units in graph.groups] == [32, 64, 64, 6, 6]
    assert [read.weight for read in graph.groups[2].outgoing] == [
        "1.value.0.0.weight",
        "1.advantage.0.0.weight",
    ]
    assert graph.left_out == {}
    shared = trace_units(QHead(5, 4, hidden=6, shared_hidden=True), torch.zeros(2, 5))
    assert [read.weight for read in shared.groups[0].outgoing] == ["value.0.weight", "advantage.0.weight"]
    noisy = trace_units(QHead(5, 4, hidden=6, noisy=True), torch.zeros(2, 5))
    assert [units.incoming for units in noisy.groups] == [("value.0.0.weight",), ("advantage.0.0.weight",)]


def test_transforms_take_a_head() -> None:
    head = crelu(layer_norm(QHead(5, 4, hidden=6, atoms=3)))
    assert head(torch.zeros(2, 5), MASK).shape == (2, 4, 3)
    assert {module.in_features for module in head.modules() if isinstance(module, nn.Linear)} == {5, 12}
    same = QHead(5, 4, hidden=6, atoms=3, layer_norm=True)
    assert count(layer_norm(QHead(5, 4, hidden=6, atoms=3))) == count(same)


def test_a_compiled_head_computes_the_same() -> None:
    torch.compiler.reset()
    head, features = build("shared C51"), inputs(3)
    compiled = torch.compile(head, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, MASK), head(features, MASK))


def test_values_are_expectations() -> None:
    logits, support = inputs(2, 3)[..., :4] * 3, torch.tensor([-2.0, 0.0, 2.0, 4.0], dtype=torch.float64)
    found = values(logits, support)
    for row in range(2):
        for action in range(3):
            weights = [math.exp(entry) for entry in logits[row, action].tolist()]
            terms = zip(weights, support.tolist(), strict=True)
            assert found[row, action].item() == pytest.approx(sum(w * z for w, z in terms) / sum(weights))
    assert torch.equal(values(logits), logits)


def test_values_of_half_precision_are_computed_in_float32() -> None:
    logits, support = inputs(6, 4).bfloat16(), atom_values(5)
    exact = values(logits.double(), support.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = values(logits, support)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    assert values(logits).dtype == torch.float32
    assert values(logits.double()).dtype == torch.float64


def test_illegal_actions_have_no_value_and_are_never_chosen() -> None:
    outputs = torch.tensor([[1.0, 9.0, 2.0, 2.0], [-5.0, 0.0, -7.0, -6.0]])
    assert values(outputs, mask=MASK).tolist() == [[1.0, -math.inf, 2.0, 2.0], [-5.0, -math.inf, -7.0, -6.0]]
    assert greedy(outputs, MASK).tolist() == [2, 0]
    assert greedy(values(outputs, mask=MASK)).tolist() == [2, 0]
    assert greedy(outputs).tolist() == [1, 1]
    assert greedy(outputs, torch.stack([MASK, ~MASK])).tolist() == [2, 1]
    assert outputs[0, 1] == 9.0


@given(st.lists(st.tuples(st.sampled_from([-1e30, -1.0, 0.0, 0.5]), st.booleans()), min_size=1, max_size=6))
def test_greedy_is_the_first_of_the_best_legal_actions(entries: list[tuple[float, bool]]) -> None:
    legal = [index for index, (_, allowed) in enumerate(entries) if allowed]
    if legal:
        best = max(entries[index][0] for index in legal)
        expected = next(index for index in legal if entries[index][0] == best)
        row, mask = (torch.tensor(column) for column in zip(*entries, strict=True))
        assert greedy(row, mask).item() == expected


def test_the_support_is_evenly_spaced_between_its_ends() -> None:
    support = atom_values()
    assert (support.dtype, len(support)) == (torch.float32, 51)
    assert support.tolist() == pytest.approx([-10 + 0.4 * index for index in range(51)], abs=1e-6)
    for high in (0.3, 7.0, 10.0):
        for atoms in range(3, 102, 2):
            ends = atom_values(atoms, -high, high)[[0, atoms // 2, -1]].tolist()
            assert ends == pytest.approx([-high, 0, high], rel=1e-7, abs=0)
    assert atom_values(2, 0.0, 3.0, device="meta").device.type == "meta"


def bad(value: Any) -> Any:
    return value


LOGITS = torch.zeros(2, 4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: QHead(0, 4), "features is 0"),
        (lambda: QHead(5, bad(2.0)), "actions is 2.0"),
        (lambda: QHead(5, 4, hidden=-1), "hidden is -1"),
        (lambda: QHead(5, 4, atoms=1), "atoms is 1; a distribution must have at least 2"),
        (lambda: QHead(5, 4, atoms=0), "atoms is 0"),
        (lambda: QHead(5, 4, dueling=False, shared_hidden=True), "shared_hidden is True without dueling"),
        (lambda: atom_values(1), "atoms is 1"),
        (lambda: atom_values(True), "atoms is True"),
        (lambda: atom_values(51, 1.0, 1.0), "low is 1.0 and high is 1.0"),
        (lambda: atom_values(51, -math.inf, 1.0), "low is -inf"),
        (lambda: atom_values(51, -1.0, math.nan), "high is nan"),
        (lambda: values(LOGITS, atom_values(4)), r"outputs have shape \(2, 4, 3\) and support \(4,\)"),
        (lambda: values(LOGITS[0, 0], atom_values(3)), r"outputs have shape \(3,\)"),
        (lambda: values(LOGITS, LOGITS[0]), r"support \(4, 3\)"),
        (lambda: values(LOGITS, atom_values(3), torch.ones(4)), "mask is torch.float32, expected bool"),
        (lambda: greedy(LOGITS[0], torch.ones(3, dtype=torch.int64)), "mask is torch.int64, expected bool"),
        (
            lambda: QHead(5, 4)(torch.zeros(2, 5), torch.tensor([0, 2])),
            "mask is torch.int64, expected bool",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
