"""The Elman recurrence over time for an ensemble of independent runs (TWM Eq. 9), with its own backward pass.

h(t) = σ(W_hh h(t-1) + W_uh u(t)), t = 1 … T, with σ = tanh or the identity. Writing δ(t) for the gradient with respect to
the argument of σ at step t and g(t) for what the loss sends to h(t) directly,

    δ(t) = σ'(t) ∘ (g(t) + W_hhᵀ δ(t+1)),
    ∂W_hh = Σ_t δ(t) h(t-1)ᵀ,   ∂W_uh = Σ_t δ(t) u(t)ᵀ,   ∂u(t) = W_uhᵀ δ(t),   ∂h(0) = W_hhᵀ δ(1).

In training a readout y(t) = W_r h(t) and the mean squared error follow, and g(t) = W_rᵀ ∂y(t).

Both sweeps are one compiled call for float32 on the CPU (`wavemem.kernels.elman_cpu`), one Triton launch each for float32
and at most 128 units on a CUDA device (`wavemem.kernels.elman_triton`), and plain PyTorch elsewhere.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, positive_int, shape_is
from wavemem.kernels import elman_cpu
from wavemem.kernels.arguments import alike, first_derivatives
from wavemem.kernels.triton_choice import Choice

Activation = Literal["tanh", "linear"]

LARGEST = 128
"""Hidden units of the Triton kernel at most: a multiprocessor's registers hold no larger matrix beside everything else."""

TRITON = Choice("WAVEMEM_ELMAN_KERNEL", "wavemem.kernels.elman_triton", "scan_forward")


def use_triton(W_hh: Float[Tensor, "K N N"]) -> bool:
    """Whether the Triton kernel serves networks with these recurrent weights.

    Raises:
        ValueError: If WAVEMEM_ELMAN_KERNEL has an unknown value, or asks for Triton where that cannot be.
    """
    N = W_hh.shape[1]
    return TRITON.serves(
        W_hh,
        W_hh.dtype == torch.float32 and N <= LARGEST,
        f"{W_hh.dtype} and {N} hidden units",
        f"float32 and at most {LARGEST}",
        lambda device: bool(TRITON.kernels().right_numbers(device, N)),
        key=(N - 1).bit_length(),
    )


def _back_end(W_hh: Tensor) -> Any:
    """The module whose kernel serves these weights, on the CPU or a CUDA device; None for plain PyTorch."""
    if use_triton(W_hh):
        return TRITON.kernels()
    return elman_cpu if elman_cpu.available(W_hh) else None


def elman_scan_reference(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    inputs: Float[Tensor, "S K B d"],
    h0: Float[Tensor, "K B N"] | None = None,
    *,
    steps: int | None = None,
    activation: Activation = "tanh",
) -> Float[Tensor, "T K B N"]:
    """Plain PyTorch version of `elman_scan`: one step of Eq. 9 after the other, differentiated by autograd."""
    S, K, B, _ = inputs.shape
    T = S if steps is None else steps
    h = inputs.new_zeros(K, B, W_hh.shape[1]) if h0 is None else h0
    states = []
    for t in range(T):
        h = h @ W_hh.mT
        if t < S:
            h = h + inputs[t] @ W_uh.mT
        if activation == "tanh":
            h = torch.tanh(h)
        states.append(h)
    return torch.stack(states)


class _ElmanScan(torch.autograd.Function):
    """The two sweeps of a back end; in them the axes are (run, time, batch, unit), and (run, batch, time, unit) for inputs."""

    @staticmethod
    def forward(
        ctx: Any, W_hh: Tensor, W_uh: Tensor, inputs: Tensor, h0: Tensor | None, T: int, activation: Activation
    ) -> Tensor:
        ctx.back_end, ctx.activation = _back_end(W_hh), activation
        states = ctx.back_end.forward(W_hh, W_uh, inputs.permute(1, 2, 0, 3), h0, T, activation)
        ctx.save_for_backward(W_hh, W_uh, inputs, states)
        return states[:, 1:, :, : W_hh.shape[1]].transpose(0, 1)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        W_hh, W_uh, inputs, states = ctx.saved_tensors
        d_hh, d_uh, du, dh0 = ctx.back_end.backward(
            W_hh, W_uh, inputs.permute(1, 2, 0, 3), states, gradient.transpose(0, 1), ctx.activation
        )
        return d_hh, d_uh, du.permute(2, 0, 1, 3), dh0 if ctx.needs_input_grad[3] else None, None, None


