"""Fresh draws: equal to building the network, and without a trace in the model or the global random states."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from hare_tortoise.methods.support import fresh as fresh_module
from hare_tortoise.methods.support.fresh import draw_fresh
from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.randomness import seeded
from hare_tortoise.testing import Network, TiedNetwork


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small() -> nn.Module:
    """Layers whose construction draws in the order of the modules."""
    return nn.Sequential(
        nn.Conv1d(2, 3, 3),
        nn.BatchNorm1d(3),
        nn.GRU(4, 2),
        nn.Embedding(5, 2),
        nn.Sequential(nn.Linear(2, 2)),
    )


class Nested(nn.Module):
    """Its `reset_parameters` reaches the children in every way that a module can hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.third = nn.Linear(2, 2)
        self.in_list = [self.first]
        self.in_tuple_of_dict = ({"second": self.second},)
        self.reset_third = self.third.reset_parameters
        self.scale = nn.Parameter(torch.ones(2))
        self.alias = {"scale": self.scale}
        self.register_buffer("steps", torch.tensor(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.in_list[0].reset_parameters()
        self.in_tuple_of_dict[0]["second"].reset_parameters()
        self.reset_third()
        nn.init.constant_(self.first.bias, 0.5)
        nn.init.uniform_(self.alias["scale"])


@pytest.mark.parametrize("network", [small, Network])
def test_modules_draw_what_building_the_network_draws(network: Callable[[], nn.Module]) -> None:
    model = network()
    by_modules = draw_fresh(model, None, generator())
    built = draw_fresh(model, network, generator())
    assert list(by_modules) == list(built) == list(named_weights(model))
    for name, value in built.items():
        assert torch.equal(by_modules[name], value), name
        assert not value.isnan().any(), name


def test_draws_follow_the_generator() -> None:
    model, numbers = small(), generator()
    first, second = draw_fresh(model, None, numbers), draw_fresh(model, None, numbers)
    again = draw_fresh(model, None, generator())
    assert torch.equal(first["0.weight"], again["0.weight"])
    assert not torch.equal(first["0.weight"], second["0.weight"])


def check_untouched(model: nn.Module) -> None:
    values = {name: tensor.detach().clone() for name, tensor in named_weights(model).items()}
    versions = {name: tensor._version for name, tensor in named_weights(model).items()}
    drawn = draw_fresh(model, None, generator())
    for name, tensor in named_weights(model).items():
        assert torch.equal(tensor, values[name]), name
        assert tensor._version == versions[name], name
        assert drawn[name].data_ptr() != tensor.data_ptr(), name


def test_the_model_is_not_touched() -> None:
    check_untouched(Nested())
    check_untouched(Network())
    check_untouched(TiedNetwork())


def test_fault_resetting_the_model_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_module, "blank_copy", lambda model: model)
    with pytest.raises(AssertionError):
        check_untouched(Network())


def test_a_parent_has_the_last_word_on_its_children() -> None:
    drawn = draw_fresh(Nested(), None, generator())
    assert drawn["first.bias"].tolist() == [0.5, 0.5]
    assert drawn["second.bias"].abs().max() < 1 / 2**0.5
    assert not drawn["scale"].isnan().any()
    assert drawn["steps"].item() == 3


def test_hooks_are_left_behind() -> None:
    called: list[str] = []

    class Probing(nn.Linear):
        def reset_parameters(self) -> None:
            super().reset_parameters()
            self(torch.zeros(1, 2))

    model = Probing(2, 2)
    model.register_forward_hook(lambda *_: called.append("forward"))
    draw_fresh(model, None, generator())
    assert called == []


def test_tied_weights_are_drawn_once_by_their_first_owner() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 40)
            self.decoder = nn.Linear(40, 50, bias=False)
            self.decoder.weight = self.embedding.weight

    drawn = draw_fresh(Tied(), None, generator())
    assert list(drawn) == ["embedding.weight"]
    # An embedding is drawn from N(0, 1), the linear layer would be uniform within 0.16.
    assert abs(drawn["embedding.weight"].std().item() - 1) < 0.05


def test_half_precision_is_drawn_in_float32() -> None:
    exact = draw_fresh(Network(), None, generator())
    drawn = draw_fresh(Network().to(torch.bfloat16), None, generator())
    assert drawn["head.weight"].dtype == torch.float32
    assert torch.equal(drawn["head.weight"], exact["head.weight"])


def test_global_random_states_are_left_alone() -> None:
    def build() -> nn.Module:
        model = Network()
        with torch.no_grad():
            model.head.bias.copy_(torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()]))
        return model

    def states() -> tuple[Any, ...]:
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state(legacy=False)["state"]["key"].tolist(),
        )

    model = Network()
    before = states()
    first = draw_fresh(model, build, generator())
    assert states() == before
    with seeded(7):
        assert torch.equal(first["head.bias"], draw_fresh(model, build, generator())["head.bias"])


def test_wrappers_make_no_difference() -> None:
    model = Network()
    plain = draw_fresh(model, None, generator())
    model.body = torch.compile(model.body, backend="eager")  # type: ignore[assignment]
    wrapped = draw_fresh(torch.compile(model, backend="eager"), None, generator())  # type: ignore[arg-type]
    assert list(plain) == list(wrapped)
    for name, value in plain.items():
        assert torch.equal(value, wrapped[name]), name


class WithToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 2)


