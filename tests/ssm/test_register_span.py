"""What `tests/equations/test_v_wave.py` leaves open: rings, limits, estimates and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wavemem.ssm import register_span as span


@pytest.mark.parametrize("n", [5, 6])
@pytest.mark.parametrize("v", [0.5, 1.0, 1.7, -0.3])
def test_a_ring_moves_in_fourier_space(n: int, v: float) -> None:
    """Against a pattern whose modes are turned one step at a time."""
    steps = 7
    k = span.ring_pulses(v, n, steps)
    modes = torch.ones(n, dtype=torch.complex128)
    frequency = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    for tau in range(steps):
        turned = modes * torch.polar(torch.ones(n, dtype=torch.float64), -2 * math.pi * frequency * v * tau / n)
        torch.testing.assert_close(k[:, tau], torch.fft.ifft(turned).real, atol=1e-12, rtol=0)


def test_a_ring_at_one_is_a_cyclic_shift_and_damping_shrinks_it() -> None:
    k = span.ring_pulses(1.0, 4, 9, damping=0.5)
    expected = torch.zeros(4, 9, dtype=torch.float64)
    expected[torch.arange(9) % 4, torch.arange(9)] = 0.5 ** torch.arange(9, dtype=torch.float64)
    torch.testing.assert_close(k, expected, atol=1e-12, rtol=0)


def test_a_ring_that_never_forgets_spreads_the_same_capacity() -> None:
    found = span.memory_by_age(span.ring_pulses(1.0, 6, 60))
    torch.testing.assert_close(found, torch.full((60,), 0.1, dtype=torch.float64))


def test_the_law_of_long_registers_is_close_for_a_long_one() -> None:
    v, n = 0.5, 60
    ages = torch.arange(400, dtype=torch.float64)
    exact = span.laguerre_functions(v, n, 400).square().sum(0)
    law = span.long_register_memory(v, n, ages + 0.5)
    smooth = torch.nn.functional.avg_pool1d((exact - law)[None, None], 15, 1)[0, 0]
    assert float(smooth.abs().max()) < 0.02
    assert float(law.sum()) == pytest.approx(n, rel=0.01)
    assert torch.equal(span.long_register_memory(1.0, 3, ages[:5]), torch.tensor([1.0, 1, 1, 0, 0]).double())


@pytest.mark.parametrize("v", [0.4, 0.8])
def test_noisy_capacity_grows_like_the_square_root(v: float) -> None:
    small, large = span.capacity(v, 64, 0.01), span.capacity(v, 256, 0.01)
    assert 0.45 < math.log(large / small, 4) < 0.6
    assert span.noisy_capacity_estimate(v, 256, 0.01) == pytest.approx(large, rel=0.06)


def test_noise_free_capacity_and_variances() -> None:
    assert span.capacity(0.3, 7) == 7
    k = span.pulses(0.3, 7, span.tail_length(0.3, 7))
    torch.testing.assert_close(span.neuron_variances(0.3, 7), k.square().sum(1))


def test_correlated_inputs_of_no_correlation_are_white_ones() -> None:
    k = span.pulses(0.6, 4, 80)
    white = torch.zeros(80, dtype=torch.float64)
    white[0] = 1.0
    torch.testing.assert_close(span.memory_by_age(k, 0.05, white), span.memory_by_age(k, 0.05))


def test_many_velocities_at_once() -> None:
    v = torch.tensor([[0.2, 0.5, 1.0]])
    together = span.laguerre_functions(v, 3, 20)
    assert together.shape == (1, 3, 3, 20)
    torch.testing.assert_close(together[0, 1], span.laguerre_functions(0.5, 3, 20))


def test_reach_and_coverage_of_a_register() -> None:
    assert span.reach(12, 1.0) == 11  # the newest input has the age 0
    assert span.reach(4, 0.5) == pytest.approx(7 + math.sqrt(8))
    assert span.coverage(11, 1.0, (4, 10)) == pytest.approx(1)
    assert span.coverage(4, 1.0, (4, 10)) == pytest.approx(0)
    assert span.coverage(6, 1.0, (4, 10)) == pytest.approx(2 / 7)
    assert span.reach(4, 1.0, layers=2) == 6
    assert span.reach(4, 0.5, layers=2) == pytest.approx(14 + 4)
    assert span.coverage(4, 1.0, (4, 10), layers=2) == pytest.approx(3 / 7)
    assert span.coverage(4, 0.5, (4, 10), layers=2) == pytest.approx(span.coverage(8, 0.5, (4, 10)))
    # All ages together: n inputs' worth, whatever the velocity.
    assert span.coverage(4, 0.5, (0, 200)) * 201 == pytest.approx(4)


@pytest.mark.parametrize("v", [0.3, 0.7])
def test_registers_in_a_row_span_what_one_longer_register_spans(v: float) -> None:
    n, length = 3, 120
    k = span.pulses(v, n, length)
    second = [torch.from_numpy(np.convolve(a, b)[:length]) for a in k.numpy() for b in k.numpy()]
    row = torch.stack([*k, *second])
    one = span.pulses(v, 2 * n, length)
    assert int(torch.linalg.matrix_rank(row, rtol=1e-10)) == 2 * n
    assert int(torch.linalg.matrix_rank(torch.cat([row, one]), rtol=1e-10)) == 2 * n


@pytest.mark.parametrize(
    "call",
    [
        lambda: span.pulses(0.0, 3, 5),
        lambda: span.pulses(2.6, 3, 5),
        lambda: span.laguerre_functions(torch.tensor([0.5, float("nan")]), 3, 5),
        lambda: span.delay_mean(-1, 0.5),
        lambda: span.absolute_gain(2.0, 3),
        lambda: span.binomial_mixture(0.5, 0),
        lambda: span.ring_pulses(0.5, 4, 5, damping=1.5),
        lambda: span.memory_by_age(torch.zeros(3)),
        lambda: span.memory_by_age(torch.eye(3), noise=-1.0),
        lambda: span.memory_by_age(torch.eye(3), autocorrelation=torch.ones(2)),
        lambda: span.noisy_capacity_estimate(0.5, 4, 0.1, points=0),
        lambda: span.memory_of_one_age(torch.tensor([0.5]), 4, -2),
        lambda: span.reach(4, 0.5, layers=0),
        lambda: span.coverage(4, 0.0, (4, 10)),
    ],
)
def test_what_makes_no_sense_is_refused(call) -> None:
    with pytest.raises(ValueError, match="allowed"):
        call()
