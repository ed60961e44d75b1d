"""The closed forms of repeat copy against stepping the recurrence."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.basis import random_basis, standard_basis
from wavemem.theory.repeat_copy import (
    input_phase_state,
    output,
    output_phase_state,
    repeat_copy_weights,
    state,
    subspace,
)


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("s", "d", "N"), [(1, 1, 1), (1, 3, 7), (4, 1, 4), (5, 3, 15), (3, 2, 20)])
def test_closed_form_equals_stepping_in_any_basis(s: int, d: int, N: int) -> None:
    basis = random_basis(s * d, torch.Generator().manual_seed(1), N=N)
    W_hh, W_uh, W_r = repeat_copy_weights(s, d, basis)
    u = _draw(6, s, d)
    h = u.new_zeros(6, N)
    for t in range(3 * s + 2):
        torch.testing.assert_close(state(u, t, basis), h, rtol=0, atol=1e-9)
        torch.testing.assert_close(basis.vector(state(u, t)), h, rtol=0, atol=1e-9)
        if t > s:
            torch.testing.assert_close(output(u, t - s), h @ W_r.mT, rtol=0, atol=1e-9)
        h = h @ W_hh.mT + (u[:, t] @ W_uh.mT if t < s else 0)


def test_gain_scales_the_recurrent_matrix_only() -> None:
    plain, scaled = repeat_copy_weights(3, 2), repeat_copy_weights(3, 2, gain=1.5)
    torch.testing.assert_close(scaled[0], 1.5 * plain[0])
    assert torch.equal(scaled[1], plain[1])
    assert torch.equal(scaled[2], plain[2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: subspace(0, 1, 4), "mu = 0"),
        (lambda: subspace(1, -1, 4), "t = -1"),
        (lambda: subspace(5, 1, 4), "mu = 5"),
        (lambda: subspace(1, 1, 0), "s = 0"),
        (lambda: input_phase_state(torch.zeros(4, 2), 5), "t = 5"),
        (lambda: output_phase_state(torch.zeros(4, 2), -1), "t = -1"),
        (lambda: output_phase_state(torch.zeros(4, 2), 1.5), "t = 1.5"),
        (lambda: output(torch.zeros(4, 2), 0), "t = 0"),
        (lambda: state(torch.zeros(4), 0), "u has shape"),
        (lambda: state(torch.zeros(4, 2, dtype=torch.float64), 0, standard_basis(7)), "c has shape"),
        (lambda: repeat_copy_weights(2, 2, standard_basis(5)), "Psi has shape"),
        (lambda: repeat_copy_weights(2, 2, gain=float("nan")), "gain = nan"),
        (lambda: repeat_copy_weights(0, 2), "s"),
    ],
)
def test_bad_input_says_what_it_got(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
