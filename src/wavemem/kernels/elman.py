"""The Elman recurrence over time for an ensemble of independent runs (TWM Eq. 9), with its own backward pass.

h(t) = σ(W_hh h(t-1) + W_uh u(t)), t = 1 … T, with σ = tanh or the identity. Writing δ(t) for the gradient with respect to
the argument of σ at step t and g(t) for what the loss sends to h(t) directly,

    δ(t) = σ'(t) ∘ (g(t) + W_hhᵀ δ(t+1)),
    ∂W_hh = Σ_t δ(t) h(t-1)ᵀ,   ∂W_uh = Σ_t δ(t) u(t)ᵀ,   ∂u(t) = W_uhᵀ δ(t),   ∂h(0) = W_hhᵀ δ(1).

In training a readout y(t) = W_r h(t) and the mean squared error follow, and g(t) = W_rᵀ ∂y(t).

Both sweeps are one compiled call for float32 on the CPU (`_elman.c`), one Triton launch each for float32 and at most 128
units on a CUDA device (`wavemem.kernels.elman_triton`), and plain PyTorch elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.arguments import alike, dense, first_derivatives
from wavemem.kernels.compiled import CompiledKernel
from wavemem.kernels.triton_choice import Choice

Activation = Literal["tanh", "linear"]

# A multiprocessor's registers hold no larger matrix beside everything else.
TRITON = Choice("WAVEMEM_ELMAN_KERNEL", "wavemem.kernels.elman_triton", 128, "hidden units")
COMPILED = CompiledKernel("_elman")


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


class _Call:
    """A call of the compiled kernel: K runs, T steps, S of them with inputs, batch B, N units, d inputs; h(0) = 0 if `still`.

    A task is one run with a slice of its batch; threads take tasks from a common counter, and what is summed over a batch is
    summed slice by slice. Rows of states and of gradients are longer than N; what lies behind is left out here.
    """

    def __init__(self, W_uh: Tensor, T: int, S: int, B: int, activation: str, still: bool) -> None:
        K, N, d = W_uh.shape
        self._sizes = K, T, S, B, N, d, activation == "tanh", still, 0
        self.slices: int = COMPILED.library.elman_slices(ctypes.c_int64(B))
        self.tasks = K * self.slices

    def row(self, n: int) -> int:
        """Distance between two rows of n numbers."""
        found: int = COMPILED.library.elman_row(ctypes.c_int64(n))
        return found

    def run(self, name: str, *tensors: Tensor, lengths: Sequence[int] = ()) -> None:
        COMPILED.run(name, (*self._sizes, *lengths), self.tasks, *tensors)

    def per_run(self, parts: Float[Tensor, "tasks m row"], n: int) -> Float[Tensor, "K m n"]:
        """Sum the slices' shares of a gradient."""
        return parts.view(-1, self.slices, *parts.shape[1:])[..., :n].sum(1)


