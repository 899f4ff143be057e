"""Last-layers reset: the layers that are called last are fresh, the rest is not touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from hare_tortoise.methods import Chain, HareTortoise, LastLayersReset
from hare_tortoise.methods import last_layers_reset as module
from hare_tortoise.methods.support.call_order import last_called
from hare_tortoise.methods.support.names import named_modules, named_weights
from hare_tortoise.testing import Network, Run, batch, check_method

LAST = {
    "head": {"head.weight", "head.bias"},
    "body.3": {"body.3.weight", "body.3.bias"},
    "body.1": {
        f"body.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    },
}


class HeadFirst(nn.Module):
    """Registers its layers in another order than that in which it calls them, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 4)
        self.first = nn.Linear(3, 4)
        self.again = nn.Linear(4, 4)

    def forward(self, inputs: Tensor, *, scale: float = 1.0) -> Tensor:
        hidden = torch.relu(self.again(self.first(inputs * scale)))
        outputs: Tensor = self.head(
            torch.dropout(self.norm(self.again(self.second(hidden))), 0.5, self.training)
        )
        return outputs


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def check_equation(kind: type[LastLayersReset] = LastLayersReset) -> None:
    """Twice: θ ← φ for the layers named, with training in between, and no other tensor changes."""
    built: list[nn.Module] = []

    def fresh() -> nn.Module:
        built.append(Network())
        return built[-1]

    run = Run.start(lambda m, o: kind(m, o, layers=("body.1", "head"), fresh=fresh))
    for time in (1, 2):
        run.train(last=2)
        before = copies(run.model)
        run.method.new_data()
        assert len(built) == time
        phi = copies(built[-1])
        for name, theta in run.model.state_dict().items():
            last = name in LAST["head"] | LAST["body.1"]
            assert torch.equal(theta, phi[name] if last else before[name]), name
        run.train(last=1)
        assert all(torch.equal(value, phi[name]) for name, value in built[-1].state_dict().items())


class IntoACopy(LastLayersReset):
    """Writes to a copy."""

    def _reset(self) -> None:
        phi = named_weights(self.fresh() if self.fresh else Network())
        for name in self._names():
            theta = named_weights(self.model)[name]
            theta.data[torch.ones_like(theta, dtype=torch.bool)].copy_(phi[name].reshape(-1))


class OnlyParameters(LastLayersReset):
    """Leaves the statistics of the old layers."""

    def _names(self) -> list[str]:
        return [name for name in super()._names() if named_weights(self.model)[name].requires_grad]


class Everything(LastLayersReset):
    """Resets the features as well."""

    def _names(self) -> list[str]:
        return list(named_weights(self.model))


def test_equation() -> None:
    check_equation()


@pytest.mark.parametrize("kind", [IntoACopy, OnlyParameters, Everything])
def test_faults_are_seen(kind: type[LastLayersReset]) -> None:
    with pytest.raises(AssertionError):
        check_equation(kind)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, ("head",)), (2, ("again", "norm", "head")), (3, ("second", "again", "norm", "head"))],
)
def test_a_number_goes_by_the_order_of_calls(count: int, expected: tuple[str, ...]) -> None:
    model = HeadFirst()
    method = LastLayersReset(model, layers=count)
    before = copies(model)
    model.eval()(torch.randn(8, 3), scale=2.0)
    assert method.layers == expected
    method.new_data()
    changed = {name for name, value in copies(model).items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == set(expected) - {"norm"}


def test_fault_the_order_of_registration_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def registered(model: nn.Module, count: int, *_: Any) -> tuple[str, ...]:
        return tuple(name for name, inner in named_modules(model) if isinstance(inner, nn.Linear))[-count:]

    monkeypatch.setattr(module, "last_called", registered)
    with pytest.raises(AssertionError):
        test_a_number_goes_by_the_order_of_calls(1, ("head",))


def test_looking_up_the_order_leaves_no_trace() -> None:
    torch.manual_seed(0)
    plain, watched = HeadFirst(), HeadFirst()
    watched.load_state_dict(plain.state_dict())
    method = LastLayersReset(watched, layers=1)
    twin = copy.deepcopy(watched)
    assert not method.layers
    twin(torch.randn(8, 3))
    assert not method.layers
    inputs, outputs = torch.randn(8, 3), []
    for model in (plain, watched):
        torch.manual_seed(1)
        outputs.append((model(inputs), torch.rand(1)))
        outputs.append((model(inputs), torch.rand(1)))
    assert all(torch.equal(a, b) for i in (0, 1) for a, b in zip(outputs[i], outputs[i + 2], strict=True))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in watched.state_dict().items())
    assert watched.training
    assert watched.norm.training
    assert not watched._forward_pre_hooks
    assert not watched.head._forward_pre_hooks


