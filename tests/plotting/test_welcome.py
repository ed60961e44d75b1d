"""The first page's figure shows a memory that really stores the picture."""

from __future__ import annotations

from pathlib import Path

import torch

from wavemem.plotting.welcome import memory, write


def test_the_picture_is_in_the_waves_at_every_time_and_invisible_among_the_neurons() -> None:
    u, basis, states = memory()
    s, d = u.shape
    for t in range(s, 4 * s + 1):  # the state after t steps: the picture, turned by t - s columns
        torch.testing.assert_close(basis.components(states[t - 1]).unflatten(-1, (s, d)), u.roll(s - t, 0))
    correlation = torch.corrcoef(torch.stack([states[s - 1], u.flatten()]))[0, 1]
    assert abs(float(correlation)) < 3 / (s * d) ** 0.5  # three standard errors of independent numbers


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write(tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