def elman_scan(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    inputs: Float[Tensor, "S K B d"],
    h0: Float[Tensor, "K B N"] | None = None,
    *,
    steps: int | None = None,
    activation: Activation = "tanh",
) -> Float[Tensor, "T K B N"]:
    r"""States of K independent Elman networks, $h(t) = \sigma(W_{hh} h(t-1) + W_{uh} u(t))$ (TWM Eq. 9).

    Differentiable once with respect to the weights, the inputs and h(0); the backward pass is written by hand.

    Args:
        W_hh: Recurrent weights, shape (K, N, N).
        W_uh: Input weights, shape (K, N, d).
        inputs: u(1) … u(S), shape (S, K, B, d).
        h0: h(0), shape (K, B, N); zeros by default.
        steps: T ≥ S. The inputs are zero from step S + 1 on, and those steps spend nothing on them. By default T = S.
        activation: σ, "tanh" or "linear".

    Returns:
        h(1) … h(T), shape (T, K, B, N).

    Raises:
        ValueError: If the shapes do not fit together, T < S, the activation is unknown, or the tensors differ in
            type or device.
    """
    shape_is("W_hh", W_hh, ("K", "N", "N"))
    K, N, _ = W_hh.shape
    shape_is("W_hh", W_hh, (K, N, N))
    shape_is("W_uh", W_uh, (K, N, "d"))
    shape_is("inputs", inputs, ("S", K, "B", W_uh.shape[2]))
    one_of("activation", activation, get_args(Activation))
    S, B = inputs.shape[0], inputs.shape[2]
    T = positive_int("steps", S if steps is None else steps, minimum=max(S, 1))
    if h0 is not None:
        shape_is("h0", h0, (K, B, N))
    alike(W_hh=W_hh, W_uh=W_uh, inputs=inputs, h0=h0)
    if _back_end(W_hh) is None:
        return elman_scan_reference(W_hh, W_uh, inputs, h0, steps=T, activation=activation)
    states: Tensor = _ElmanScan.apply(W_hh, W_uh, inputs, h0, T, activation)
    return states


class SweepResult(NamedTuple):
    """What `loss_and_gradients` measures: gradients are those of the mean of loss_by_step over the run's steps."""

    loss_by_step: Float[Tensor, "horizon K"]
    accuracy_by_step: Float[Tensor, "horizon K"]
    gradients: tuple[Tensor, Tensor, Tensor]


def _by_autograd(
    weights: tuple[Tensor, Tensor, Tensor], u: Tensor, targets: Tensor, activation: Activation, horizons: Tensor | None
) -> SweepResult:
    H = targets.shape[2]
    with torch.enable_grad():
        W_hh, W_uh, W_r = own = [W.detach().requires_grad_() for W in weights]
        states = elman_scan_reference(W_hh, W_uh, u.permute(2, 0, 1, 3), steps=u.shape[2] + H, activation=activation)
        y, goal = states[-H:] @ W_r.mT, targets.permute(2, 0, 1, 3)
        counts = y.new_ones(H, len(W_hh))
        if horizons is not None:
            counts = (torch.arange(H, device=y.device)[:, None] < horizons.to(y.device)).to(y.dtype)
        loss = (y - goal).square().mean((2, 3)) * counts
        gradients = torch.autograd.grad((loss.sum(0) / counts.sum(0)).sum(), own)
    right = (y * goal > 0).to(y.dtype).mean((2, 3)) * counts
    return SweepResult(loss.detach(), right, (gradients[0], gradients[1], gradients[2]))


@torch.no_grad()
def loss_and_gradients(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    W_r: Float[Tensor, "K d N"],
    u: Float[Tensor, "K B s d"],
    targets: Float[Tensor, "K B horizon d"],
    activation: Activation = "tanh",
    horizons: Int[Tensor, " K"] | None = None,
) -> SweepResult:
    """Run K networks through an input phase and an output phase and differentiate the mean squared error of the latter.

    The same numbers as autograd through `elman_scan`, a readout and the loss, at less cost. On a CUDA device nothing waits.

    Args:
        W_hh: Recurrent weights, shape (K, N, N).
        W_uh: Input weights, shape (K, N, d).
        W_r: Readout, shape (K, d, N).
        u: Histories, oldest vector first, shape (K, B, s, d).
        targets: Outputs asked for, shape (K, B, horizon, d).
        activation: σ, "tanh" or "linear".
        horizons: Steps that count for each run, at most horizon; all by default. Later targets are not looked at.

    Returns:
        Mean squared errors and shares of outputs with the target's sign, step by step and 0 after a run's own steps, shape
        (horizon, K); gradients of W_hh, W_uh and W_r.

    Raises:
        ValueError: If the shapes do not fit together, or the tensors differ in type or device.
    """
    shape_is("W_hh", W_hh, ("K", "N", "N"))
    K, N, _ = W_hh.shape
    shape_is("W_uh", W_uh, (K, N, "d"))
    d = W_uh.shape[2]
    shape_is("W_r", W_r, (K, d, N))
    shape_is("u", u, (K, "B", "s", d))
    shape_is("targets", targets, (K, u.shape[1], "horizon", d))
    one_of("activation", activation, get_args(Activation))
    alike(W_hh=W_hh, W_uh=W_uh, W_r=W_r, u=u, targets=targets)
    back_end = _back_end(W_hh)
    if back_end is None:
        return _by_autograd((W_hh, W_uh, W_r), u, targets, activation, horizons)
    return SweepResult(*back_end.loss_and_gradients(W_hh, W_uh, W_r, u, targets, activation, horizons))
