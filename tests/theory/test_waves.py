"""Is there a wave: what has to pass, what has to fail, and that no basis decides it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from wavemem.elman.network import ElmanEnsemble
from wavemem.ssm.shift_register import upwind_register
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import phi_in_basis, repeat_copy_phi
from wavemem.theory.hds import random_histories
from wavemem.theory.waves import (
    LEAST_GAIN,
    LEAST_TRAVEL,
    Wave,
    find_wave,
    fitted_response,
    impulse_response,
    readers_of_readout,
)
from wavemem.wave_rnn.network import WaveRNN
from wavemem.wave_rnn.ring import ring_matrix

S, D, N = 6, 2, 40


def untrained(seed: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of an Elman network as it starts, the recurrent ones scaled."""
    net = ElmanEnsemble.initialise([seed], N, D, dtype=torch.float64)
    W_hh, W_uh, W_r = (W.detach()[0] for W in (net.W_hh, net.W_uh, net.W_r))
    return scale * W_hh, W_uh, W_r


def by_own_readers(W_hh: Tensor, W_uh: Tensor, W_r: Tensor, s: int = S) -> Wave:
    return find_wave(impulse_response(W_hh, W_uh, readers_of_readout(W_hh, W_r, s), 2 * s))


def memory(corner: float, kind: str = "gaussian", seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Repeat copy in a random basis, its boundary weakened to `corner`; with the readout of what leaves next."""
    Phi = repeat_copy_phi(S, D)
    Phi[-D:, :D] *= corner
    basis = random_basis(S * D, stream(seed, "waves"), kind, N=N)
    return phi_in_basis(Phi, basis), basis.block(S - 1, D), basis.dual_block(0, D)


def content_of(W_hh: Tensor, W_uh: Tensor, inputs: Tensor) -> Tensor:
    """What stands at the places of a linear network, (time, batch, places, r)."""
    h, states = inputs.new_zeros(inputs.shape[1], N), []
    for x in inputs:
        h = h @ W_hh.mT + x @ W_uh.mT
        states.append(h)
    return torch.einsum("prn,tbn->tbpr", places_of(), torch.stack(states))


def places_of(seed: int = 0) -> Tensor:
    basis = random_basis(S * D, stream(seed, "waves"), N=N)
    return torch.stack([basis.dual_block(S - 1 - p, D) for p in range(S)])


@pytest.mark.parametrize("seed", range(5))
def test_repeat_copy_travels_and_recirculates_in_any_basis(seed: int) -> None:
    W_hh, W_uh, W_r = memory(1.0, seed=seed)
    for found in (
        find_wave(impulse_response(W_hh, W_uh, places_of(seed), 2 * S)),
        by_own_readers(W_hh, W_uh, W_r @ torch.linalg.matrix_power(W_hh, S - 1)),
    ):
        assert (found.travelling, found.recirculating) == (True, True)
        assert (found.travel, found.velocity, found.gain) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("corner", [0.0, 0.3, 0.7, 1.2])
def test_the_gain_per_lap_is_what_the_boundary_lets_through(corner: float) -> None:
    """Nothing, of a delay line: it travels without any eigenvalue."""
    W_hh, W_uh, _ = memory(corner)
    found = find_wave(impulse_response(W_hh, W_uh, places_of(), 2 * S))
    assert found.gain == pytest.approx(corner, abs=1e-9)
    assert (found.travelling, found.recirculating) == (True, corner >= LEAST_GAIN)


@pytest.mark.parametrize("scale", [1.0, math.sqrt(3.0)])
@pytest.mark.parametrize("seed", range(10))
def test_an_untrained_network_fails_both(seed: int, scale: float) -> None:
    found = by_own_readers(*untrained(seed, scale))
    assert abs(found.travel) < 0.3
    assert (found.travelling, found.recirculating) == (False, False)
    assert math.isnan(found.velocity)


def test_what_stands_still_fails_both() -> None:
    _, W_uh, W_r = untrained(0)
    distributed = by_own_readers(torch.eye(N, dtype=torch.float64), W_uh, W_r)
    at_places = torch.eye(S, dtype=torch.float64)
    bump = find_wave(impulse_response(at_places, at_places[:, :1], at_places[:, None], 2 * S))
    for found in (distributed, bump):
        assert (found.travel, found.gain) == pytest.approx((0, 1), abs=1e-9)
        assert (found.travelling, found.recirculating) == (False, False)


def test_no_unit_of_a_place_decides() -> None:
    W_hh, W_uh, _ = memory(0.5)
    units = torch.logspace(-2, 2, S, dtype=torch.float64)[:, None, None]
    plain, scaled = (find_wave(impulse_response(W_hh, W_uh, R, 2 * S)) for R in (places_of(), units * places_of()))
    assert scaled == pytest.approx(plain, rel=1e-9)


def test_a_ring_passes_both_and_so_does_a_wave_rnn_at_its_start() -> None:
    net = WaveRNN.initialise([0], units=12, channels=2, inputs=1, outputs=1)
    U = ring_matrix(net.u.detach()[0].double(), 12)
    unit = torch.eye(24, dtype=torch.float64).reshape(2, 12, 24)
    away = [(-p) % 12 for p in range(12)]  # a positive velocity goes towards smaller positions
    readers = unit[:, away].movedim(1, 0)
    found = find_wave(impulse_response(U, unit[:, 0].mT, readers, 24))
    assert (found.travelling, found.recirculating) == (True, True)
    assert found.velocity == pytest.approx(1)
    backwards = find_wave(impulse_response(U, unit[:, 0].mT, readers.flip(0).roll(1, 0), 24))
    assert backwards.travel < 0
    assert not backwards.travelling


@pytest.mark.parametrize("v", [1.0, 0.9, 0.5, 0.25])
@pytest.mark.parametrize("n", [4, 8, 16])
def test_a_slow_register_travels_at_its_velocity(v: float, n: int) -> None:
    space = upwind_register(n, v)
    lap = math.ceil(2 * n / v)
    readers = torch.eye(n, dtype=torch.float64)[:, None]
    found = find_wave(impulse_response(space.A, space.B[:, None], readers, 2 * lap), lap)
    assert (found.travelling, found.recirculating) == (True, False)
    # Squared pulses are a little less skewed than the pulses: 8 % at four places, less at more.
    assert found.velocity == pytest.approx(v, rel=0.08)


def test_a_wave_that_is_lost_on_the_way_or_in_a_wrong_order_is_none() -> None:
    W = torch.diag(torch.ones(7, dtype=torch.float64), -1)
    unit = torch.eye(8, dtype=torch.float64)
    response = impulse_response(W, unit[:, :1], unit[:, None], 16)
    scores = [find_wave(response[torch.randperm(8, generator=stream(k, "order"))]) for k in range(40)]
    assert sum(found.travelling for found in scores) <= 2
    assert sum(found.travel > found.null for found in scores) <= 6
    W[3, 2] = 0
    assert not find_wave(impulse_response(W, unit[:, :1], unit[:, None], 16)).travelling


def test_activity_and_weights_say_the_same() -> None:
    W_hh, W_uh, _ = memory(0.8)
    inputs = torch.randn(60, 16, D, generator=stream(1, "inputs"), dtype=torch.float64)
    long = impulse_response(W_hh, W_uh, places_of(), 60)
    fitted = fitted_response(content_of(W_hh, W_uh, inputs), inputs, 60)
    torch.testing.assert_close(fitted[:, :24], long[:, :24], atol=1e-6, rtol=0)


def test_a_whole_episode_can_be_read() -> None:
    W_hh, W_uh, _ = memory(1.0)
    u = random_histories(64, S, D, stream(2, "episode"), dtype=torch.float64)
    inputs = torch.cat([u.movedim(1, 0), torch.zeros(2 * S, 64, D, dtype=torch.float64)])
    found = find_wave(fitted_response(content_of(W_hh, W_uh, inputs), inputs, 2 * S))
    noise = torch.randn(40, 32, S, D, generator=stream(0, "noise"), dtype=torch.float64)
    assert not find_wave(fitted_response(noise, noise[:, :, 0].roll(1, 0), 2 * S)).travelling
    # Not exact: 64 histories, and the input of two laps ago stands at the entrance as well.
    assert found.travel == pytest.approx(1, abs=1e-3)
    assert found.gain == pytest.approx(1, abs=1e-2)


def test_the_criteria_include_their_bounds_and_need_more_than_the_null() -> None:
    just = Wave(LEAST_TRAVEL, LEAST_TRAVEL - 0.01, math.nan, LEAST_GAIN)
    assert (just.travelling, just.recirculating) == (True, True)
    for short in (just._replace(travel=0.499), just._replace(null=LEAST_TRAVEL), just._replace(travel=math.nan)):
        assert (short.travelling, short.recirculating) == (False, False)
    for lost in (just._replace(gain=0.499), just._replace(gain=math.nan)):
        assert (lost.travelling, lost.recirculating) == (True, False)


def by_the_definition(power: np.ndarray, lap: int, order: list[int]) -> tuple[float, float]:
    """Travel and velocity of places in an order: moments of the joint distribution q_p(τ) / s, summed one by one."""
    s = len(order)
    cells = [
        (place, age, power[row, age] / power[row, :lap].sum() / s)
        for place, row in enumerate(order)
        for age in range(lap)
    ]

    def mean(f: object) -> float:
        return sum(f(p, a) * q for p, a, q in cells)

    p, a = mean(lambda p, a: p), mean(lambda p, a: a)
    cov = mean(lambda x, y: (x - p) * (y - a))
    var_p, var_a = mean(lambda x, y: (x - p) ** 2), mean(lambda x, y: (y - a) ** 2)
    r = cov / math.sqrt(var_p * var_a)
    return r * abs(r), var_p / cov


@pytest.mark.parametrize(("s", "lap", "ages"), [(4, 4, 8), (5, 3, 7), (6, 8, 11)])
def test_a_wave_is_measured_as_it_is_defined(s: int, lap: int, ages: int) -> None:
    response = torch.randn(s, ages, 2, 3, generator=stream(s, "response"), dtype=torch.float64)
    for p in range(s):
        response[p, min(p, lap - 1)] += 6.0
    power = response.square().sum((2, 3)).numpy()
    found = find_wave(response, lap)
    travel, velocity = by_the_definition(power, lap, list(range(s)))
    assert found.travelling
    assert found.travel == pytest.approx(travel)
    assert found.velocity == pytest.approx(velocity)
    orders = [by_the_definition(power, lap, list(order))[0] for order in itertools.permutations(range(s))]
    assert found.null == pytest.approx(np.quantile(orders, 0.95))
    wanted = math.sqrt(power[0, lap : 2 * lap].sum() / power[0, :lap].sum()) if ages >= 2 * lap else math.nan
    assert found.gain == pytest.approx(wanted, nan_ok=True)


def test_places_that_hold_nothing_tell_no_age() -> None:
    unit = torch.eye(6, dtype=torch.float64)
    response = impulse_response(torch.diag(torch.ones(5, dtype=torch.float64), -1), unit[:, :1], unit[:, None], 12)
    silent = response.clone()
    silent[2] = 0
    spread = response.clone()
    spread[2, :6] = 1  # any age is as likely as any other
    assert find_wave(silent) == pytest.approx(find_wave(spread), nan_ok=True)
    silent[0] = 0
    assert find_wave(silent).gain == 0


START = untrained(0)
GOOD = impulse_response(*START[:2], readers_of_readout(START[0], START[2], S), S)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find_wave(GOOD[:3]), "4 places"),
        (lambda: find_wave(GOOD, 7), "lap of 7"),
        (lambda: find_wave(GOOD * math.nan), "finite"),
        (lambda: impulse_response(*START[:2], torch.zeros(3, D, N + 1), S), "readers"),
        (lambda: readers_of_readout(*START[:2], S), "W_r"),
        (lambda: readers_of_readout(START[0], START[2], 0), "places"),
        (lambda: fitted_response(torch.zeros(3, 2, S, D), torch.zeros(3, 2, D), 4), "Record longer"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    assert math.isnan(find_wave(GOOD).gain)
    with pytest.raises(ValueError, match=message):
        make()
