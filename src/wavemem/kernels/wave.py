r"""The Wave-RNN recurrence over time for K independent runs (Wave-RNN Eq. 3), with its own backward pass.

A state has c rings (channels) of n units. At every step each unit sees its neighbours in all rings through the shared
kernel u of odd length k, and the input:

    h(t)[o, i] = σ( Σ_{c, j} u[o, c, j] h(t-1)[c, i + j - p] + Σ_d V[o, i, d] x(t)[d] + b[o, i] ),    p = (k - 1) / 2,

units counted modulo n. This is a circular cross-*correlation*, which is what PyTorch's `conv1d` computes. With δ(t) the
gradient with respect to the argument of σ at step t and g(t) what the loss sends to h(t) directly,

    δ(t)[c, i] = σ'(t) ( g(t)[c, i] + Σ_{o, j} u[o, c, j] δ(t+1)[o, i - j + p] ),
    ∂u[o, c, j] = Σ_t Σ_i δ(t)[o, i] h(t-1)[c, i + j - p],   ∂V = Σ_t δ(t) x(t)ᵀ,   ∂b = Σ_t δ(t).

A dense network is the same with rings of one unit and a kernel of one tap: u[:, :, 0] = U.

Three ways to compute it: the plain loop over `conv1d` (the oracle of the tests, and the fallback), a C kernel on the CPU
(`wavemem.kernels.wave_cpu`), and one Triton launch on a CUDA device (`wavemem.kernels.wave_triton`).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, require, shape_is
from wavemem.kernels import wave_cpu
from wavemem.kernels.arguments import alike, dense, first_derivatives, gradients_wanted
from wavemem.kernels.triton_choice import full_precision
from wavemem.kernels.wave_triton import kernel_gradient, scan_deltas, scan_states, use_triton

WaveActivation = Literal["relu", "tanh", "linear"]


def _activate(z: Tensor, activation: WaveActivation) -> Tensor:
    if activation == "linear":
        return z
    return torch.relu(z) if activation == "relu" else torch.tanh(z)


def wave_scan_reference(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"],
    inputs: Float[Tensor, "T K B d"],
    h0: Float[Tensor, "K B c n"] | None = None,
    *,
    activation: WaveActivation = "relu",
) -> Float[Tensor, "T K B c n"]:
    """Plain PyTorch version of `wave_scan`: circular `conv1d`, one step after the other, differentiated by autograd."""
    T, K, B, _ = inputs.shape
    c, k = u.shape[1], u.shape[3]
    n, p = V.shape[1] // c, k // 2
    h = inputs.new_zeros(B, K * c, n) if h0 is None else h0.transpose(0, 1).reshape(B, K * c, n)
    kernel = u.reshape(K * c, c, k)
    states = []
    for t in range(T):
        drive = torch.einsum("kbd,kjd->bkj", inputs[t], V) + b
        ring = torch.cat([h[..., n - p :], h, h[..., :p]], -1) if p else h
        h = _activate(nnf.conv1d(ring, kernel, groups=K) + drive.reshape(B, K * c, n), activation)
        states.append(h.view(B, K, c, n).transpose(0, 1))
    return torch.stack(states)


class _WaveKernel(torch.autograd.Function):
    """The compiled kernel: states at every step, the last state, or the outputs of a linear readout.

    ``what`` is "states", "last", "outputs" (of the last step) or "every" (outputs of every step).
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        V: Tensor,
        b: Tensor,
        W: Tensor | None,
        b_y: Tensor | None,
        inputs: Tensor,
        h0: Tensor | None,
        activation: str,
        what: str,
        train: bool,
    ) -> Tensor:
        T, K, B, d = inputs.shape
        c, k = u.shape[1], u.shape[3]
        n, o = V.shape[1] // c, 0 if W is None else W.shape[1]
        layout = wave_cpu.Layout(K, T, B, c, n, k, d, o, what == "every", activation)
        u, V, b, W, b_y = dense(u), dense(V), dense(b), dense(W), dense(b_y)
        x = dense(wave_cpu.pack(inputs))
        keep = what == "states" or train
        held, y = wave_cpu.forward(layout, u, V, b, W, b_y, x, h0, keep=keep)
        if y is not None:
            result = wave_cpu.unpack(y, K, B)
            result = result if what == "every" else result[0]
        elif what == "states":
            result = wave_cpu.states_of(held[:, 1:], layout)
        else:
            at = T if keep else T % 2
            result = wave_cpu.states_of(held[:, at : at + 1], layout)[0]
        if train:
            ctx.save_for_backward(u, W, x)
            ctx.held, ctx.layout, ctx.what = held, layout, what
        else:
            wave_cpu.give_back(held)
        return result

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, W, x = ctx.saved_tensors
        layout, what = ctx.layout, ctx.what
        if ctx.held is None:
            raise RuntimeError("trying to go backward through the Wave-RNN's scan a second time: run it forward again")
        if what in ("last", "outputs"):
            gradient = gradient[None]
        if W is None:
            gradient = gradient.flatten(3)
        packed = dense(wave_cpu.pack(gradient))
        gy, gh = (None, packed) if W is None else (packed, None)
        du, dV, db, dW = wave_cpu.backward(layout, u, W, x, ctx.held, gy, gh)
        wave_cpu.give_back(ctx.held)
        ctx.held = None
        db_y = None if W is None else gradient.sum((0, 2))
        return du, dV, db, dW, db_y, None, None, None, None, None