class _ElmanKernel(torch.autograd.Function):
    """The compiled kernel's two sweeps; in them the axes are (run, time, batch, unit), and (run, batch, time, unit) of inputs."""

    @staticmethod
    def forward(
        ctx: Any, W_hh: Tensor, W_uh: Tensor, inputs: Tensor, h0: Tensor | None, T: int, activation: Activation
    ) -> Tensor:
        (S, K, B, _), N = inputs.shape, W_hh.shape[1]
        call = _Call(W_uh, T, S, B, activation, h0 is None)
        states = W_hh.new_empty(K, T + 1, B, call.row(N))
        states[:, 0] = 0.0
        if h0 is not None:
            states[:, 0, :, :N] = h0
        W_hh, W_uh, u = dense(W_hh), dense(W_uh), dense(inputs.permute(1, 2, 0, 3))
        call.run("elman_forward", W_hh, W_uh, u, states)
        ctx.save_for_backward(W_hh, W_uh, u, states)
        ctx.activation = activation
        return states[:, 1:, :, :N].transpose(0, 1)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        W_hh, W_uh, u, states = ctx.saved_tensors
        (K, B, S, d), N, T = u.shape, W_hh.shape[1], len(gradient)
        call = _Call(W_uh, T, S, B, ctx.activation, still=False)
        row = call.row(N)
        sent = W_hh.new_empty(K, T, B, row)
        sent[..., :N], sent[..., N:] = gradient.transpose(0, 1), 0.0
        d_hh, d_uh = W_hh.new_zeros(call.tasks, N, row), W_hh.new_zeros(call.tasks, d, row)
        du, dh0 = W_hh.new_empty(K, B, S, call.row(d)), W_hh.new_empty(K, B, row)
        call.run("elman_backward", W_hh, W_uh, u, states, sent, d_hh, d_uh, du, dh0)
        to_inputs = du[..., :d].permute(2, 0, 1, 3)
        to_start = dh0[..., :N] if ctx.needs_input_grad[3] else None
        return call.per_run(d_hh, N), call.per_run(d_uh, N).mT, to_inputs, to_start, None, None


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
    states: Tensor
    if TRITON.serves(W_hh, N):
        states = TRITON.kernels().scan(W_hh, W_uh, inputs, h0, T, activation)
    elif COMPILED.serves(W_hh):
        states = _ElmanKernel.apply(W_hh, W_uh, inputs, h0, T, activation)
    else:
        states = elman_scan_reference(W_hh, W_uh, inputs, h0, steps=T, activation=activation)
    return states


class SweepResult(NamedTuple):
    """What `loss_and_gradients` measures: gradients are those of the mean of loss_by_step over the run's steps."""

    loss_by_step: Float[Tensor, "horizon K"]
    accuracy_by_step: Float[Tensor, "horizon K"]
    gradients: tuple[Tensor, Tensor, Tensor]


def _by_autograd(
    weights: tuple[Tensor, Tensor, Tensor], u: Tensor, targets: Tensor, activation: Activation, horizons: Tensor | None
) -> SweepResult:
    """Through `elman_scan`: all runs take all steps, of which only their own count."""
    H = targets.shape[2]
    with torch.enable_grad():
        W_hh, W_uh, W_r = own = [W.detach().requires_grad_() for W in weights]
        states = elman_scan(W_hh, W_uh, u.permute(2, 0, 1, 3), steps=u.shape[2] + H, activation=activation)
        y, goal = states[-H:] @ W_r.mT, targets.permute(2, 0, 1, 3)
        counts = y.new_ones(H, len(W_hh))
        if horizons is not None:
            due = horizons.to(y.device, non_blocking=True)
            counts = (torch.arange(H, device=y.device)[:, None] < due).to(y.dtype)
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
        ValueError: If the shapes do not fit together, the tensors differ in type or device, or a horizon is too long.
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
    B, s, H = u.shape[1], u.shape[2], targets.shape[2]
    if horizons is not None:
        shape_is("horizons", horizons, (K,))
        require(
            # On a CUDA device, whose numbers would have to be waited for, they are not looked at.
            horizons.is_cuda or bool(((horizons >= 1) & (horizons <= H)).all()),
            f"horizons = {horizons}",
            f"1 to the {H} steps of the targets",
            "Give more targets or shorter horizons.",
        )
    if TRITON.serves(W_hh, N) or not COMPILED.serves(W_hh):
        return _by_autograd((W_hh, W_uh, W_r), u, targets, activation, horizons)
    lengths = [H] * K if horizons is None else horizons.tolist()
    call = _Call(W_uh, s + H, s, B, activation, still=True)
    row = call.row(N)
    (squares, right), d_hh = W_hh.new_zeros(2, call.tasks, H), W_hh.new_zeros(call.tasks, N, row)
    d_uh, d_r = W_hh.new_zeros(2, call.tasks, d, row)
    given = map(dense, (W_hh, W_uh, W_r, u, targets))
    call.run("elman_train", *given, squares, right, d_hh, d_uh, d_r, lengths=lengths)
    by_step = torch.stack([squares, right]).view(2, K, call.slices, H).sum(2).mT / (B * d)
    gradients = call.per_run(d_hh, N), call.per_run(d_uh, N).mT, call.per_run(d_r, N)
    return SweepResult(by_step[0], by_step[1], gradients)
