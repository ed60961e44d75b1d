r"""The Wave-RNN without a non-linearity, in parallel over time.

With σ the identity, h(t) = u ⋆ h(t-1) + V x(t) + b is linear and the same at every position of the ring. Space's Fourier
transform therefore takes it apart: with ĥ(t, m) ∈ ℂ^c the transform over the n positions at frequency m,

    ĥ(t, m) = Û(m) ĥ(t-1, m) + V̂(m) x(t) + b̂(m),     Û(m) = Σ_j u[:, :, j] exp(2πi m (j - p)/n),  p = (k-1)/2,

one c × c block per frequency. For the shift u = [0, 0, 1] the block is the number exp(2πi m/n): the eigenvalues of the shift are
the n-th roots of unity. No block is diagonalised here, because trained blocks may be defective; their powers are enough.

Two paths, each differentiable:

- *scan*: time is cut into about √T chunks of about √T steps. One product per chunk carries its inputs to its end, the
  ends are joined in sequence, and then all chunks are stepped through side by side: about 2√T dependent steps in the place
  of T. The backward pass is the same scan, from the end and with the conjugate transposed blocks.
- *convolution*: y(t) = Σ_τ K(τ) x(t-τ) with K(τ) = Σ_m W̃(m) Û(m)^τ V̂(m), which never forms a state. K costs one product
  of (powers read out) with (powers written to), the sum one Fourier transform over time.

Powers of the blocks and the joints between chunks are computed in double precision whatever the inputs: an error ε in an
eigenvalue has grown to T ε after T steps, and T may be 100,000. For float32 inputs the rest is float32.

Source: the linear recurrence that Keller et al. (2024), section 4, leave to future work; the convolution is that of state-space
models (Gu et al., 2022).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.arguments import first_derivatives
from wavemem.kernels.wave import check_arguments

Method = Literal["auto", "scan", "convolution"]


def spectral_blocks(u: Float[Tensor, "K c c k"], n: int, *, every: bool = False) -> Complex[Tensor, "K f c c"]:
    """The recurrence in space's Fourier basis: one c × c block per spatial frequency.

    Args:
        u: Recurrent kernels, (out channel, in channel, tap); the middle tap reads the unit itself.
        n: Positions of the ring.
        every: All n frequencies; otherwise 0 … ⌊n/2⌋, of which the others are the complex conjugates.

    Returns:
        Û(m) in complex double precision, differentiable.

    Raises:
        ValueError: If u is not (K, c, c, odd) or n is not a positive whole number.
    """
    positive_int("n", n)
    shape_is("u", u, ("K", "c", "c", "k"))
    K, c, c_in, k = u.shape
    require(
        c == c_in and k % 2 == 1,
        f"u has shape {(K, c, c_in, k)}",
        "(K, c, c, k) with an odd k",
        "A kernel without a middle has no place to stay at.",
    )
    m = torch.arange(n if every else n // 2 + 1, device=u.device)
    # Whole numbers modulo n before the division: the phase is exact to rounding however large m is.
    turns = (m[:, None] * (torch.arange(k, device=u.device) - k // 2)).remainder(n).double() / n
    phases = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    return torch.einsum("kabj,mj->kmab", u.to(torch.complex128), phases)


def _powers(blocks: Tensor, start: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return start, U start, …, U^(count-1) start stacked in front of the last axis, and U^count; by doubling."""
    done, step, square, left = start.unsqueeze(-2), blocks, blocks, count
    while done.shape[-2] < count:
        # (…, c, p, w): the next p powers are U^p times these.
        following = torch.einsum("...ab,...bpw->...apw", square, done)
        done = torch.cat([done, following], dim=-2)
        square = square @ square
    result: Tensor | None = None
    while left:
        if left & 1:
            result = step if result is None else result @ step
        left >>= 1
        if left:
            step = step @ step
    return done[..., :count, :], result if result is not None else blocks


