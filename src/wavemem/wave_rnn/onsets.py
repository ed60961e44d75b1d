"""What a state knows of when its inputs came: a ring of waves against a static bump (Wave-RNN, Fig. 1).

Binary signals x(t) ∈ {0, 1}^c, one per channel, drive two systems with h(0) = 0:

    wave field   h(t) = Σ h(t−1) + e_0 x(t)     per channel a ring of n units, Σ the shift of Eq. 2 with ν = 1
    bump         h(t) = λ h(t−1) + x(t)         per channel one number (its bump's height), λ = 1 static, λ < 1 fading

In the ring an input of age a stands at unit −a mod n (unit 0 is written, activity moves towards smaller index and comes
round from unit n − 1), so position is age. In the static bump every age stands at the same place.

How much a state can tell is a matter of counting. `best_accuracy` is the share of histories that the best decoder, of any
kind, gets right: the number of different states divided by the number of histories.

Source: Keller et al., ICLR 2024, Section 1 and Fig. 1.

What a recurrent network's state owes to its earlier states and inputs, at initialisation above all.

For h(t) = σ(U h(t−1) + V x(t) + b), with D(t) = diag σ'(·) the slopes of step t,

    ∂h(T)/∂h(t) = D(T) U D(T−1) U ⋯ D(t+1) U,        ∂h(T)/∂x(t) = ∂h(T)/∂h(t) · D(t) V.

The first says whether a gradient survives: its singular values. The second, all t side by side, says whether the state can
tell *when* something came: two inputs whose columns are parallel push the state in one direction, and neither a readout nor a
gradient can tell them apart. Identity and shift initialisations agree on the first and differ on the second.

Source: Keller et al., ICLR 2024, Sections 1 and 2 (initialisation); the comparison is the book's.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is


def _signals(signals: Tensor) -> Tensor:
    shape_is("signals", signals, ("...", "channel"))
    require(
        signals.ndim >= 2 and bool(((signals == 0) | (signals == 1)).all()),
        f"signals of shape {tuple(signals.shape)} with values from {float(signals.min()):g} to {float(signals.max()):g}",
        "(time, ..., channel) of zeros and ones",
        "Binarise the signals.",
    )
    return signals.to(torch.float64)


def wave_states(
    signals: Float[Tensor, "time *batch c"], n: int, absorb: bool = False
) -> Float[Tensor, "time *batch c n"]:
    """States of a ring of n units per channel, shifted by one unit per step and written at unit 0.

    Args:
        signals: Zeros and ones, (time, ..., channel).
        n: Units per ring.
        absorb: Silence unit 1, the last one before activity comes round to unit 0. A ring with one dead unit is a line: the
            oldest input falls off its end instead of being added to the newest. In a Wave-RNN a bias of −1 or less at unit 1
            does it.

    Returns:
        h(1), …, h(T), of shape (time, ..., channel, position).

    Raises:
        ValueError: If the signals are not binary, or the ring has fewer than 2 units.

    Source: Wave-RNN, Eq. 3 with the shift initialisation, a linear activation and one input per channel; Fig. 1, middle.
    """
    signals = _signals(signals)
    n = positive_int("n", n, minimum=2)
    h = signals.new_zeros(*signals.shape[1:], n)
    states = []
    for x in signals:
        h = h.roll(-1, -1)
        h[..., 0] += x
        if absorb:
            h[..., 1] = 0.0
        states.append(h)
    return torch.stack(states)


def bump_states(signals: Float[Tensor, "time *batch c"], decay: float = 1.0) -> Float[Tensor, "time *batch c"]:
    """Heights of static (decay = 1) or fading (decay < 1) bumps: h(t) = λ h(t−1) + x(t), one bump per channel.

    A bump that is spread over many units, or written with any fixed pattern, is this number times the pattern.

    Args:
        signals: Zeros and ones, (time, ..., channel).
        decay: λ in (0, 1].

    Returns:
        Heights after every step, (time, ..., channel).

    Raises:
        ValueError: If the signals are not binary or λ lies outside [0, 1].

    Source: Wave-RNN, Section 2 "Baselines" (identity initialisation) and Fig. 1, bottom.
    """
    signals = _signals(signals)
    decay = number_in("decay", decay, 0.0, 1.0)
    h = torch.zeros_like(signals[0])
    states = []
    for x in signals:
        h = decay * h + x
        states.append(h)
    return torch.stack(states)


def by_age(states: Float[Tensor, "*any n"]) -> Float[Tensor, "*any n"]:
    """Sort a ring by the age of what stands on it: entry a of the result is unit −a mod n.

    Raises:
        ValueError: If there is no position.
    """
    shape_is("states", states, ("...", "position"))
    n = states.shape[-1]
    return states[..., (-torch.arange(n, device=states.device)) % n]


def decode_wave(
    state: Float[Tensor, "*batch c n"], time: int, threshold: float = 0.5
) -> Bool[Tensor, "*batch c onset"]:
    """Read from one state of the ring at which steps each channel received an input.

    Args:
        state: The state after step `time`, (..., channel, position).
        time: The number of steps taken, t.
        threshold: Units above it count as active.

    Returns:
        Whether channel k had an input at step τ, for τ = 1, …, t (entry τ − 1). Steps that lie n or more back are not on the
        ring any more and read as False.

    Raises:
        ValueError: If time is not positive, or the state has no channels.
    """
    shape_is("state", state, ("...", "channel", "position"))
    time = positive_int("time", time)
    recent = by_age(state)[..., : min(time, state.shape[-1])] > threshold
    found = torch.zeros(*state.shape[:-1], time, dtype=torch.bool, device=state.device)
    found[..., time - recent.shape[-1] :] = recent.flip(-1)
    return found


def guess_from_bump(height: Float[Tensor, "*batch c"], time: int) -> Bool[Tensor, "*batch c onset"]:
    """One of the best guesses from static bumps: as many inputs as the height says, at the most recent steps.

    A static bump's height is the number of inputs, and all placements of that number are alike to it; with every history
    equally likely no guess is better than any other with the right number.

    Args:
        height: Heights after step `time`, (..., channel).
        time: t.

    Returns:
        Guessed inputs per step, as `decode_wave`.

    Raises:
        ValueError: If time is not positive.
    """
    time = positive_int("time", time)
    shape_is("height", height, ("...", "channel"))
    age = torch.arange(time - 1, -1, -1, device=height.device)
    return age < height.round()[..., None]


def decode_fading_bump(height: Float[Tensor, "*batch c"], time: int, decay: float) -> Bool[Tensor, "*batch c onset"]:
    """Read a fading bump with λ <= 1/2 digit by digit, newest input first.

    With λ <= 1/2 all older inputs together weigh λ + λ² + … <= 1, less than the newest one, up to the last digit: the height is
    a number written in base 1/λ whose digits are the history. What the decoder needs is resolution: the input of age a is
    worth λ^a.

    Args:
        height: Heights after step `time`, possibly with an error, (..., channel).
        time: t.
        decay: λ in (0, 1/2].

    Returns:
        Inputs per step, as `decode_wave`.

    Raises:
        ValueError: If λ lies outside (0, 1/2], or time is not positive.
    """
    time = positive_int("time", time)
    shape_is("height", height, ("...", "channel"))
    decay = number_in("decay", decay, 1e-12, 0.5)
    # Midway between the most that older inputs can add, without the newest one, and the least, with it.
    found = torch.zeros(*height.shape, time, dtype=torch.bool, device=height.device)
    left = height.to(torch.float64).clone()
    for age in range(time):
        remaining = time - 1 - age
        older = sum(decay**k for k in range(1, remaining + 1))
        active = left > (1 + older) / 2
        found[..., time - 1 - age] = active
        left = (left - active.double()) / decay
    return found


def all_histories(steps: int) -> Int[Tensor, "time history 1"]:
    """Every binary history of one channel: 2^T columns, as signals of shape (time, history, 1).

    Args:
        steps: T, at most 20.

    Raises:
        ValueError: If T is not between 1 and 20.
    """
    steps = positive_int("steps", steps)
    require(steps <= 20, f"steps = {steps}", "1 to 20", "There are 2^T histories; sample instead of listing them.")
    number = torch.arange(2**steps)
    return ((number[None] >> torch.arange(steps)[:, None]) & 1)[..., None]


def best_accuracy(states: Float[Tensor, "history ..."], resolution: float = 0.0) -> tuple[int, float]:
    """How many histories the states tell apart, and the share that the best possible decoder recovers.

    Whatever a decoder does, it answers each state with one history, so of all histories that share a state it gets one right.
    With every history equally likely its accuracy is at most (number of different states)/(number of histories), and looking
    the answer up in a table attains it.

    Args:
        states: The state that each history leaves behind, histories first; one history each.
        resolution: Numbers closer than this cannot be told apart: states are rounded to multiples of it (0: exact to 1e-12,
            which only takes out rounding errors).

    Returns:
        The number of different states, and the share.

    Raises:
        ValueError: If the resolution is negative or there is no history.
    """
    shape_is("states", states.reshape(len(states), -1) if states.ndim else states, ("history", "state"))
    resolution = number_in("resolution", resolution, 0.0, 1e6)
    step = max(resolution, 1e-12)
    codes = (states.to(torch.float64).reshape(len(states), -1) / step).round()
    count = len(torch.unique(codes, dim=0))
    return count, count / len(states)


def state_jacobians(U: Float[Tensor, "N N"], slopes: Float[Tensor, "time N"]) -> Float[Tensor, "time+1 N N"]:
    """∂h(T)/∂h(t) for t = T, T − 1, …, 0 (entry k is k steps back), as products of Jacobians, latest step first.

    Args:
        U: Recurrent weights; of a Wave-RNN `wavemem.wave_rnn.ring.ring_matrix`.
        slopes: σ' at steps 1, …, T: for ReLU 1 where the state is positive and 0 elsewhere, for a linear network 1.

    Returns:
        T + 1 matrices, the first the identity.

    Raises:
        ValueError: If the shapes do not fit.
    """
    shape_is("U", U, (len(U), len(U)))
    shape_is("slopes", slopes, ("time", len(U)))
    product = torch.eye(len(U), dtype=U.dtype, device=U.device)
    products = [product]
    for slope in slopes.flip(0).to(U.dtype):
        product = (product * slope) @ U
        products.append(product)
    return torch.stack(products)


def input_jacobians(
    U: Float[Tensor, "N N"], V: Float[Tensor, "N d"], slopes: Float[Tensor, "time N"]
) -> Float[Tensor, "time N d"]:
    """∂h(T)/∂x(t) for ages a = 0, …, T − 1 (entry a is the input of step T − a).

    Args:
        U: Recurrent weights (N, N).
        V: Input weights (N, d).
        slopes: σ' at steps 1, …, T.

    Returns:
        One (N, d) matrix per age.

    Raises:
        ValueError: If the shapes do not fit.
    """
    shape_is("V", V, (len(U), "d"))
    through = state_jacobians(U, slopes)[:-1]  # ∂h(T)/∂h(T − a), a = 0, …, T − 1
    return (through * slopes.flip(0).to(U.dtype)[:, None, :]) @ V


def times_told_apart(jacobians: Float[Tensor, "time N d"], tolerance: float = 1e-6) -> int:
    """How many input directions (step × dimension) the state tells apart: the rank of [∂h(T)/∂x(T) ⋯ ∂h(T)/∂x(1)].

    Args:
        jacobians: From `input_jacobians`.
        tolerance: Singular values below this share of the largest count as zero.

    Returns:
        The rank, at most min(N, time · d).

    Raises:
        ValueError: If the Jacobians are not (time, N, d).
    """
    shape_is("jacobians", jacobians, ("time", "N", "d"))
    finite("jacobians", jacobians)
    side_by_side = jacobians.movedim(0, 1).flatten(1)
    values = torch.linalg.svdvals(side_by_side)
    largest = float(values.max())
    return int((values > tolerance * largest).sum()) if largest > 0 else 0
