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
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.arguments import alike, dense, first_derivatives
from wavemem.kernels.compiled import CompiledKernel, address, numbers, share
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
        self._sizes = numbers((K, T, S, B, N, d, activation == "tanh", still))
        self.slices: int = COMPILED.library.elman_slices(ctypes.c_int64(B))
        self.tasks = K * self.slices

    def row(self, n: int) -> int:
        """Distance between two rows of n numbers."""
        found: int = COMPILED.library.elman_row(ctypes.c_int64(n))
        return found

    def run(self, name: str, *tensors: Tensor, lengths: list[int] | None = None) -> None:
        """Call a function of the library; it returns when all tasks are done."""
        function, counter = getattr(COMPILED.library, name), ctypes.c_int64(0)
        steps = [] if lengths is None else [numbers(lengths)]
        arguments = [self._sizes, ctypes.byref(counter), *steps, *map(address, tensors)]
        share(lambda _first, _last: function(*arguments), self.tasks)

    def per_run(self, parts: Float[Tensor, "tasks m row"], n: int) -> Float[Tensor, "K m n"]:
        """Sum the slices' shares of a gradient."""
        return parts.view(-1, self.slices, *parts.shape[1:])[..., :n].sum(1)


class _OnCPU:
    """The compiled kernel's two sweeps and the loss, as `wavemem.kernels.elman_triton` has them."""

    @staticmethod
    def forward(
        W_hh: Float[Tensor, "K N N"],
        W_uh: Float[Tensor, "K N d"],
        u: Float[Tensor, "K B S d"],
        h0: Float[Tensor, "K B N"] | None,
        steps: int,
        activation: Activation,
    ) -> Float[Tensor, "K T1 B row"]:
        """h(0) … h(T), the first N numbers of each row."""
        (K, B, S, _), N = u.shape, W_hh.shape[1]
        call = _Call(W_uh, steps, S, B, activation, h0 is None)
        states = W_hh.new_empty(K, steps + 1, B, call.row(N))
        states[:, 0] = 0.0
        if h0 is not None:
            states[:, 0, :, :N] = h0
        call.run("elman_forward", dense(W_hh), dense(W_uh), dense(u), states)
        return states

    @staticmethod
    def backward(
        W_hh: Float[Tensor, "K N N"],
        W_uh: Float[Tensor, "K N d"],
        u: Float[Tensor, "K B S d"],
        states: Float[Tensor, "K T1 B row"],
        gradient: Float[Tensor, "K T B N"],
        activation: Activation,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of W_hh, W_uh, u and h(0) from what the loss sends to h(1) … h(T)."""
        (K, B, S, d), N = u.shape, W_hh.shape[1]
        call = _Call(W_uh, gradient.shape[1], S, B, activation, still=False)
        row = call.row(N)
        sent = W_hh.new_empty(*gradient.shape[:3], row)
        sent[..., :N], sent[..., N:] = gradient, 0.0
        d_hh, d_uh = W_hh.new_zeros(call.tasks, N, row), W_hh.new_zeros(call.tasks, d, row)
        du, dh0 = W_hh.new_empty(K, B, S, call.row(d)), W_hh.new_empty(K, B, row)
        call.run("elman_backward", dense(W_hh), dense(W_uh), dense(u), states, sent, d_hh, d_uh, du, dh0)
        return call.per_run(d_hh, N), call.per_run(d_uh, N).mT, du[..., :d], dh0[..., :N]

    @staticmethod
    def loss_and_gradients(
        W_hh: Float[Tensor, "K N N"],
        W_uh: Float[Tensor, "K N d"],
        W_r: Float[Tensor, "K d N"],
        u: Float[Tensor, "K B s d"],
        targets: Float[Tensor, "K B horizon d"],
        activation: Activation,
        horizons: Int[Tensor, " K"] | None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Losses and accuracies by step, gradients: see `wavemem.kernels.elman.loss_and_gradients`."""
        (K, B, s, d), N, H = u.shape, W_hh.shape[1], targets.shape[2]
        lengths = [H] * K if horizons is None else horizons.tolist()
        call = _Call(W_uh, s + H, s, B, activation, still=True)
        row = call.row(N)
        squares, right = W_hh.new_zeros(2, call.tasks, H)
        d_hh = W_hh.new_zeros(call.tasks, N, row)
        d_uh, d_r = W_hh.new_zeros(2, call.tasks, d, row)
        given = map(dense, (W_hh, W_uh, W_r, u, targets))
        call.run("elman_train", *given, squares, right, d_hh, d_uh, d_r, lengths=lengths)
        by_step = torch.stack([squares, right]).view(2, K, call.slices, H).sum(2).mT / (B * d)
        return by_step[0], by_step[1], (call.per_run(d_hh, N), call.per_run(d_uh, N).mT, call.per_run(d_r, N))


def _back_end(W_hh: Tensor) -> Any:
    """Whose sweeps serve these weights, on the CPU or a CUDA device; None for plain PyTorch."""
    if TRITON.serves(W_hh, W_hh.shape[1]):
        return TRITON.kernels()
    return _OnCPU if COMPILED.serves(W_hh) else None


class _ElmanScan(torch.autograd.Function):
    """The two sweeps of a back end; in them the axes are (run, time, batch, unit), and (run, batch, time, unit) for inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        back_end: Any,
        W_hh: Tensor,
        W_uh: Tensor,
        inputs: Tensor,
        h0: Tensor | None,
        T: int,
        activation: Activation,
    ) -> Tensor:
        ctx.back_end, ctx.activation = back_end, activation
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
        return None, d_hh, d_uh, du.permute(2, 0, 1, 3), dh0 if ctx.needs_input_grad[4] else None, None, None


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
    back_end = _back_end(W_hh)
    if back_end is None:
        return elman_scan_reference(W_hh, W_uh, inputs, h0, steps=T, activation=activation)
    states: Tensor = _ElmanScan.apply(back_end, W_hh, W_uh, inputs, h0, T, activation)
    return states


class SweepResult(NamedTuple):
    """What `loss_and_gradients` measures: gradients are those of the mean of loss_by_step over the run's steps."""

    loss_by_step: Float[Tensor, "horizon K"]
    accuracy_by_step: Float[Tensor, "horizon K"]
    gradients: tuple[Tensor, Tensor, Tensor]


def loss_and_gradients_reference(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    W_r: Float[Tensor, "K d N"],
    u: Float[Tensor, "K B s d"],
    targets: Float[Tensor, "K B horizon d"],
    activation: Activation = "tanh",
    horizons: Int[Tensor, " K"] | None = None,
) -> SweepResult:
    """Plain PyTorch version of `loss_and_gradients`: autograd through `elman_scan_reference`."""
    H = targets.shape[2]
    with torch.enable_grad():
        own = [W.detach().requires_grad_() for W in (W_hh, W_uh, W_r)]
        inputs = u.permute(2, 0, 1, 3)
        states = elman_scan_reference(own[0], own[1], inputs, steps=len(inputs) + H, activation=activation)
        y, goal = states[-H:] @ own[2].mT, targets.permute(2, 0, 1, 3)
        counts = y.new_ones(H, len(W_hh))
        if horizons is not None:
            counts = (torch.arange(H, device=y.device)[:, None] < horizons.to(y.device)).to(y.dtype)
        loss = (y - goal).square().mean((2, 3)) * counts
        d_hh, d_uh, d_r = torch.autograd.grad((loss.sum(0) / counts.sum(0)).sum(), own)
    right = (y * goal > 0).to(y.dtype).mean((2, 3)) * counts
    return SweepResult(loss.detach(), right, (d_hh, d_uh, d_r))


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
    if horizons is not None:
        H = targets.shape[2]
        shape_is("horizons", horizons, (K,))
        require(
            # On a CUDA device, whose numbers would have to be waited for, they are not looked at.
            horizons.is_cuda or bool(((horizons >= 1) & (horizons <= H)).all()),
            f"horizons = {horizons}",
            f"1 to the {H} steps of the targets",
            "Give more targets or shorter horizons.",
        )
    back_end = _back_end(W_hh)
    if back_end is None:
        return loss_and_gradients_reference(W_hh, W_uh, W_r, u, targets, activation, horizons)
    return SweepResult(*back_end.loss_and_gradients(W_hh, W_uh, W_r, u, targets, activation, horizons))