def _add_product_(target: Tensor, blocks: Tensor, states: Tensor) -> None:
    """target += blocks · states in place, (N, c, w)."""
    if blocks.shape[-1] == 1:
        target.addcmul_(blocks, states)
    else:
        target.baddbmm_(blocks, states)


def _scan_(blocks: Tensor, drive: Tensor, backwards: bool) -> Tensor:
    """Replace drive (N, c, L, S, B), step j of chunk s at [:, :, j, s], by the states; return what entered each chunk."""
    N, c, L, S, B = drive.shape
    eye = torch.eye(c, dtype=blocks.dtype, device=blocks.device).expand(N, c, c)
    entered = torch.empty(N, c, S, B, dtype=blocks.dtype, device=blocks.device)
    chunks = range(S - 1, -1, -1) if backwards else range(S)
    carry = blocks.new_zeros(N, c, B)
    if S == 1:
        entered[:, :, 0] = carry
    else:
        powers, whole = _powers(blocks, eye, L)  # (N, c, L, c)
        if not backwards:
            powers = powers.flip(-2)
        weights = powers.mT.to(drive.dtype)  # (N, c, c, L): the input of step j is carried to the chunk's end
        ends = torch.bmm(weights.reshape(N, c, c * L), drive.reshape(N, c * L, S * B)).view(N, c, S, B).to(blocks.dtype)
        for s in chunks:
            entered[:, :, s] = carry
            carry = torch.baddbmm(ends[:, :, s], whole, carry)
    step = blocks.to(drive.dtype)
    flat = drive.view(N, c, L, S * B)
    state = entered.to(drive.dtype).view(N, c, S * B)
    for j in range(L - 1, -1, -1) if backwards else range(L):
        _add_product_(flat[:, :, j], step, state)
        state = flat[:, :, j]
    return entered


class _SpectralScan(torch.autograd.Function):
    """ĥ(t) = Û ĥ(t-1) + drive(t) for N blocks side by side, with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, drive: Tensor) -> Tensor:
        states = drive.clone(memory_format=torch.contiguous_format)
        entered = _scan_(blocks, states, backwards=False)
        ctx.save_for_backward(blocks, states, entered)
        return states

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        blocks, states, entered = ctx.saved_tensors
        N, c, L, S, B = states.shape
        adjoint = gradient.clone(memory_format=torch.contiguous_format)
        _scan_(blocks.mH.contiguous(), adjoint, backwards=True)
        width = S * B
        first = adjoint[:, :, 0].reshape(N, c, width)
        d_blocks = torch.bmm(first.to(blocks.dtype), entered.view(N, c, width).mH)
        if L > 1:
            later = adjoint.view(N, c, L * width)[:, :, width:]
            before = states.view(N, c, L * width)[:, :, : (L - 1) * width]
            d_blocks = d_blocks + torch.bmm(later, before.mH).to(blocks.dtype)
        return d_blocks, adjoint


def _write(V: Tensor, b: Tensor | None, c: int, n: int) -> Complex[Tensor, "K f c d"]:
    """Transform the input weights over space, the bias as one more input."""
    columns = V if b is None else torch.cat([V, b.unsqueeze(-1)], dim=-1)
    return torch.fft.rfft(columns.double().unflatten(1, (c, n)), dim=2).transpose(1, 2)


def _read(W: Tensor, c: int, n: int) -> Complex[Tensor, "K f o c"]:
    """W̃ with W h = Re Σ_m W̃(m) ĥ(m) over the frequencies 0 … ⌊n/2⌋ (Parseval; the others are their conjugates)."""
    weight = torch.full((n // 2 + 1,), 2.0 / n, dtype=torch.float64, device=W.device)
    weight[0] = 1.0 / n
    if n % 2 == 0:
        weight[-1] = 1.0 / n
    transformed = torch.fft.rfft(W.double().unflatten(2, (c, n)), dim=-1).conj()  # (K, o, c, f)
    return (transformed * weight).permute(0, 3, 1, 2)


def _with_ones(inputs: Tensor, b: Tensor | None) -> Tensor:
    return inputs if b is None else torch.cat([inputs, inputs.new_ones(*inputs.shape[:3], 1)], dim=-1)


def _transformed_states(
    u: Tensor, V: Tensor, b: Tensor | None, inputs: Tensor, n: int
) -> Complex[Tensor, "K f c L S B"]:
    """All states in space's Fourier basis, step j of chunk s at [..., j, s, :]; zero inputs fill the last chunk."""
    T, K, B, _ = inputs.shape
    c, f = u.shape[1], n // 2 + 1
    work = torch.complex128 if inputs.dtype == torch.float64 else torch.complex64
    L = math.ceil(math.sqrt(T))
    S = math.ceil(T / L)
    x = _with_ones(inputs, b)
    x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, S * L - T))
    x = x.unflatten(0, (S, L)).permute(2, 4, 1, 0, 3).reshape(K, 1, x.shape[-1], L * S * B)
    drive = (_write(V, b, c, n).to(work) @ x.to(work)).view(K * f, c, L, S, B)
    states: Tensor = _SpectralScan.apply(spectral_blocks(u, n).flatten(0, 1), drive)
    return states.view(K, f, c, L, S, B)


