"""The first page's figure shows a memory that really stores the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wavemem.figures.welcome import digit_history, memory_states, write
from wavemem.substrate.basis import random_basis


def test_the_picture_is_read_back_at_every_time() -> None:
    u = digit_history("31")
    s, d = u.shape
    assert (s, d) == (12, 8)
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    basis = random_basis(s * d, torch.Generator().manual_seed(0), kind="orthogonal")
    states = memory_states(u, basis, 3 * s)
    for t in range(s, 3 * s + 1):  # the state after t steps: the picture, turned by t - s columns
        seen = basis.components(states[t - 1]).unflatten(-1, (s, d))
        torch.testing.assert_close(seen, u.roll(s - t, 0))


def test_among_the_neurons_the_picture_is_invisible() -> None:
    u = digit_history("315")
    s, d = u.shape
    basis = random_basis(s * d, torch.Generator().manual_seed(0), kind="orthogonal")
    state = memory_states(u, basis, s)[-1]
    correlation = torch.corrcoef(torch.stack([state, u.flatten()]))[0, 1]
    assert abs(float(correlation)) < 3 / (s * d) ** 0.5  # three standard errors of independent numbers


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write(tmp_path / name, digits="1")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="0 to 9"):
        digit_history("3a")
    with pytest.raises(ValueError, match="0 to 9"):
        digit_history("")
    with pytest.raises(ValueError, match=r"\.svg"):
        write("welcome.png")
    u = digit_history("1")
    with pytest.raises(ValueError, match="steps"):
        memory_states(u, random_basis(48, torch.Generator().manual_seed(0)), 5)
