"""Power iteration against the singular value decomposition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods.support.spectral import PowerIteration, as_matrix, matrix_names
from hare_tortoise.testing import Network


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(5, 4, 2), nn.Conv1d(4, 6, 1, groups=2), nn.Linear(20, 7)
    ).double()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def oracle(model: nn.Module, name: str) -> Tensor:
    """The largest singular value of the matrix with a row for each output."""
    weight: Tensor = dict(model.named_parameters())[name]
    if name == "1.weight":
        weight = weight.permute(1, 0, 2, 3)
    largest: Tensor = torch.linalg.svdvals(weight.reshape(weight.shape[0], -1))[0]
    return largest


def check_sigmas(power: PowerIteration, model: nn.Module, iterations: int = 2000) -> None:
    """Values, and gradients against autograd through the decomposition."""
    power.advance(iterations)
    sigmas = power.sigmas()
    assert list(sigmas) == ["0.weight", "1.weight", "2.weight", "3.weight"]
    for name, sigma in sigmas.items():
        expected = oracle(model, name)
        torch.testing.assert_close(sigma, expected, rtol=1e-10, atol=0)
        weight = dict(model.named_parameters())[name]
        (gradient,) = torch.autograd.grad(sigma, weight)
        (slope,) = torch.autograd.grad(expected, weight)
        torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-8)


def test_sigma_and_its_gradient() -> None:
    model = network()
    check_sigmas(PowerIteration(model, seeded()), model)


class Frobenius(PowerIteration):
    """Takes the Frobenius norm for the largest singular value."""

    def sigmas(self, *, trained_only: bool = False) -> dict[str, Tensor]:
        return {name: matrix.norm() for name, matrix in self._matrices().items()}


class WithoutTranspose(PowerIteration):
    """Reads the weight of a transposed convolution as if its first dimension were the outputs."""

    def __init__(self, model: nn.Module, generator: torch.Generator) -> None:
        super().__init__(model, generator)
        self.outputs = dict.fromkeys(self.outputs, 0)
        weights = dict(model.named_parameters())
        self.v = {n: torch.ones(as_matrix(weights[n]).shape[1]).double() for n in self.outputs}
        self.u = {n: torch.ones(len(weights[n])).double() for n in self.outputs}


class Drifts(PowerIteration):
    """Draws new vectors at each iteration."""

    def advance(self, iterations: int = 1, skipped: Tensor | None = None) -> None:
        self.v = {name: nn.functional.normalize(torch.ones_like(v), dim=0) for name, v in self.v.items()}
        super().advance(1)


@pytest.mark.parametrize("kind", [Frobenius, WithoutTranspose, Drifts])
def test_faults_are_seen(kind: type[PowerIteration]) -> None:
    model = network()
    with pytest.raises(AssertionError):
        check_sigmas(kind(model, seeded()), model)


def test_sigma_is_near_from_the_start_and_follows_training() -> None:
    model = network()
    power = PowerIteration(model, seeded())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.manual_seed(2)
    for _ in range(50):
        for name, sigma in power.sigmas().items():
            assert sigma.item() == pytest.approx(oracle(model, name).item(), rel=0.05)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        power.advance()


def test_reading_sigma_moves_nothing() -> None:
    power = PowerIteration(network(), seeded())
    before = {name: v.clone() for name, v in power.v.items()}
    power.sigmas()
    assert all(torch.equal(power.v[name], v) for name, v in before.items())
    power.advance(skipped=torch.tensor(1.0))
    assert all(torch.equal(power.v[name], v) for name, v in before.items())
    power.advance(skipped=torch.tensor(0.0))
    assert not all(torch.equal(power.v[name], v) for name, v in before.items())


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_were_zero_or_broken_are_found_again(value: float) -> None:
    model = nn.Linear(3, 2, bias=False)
    start = model.weight.detach().clone()
    power = PowerIteration(model, seeded())
    model.weight.data.fill_(value)
    power.advance(3)
    model.weight.data.copy_(start)
    power.advance(100)
    torch.testing.assert_close(power.sigmas()["weight"], torch.linalg.svdvals(start)[0])


def test_vectors_come_from_the_generator_alone_and_are_saved() -> None:
    model = network()
    torch.manual_seed(3)
    power, again = PowerIteration(model, seeded()), PowerIteration(model, seeded())
    assert all(torch.equal(power.v[name], again.v[name]) for name in power.v)
    power.advance(5)
    again.load_state_dict(power.state_dict())
    for one, other in zip(power.sigmas().values(), again.sigmas().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"another model: the vectors of .*head\.weight"):
        PowerIteration(Network(), seeded()).load_state_dict(power.state_dict())


def test_half_precision_is_computed_in_float32() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    (sigma,) = PowerIteration(model, seeded()).sigmas().values()
    assert sigma.dtype == torch.float32


def test_a_network_that_was_cast_is_followed_and_one_that_was_changed_is_an_error() -> None:
    model = Network()
    power = PowerIteration(model, seeded())
    model.double()
    assert power.sigmas()["head.weight"].dtype == torch.float64
    model.head = nn.Linear(8, 4)
    with pytest.raises(
        RuntimeError, match=r"head\.weight is not in the model any more, or has another shape"
    ):
        power.sigmas()


def test_matrices_are_the_weights_of_layers() -> None:
    model = nn.ModuleDict(
        {
            "table": nn.Embedding(3, 4),
            "attention": nn.MultiheadAttention(4, 2),
            "recurrent": nn.GRU(4, 2),
            "norm": nn.LayerNorm(4),
            "planes": nn.LayerNorm([4, 2, 2]),
            "root": nn.RMSNorm([4, 2]),
        }
    )
    model.position = nn.Parameter(torch.zeros(1, 3, 4))
    assert list(matrix_names(model)) == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
    ]
    with pytest.raises(ValueError, match=r"model \(LayerNorm\) has no weight matrices"):
        PowerIteration(nn.LayerNorm(3), seeded())


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_what_a_weight_is_computed_from_is_left_alone() -> None:
    model = nn.Sequential(
        nn.utils.weight_norm(nn.Linear(3, 3)),
        nn.utils.spectral_norm(nn.Linear(3, 3)),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        nn.Linear(3, 3),
    )
    assert list(matrix_names(model)) == ["3.weight"]
    own = nn.Module()
    own.weight_v = nn.Parameter(torch.zeros(2, 2))
    assert list(matrix_names(own)) == ["weight_v"]


def test_frozen_weights_are_left_out_if_asked() -> None:
    model = network()
    model.get_parameter("1.weight").requires_grad_(False)
    power = PowerIteration(model, seeded())
    assert "1.weight" in power.sigmas()
    assert list(power.sigmas(trained_only=True)) == ["0.weight", "2.weight", "3.weight"]