def normalised() -> nn.Module:
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 3)))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (WithToken, ["token", "attention.in_proj_weight", "attention.in_proj_bias"]),
        (normalised, ["0.parametrizations.weight.original"]),
    ],
)
def test_what_no_initialiser_covers_is_named(model: Callable[[], nn.Module], names: list[str]) -> None:
    with pytest.raises(ValueError, match="pass fresh=") as caught:
        draw_fresh(model(), None, generator())
    assert [name for name in names if name not in str(caught.value)] == []
    assert "head.weight" not in str(caught.value)
    assert set(draw_fresh(model(), model, generator())) == set(named_weights(model()))


def test_only_what_is_wanted_must_be_covered() -> None:
    drawn = draw_fresh(WithToken(), None, generator(), only=["head.weight", "head.bias"])
    assert list(drawn) == ["head.weight", "head.bias"]


def test_a_long_list_of_names_is_cut() -> None:
    tokens = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(20))
    with pytest.raises(ValueError, match=r"0, 1, 2, 3, 4, 5, 6, 7 and 12 more"):
        draw_fresh(tokens, None, generator())


def shares() -> Iterator[Any]:
    model = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    other.bias = model.bias
    yield pytest.param(model, lambda: model, ValueError, "shares weights with the model", id="the model")
    yield pytest.param(model, lambda: other, ValueError, "shares weights with the model", id="one tensor")


@pytest.mark.parametrize(
    ("model", "fresh", "kind", "message"),
    [
        *shares(),
        pytest.param(nn.Linear(2, 2), nn.Linear(2, 2), TypeError, "fresh=lambda", id="a module"),
        pytest.param(nn.Linear(2, 2), 3, TypeError, "fresh is a int", id="a number"),
        pytest.param(nn.Linear(2, 2), lambda: 3, ValueError, "gave a int", id="gives a number"),
        pytest.param(
            nn.Linear(2, 2), lambda: nn.Linear(3, 2), ValueError, r"weight has shape \(2, 3\)", id="shape"
        ),
        pytest.param(
            nn.Linear(2, 2), lambda: nn.Linear(2, 2, bias=False), ValueError, "no bias", id="missing"
        ),
        pytest.param(
            nn.Linear(2, 2, bias=False), lambda: nn.Linear(2, 2), ValueError, "has bias", id="extra"
        ),
        pytest.param(nn.LazyLinear(2), None, ValueError, "run one batch", id="lazy"),
        pytest.param(torch.nn.Sequential(), None, ValueError, "scripted", id="scripted"),
    ],
)
def test_bad_input(model: nn.Module, fresh: Any, kind: type[Exception], message: str) -> None:
    if message == "scripted":
        model = traced()
    with pytest.raises(kind, match=message):
        draw_fresh(model, fresh, generator())


def traced() -> nn.Module:
    # torch.jit is deprecated and says so; users still hold what it made.
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        return torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))  # type: ignore[no-any-return,no-untyped-call]


class CountedLinear(nn.Linear):
    """Counts how often it is initialised."""

    runs = 0

    def reset_parameters(self) -> None:
        type(self).runs += 1
        super().reset_parameters()


def test_only_the_initialisers_of_what_is_wanted_run() -> None:
    model = nn.Sequential(*(CountedLinear(3, 3) for _ in range(5)))
    CountedLinear.runs = 0
    drawn = draw_fresh(model, None, generator(), only=["1.weight", "1.bias", "3.bias"])
    assert CountedLinear.runs == 2
    assert list(drawn) == ["1.weight", "1.bias", "3.bias"]
    assert not any(value.isnan().any() for value in drawn.values())


def test_only_what_a_parent_initialises_is_the_parents() -> None:
    drawn = draw_fresh(nn.Sequential(Nested(), nn.Linear(2, 2)), None, generator(), only=["0.first.bias"])
    assert drawn["0.first.bias"].tolist() == [0.5, 0.5]


def test_only_with_an_initialiser_that_reaches_elsewhere() -> None:
    class Reaching(nn.Linear):
        """Its initialiser writes to a module that is not inside it."""

        def __init__(self, other: nn.Linear) -> None:
            self.other = [other]
            super().__init__(2, 2)

        def reset_parameters(self) -> None:
            super().reset_parameters()
            nn.init.ones_(self.other[0].weight)
            nn.init.constant_(self.weight, 2.0)

    first = nn.Linear(2, 2)
    drawn = draw_fresh(nn.Sequential(first, Reaching(first)), None, generator(), only=["1.weight"])
    assert (drawn["1.weight"] == 2.0).all()


def test_only_of_a_shared_parameter_and_of_buffers() -> None:
    drawn = draw_fresh(TiedNetwork(), None, generator(), only=["body.weight"])
    assert drawn["body.weight"].abs().max() <= 1 / 6**0.5
    model = Network()
    model.body[1].running_var.fill_(7.0)  # type: ignore[operator]
    assert (
        draw_fresh(model, None, generator(), only=["body.1.running_var"])["body.1.running_var"] == 1
    ).all()


def test_only_what_no_initialiser_covers_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.MultiheadAttention(2, 1))
    draw_fresh(model, None, generator(), only=["0.weight"])
    with pytest.raises(ValueError, match=r"does not initialise 1\.in_proj_weight"):
        draw_fresh(model, None, generator(), only=["0.weight", "1.in_proj_weight"])