class ByHand(nn.Module):
    """Uses the weight of a layer without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(self.first(inputs), self.last.weight)


def test_what_is_not_called_is_not_guessed() -> None:
    with pytest.raises(ValueError, match=r"the place of last in the order .* name the layers"):
        last_called(ByHand(), 1, (torch.ones(2, 4),), {})
    with pytest.raises(ValueError, match="layers is 3, but the model has 2 of them"):
        last_called(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), 3, (torch.ones(2, 1),), {})


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_projection_behind_attention_is_a_part_of_it(batch_first: bool) -> None:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
        return nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2))

    model = build()
    inputs = torch.randn(2, 3, 4)
    assert last_called(model, 1, (inputs,), {}) == ("2",)
    assert last_called(model, 3, (inputs,), {}) == ("1.linear1", "1.linear2", "1.norm2", "2")
    method = LastLayersReset(model, layers=4, fresh=build)
    before = copies(model)
    model(inputs)
    method.new_data()
    changed = {name for name, value in copies(model).items() if not torch.equal(value, before[name])}
    assert "1.self_attn.out_proj.weight" in changed
    assert not {name for name in changed if name.startswith("0.")}


def test_a_model_that_is_one_layer_has_no_last_ones() -> None:
    model = nn.Linear(3, 2)
    method = LastLayersReset(model, layers=1)
    with pytest.raises(
        ValueError, match=r"layers is 1, which reaches to parameters that Linear holds itself"
    ):
        model(torch.ones(1, 3))
    assert not method.layers


def test_a_number_keeps_the_contract() -> None:
    check_method(lambda model, optimizer: LastLayersReset(model, optimizer, layers=2))


def test_the_layers_are_a_part_of_the_state() -> None:
    method, other = LastLayersReset(HeadFirst(), layers=2), LastLayersReset(HeadFirst(), layers=2)
    method.model(torch.randn(8, 3))
    other.load_state_dict(method.state_dict())
    assert other.layers == ("again", "norm", "head")
    other.new_data()
    named, third = LastLayersReset(HeadFirst(), layers="second"), LastLayersReset(HeadFirst(), layers=2)
    third.load_state_dict(named.state_dict())
    third.model(torch.randn(8, 3))
    assert third.layers == ("second",)
    with pytest.raises(ValueError, match="layers of the state is 'again'"):
        LastLayersReset(Network(), layers=2).load_state_dict(method.state_dict())
    with pytest.raises(ValueError, match="state lacks steps"):
        LastLayersReset(HeadFirst(), every=2).load_state_dict(method.state_dict())


def test_every_so_many_steps() -> None:
    run = Run.start(lambda m, o: LastLayersReset(m, o, layers="head", every=2))
    plain = Run.start(lambda m, o: LastLayersReset(m, o, layers="head", every=100))
    for step in range(1, 3):
        run.train(step - 1, step)
        plain.train(step - 1, step)
        differing = {
            n for n, v in copies(plain.model).items() if not torch.equal(run.model.state_dict()[n], v)
        }
        assert differing == (LAST["head"] if step == 2 else set())
    before = copies(run.model)
    run.method.new_data()
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_skipped_steps_do_not_count() -> None:
    method = LastLayersReset(Network(), layers="head", every=2, optimizer_state="keep")
    before = copies(method.model)
    for skipped in (True, None, torch.tensor(1.0), torch.tensor(True)):
        method.after_step(skipped)
    assert all(torch.equal(value, before[name]) for name, value in copies(method.model).items())
    method.after_step(torch.tensor(0.0))
    assert not torch.equal(copies(method.model)["head.weight"], before["head.weight"])


@pytest.mark.parametrize("state", ["reset", "keep"])
def test_the_optimizer_forgets_these_layers_only(state: Any) -> None:
    run = Run.start(lambda m, o: LastLayersReset(m, o, layers="head", optimizer_state=state)).train(last=2)
    run.method.new_data()
    kept = {name for name, tensor in run.model.named_parameters() if tensor in run.optimizer.state}
    everything = {name for name, _ in run.model.named_parameters()}
    assert kept == (everything - LAST["head"] if state == "reset" else everything)


def check_tortoise(kind: type[LastLayersReset] = LastLayersReset) -> None:
    """The tortoise has the same new head, and the next reset of the hare does not bring the old one back."""
    model = Network()
    pair = HareTortoise(model, decay=0.9, reset_every=None)
    optimizer = AdamW(model.parameters(), lr=0.1)
    chain = Chain(pair, kind(model, layers="head"), optimizer=optimizer)
    for number in range(3):
        inputs, targets = batch(number)
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    mean = copies(pair.tortoise)
    chain.new_data()
    new = copies(model)
    for name, value in copies(pair.tortoise).items():
        assert torch.equal(value, new[name] if name in LAST["head"] else mean[name]), name
    pair.reset()
    assert all(torch.equal(model.state_dict()[name], new[name]) for name in LAST["head"])


class TellsNobody(LastLayersReset):
    """Leaves the average alone, as the official code does: the next reset undoes the change."""

    def changed(self, change: Any) -> None:
        """Do nothing."""


def test_tortoise() -> None:
    check_tortoise()


def test_fault_the_average_pulls_back_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_tortoise(TellsNobody)


def test_the_optimizer_may_be_any() -> None:
    model = Network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    LastLayersReset(model, optimizer, layers="head", every=1)
    model(torch.randn(8, 6)).sum().backward()
    optimizer.step()
    assert model.head.weight not in optimizer.state
    assert model.body[0].weight in optimizer.state
