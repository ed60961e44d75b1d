"""Whole waves are counted by the phase that has fewest eigenvalues."""

from __future__ import annotations

import math

import pytest
import torch

from wavemem.theory.basis import random_basis
from wavemem.theory.hds import repeat_copy
from wavemem.theory.spectrum import complete_waves


@pytest.mark.parametrize(("s", "d"), [(1, 2), (4, 2), (5, 3), (8, 4)])
def test_repeat_copy_has_d_waves_in_any_basis(s: int, d: int) -> None:
    basis = random_basis(s * d, torch.Generator().manual_seed(0), N=s * d + 5)
    W_hh = basis.operator(repeat_copy(s, d).Phi().double())
    assert complete_waves(W_hh, s).item() == d
    assert complete_waves(torch.stack([W_hh, 0.5 * W_hh]), s).tolist() == [d, 0]


def test_one_missing_eigenvalue_costs_a_whole_wave() -> None:
    s, d = 4, 2
    Phi = repeat_copy(s, d).Phi().double()
    # The same vector in every column returns after one step: an eigenvector of eigenvalue 1. Project it out.
    even = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(s) / math.sqrt(s)
    torch.testing.assert_close(Phi @ even, even)
    assert complete_waves(Phi - torch.outer(even, even), s).item() == d - 1


def test_eigenvalues_between_the_phases_do_not_count() -> None:
    turn = math.pi / 4
    between = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    assert complete_waves(torch.block_diag(between, between), 4).item() == 0
    with pytest.raises(ValueError, match="s"):
        complete_waves(between, 0)
