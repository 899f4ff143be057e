"""Every measure that has a name is its public function: figures, details, and how they read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from hare_tortoise import measures
from hare_tortoise.measures import MEASURES, Measure, Probe
from hare_tortoise.methods import HareTortoise

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(40) % 3

Found = dict[str, float]


class Fixture:
    """A network on which no two measures agree, and what a Probe took of it at the second taking."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        body = [nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 12), nn.Tanh()]
        self.model = nn.Sequential(*body, nn.Linear(12, 3)).eval()
        self.initial = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        optimizer = SGD(self.model.parameters(), lr=0.5)
        self.method = HareTortoise(self.model, optimizer, decay=0.5, reset_every=None)
        self.probe = Probe(self.model, (X, Y), measures=list(MEASURES), method=self.method)
        self.probe.take()
        self.before = self.model(X).detach()
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(self.model(X), Y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            weight, bias = self.model.get_parameter("0.weight"), self.model.get_parameter("0.bias")
            # A dead unit, and ones whose scores lie on either side of 0.025 and of 0.1.
            weight[:4] = 0.0
            bias[:4] = torch.tensor([-1.0, 0.003, 0.02, 0.02])
            self.model.get_parameter("2.weight")[0] = 0.0
            self.model.get_parameter("2.bias")[0] = 5.0  # saturated
        self.taken = self.probe.take()
        self.features = measures.features(self.model, X)
        self.layers = measures.unit_activity(self.model, X)
        self.tanh = {"2": self.layers["2"]}
        self.gradients = measures.fresh_gradients(self.model, X, Y)
        self.covariance = measures.gradient_covariance(self.model, X, Y)
        self.curvature = measures.hessian_eigenvalues(self.model, X, Y, k=50)
        self.rows = torch.linspace(0, 39, 32).round().long()

    def of(self, name: str) -> Found:
        """What was taken under a name, without its layers."""
        own = {key: value for key, value in self.taken.items() if key == name or key.startswith(f"{name}/")}
        return {key: value for key, value in own.items() if "layer/" not in key}


EXPECTED: dict[str, Callable[[Fixture], dict[str, Tensor | float]]] = {
    "dormant-ratio": lambda f: {
        "": measures.dormant_ratio(f.layers),
        "0": measures.dormant_ratio(f.layers, 0.0),
        "0.1": measures.dormant_ratio(f.layers, 0.1),
    },
    "dead-units": lambda f: {"": measures.dead_units(f.layers)},
    "saturated-units": lambda f: {"": measures.saturated_units(f.tanh)},
    "zero-activation-ratio": lambda f: {"": measures.zero_activation_ratio(f.layers)},
    "effective-rank": lambda f: {"": measures.effective_rank(f.features)},
    "stable-rank": lambda f: {"": measures.stable_rank(f.features)},
    "srank": lambda f: {"": measures.srank(f.features)},
    "approximate-rank": lambda f: {"": measures.approximate_rank(f.features)},
    "feature-norm": lambda f: {"": measures.feature_norm(f.features)},
    "weight-norm": lambda f: {"": measures.weight_norm(f.model)},
    "distance-from-initialization": lambda f: {
        "": measures.distance_from_initialization(f.model, f.initial),
    },
    "hare-tortoise-distance": lambda f: {
        "": measures.hare_tortoise_distance(f.model, f.method.deployed),
    },
    "gradient-norm": lambda f: {
        "": measures.gradient_norm(f.gradients),
        "l1": measures.gradient_norm(f.gradients, order=1),
    },
    "zero-gradient-ratio": lambda f: {"": measures.zero_gradient_ratio(f.gradients)},
    "gradient-covariance": lambda f: {
        "": measures.gradient_alignment(f.covariance),
        "conflict": measures.gradient_conflict(f.covariance),
    },
    "hessian-eigenvalue": lambda f: {"": measures.hessian_eigenvalues(f.model, X, Y)},
    "hessian-trace": lambda f: {"": measures.hessian_trace(f.model, X, Y)},
    "hessian-rank": lambda f: {
        "": measures.hessian_effective_rank(f.curvature),
        "srank": measures.hessian_rank(f.curvature),
        "error": 0.0,
    },
    "ntk-rank": lambda f: {"": measures.ntk_rank(f.model, X[f.rows])},
    "churn": lambda f: {
        "": measures.churn(f.model(X).detach(), f.before),
        "decisions": measures.decision_churn(f.model(X).detach(), f.before),
    },
    "trainability": lambda f: {"": measures.trainability(f.model, None, X, 3, steps=100)},
}


@pytest.fixture(scope="module")
def small() -> Fixture:
    return Fixture()


def test_every_measure_is_in_the_table() -> None:
    assert list(EXPECTED) == list(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_it_is_its_public_function(name: str, small: Fixture) -> None:
    expected = {
        f"{name}/{key}" if key else name: float(value) for key, value in EXPECTED[name](small).items()
    }
    assert small.of(name) == pytest.approx(expected, rel=1e-6)


def test_no_two_figures_agree(small: Fixture) -> None:
    """Else one of them could be taken for another."""
    figures = [small.taken[name] for name in MEASURES] + [
        value for name in MEASURES for key, value in small.of(name).items() if key != name
    ]
    # Dead units are the dormant ones at threshold 0.
    assert small.taken["dormant-ratio/0"] == small.taken["dead-units"]
    assert len({round(figure, 6) for figure in figures}) == len(figures) - 1


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_how_it_reads(measure: Measure) -> None:
    """One line each, in the report and on the command line: the description without a full stop, sentences else."""
    for text in (measure.description, measure.reading, measure.cost):
        assert text == text.strip()
        assert "\n" not in text
        assert len(text) <= 120
    assert measure.description[0].isupper()
    assert measure.description[-1] != "."
    assert measure.reading[0].isupper()
    assert measure.reading[-1] == "."
