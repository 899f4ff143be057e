"""What is refused while units are followed, and that no layer is left out without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hare_tortoise.methods.support.units import trace_units


class Between(nn.Module):
    """A layer, a function of what it gives behind tanh, and a layer that reads that."""

    def __init__(self, first: nn.Module, between: Callable[[Tensor], Tensor], last: nn.Module) -> None:
        super().__init__()
        self.first, self.last, self.between = first, last, between

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.last(self.between(self.first(inputs).tanh()))
        return result


def doubled(value: Tensor) -> Tensor:
    return value * 2


def scripted(value: Tensor) -> Tensor:
    result: Tensor = torch.jit.script(doubled)(value)
    return result


MASK = torch.tensor([True, False] * 4)


@pytest.fixture(autouse=True)
def _mask_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask from before the forward, but not from the collection of the tests, whose objects are frozen."""
    monkeypatch.setitem(globals(), "MASK", MASK.clone())


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], int, str]] = {
    "max-pool": (lambda h: F.max_pool1d(h.unsqueeze(1), 2).squeeze(1), 4, "max_pool1d"),
    "avg-pool": (lambda h: F.avg_pool1d(h.unsqueeze(1), 3, 1, 1).squeeze(1), 8, "avg_pool1d"),
    "adaptive": (lambda h: F.adaptive_avg_pool1d(h.unsqueeze(1), 8).squeeze(1), 8, "adaptive_avg_pool1d"),
    "interpolate": (lambda h: F.interpolate(h.unsqueeze(1), 16).squeeze(1), 16, "interpolate|upsample"),
    "reduce": (lambda h: h.mean(1, keepdim=True), 1, "reduced"),
    "mask": (lambda h: h[:, MASK], 4, "indexing"),
    "slice": (lambda h: h[:, :4], 4, "indexing"),
    "pad": (lambda h: F.pad(h, (1, 1)), 10, "padded"),
    "numpy": (lambda h: torch.from_numpy(h.detach().numpy()), 8, "out of sight"),
    "array": (lambda h: torch.as_tensor(h.detach().numpy()), 8, "out of sight"),
    "list": (lambda h: torch.tensor(h.tolist()), 8, "list of numbers"),
    "script": (scripted, 8, "out of sight"),
    "rows": (lambda h: torch.stack([row * 2 for row in h]), 8, "unbind|out of sight"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_takes_units_apart_is_refused(name: str) -> None:
    between, width, why = REFUSED[name]
    graph = trace_units(Between(nn.Linear(3, 8), between, nn.Linear(width, 2)), torch.randn(5, 3))
    assert graph.groups == ()
    assert any(told in graph.left_out["first"] for told in why.split("|")), graph.left_out


def test_pooling_of_positions_is_followed() -> None:
    network = Between(nn.Conv1d(2, 4, 3), lambda h: F.max_pool1d(h, 2), nn.Conv1d(4, 2, 1))
    assert [units.name for units in trace_units(network, torch.randn(2, 2, 8)).groups] == ["first"]


@pytest.mark.parametrize(
    ("last", "between"),
    [
        (nn.Conv2d(4, 4, 1, groups=2), lambda h: h),
        (nn.Conv2d(4, 8, 1, groups=4), lambda h: h),
        (nn.Conv2d(6, 2, 1), nn.Sequential(nn.InstanceNorm2d(6, affine=True), nn.Tanh())),
    ],
)
def test_groups_and_norms_along_other_dimensions_are_refused(
    last: nn.Module, between: Callable[[Tensor], Tensor]
) -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 6), last

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.first(inputs).tanh()
            result: Tensor = self.last(between(hidden).transpose(1, 3) if last.in_channels == 6 else hidden)
            return result

    graph = trace_units(Moved(), torch.randn(2, 6 if last.in_channels == 6 else 4, 5, 3))
    assert graph.groups == ()
    assert "first" in graph.left_out


@pytest.mark.parametrize("width", [8, 16])
def test_a_convolution_in_groups_of_several_channels_is_refused(width: int) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, width, 1, groups=4),
        nn.ReLU(),
        nn.Conv2d(width, 2, 1),
    )
    graph = trace_units(network, torch.randn(2, 3, 4, 4))
    assert [units.name for units in graph.groups] == ["2"]
    assert graph.left_out == {"0": "is read by a convolution in groups"}


def test_sums_along_different_dimensions_are_refused() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            result: Tensor = self.c(self.a(inputs).relu() + self.b(inputs).relu().transpose(1, 2))
            return result

    graph = trace_units(Crossed(), torch.randn(2, 4, 3))
    assert graph.groups == ()
    assert graph.left_out.keys() == {"a", "b"}


def test_a_batch_norm_over_positions_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(8, 2))
    graph = trace_units(network, torch.randn(4, 5, 3))
    assert (graph.groups, list(graph.left_out)) == ((), ["0"])
    assert "another dimension" in graph.left_out["0"]


def test_a_norm_behind_a_flatten_has_several_entries_for_each_unit() -> None:
    network = nn.Sequential(
        nn.Conv1d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 2)
    )
    (units,) = trace_units(network, torch.randn(5, 1, 4)).groups
    assert {(entry.dim, entry.repeat) for entry in units.per_unit} == {(0, 4)}
    assert {entry.name for entry in units.per_unit} >= {"3.weight", "3.running_var"}


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 8)
        self.w = nn.Parameter(torch.randn(2, 8))

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = F.relu(self.a(inputs)) @ self.w.T
        return result


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.a(inputs).relu()
        result: Tensor = self.b(hidden, hidden, hidden, need_weights=False)[0]
        return result


@pytest.mark.parametrize(
    ("network", "shape", "name"),
    [
        (Product(), (2, 3), "a"),
        (Attending(), (2, 5, 3), "a"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2)), (2, 1, 4, 4), "0"),
    ],
)
def test_what_the_last_operation_reads_is_named(
    network: nn.Module, shape: tuple[int, ...], name: str
) -> None:
    assert name in trace_units(network, torch.randn(shape)).left_out


def test_the_last_layer_is_not_named_behind_a_softmax() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.LogSoftmax(1))
    assert trace_units(network, torch.randn(2, 3)).left_out == {}


def test_layers_that_do_not_run_are_named() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)
            self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])

        def forward(self, inputs: Tensor, task: int = 0) -> Tensor:
            result: Tensor = self.heads[task](self.a(inputs).relu())
            return result

    assert trace_units(Heads(), torch.randn(2, 3)).left_out == {
        "heads.1": "did not run in the first forward: its weights are left alone"
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_scripted_modules_are_named() -> None:
    script = torch.jit.script(nn.Sequential(nn.Linear(8, 6), nn.Tanh()))
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), script, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    graph = trace_units(network, torch.randn(2, 3))
    assert [units.name for units in graph.groups] == ["3"]
    assert "scripted" in graph.left_out["2"]
    assert "0" in graph.left_out


def test_the_trace_runs_in_eval_mode_and_puts_buffers_back() -> None:
    class Modes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count: Tensor
            self.modes: list[bool] = []
            self.register_buffer("count", torch.zeros(()))

        def forward(self, value: Tensor) -> Tensor:
            self.modes.append(self.training)
            self.count += 1
            return value

    modes = Modes()
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), modes, nn.Linear(4, 2)).train()
    trace_units(network, torch.randn(2, 3))
    assert (modes.modes, modes.training, float(modes.count)) == ([False], True, 0.0)
