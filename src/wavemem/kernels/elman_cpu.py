"""The Elman network on the CPU: the calls of the compiled kernel (`_elman.c`).

A task is one run with a slice of its batch; threads take tasks from a common counter, and what is summed over a batch is
summed slice by slice. Rows of states and of gradients are longer than N; what lies behind is left out here.
"""

from __future__ import annotations

import ctypes

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import require
from wavemem.kernels.arguments import address, dense
from wavemem.kernels.compiled import load_library
from wavemem.kernels.threads import share


def available(tensor: Tensor) -> bool:
    """Whether the kernel can be used: float32 on the CPU, and compiled for this machine."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and load_library("_elman") is not None


class _Call:
    """One call's sizes: K runs, T steps, S of them with inputs, batch B, N units, d inputs; `still` says that h(0) = 0."""

    def __init__(self, W_uh: Tensor, T: int, S: int, B: int, activation: str, still: bool) -> None:
        library = load_library("_elman")
        assert library is not None  # the caller asked `available`
        self._library = library
        K, N, d = W_uh.shape
        self._sizes = (ctypes.c_int64 * 8)(K, T, S, B, N, d, activation == "tanh", still)
        self.slices: int = library.elman_slices(ctypes.c_int64(B))
        self.tasks = K * self.slices

    def row(self, n: int) -> int:
        """Distance between two rows of n numbers."""
        found: int = self._library.elman_row(ctypes.c_int64(n))
        return found

    def run(self, name: str, *tensors: Tensor, lengths: list[int] | None = None) -> None:
        """Call a function of the library; it returns when all tasks are done."""
        function, counter = getattr(self._library, name), ctypes.c_int64(0)
        steps = [] if lengths is None else [(ctypes.c_int64 * len(lengths))(*lengths)]
        arguments = [self._sizes, ctypes.byref(counter), *steps, *map(address, tensors)]
        share(lambda _first, _last: function(*arguments), self.tasks)

    def per_run(self, parts: Float[Tensor, "tasks m row"], n: int) -> Float[Tensor, "K m n"]:
        """Sum the slices' shares of a gradient."""
        return parts.view(-1, self.slices, *parts.shape[1:])[..., :n].sum(1)


def forward(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    u: Float[Tensor, "K B S d"],
    h0: Float[Tensor, "K B N"] | None,
    steps: int,
    activation: str,
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


def backward(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    u: Float[Tensor, "K B S d"],
    states: Float[Tensor, "K T1 B row"],
    gradient: Float[Tensor, "K T B N"],
    activation: str,
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


def loss_and_gradients(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    W_r: Float[Tensor, "K d N"],
    u: Float[Tensor, "K B s d"],
    targets: Float[Tensor, "K B horizon d"],
    activation: str,
    horizons: Int[Tensor, " K"] | None,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Losses and accuracies by step, gradients: see `wavemem.kernels.elman.loss_and_gradients`."""
    (K, B, s, d), N, H = u.shape, W_hh.shape[1], targets.shape[2]
    steps = torch.full((K,), H) if horizons is None else horizons.long()
    require(
        steps.shape == (K,) and bool(((steps >= 1) & (steps <= H)).all()),
        f"horizons = {steps.tolist()}",
        f"one per run ({K}), each from 1 to the {H} steps of the targets",
        "Give more targets or shorter horizons.",
    )
    call = _Call(W_uh, s + H, s, B, activation, still=True)
    row = call.row(N)
    squares, right = W_hh.new_zeros(2, call.tasks, H)
    d_hh = W_hh.new_zeros(call.tasks, N, row)
    d_uh, d_r = W_hh.new_zeros(2, call.tasks, d, row)
    given = map(dense, (W_hh, W_uh, W_r, u, targets))
    call.run("elman_train", *given, squares, right, d_hh, d_uh, d_r, lengths=steps.tolist())
    by_step = torch.stack([squares, right]).view(2, K, call.slices, H).sum(2).mT / (B * d)
    return by_step[0], by_step[1], (call.per_run(d_hh, N), call.per_run(d_uh, N).mT, call.per_run(d_r, N))
