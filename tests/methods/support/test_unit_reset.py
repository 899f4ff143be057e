"""Resetting units, on the real tensors after the call: weights, buffers, moments, the averages of a chain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from hare_tortoise.methods import Chain, HareTortoise
from hare_tortoise.methods.support import unit_method
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.unit_method import UnitMethod
from hare_tortoise.methods.support.unit_reset import Plan, write_entries
from hare_tortoise.networks import mlp, resnet18, vgg16, vit_tiny
from tests.methods.support.unit_networks import Depthwise, Functional, Recurrent

pytestmark = pytest.mark.filterwarnings(r"ignore:\w+ leaves alone the units of:UserWarning")
Optimizers = Callable[[Any], Optimizer]


class Manual(UnitMethod):
    """Resets what the test says, when it says so."""

    def act(self, skipped: Tensor | bool | None) -> None:
        pass


def adamw(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=0.01)


def adamw_fused(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=0.01, fused=True)


def adamw_foreach(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=0.01, foreach=True, amsgrad=True)


def momentum(parameters: Any) -> Optimizer:
    return SGD(parameters, lr=0.01, momentum=0.9)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Optimizers]] = {
    "mlp": (lambda: mlp((12,), 3, hidden=(10, 8), batch_norm=True), (6, 12), adamw),
    "mlp, sgd": (lambda: mlp((12,), 3, hidden=(10, 8)), (6, 12), momentum),
    "mlp, foreach": (lambda: mlp((12,), 3, hidden=(10, 8)), (6, 12), adamw_foreach),
    "resnet18": (lambda: resnet18((3, 8, 8), 4), (4, 3, 8, 8), adamw_fused),
    "vgg16": (lambda: vgg16((1, 32, 64), 4, head_hidden=(16, 8)), (3, 1, 32, 64), momentum),
    "vit": (lambda: vit_tiny((3, 16, 16), 4, patch=8), (2, 3, 16, 16), adamw),
    "depthwise": (Depthwise, (3, 3, 4, 4), adamw),
    "recurrent": (Recurrent, (5, 5), adamw),
}


class Case:
    """A network after a training step, with the networks that its method has drawn."""

    def __init__(self, name: str, kind: type[UnitMethod] = Manual) -> None:
        build, shape, optimizer = NETWORKS[name]
        torch.manual_seed(0)
        self.model = build()
        self.inputs = torch.randn(shape)
        self.drawn: list[nn.Module] = []
        self.optimizer = optimizer(self.model.parameters())
        self.method = kind(self.model, self.optimizer, fresh=lambda: self.fresh(build))
        self.model(self.inputs).square().sum().backward()
        self.optimizer.step()

    def fresh(self, build: Callable[[], nn.Module]) -> nn.Module:
        self.drawn.append(build())
        return self.drawn[-1]

    def chosen(self, *, every: int = 3) -> dict[str, Tensor]:
        return {name: torch.arange(units.size) % every == 1 for name, units in self.method.groups.items()}

    def state(self) -> dict[str, Tensor]:
        found = {name: value.clone() for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                found[f"{key} of {name}"] = torch.as_tensor(value).clone()
        return found


def check_reset(case: Case, chosen: Mapping[str, Tensor]) -> None:
    """Do by hand what a reset must do, unit after unit; all that is not concerned must keep every bit."""
    expected = case.state()
    case.method.reset_units(chosen)
    new = case.drawn[-1].state_dict()
    cleared: list[tuple[str, Any]] = []
    silenced: list[tuple[str, Any]] = []
    for name, units in case.method.groups.items():
        for unit in chosen[name].nonzero()[:, 0].tolist():
            cleared += [(weight, (unit,)) for weight in units.drawn]
            for read in units.outgoing:
                columns = slice(unit * read.repeat, (unit + 1) * read.repeat)
                silenced.append((read.weight, (slice(None), columns)))
    for weight, place in cleared:
        expected[weight][place] = new[weight][place]
    for weight, place in silenced:
        expected[weight][place] = 0.0
    for weight, place in (*cleared, *silenced):
        for moment in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"):
            if f"{moment} of {weight}" in expected:
                expected[f"{moment} of {weight}"][place] = 0.0
    actual = case.state()
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_reset_in_place(name: str) -> None:
    case = Case(name)
    before = copy.deepcopy(case.model.state_dict())
    identities = [id(parameter) for parameter in case.model.parameters()]
    check_reset(case, case.chosen(every=29 if name in ("resnet18", "vgg16", "vit") else 3))
    assert [id(parameter) for parameter in case.model.parameters()] == identities
    after = case.model.state_dict()
    for units in case.method.groups.values():
        for weight in units.incoming:
            assert not torch.equal(after[weight][1], before[weight][1])
        for read in units.outgoing:
            assert (after[read.weight][:, read.repeat : 2 * read.repeat] == 0).all()


def test_norms_have_their_initial_values() -> None:
    case = Case("mlp")
    case.method.reset_units(case.chosen())
    for norm in ("body.2", "body.5"):
        for name, initial in (("weight", 1.0), ("bias", 0.0), ("running_var", 1.0), ("running_mean", 0.0)):
            value = case.model.state_dict()[f"{norm}.{name}"]
            assert (value[1::3] == initial).all(), name
            assert (value[0::3] != initial).any(), name


def test_nothing_chosen_changes_nothing() -> None:
    case = Case("mlp")
    before, generator = case.state(), case.method.generator.get_state()
    case.method.reset_units({name: torch.zeros_like(mask) for name, mask in case.chosen().items()})
    case.method.reset_units({})
    assert all(torch.equal(value, before[name]) for name, value in case.state().items())
    assert torch.equal(generator, case.method.generator.get_state())


class WritesToCopies(Manual):
    """The fault of two public implementations: weights chosen by a mask are a copy, and that is written to."""

    def reset_units(self, chosen: Mapping[str, Tensor]) -> None:
        weights = named_weights(self.model)
        with torch.no_grad():
            for name, mask in chosen.items():
                for weight in self.groups[name].incoming:
                    nn.init.normal_(weights[weight].data[mask, ...])
                for read in self.groups[name].outgoing:
                    weights[read.weight].data[:, mask.repeat_interleave(read.repeat), ...].data.fill_(0)


def moments_in_copies(weights: Mapping[str, Tensor], plan: Plan, optimizers: Sequence[Optimizer]) -> None:
    """The fault of one of them: moments are cleared in a copy."""
    for optimizer in optimizers:
        for name, entries in plan.items():
            for value in optimizer.state.get(weights[name], {}).values():
                if isinstance(value, Tensor) and value.ndim:
                    for entry in entries:
                        value.index_select(entry.dim, entry.index).zero_()


def rows_only(weights: Mapping[str, Tensor], plan: Plan, **_: Any) -> None:
    """Leaves the outgoing weights as they are."""
    write_entries(
        weights, {name: [e for e in entries if e.values is not None] for name, entries in plan.items()}
    )


def test_fault_writing_to_indexed_copies_is_seen() -> None:
    case = Case("mlp", WritesToCopies)
    case.fresh(NETWORKS["mlp"][0])
    with pytest.raises(AssertionError, match="weight"):
        check_reset(case, case.chosen())


@pytest.mark.parametrize(
    ("function", "faulty", "seen"),
    [
        ("forget_entries", moments_in_copies, "exp_avg"),
        ("write_entries", rows_only, r"head\.weight|body\.4\.weight"),
    ],
)
def test_faults_of_one_step_are_seen(
    function: str, faulty: Callable[..., None], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_method, function, faulty)
    with pytest.raises(AssertionError, match=seen):
        check_reset(Case("mlp"), Case("mlp").chosen())


@pytest.mark.parametrize("name", ["mlp", "mlp, sgd", "resnet18", "vgg16", "vit", "depthwise"])
def test_a_reset_of_dead_units_does_not_change_the_function(name: str) -> None:
    case = Case(name)
    model, chosen, inputs = case.model.double(), case.chosen(every=5), case.inputs.double()
    weights = named_weights(model)
    with torch.no_grad():
        for group, units in case.method.groups.items():
            norms = [entry.name for entry in units.per_unit if entry.name.endswith("bias")]
            for bias in norms or units.biases:
                weights[bias][chosen[group]] = -1e6
            if name == "depthwise":
                weights["act.weight"][chosen[group]] = 0.0
    model.eval()
    before = model(inputs)
    case.method.reset_units(chosen)
    torch.testing.assert_close(model(inputs), before, rtol=1e-9, atol=1e-9)
    check_output_changes(case, chosen, before)


def check_output_changes(case: Case, chosen: Mapping[str, Tensor], before: Tensor) -> None:
    """The test above can fail: with outgoing weights, the new units would be heard."""
    weights = named_weights(case.model)
    with torch.no_grad():
        for name, units in case.method.groups.items():
            for read in units.outgoing:
                columns = chosen[name].repeat_interleave(read.repeat)
                weights[read.weight][:, columns] = torch.randn_like(weights[read.weight][:, columns])
    assert not torch.allclose(case.model(case.inputs.double()), before, rtol=1e-3)


def test_without_fresh_rows_come_from_the_layers_own_initialiser() -> None:
    torch.manual_seed(0)
    first = nn.Linear(100, 400)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(400, 2))
    method = Manual(model)
    model(torch.randn(3, 100))
    nn.init.constant_(first.weight, 9.0)
    nn.init.constant_(first.bias, 9.0)
    chosen = torch.arange(400) % 2 == 0
    method.reset_units({"0": chosen})
    rows = first.weight[chosen]
    # U(-1/√100, 1/√100) has the standard deviation 0.1 / √3.
    assert rows.abs().max() <= 0.1
    assert rows.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert first.bias[chosen].abs().max() <= 0.1
    assert (first.weight[~chosen] == 9.0).all()


@pytest.mark.parametrize("with_fresh", [True, False])
def test_each_draw_is_used_once(with_fresh: bool) -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
        return built[-1]

    model = build()
    method = Manual(model, fresh=build if with_fresh else None)
    model(torch.randn(3, 5))
    seen = []
    for units in ([0], [1, 2], [0], [1], [1], [5]):
        method.reset_units({"0": torch.isin(torch.arange(6), torch.tensor(units))})
        seen += [tuple(model.get_parameter("0.weight")[unit].tolist()) for unit in units]
    assert len(set(seen)) == len(seen)
    # The first three units are of the first network, units 0 and 1 then of a second; unit 1 again needs a third.
    assert len(built) == (1 + 3 if with_fresh else 1)


def test_draws_go_on_after_a_saved_state() -> None:
    runs = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
        method = Manual(model)
        model(torch.randn(3, 5))
        for number, unit in enumerate((0, 1, 0, 3, 3)):
            if interrupted:
                state, method = copy.deepcopy(method.state_dict()), Manual(model, seed=7 + number)
                method.load_state_dict(state)
                model(torch.randn(3, 5))
            method.reset_units({"0": torch.arange(6) == unit})
        runs.append((model.get_parameter("0.weight").detach().clone(), method.generator.get_state()))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("averages", ["follow", "keep"])
def test_the_tortoise_gets_the_same_units_with_the_same_draw(averages: Any) -> None:
    torch.manual_seed(0)
    model = Functional()
    optimizer = adamw(model.parameters())
    method, pair = Manual(model), HareTortoise(model, decay=0.9, reset_every=100)
    chain = Chain(method, pair, optimizer=optimizer, averages=averages)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().sum().backward()
        optimizer.step()
    before = copy.deepcopy(pair.tortoise.state_dict())
    chosen = {name: torch.arange(units.size) == 1 for name, units in method.groups.items()}
    method.reset_units(chosen)
    hare, tortoise = model.state_dict(), pair.tortoise.state_dict()
    assert chain.deployed is pair.tortoise
    concerned = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in before.items()}
    for units in method.groups.values():
        for name in units.drawn:
            concerned[name][1] = True
        for read in units.outgoing:
            concerned[read.weight][:, read.repeat : 2 * read.repeat] = True
    for name, mask in concerned.items():
        expected = torch.where(mask, hare[name], before[name]) if averages == "follow" else before[name]
        assert torch.equal(tortoise[name], expected), name
        assert not mask.any() or not torch.equal(before[name], hare[name])


def test_bad_choices_are_refused() -> None:
    case = Case("mlp")
    for chosen in ({"9": torch.ones(10, dtype=torch.bool)}, {"body.1": torch.ones(3, dtype=torch.bool)}):
        with pytest.raises(
            ValueError, match=r"chosen has .* expected boolean masks of shape \(units,\) for body\.1"
        ):
            case.method.reset_units(chosen)
    with pytest.raises(ValueError, match=r"torch\.float32"):
        case.method.reset_units({"body.1": torch.ones(10)})


def test_weights_of_another_network_are_refused() -> None:
    case = Case("mlp")
    case.method.listeners = (Listener(case.model),)
    with pytest.raises(ValueError, match=r"weights lack body\.1\.weight"):
        case.method.reset_units(case.chosen())


class Listener(Manual):
    """Applies a change to weights of another name."""

    def weights_changed(self, change: Any) -> None:
        change.apply({"other": torch.ones(1)})