class _TritonScan(torch.autograd.Function):
    """States on a CUDA device from the drive V x + b, all steps in one launch; (K, T, B, c, n)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, drive: Tensor, h0: Tensor, activation: WaveActivation) -> Tensor:
        states = scan_states(u, drive, h0, activation)
        ctx.save_for_backward(u, states)
        ctx.activation = activation
        return states[:, 1:]

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, states = ctx.saved_tensors
        delta = scan_deltas(u, states, gradient, ctx.activation)
        du = kernel_gradient(delta, states, u.shape[3]) if ctx.needs_input_grad[0] else None
        # One more step back, without a slope: what the first step sends to h(0).
        dh0 = _ring_product(u.flip(3).transpose(1, 2), delta[:, 0]) if ctx.needs_input_grad[2] else None
        return du, delta, dh0, None


def _ring_product(u: Tensor, h: Tensor) -> Tensor:
    """u ⋆ h for (K, c, c, k) and (K, B, c, n)."""
    p = u.shape[3] // 2
    with full_precision():
        taps = [torch.einsum("koc,kbcn->kbon", u[..., j], h.roll(p - j, -1)) for j in range(u.shape[3])]
    return torch.stack(taps).sum(0)


def _scan_on_device(
    u: Tensor, V: Tensor, b: Tensor, inputs: Tensor, h0: Tensor | None, activation: WaveActivation
) -> Tensor:
    T, K, B, _ = inputs.shape
    c, n = u.shape[1], V.shape[1] // u.shape[1]
    with full_precision():
        drive = inputs.transpose(0, 1).flatten(1, 2) @ V.mT + b[:, None]
    h0 = inputs.new_zeros(K, B, c, n) if h0 is None else h0
    states: Tensor = _TritonScan.apply(u, drive.view(K, T, B, c, n), h0, activation)
    return states.transpose(0, 1)


def _plain_scan(
    u: Tensor, V: Tensor, b: Tensor, inputs: Tensor, h0: Tensor | None, activation: WaveActivation
) -> Tensor:
    """States where the compiled CPU kernel does not serve: by Triton on a CUDA device, else by the loop."""
    if use_triton(u):
        return _scan_on_device(u, V, b, inputs, h0, activation)
    return wave_scan_reference(u, V, b, inputs, h0, activation=activation)


def _check(u: Tensor, V: Tensor, b: Tensor, inputs: Tensor, h0: Tensor | None, activation: str) -> tuple[int, int, int]:
    shape_is("u", u, ("K", "c", "c", "k"))
    K, c, _, k = u.shape
    shape_is("u", u, (K, c, c, "k"))
    require(k % 2 == 1, f"u has {k} taps", "an odd number of taps", "Pad the kernel with a zero on one side.")
    shape_is("V", V, (K, "c*n", "d"))
    require(
        V.shape[1] % c == 0 and V.shape[1] // c >= max(k // 2, 1),
        f"V has {V.shape[1]} rows for {c} channels and a kernel of {k} taps",
        f"a multiple of {c}, at least {c * max(k // 2, 1)}",
        "V has one row per channel and unit; a ring must hold half its kernel.",
    )
    shape_is("b", b, (K, V.shape[1]))
    shape_is("inputs", inputs, ("T", K, "B", V.shape[2]))
    require(
        inputs.shape[0] >= 1 and inputs.shape[2] >= 1,
        f"inputs of shape {tuple(inputs.shape)}",
        "at least one step and one entry",
        "Pass a sequence that is not empty.",
    )
    one_of("activation", activation, get_args(WaveActivation))
    alike(u=u, V=V, b=b, inputs=inputs, h0=h0)
    n = V.shape[1] // c
    if h0 is not None:
        shape_is("h0", h0, (K, inputs.shape[2], c, n))
    return K, c, n


def _compiled(u: Tensor, inputs: Tensor, h0: Tensor | None) -> bool:
    """Whether the C kernel computes this call: it has no gradients for inputs and initial states."""
    return wave_cpu.available(u) and not gradients_wanted(inputs, h0) and not use_triton(u)


def wave_scan(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"],
    inputs: Float[Tensor, "T K B d"],
    h0: Float[Tensor, "K B c n"] | None = None,
    *,
    activation: WaveActivation = "relu",
) -> Float[Tensor, "T K B c n"]:
    r"""States of K independent Wave-RNNs, $h(t) = \sigma(u \star h(t-1) + V x(t) + b)$ (Wave-RNN Eq. 3).

    Differentiable once with respect to u, V and b, and on the plain PyTorch path also to the inputs and h(0).

    Args:
        u: Kernels, shape (K, c, c, k), k odd: u[r, o, i, j] couples channel i to channel o at distance j - (k - 1)/2.
        V: Input weights, shape (K, c·n, d); row o·n + i belongs to unit i of channel o.
        b: Bias, shape (K, c·n).
        inputs: x(1) … x(T), shape (T, K, B, d).
        h0: h(0), shape (K, B, c, n); zeros by default.
        activation: σ, "relu", "tanh" or "linear".

    Returns:
        h(1) … h(T), shape (T, K, B, c, n): activity with time first, channel and position last.

    Raises:
        ValueError: If the shapes do not fit together, k is even or longer than the ring allows, or σ is unknown.
    """
    _check(u, V, b, inputs, h0, activation)
    if not _compiled(u, inputs, h0):
        return _plain_scan(u, V, b, inputs, h0, activation)
    states: Tensor = _WaveKernel.apply(u, V, b, None, None, inputs, h0, activation, "states", gradients_wanted(u, V, b))
    return states


def wave_final_state(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"],
    inputs: Float[Tensor, "T K B d"],
    h0: Float[Tensor, "K B c n"] | None = None,
    *,
    activation: WaveActivation = "relu",
) -> Float[Tensor, "K B c n"]:
    """The last state h(T) of `wave_scan` alone; without gradients it takes no memory for the states between.

    Arguments and errors are those of `wave_scan`.
    """
    _check(u, V, b, inputs, h0, activation)
    if not _compiled(u, inputs, h0):
        return _plain_scan(u, V, b, inputs, h0, activation)[-1]
    state: Tensor = _WaveKernel.apply(u, V, b, None, None, inputs, h0, activation, "last", gradients_wanted(u, V, b))
    return state


def wave_outputs(
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"],
    W: Float[Tensor, "K o cn"],
    b_y: Float[Tensor, "K o"],
    inputs: Float[Tensor, "T K B d"],
    h0: Float[Tensor, "K B c n"] | None = None,
    *,
    every_step: bool,
    activation: WaveActivation = "relu",
) -> Float[Tensor, "*T K B o"]:
    r"""Outputs y = W h + b_y of K independent Wave-RNNs, the states staying inside the kernel.

    Args:
        u, V, b, inputs, h0, activation: As in `wave_scan`.
        W: Readout weights, shape (K, o, c·n).
        b_y: Readout bias, shape (K, o).
        every_step: Whether the outputs of every step are wanted, or those of the last.

    Returns:
        y(1) … y(T), shape (T, K, B, o), or y(T), shape (K, B, o).

    Raises:
        ValueError: As `wave_scan`, and if the readout does not fit.
    """
    K, c, n = _check(u, V, b, inputs, h0, activation)
    shape_is("W", W, (K, "o", c * n))
    shape_is("b_y", b_y, (K, W.shape[1]))
    alike(u=u, W=W, b_y=b_y)
    if not _compiled(u, inputs, h0):
        states = _plain_scan(u, V, b, inputs, h0, activation)
        read = (states if every_step else states[-1:]).flatten(3) @ W.mT + b_y[:, None]
        return read if every_step else read[0]
    what = "every" if every_step else "outputs"
    outputs: Tensor = _WaveKernel.apply(
        u, V, b, W, b_y, inputs, h0, activation, what, gradients_wanted(u, V, b, W, b_y)
    )
    return outputs
