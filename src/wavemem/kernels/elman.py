"""The Elman recurrence over time for an ensemble of independent runs (TWM Eq. 9), with its own backward pass.

h(t) = σ(W_hh h(t-1) + W_uh u(t)), t = 1 … T, with σ = tanh or the identity. Writing δ(t) for the gradient with respect to
the argument of σ at step t and g(t) for what the loss sends to h(t) directly,

    δ(t) = σ'(t) ∘ (g(t) + W_hhᵀ δ(t+1)),
    ∂W_hh = Σ_t δ(t) h(t-1)ᵀ,   ∂W_uh = Σ_t δ(t) u(t)ᵀ,   ∂u(t) = W_uhᵀ δ(t),   ∂h(0) = W_hhᵀ δ(1),

so that a step back costs one batched product, and each weight gradient is one product over all steps and the batch.
On a CUDA device both loops are one launch each (`wavemem.kernels.elman_triton`).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, positive_int, shape_is
from wavemem.kernels.arguments import alike, first_derivatives
from wavemem.kernels.elman_triton import full_precision, scan_deltas, scan_states, use_triton
from wavemem.kernels.products import DenseProduct, sum_of_outer_products, tanh_backward_, tanh_steps

__all__ = ["Activation", "elman_scan", "elman_scan_reference"]

Activation = Literal["tanh", "linear"]


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


def _all_steps(sequence: Tensor) -> Tensor:
    K, after = sequence.shape[:2]
    return torch.full((K,), after - 1, dtype=torch.int32, device=sequence.device)


def _loop_forward(recurrent: DenseProduct, driven: Tensor, sequence: Tensor, activation: Activation) -> None:
    """Fill in h(1) … h(T) step by step; sequences are (K, T, B, N)."""
    view = recurrent.view(sequence)
    states, drive = view.unbind(0), recurrent.view(driven).unbind(0)
    write_tanh = tanh_steps(view)
    for t in range(len(states) - 1):
        z = recurrent.apply(states[t])
        if t < len(drive):
            z += drive[t]
        if activation == "tanh":
            write_tanh(z, t + 1)
        else:
            states[t + 1].copy_(z)


def _loop_back(transposed: DenseProduct, sequence: Tensor, delta: Tensor, activation: Activation) -> None:
    """Turn what the loss sends to the states into δ, step by step from the last."""
    deltas, states = transposed.view(delta).unbind(0), transposed.view(sequence).unbind(0)
    T = len(deltas)
    for t in reversed(range(T)):
        if t < T - 1:
            transposed.accumulate(deltas[t], deltas[t + 1])
        if activation == "tanh":
            tanh_backward_(deltas[t], states[t + 1])


class _ElmanScan(torch.autograd.Function):
    """Forward and backward of the recurrence; sequences inside are (K, T, B, n)."""

    @staticmethod
    def forward(
        ctx: Any, W_hh: Tensor, W_uh: Tensor, inputs: Tensor, h0: Tensor, steps: int, activation: Activation
    ) -> Tensor:
        S, K, B, d = inputs.shape
        N = W_hh.shape[1]
        ctx.triton = use_triton(W_hh)
        u = inputs.transpose(0, 1)
        with full_precision():
            driven = torch.bmm(u.reshape(K, S * B, d), W_uh.mT).view(K, S, B, N)
        sequence = h0.new_empty(K, steps + 1, B, N)
        sequence[:, 0] = h0
        if ctx.triton:
            scan_states(W_hh, driven, sequence, _all_steps(sequence), activation)
        else:
            _loop_forward(DenseProduct(W_hh), driven, sequence, activation)
        ctx.save_for_backward(W_hh, W_uh, inputs, sequence)
        ctx.activation = activation
        return sequence[:, 1:].transpose(0, 1)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        W_hh, W_uh, inputs, sequence = ctx.saved_tensors
        S, K, B, d = inputs.shape
        T, N = sequence.shape[1] - 1, W_hh.shape[1]
        delta = gradient.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        if ctx.triton:
            scan_deltas(W_hh, sequence, delta, _all_steps(sequence), ctx.activation)
        else:
            _loop_back(DenseProduct(W_hh.mT), sequence, delta, ctx.activation)
        rows = delta.view(K, T * B, N)
        driven = rows[:, : S * B]
        grad_hh = torch.zeros_like(W_hh)
        with full_precision():
            sum_of_outer_products(grad_hh, rows, sequence[:, :-1].reshape(K, T * B, N))
            grad_uh = driven.mT @ inputs.transpose(0, 1).reshape(K, S * B, d)
            grad_inputs = (driven @ W_uh).view(K, S, B, d).transpose(0, 1) if ctx.needs_input_grad[2] else None
            grad_h0 = delta[:, 0] @ W_hh if ctx.needs_input_grad[3] else None
        return grad_hh, grad_uh, grad_inputs, grad_h0, None, None


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
    if h0 is None:
        h0 = W_hh.new_zeros(K, B, N)
    shape_is("h0", h0, (K, B, N))
    alike(W_hh=W_hh, W_uh=W_uh, inputs=inputs, h0=h0)
    states: Tensor = _ElmanScan.apply(W_hh, W_uh, inputs, h0, T, activation)
    return states
