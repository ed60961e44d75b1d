"""What travels in a trained network: readings of activity on rings, and of dense networks whose units have no order.

Activity is (time, batch, channel, position), the states of one network for many sequences. Raw activity is dominated by what
every sequence evokes (the onset of the input, biases that pile up on a lossless ring). Memory is what differs between
sequences, so the readings here look at that part, or at the response to a small disturbance.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, require, shape_is
from wavemem.theory.readings import spectrum_2d
from wavemem.theory.velocity import Velocity, estimate_velocity
from wavemem.theory.waves import Wave, find_wave
from wavemem.wave_rnn.network import RecurrentNetwork

SMALL = 1e-2
"""Largest entry of a disturbance: small beside activities of order one, large beside single precision."""


def varying_part(
    activity: Float[Tensor, "time batch channel position"],
) -> Float[Tensor, "time batch channel position"]:
    """The part of the activity that depends on the sequence: the deviation from the mean over the batch.

    Deviations that rounding alone could make (below 10⁻⁵ of the largest activity) are set to zero: where all sequences
    evoke the same, as under input weights that do not tell symbols apart, nothing varies.

    Raises:
        ValueError: If there are fewer than two sequences.
    """
    shape_is("activity", activity, ("time", "batch", "channel", "position"))
    require(
        activity.shape[1] >= 2, "a batch of one", "two or more sequences", "One sequence has nothing to differ from."
    )
    deviation = activity - activity.mean(1, keepdim=True)
    return torch.where(deviation.abs() > 1e-5 * activity.abs().max(), deviation, 0.0)


def onset_order(activity: Float[Tensor, "time batch channel position"]) -> Int[Tensor, " position"]:
    """Positions sorted by the time at which their activity, averaged over sequences and channels, is largest.

    The paper sorts the units of its dense network so, to uncover waves (Wave-RNN, section 2). Sorting alone makes a diagonal out
    of anything: measure on other sequences than the order was found on.
    """
    shape_is("activity", activity, ("time", "batch", "channel", "position"))
    return torch.argsort(activity.mean((1, 2)).argmax(0), stable=True)


def ring_velocity(activity: Float[Tensor, "time batch channel position"]) -> Velocity:
    """Velocity of an activity on rings, `wavemem.theory.velocity.estimate_velocity` without what a whole ring does at once.

    The mean over the positions is taken out first: it cannot travel. The largest |ν| considered is 3 positions per step, or an
    eighth of the positions if that is more, but at most half the ring. Give one channel for that channel's velocity.
    """
    shape_is("activity", activity, ("time", "batch", "channel", "position"))
    n = activity.shape[-1]
    still = activity - activity.mean(-1, keepdim=True)
    return estimate_velocity(still, max_velocity=min(max(3.0, n / 8), n / 2))


def direction(activity: Float[Tensor, "time batch channel position"]) -> float:
    """How much more power of the 2-D spectrum runs towards smaller positions than towards larger ones, from −1 to 1.

    (P₊ − P₋)/(P₊ + P₋), where P₊ is the power at frequencies ω, k of equal sign and P₋ that at unequal signs. 1 for a wave of any
    positive velocity below one wavelength per step, 0 for standing waves and for noise; nan for no activity.
    """
    spectrum = spectrum_2d(activity)
    power = spectrum.magnitude**2
    sign = np.sign(spectrum.temporal)[:, None] * np.sign(spectrum.spatial)[None, :]
    # The Nyquist frequencies are their own mirror images and have no direction.
    sign[np.isclose(np.abs(spectrum.temporal), 0.5)] = 0
    sign[:, np.isclose(np.abs(spectrum.spatial), 0.5)] = 0
    along, against = float(power[sign > 0].sum()), float(power[sign < 0].sum())
    return (along - against) / (along + against) if along + against > 0 else math.nan


def state_response(
    network: RecurrentNetwork,
    inputs: Float[Tensor, "T B d"],
    at: int,
    generator: torch.Generator,
    channel: int | None = None,
) -> Float[Tensor, "K steps B c n"]:
    """How a small disturbance of the state travels while a network goes on reading.

    After ``at`` inputs a random disturbance (normal, standard deviation `SMALL`) is added to the state; the difference from
    the undisturbed run is followed to the end of the sequence. The disturbance itself is the first step.

    Args:
        network: K networks; for a dense one the "ring" is the list of its units.
        inputs: Sequences, the same for all networks.
        at: Number of inputs read before the disturbance, at least 1.
        generator: Random numbers.
        channel: Disturb this channel only; all by default.

    Returns:
        The differences, 1 + T − at steps.

    Raises:
        ValueError: If ``at`` leaves no step to follow, or there is no such channel.
    """
    shape_is("inputs", inputs, ("T", "B", network.d))
    require(1 <= at < len(inputs), f"at = {at}", f"1 to {len(inputs) - 1}", "Leave steps before and after it.")
    with torch.no_grad():
        before = network.states(inputs[:at])[-1]
        one_of("channel", channel, (None, *range(before.shape[2])))
        drawn = SMALL * torch.randn(before.shape, generator=generator, device=generator.device).to(before)
        if channel is not None:
            only = torch.zeros_like(drawn)
            only[:, :, channel] = drawn[:, :, channel]
            drawn = only
        dense = network.kernel().shape[-1] == 1 and before.shape[2] == 1

        def follow(h0: Tensor) -> Tensor:
            return network.states(inputs[at:], h0.mT if dense else h0)

        difference = follow(before + drawn) - follow(before)
    return torch.cat([drawn.unsqueeze(0), difference]).transpose(0, 1)


def ring_pass(response: Float[Tensor, "steps B c n"], source: int | None = None) -> Wave:
    r"""Whether a disturbance of rings travels right round them: `find_wave` on the response of a ring to one of its units.

    T[p, τ] is what is left, τ steps later and p units on, of a disturbance of one unit, for every pair of rings:

    $$ T[p, \tau]_{rd} = \sum_{B, v} \varepsilon_d(v)\,\delta_r(\tau, v \mp p) \Big/ \sum_{B, v} \varepsilon_d(v)^2 . $$

    Whether it travels is a matter of where it is, whatever its size: T is divided by its size at each age, so that what is
    amplified or fades on its way still travels. How much returns is a matter of size: the gain is that of T itself.
    Places are counted in the direction, of the two, in which more travels; a lap has as many steps as the fastest of the
    velocities 1, 1/2, … that explains the pass needs.

    Args:
        response: The disturbance at step 0 and its consequences, one network's of `state_response`; two laps or more show
            whether it comes back.
        source: The only channel that was disturbed; None if all were.

    Returns:
        What was found; its velocity has the sign of the book, positive towards smaller positions.

    Raises:
        ValueError: If there was no disturbance, or fewer steps than units.
    """
    shape_is("response", response, ("steps", "B", "c", "n"))
    steps, _, _, n = response.shape
    require(steps >= n, f"{steps} steps on rings of {n}", f"at least {n}", "Follow the disturbance for a lap.")
    first = response[0] if source is None else response[0][:, source : source + 1]
    power = first.double().square().sum((0, 2))
    require(bool((power > 0).all()), "a disturbance of zero", "a disturbance", "Step 0 is the disturbance itself.")
    spectra = torch.einsum("bdm,tbrm->trdm", torch.fft.fft(first.double()), torch.fft.fft(response.double()).conj())
    forward = (torch.fft.ifft(spectra).real / power[:, None]).permute(3, 0, 1, 2)  # (place, age, ring, source)
    size = forward.square().sum((0, 2, 3)).sqrt()[None, :, None, None]
    backward = torch.cat([forward[:1], forward[1:].flip(0)])
    found = []
    for sign, places in ((1, forward), (-1, backward)):
        for lap in range(n, steps + 1, n):
            wave = find_wave(places / size.clamp_min(1e-300), lap)
            found.append(wave._replace(velocity=sign * wave.velocity, gain=find_wave(places, lap).gain))
            if wave.travelling:
                break
    return max(found, key=lambda wave: (wave.travelling, wave.travel))


def different_speeds(velocities: list[Velocity]) -> list[float]:
    """The different velocities among those of several channels, largest first; channels without a wave are left out.

    Two velocities closer than 0.2 positions per step, or than three of their joint standard errors, count as one, as do chains
    of such.

    Returns:
        The mean velocity of every group.
    """
    known = sorted((v for v in velocities if v.confident), key=lambda v: -v.value)
    groups: list[list[Velocity]] = []
    for velocity in known:
        last = groups[-1][-1] if groups else None
        if last is None or last.value - velocity.value > max(0.2, 3 * math.hypot(last.error, velocity.error)):
            groups.append([])
        groups[-1].append(velocity)
    return [float(np.mean([v.value for v in group])) for group in groups]
