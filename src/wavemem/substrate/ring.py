"""The ring of neurons: the circulant of the Wave-RNN (Eq. 2), its kernel (after Eq. 2), and what they do to a wave.

    Σ = circulant with 1 − ν on the diagonal and ν beside it,      u = [0, 1 − ν, ν],      u ⋆ h = Σ h

The ⋆ is a circular cross-correlation, (u ⋆ h)_i = Σ_m u_m h_{i + m − f//2}, which is what PyTorch's ``conv1d`` computes; a
convolution would flip the kernel and send the wave the other way. With several channels u has shape (c, c, f) and h (c, n).

A ring has no ends, so its operators commute with the rotation and are diagonal in Fourier's basis: the wave number
θ_k = 2πk/n is multiplied by the *symbol* û(θ) = Σ_m u_m e^{iθ(m − f//2)}, a number (one channel) or a c × c matrix.

Sign: a positive velocity carries activity towards smaller position, as everywhere in the book.

Source: Keller et al., ICLR 2024, Section 2; R. J. LeVeque, Finite Difference Methods, SIAM 2007, chapter 10.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require

__all__ = [
    "circulant",
    "correlate",
    "gain_and_velocity",
    "one_way_kernel",
    "ring_eigenvalues",
    "ring_matrix",
    "surviving_power",
    "symbol",
]


def one_way_kernel(velocity: float) -> Float[Tensor, " f"]:
    """The kernel of one upwind step on a ring: u = [0, 1 − ν, ν] for ν >= 0, [|ν|, 1 − |ν|, 0] for ν < 0.

    Args:
        velocity: ν in units per step (the paper's ν' = ν Δt, with Δx = 1). Any value is accepted; beyond |ν| = 1 the step
            is unstable (CFL).

    Returns:
        Three weights (float64): of the neighbour below, of the unit itself, of the neighbour above.

    Raises:
        ValueError: If the velocity is not a finite number.

    Source: Wave-RNN, after Eq. 2.
    """
    nu = number_in("velocity", velocity, -1e6, 1e6)
    return torch.tensor([max(-nu, 0.0), 1 - abs(nu), max(nu, 0.0)], dtype=torch.float64)


def circulant(velocity: float, n: int) -> Float[Tensor, "n n"]:
    """Σ of Eq. 2: h_i(t+1) = (1 − ν) h_i(t) + ν h_{i+1}(t), indices modulo n (ν < 0: the other neighbour).

    Args:
        velocity: ν in units per step.
        n: Number of units on the ring.

    Returns:
        Float64 matrix; 1 − |ν| on the diagonal, |ν| beside it and in the corner that closes the ring.

    Raises:
        ValueError: If n is not a positive whole number or the velocity not finite.

    Source: Wave-RNN, Eq. 2.
    """
    nu = number_in("velocity", velocity, -1e6, 1e6)
    unit = torch.eye(positive_int("n", n), dtype=torch.float64)
    return (1 - abs(nu)) * unit + abs(nu) * unit.roll(1 if nu >= 0 else -1, dims=1)


def _kernel(u: Tensor) -> Tensor:
    """A kernel with its channel axes: (f,) becomes (1, 1, f)."""
    require(
        u.ndim in (1, 3) and u.shape[-1] % 2 == 1 and (u.ndim == 1 or u.shape[0] == u.shape[1]),
        f"a kernel of shape {tuple(u.shape)}",
        "(f,) or (c, c, f) with an odd number f of weights",
        "Pad the kernel with a zero so that it has a middle.",
    )
    return u if u.ndim == 3 else u[None, None]


def correlate(u: Float[Tensor, "c c f"], h: Float[Tensor, "*batch c n"]) -> Float[Tensor, "*batch c n"]:
    """The circular cross-correlation u ⋆ h: (u ⋆ h)_{a,i} = Σ_b Σ_m u_{a,b,m} h_{b, i + m − f//2}.

    Args:
        u: Kernel (receiving channel, sending channel, weight), or (f,) for a single channel; f odd.
        h: State (..., channel, position).

    Returns:
        The state one linear step later, of h's shape.

    Raises:
        ValueError: If the kernel has no middle, or its channels are not those of h.

    Source: Wave-RNN, Eq. 3 without input, bias and activation.
    """
    u = _kernel(u)
    require(
        h.ndim >= 2 and h.shape[-2] == u.shape[0],
        f"a state of shape {tuple(h.shape)} for a kernel of {u.shape[0]} channels",
        f"(..., {u.shape[0]}, n)",
        "Put channels before positions; a single ring is (1, n).",
    )
    middle = u.shape[-1] // 2
    moved = [u[..., m] @ h.roll(middle - m, -1) for m in range(u.shape[-1])]
    return torch.stack(moved).sum(0)


def ring_matrix(u: Float[Tensor, "c c f"], n: int) -> Float[Tensor, "cn cn"]:
    """The matrix of `correlate` for the flattened state (channel by channel): what U would be in a dense network.

    Args:
        u: Kernel (c, c, f) or (f,).
        n: Units per channel. A kernel longer than the ring wraps round and its weights add.

    Returns:
        (c·n, c·n), made of c × c circulant blocks. One channel with `one_way_kernel`: Σ of Eq. 2.

    Raises:
        ValueError: If the kernel has no middle or n is not positive.
    """
    u = _kernel(u)
    c, n = u.shape[0], positive_int("n", n)
    unit = torch.eye(c * n, dtype=u.dtype, device=u.device).unflatten(-1, (c, n))
    return correlate(u, unit).flatten(-2).mT.contiguous()


def symbol(u: Float[Tensor, "c c f"], theta: Float[Tensor, "*any"]) -> Complex[Tensor, "*any c c"]:
    """û(θ) = Σ_m u_m e^{iθ(m − f//2)}: what a step does to the mode e^{iθx} of all channels.

    Args:
        u: Kernel (c, c, f) or (f,).
        theta: Wave numbers in radians per unit.

    Returns:
        A complex c × c matrix per wave number (complex128). For `one_way_kernel(ν)`: 1 + ν (e^{iθ} − 1).

    Raises:
        ValueError: If the kernel has no middle.
    """
    u = _kernel(u)
    place = torch.arange(u.shape[-1], dtype=torch.float64) - u.shape[-1] // 2
    angle = theta.to(torch.float64)[..., None] * place
    factor = torch.polar(torch.ones_like(angle), angle)
    return torch.einsum("...m,abm->...ab", factor, u.detach().cpu().to(torch.complex128))


def _wave_numbers(n: int) -> Tensor:
    return 2 * math.pi * torch.arange(n, dtype=torch.float64) / n


def ring_eigenvalues(u: Float[Tensor, "c c f"], n: int) -> Complex[Tensor, "n c"]:
    """Eigenvalues of `ring_matrix` by Fourier's transform: those of û(2πk/n) for k = 0, …, n − 1.

    Args:
        u: Kernel (c, c, f) or (f,).
        n: Units per channel.

    Returns:
        (n, c), by wave number; within one wave number in no particular order. n small problems instead of one of size c·n.

    Raises:
        ValueError: If the kernel has no middle or n is not positive.
    """
    finite("u", u)
    at = symbol(u, _wave_numbers(positive_int("n", n)))
    return at[..., 0] if at.shape[-1] == 1 else torch.linalg.eigvals(at)


def gain_and_velocity(
    u: Float[Tensor, " f"], theta: Float[Tensor, " theta"]
) -> tuple[Float[Tensor, " theta"], Float[Tensor, " theta"]]:
    """Gain |û(θ)| and phase velocity arg û(θ)/θ of a single-channel kernel, by wave number.

    Args:
        u: Kernel of one channel, (f,) or (1, 1, f).
        theta: Wave numbers in (0, π], radians per unit.

    Returns:
        The factor by which one step multiplies the mode's amplitude, and its velocity in units per step, positive towards
        smaller position.

    Raises:
        ValueError: If there are several channels, or a wave number is 0.
    """
    u = _kernel(u)
    require(
        u.shape[0] == 1 and bool((theta != 0).all()),
        f"a kernel of {u.shape[0]} channels and wave numbers from {float(theta.min()):g}",
        "one channel and wave numbers different from 0",
        "Several channels mix: look at the eigenvalues of symbol(u, theta).",
    )
    factor = symbol(u, theta)[..., 0, 0]
    return factor.abs(), factor.angle() / theta.to(torch.float64)


def surviving_power(u: Float[Tensor, " f"], n: int, steps: int) -> float:
    """Share of a single pulse's power Σ h² that is left after some steps: (1/n) Σ_k |û(2πk/n)|^{2t} (Parseval).

    A pulse holds all wave numbers in equal parts, so this is the mean of the squared gains. It is 1 for a shift and falls
    like 1/√t for 0 < ν < 1, down to 1/n, the share of the mean, which never moves and never fades.

    Args:
        u: Kernel of one channel.
        n: Units on the ring.
        steps: t.

    Raises:
        ValueError: If there are several channels, or n or steps are not whole numbers of at least 1 and 0.
    """
    steps = positive_int("steps", steps, minimum=0)
    factors = ring_eigenvalues(u, n)
    require(
        factors.shape[-1] == 1,
        f"a kernel of {factors.shape[-1]} channels",
        "one channel",
        "Choose one channel's kernel u[a, a].",
    )
    return float((factors.abs() ** (2 * steps)).mean())