def wave_linear_scan(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"] | None,
    inputs: Float[Tensor, "T K B d"],
) -> Float[Tensor, "T K B c n"]:
    """All states of the linear Wave-RNN, h(t) = u ⋆ h(t-1) + V x(t) + b, in about 2√T dependent steps.

    Args:
        u: Recurrent kernels, an odd number of taps.
        V: Input weights; row i·n + v drives unit v of channel i.
        b: Bias, in the same order; None for none.
        inputs: x(1) … x(T), one sequence per run and batch entry.

    Returns:
        h(1) … h(T) from h(0) = 0, in the dtype of the inputs, differentiable with respect to everything given.

    Raises:
        ValueError: If the shapes do not fit.
    """
    n = check_arguments(u, V, b, None, None, inputs, None)
    T, K, B, _ = inputs.shape
    states = _transformed_states(u, V, b, inputs, n)
    by_time = states.permute(4, 3, 0, 5, 2, 1).reshape(-1, K, B, u.shape[1], n // 2 + 1)[:T]
    return torch.fft.irfft(by_time, n=n, dim=-1).to(inputs.dtype)


def _responses(
    blocks: Tensor, read: Tensor, start: Tensor, length: int, dtype: torch.dtype
) -> Float[Tensor, "K T o w"]:
    """Re Σ_m W̃(m) Û(m)^τ start(m) for τ = 0 … length - 1, start being (K, f, c, w); as one product of powers."""
    K, f, c, width = start.shape
    o = read.shape[2]
    L = math.ceil(math.sqrt(length))
    S = math.ceil(length / L)
    written, whole = _powers(blocks, start, L)  # (K, f, c, L, w)
    reads, _ = _powers(whole.mT, read.mT, S)  # (K, f, c, S, o): W̃ Û^(sL), transposed
    left = reads.permute(0, 3, 4, 1, 2).reshape(K, S * o, f * c)
    right = written.reshape(K, f * c, L * width)
    left_real = torch.cat([left.real, -left.imag], dim=-1).to(dtype)
    right_real = torch.cat([right.real, right.imag], dim=1).to(dtype)
    product = torch.bmm(left_real, right_real).view(K, S, o, L, width)
    return product.transpose(2, 3).reshape(K, S * L, o, width)[:, :length]


def wave_kernel(
    u: Float[Tensor, "K c c k"], V: Float[Tensor, "K cn d"], W: Float[Tensor, "K o cn"], length: int
) -> Float[Tensor, "K length o d"]:
    """The convolution that a linear Wave-RNN with a linear readout is: y(t) = Σ_τ K(τ) x(t-τ), K(τ) = W Uᵗ V with t = τ.

    Args:
        u: Recurrent kernels.
        V: Input weights.
        W: Readout weights.
        length: Number of lags.

    Returns:
        K(0) … K(length - 1) in the dtype of V, differentiable.

    Raises:
        ValueError: If the shapes do not fit or the length is not positive.
    """
    positive_int("length", length)
    n = check_arguments(u, V, None, W, None, V.new_empty(1, V.shape[0], 1, V.shape[2]), None)
    c = u.shape[1]
    return _responses(spectral_blocks(u, n), _read(W, c, n), _write(V, None, c, n), length, V.dtype)


def _convolve(kernel: Float[Tensor, "K T o d"], x: Float[Tensor, "T K B d"]) -> Float[Tensor, "T K B o"]:
    """Σ_τ K(τ) x(t-τ) for every t, by a Fourier transform over time that is long enough not to wrap."""
    T = x.shape[0]
    size = 1 << (2 * T - 2).bit_length() if T > 1 else 1
    transformed = torch.fft.rfft(kernel, n=size, dim=1).transpose(0, 1)  # (F, K, o, d)
    product = torch.fft.rfft(x, n=size, dim=0) @ transformed.mT  # (F, K, B, o)
    return torch.fft.irfft(product, n=size, dim=0)[:T]


def wave_linear_outputs(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"] | None,
    W: Float[Tensor, "K o cn"],
    b_y: Float[Tensor, "K o"] | None,
    inputs: Float[Tensor, "T K B d"],
    *,
    every_step: bool,
    method: Method = "auto",
) -> Float[Tensor, "*T K B o"]:
    """Outputs y = W h + b_y of the linear Wave-RNN, after every step or after the last, without forming the states.

    "convolution" needs memory for T · o · (d + 1) numbers of the kernel and its transform; its rounding error is relative to the
    largest output, so that where modes grow (an eigenvalue of modulus above 1) early outputs lose digits to late ones. "scan"
    needs memory for all transformed states and rounds every output by itself. "auto" takes the one with fewer operations. The
    output after the last step alone is a product with the kernel, without a transform over time, in either "auto" or
    "convolution".

    Args:
        u: Recurrent kernels.
        V: Input weights.
        b: Bias of the recurrence; None for none.
        W: Readout weights.
        b_y: Bias of the readout; None for none.
        inputs: x(1) … x(T).
        every_step: Outputs y(1) … y(T), or y(T) alone.
        method: See above.

    Returns:
        (T, K, B, o) or (K, B, o), in the dtype of the inputs, differentiable with respect to everything given.

    Raises:
        ValueError: If the shapes do not fit or the method is unknown.
    """
    one_of("method", method, get_args(Method))
    n = check_arguments(u, V, b, W, b_y, inputs, None)
    K, c = u.shape[:2]
    T, _, B, d = inputs.shape
    if method == "auto":
        method = "convolution" if not every_step or W.shape[1] * (d + 1) <= 8 * B * c else "scan"
    read = _read(W, c, n)
    if method == "scan":
        states = _transformed_states(u, V, b, inputs, n)  # (K, f, c, L, S, B)
        L, S = states.shape[3:5]
        flat = states if every_step else states[:, :, :, [(T - 1) % L], [(T - 1) // L]].unsqueeze(3)
        weights = read.permute(0, 2, 1, 3).reshape(K, -1, states.shape[1] * c).to(states.dtype)
        y = (weights @ flat.reshape(K, states.shape[1] * c, -1)).real
        y = y.view(K, -1, L, S, B).permute(3, 2, 0, 4, 1).reshape(S * L, K, B, -1)[:T] if every_step else y.mT
    else:
        x = _with_ones(inputs, b)
        kernel = _responses(spectral_blocks(u, n), read, _write(V, b, c, n), T, inputs.dtype)
        y = _convolve(kernel, x) if every_step else torch.einsum("ktow,tkbw->kbo", kernel.flip(1), x)
    if b_y is not None:
        y = y + b_y.unsqueeze(1)
    return y.to(inputs.dtype)
