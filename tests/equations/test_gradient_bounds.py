"""TWM Eqs. 10-17: the chain of Jacobians is autograd's gradient, the bounds hold, and the printed forms do not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.theory import gradients
from wavemem.theory.basis import random_basis
from wavemem.theory.selection import paper_task

networks = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "N": st.integers(2, 16),
        "d": st.integers(1, 4),
        "s": st.integers(1, 6),
        "scale": st.sampled_from([0.1, 0.6, 1.0, 1.5, 3.0]),
        "amplitude": st.sampled_from([0.01, 1.0, 5.0]),
        "activation": st.sampled_from(["tanh", "linear"]),
    }
)


class Drawn:
    """One random network with everything that the bounds need."""

    def __init__(
        self, seed: int, N: int, d: int, s: int, scale: float = 1.0, amplitude: float = 1.0, activation: str = "tanh"
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.s, self.d = s, d
        self.W_hh, self.W_uh, self.W_r = scale * normal(N, N) / math.sqrt(N), normal(N, d), normal(d, N)
        self.x, self.target = amplitude * normal(3, s, d), normal(3, d)
        self.measure(activation)

    def measure(self, activation: str) -> None:
        weights = (self.W_hh, self.W_uh)
        self.true = gradients.cost_gradient(*weights, self.W_r, self.x, self.target, activation)
        self.slopes = gradients.slopes_of(gradients.states(*weights, self.x, activation=activation), activation)
        self.operators = gradients.chain_operators(*weights, self.slopes)
        self.norms = gradients.step_norms(self.W_hh, self.slopes)
        self.size = self.true.x.norm(dim=-1)

    def wave_bound(self) -> Tensor:
        columns = gradients.linear_columns(self.W_hh, self.W_uh, self.s)
        deps = gradients.stored_columns(self.W_hh, self.W_uh, self.slopes) - columns
        return gradients.bound_waves(self.true.h, self.norms[..., -1], columns, deps)


def holds(bound: Tensor, size: Tensor) -> bool:
    return bool((size <= bound * (1 + 1e-9) + 1e-300).all())


def travelling_wave(scale: float = 1.0, s: int = 5, d: int = 3, N: int = 24) -> tuple[Drawn, Tensor]:
    """A linear network that is a TWM of repeat copy in an orthonormal basis times `scale`; and its columns."""
    drawn = Drawn(0, N, d, s)
    Psi = random_basis(s * d, torch.Generator().manual_seed(1), N=N, kind="orthogonal").Psi * scale
    dual = torch.linalg.pinv(Psi)
    drawn.W_hh = Psi @ paper_task("T1", s, d).Phi().to(Psi) @ dual
    drawn.W_uh, drawn.W_r = Psi[:, -d:], dual[-d:]
    drawn.measure("linear")
    return drawn, Psi.unflatten(-1, (s, d)).movedim(1, 0)


@settings(max_examples=40, deadline=None)
@given(networks)
def test_eq10_eq11_chain_of_jacobians_is_the_gradient(network: dict) -> None:
    drawn = Drawn(**network)
    chain = gradients.chain_gradient(drawn.true.h, drawn.W_hh, drawn.W_uh, drawn.slopes)
    torch.testing.assert_close(chain, drawn.true.x, rtol=1e-9, atol=1e-12)
    product = torch.einsum("bn,bsnd->bsd", drawn.true.h, drawn.operators)
    torch.testing.assert_close(product, drawn.true.x, rtol=1e-9, atol=1e-9 * float(drawn.size.max()) + 1e-300)


@settings(max_examples=40, deadline=None)
@given(networks)
def test_eq13_eq14_eq16_bounds_hold_and_are_ordered(network: dict) -> None:
    drawn = Drawn(**network)
    operator = gradients.bound_operator(drawn.true.h, drawn.operators)
    steps = gradients.bound_step_norms(drawn.true.h, drawn.W_uh, drawn.norms)
    power = gradients.bound_power(drawn.true.h, drawn.W_uh, drawn.norms)
    assert holds(operator, drawn.size)
    for looser in (steps, drawn.wave_bound()):
        assert holds(looser, operator)
    assert holds(power, steps)


def test_eq14_grows_in_a_network_of_uniform_weights_whose_gradient_falls() -> None:
    N, s = 128, 24
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) / math.sqrt(N)

    drawn = Drawn(0, 2, 2, s)
    drawn.W_hh, drawn.W_uh, drawn.W_r = uniform(N, N), uniform(N, 2), uniform(2, N)
    drawn.measure("linear")
    power = gradients.bound_power(drawn.true.h, drawn.W_uh, drawn.norms)
    assert (gradients.decay_rate(power) < 0).all()
    # Var = 1/(3N): a row vector loses a factor of 1/√3 per product on average.
    assert gradients.decay_rate(drawn.size).mean() == pytest.approx(math.log(3) / 2, abs=0.1)
    assert float(drawn.norms[0, 0]) == pytest.approx(2 / math.sqrt(3), abs=0.05)


def test_eq15_the_sum_of_vectors_gives_the_sum_of_the_components() -> None:
    drawn, columns = travelling_wave()
    torch.testing.assert_close(
        gradients.linear_columns(drawn.W_hh, drawn.W_uh, drawn.s), columns
    )  # powers on the newest
    row = drawn.true.h @ drawn.W_hh
    torch.testing.assert_close(row @ columns[0], drawn.true.x[:, 0])
    torch.testing.assert_close(row @ columns[0].sum(-1), drawn.true.x[:, 0].sum(-1))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_eq16_needs_the_norm_of_the_basis(scale: float) -> None:
    drawn, columns = travelling_wave(scale)
    corrected = gradients.bound_waves(drawn.true.h, drawn.norms[..., -1], columns)
    assert holds(corrected, drawn.size)
    # In an orthonormal basis the bound is an equality for the input that T1 asks for at step s + 1 …
    torch.testing.assert_close(corrected[:, 0], drawn.size[:, 0])
    # … and the printed form, which has d for ‖Ψ‖, holds only while the basis is small.
    printed = gradients.bound_printed(drawn.true.h, drawn.norms[..., -1], drawn.d, torch.zeros(3, drawn.s))
    assert holds(printed, drawn.size) == (scale * 1.0 <= drawn.d)


@pytest.mark.parametrize("s", [2, 8, 32])
def test_eq16_has_no_power_where_the_wave_has_unit_modulus(s: int) -> None:
    drawn, columns = travelling_wave(s=s, d=2, N=2 * s)
    torch.testing.assert_close(torch.linalg.matrix_norm(columns, ord=2), torch.ones(s, dtype=torch.float64))
    torch.testing.assert_close(drawn.size[:, 0], drawn.true.h.norm(dim=-1))
    assert (
        drawn.size[:, 1:].max() < 1e-12 < drawn.size[:, 0].min()
    )  # the next step's cost reaches the oldest input alone
