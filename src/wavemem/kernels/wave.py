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
(`_wave.c`), and one Triton launch on a CUDA device (`wavemem.kernels.wave_triton`).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, require, shape_is
from wavemem.kernels.arguments import alike, dense, first_derivatives, gradients_wanted
from wavemem.kernels.compiled import CompiledKernel
from wavemem.kernels.triton_choice import Choice

WaveActivation = Literal["relu", "tanh", "linear"]

TRITON = Choice("WAVEMEM_WAVE_KERNEL", "wavemem.kernels.wave_triton", 128, "channels")
COMPILED = CompiledKernel("_wave")
_TILE = 32  # batch entries of a task
_ACTIVATIONS = {"linear": 0, "relu": 1, "tanh": 2}
_SPARE: dict[int, list[Tensor]] = {}
_MOST_SPARE = 2**28  # 1 GiB of float32: what is larger goes back to the system, which costs little in comparison


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


def _pack(sequence: Float[Tensor, "T K B f"]) -> Float[Tensor, "tasks T f tile"]:
    """Lay a sequence out task by task, the batch innermost."""
    T, K, B, f = sequence.shape
    tiles = -(-B // _TILE)
    if tiles * _TILE == B:
        tiled = sequence.reshape(T, K, tiles, _TILE, f).permute(1, 2, 0, 4, 3)
    else:
        filled = sequence.new_zeros(K, tiles * _TILE, T, f)
        filled[:, :B] = sequence.permute(1, 2, 0, 3)
        tiled = filled.view(K, tiles, _TILE, T, f).permute(0, 1, 3, 4, 2)
    return dense(tiled.reshape(K * tiles, T, f, _TILE))


def _unpack(packed: Float[Tensor, "tasks T f tile"], K: int, B: int) -> Float[Tensor, "T K B f"]:
    """Undo `_pack`."""
    _, T, f, _ = packed.shape
    return packed.view(K, -1, T, f, _TILE).permute(2, 0, 1, 4, 3).reshape(T, K, -1, f)[:, :, :B]


def _states(held: Float[Tensor, "tasks time c width tile"], K: int, B: int, k: int) -> Float[Tensor, "time K B c n"]:
    """States without their halo, in the library's order of axes and in memory of their own."""
    tasks, time, c, width, _ = held.shape
    n = width - 2 * (k // 2)
    inside = held[:, :, :, k // 2 : k // 2 + n].view(K, tasks // K, time, c, n, _TILE)
    states = inside.permute(2, 0, 1, 5, 3, 4).reshape(time, K, -1, c, n)
    # Of one tile per run `reshape` makes a view, and what is held goes back to the pool.
    own = states.clone() if states.untyped_storage().data_ptr() == held.untyped_storage().data_ptr() else states
    return own[:, :, :B]


def _take(shape: tuple[int, ...]) -> Tensor:
    """Memory for a sequence of states, used before if possible: fresh pages cost as much as computing the states."""
    try:  # not asked first: another thread may take the last one in between
        return _SPARE[math.prod(shape)].pop().view(shape)
    except (KeyError, IndexError):
        return torch.empty(shape, dtype=torch.float32)


def _give_back(states: Tensor) -> None:
    """Let the next call of the same size have this memory; made under `inference_mode` it could not be written to again."""
    if states.numel() <= _MOST_SPARE and not states.is_inference():
        spare = _SPARE.setdefault(states.numel(), [])
        if len(spare) < 4:
            spare.append(states)
        while len(_SPARE) > 8:
            del _SPARE[next(iter(_SPARE))]


class _WaveKernel(torch.autograd.Function):
    """The compiled kernel: `what` is "states", "last" (the last state), "outputs" (of the last step) or "every" (of every step).

    A task is one run and 32 entries of its batch, filled up with zeros, whose gradients are zero. Arrays are laid out task by
    task with the batch innermost, (task, time, feature, 32); states carry a halo of k // 2 units at both ends of the ring.
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
        (T, K, B, d), (c, k) = inputs.shape, u.shape[2:]
        n, p, o = V.shape[1] // c, k // 2, 0 if W is None else W.shape[1]
        u, V, b, W, b_y, x = dense(u), dense(V), dense(b), dense(W), dense(b_y), _pack(inputs)
        tasks, every, keep = len(x), what == "every", what == "states" or train
        held = _take((tasks, T + 1 if keep else 2, c, n + 2 * p, _TILE))
        held[:, 0] = 0
        if h0 is not None:
            ring = _pack(h0.reshape(1, K, B, -1)).view(tasks, c, n, _TILE)
            held[:, 0, :, p : p + n] = ring
            held[:, 0, :, :p], held[:, 0, :, p + n :] = ring[:, :, n - p :], ring[:, :, :p]
        y = None if W is None else x.new_empty(tasks, T if every else 1, o, _TILE)
        sizes = T, c, n, k, d, o, every, _ACTIVATIONS[activation], keep, tasks // K, what == "states"
        COMPILED.run("wave_forward", sizes, tasks, u, V, b, W, b_y, x, held, y)
        last = T if keep else T % 2  # two states take turns
        shown = held[:, 1:] if what == "states" else held[:, last : last + 1]
        result = _states(shown, K, B, k) if y is None else _unpack(y, K, B)
        if train:
            ctx.save_for_backward(u, W, x)
            ctx.held, ctx.sizes, ctx.what = held, sizes, what
        else:
            _give_back(held)
        return result if what in ("states", "every") else result[0]

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (u, W, x), held = ctx.saved_tensors, ctx.held
        if held is None:
            raise RuntimeError("trying to go backward through the Wave-RNN's scan a second time: run it forward again")
        gradient = gradient[None] if ctx.what in ("last", "outputs") else gradient
        sent = _pack(gradient.flatten(3) if W is None else gradient)
        gy, gh = (None, sent) if W is None else (sent, None)
        _, c, n, k, d, o, *_ = ctx.sizes
        K, tasks = len(u), len(x)
        du, dV, db = x.new_zeros(tasks, c, c, k), x.new_zeros(tasks, c * n, d), x.new_zeros(tasks, c * n)
        dW = None if W is None else x.new_zeros(tasks, o, c * n)
        COMPILED.run("wave_backward", ctx.sizes, tasks, u, W, x, held, gy, gh, du, dV, db, dW)
        _give_back(held)
        ctx.held = None
        parts = (du, dV, db, dW)
        to_weights = (None if part is None else part.view(K, -1, *part.shape[1:]).sum(1) for part in parts)
        return *to_weights, None if W is None else gradient.sum((0, 2)), None, None, None, None, None


def check_arguments(
    u: Tensor, V: Tensor, b: Tensor | None, W: Tensor | None, b_y: Tensor | None, inputs: Tensor, h0: Tensor | None
) -> int:
    """Check what a Wave-RNN is given, and return its number n of units; None is passed over.

    Raises:
        ValueError: If shapes or types do not fit together, or k is even or longer than the ring allows.
    """
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
    shape_is("inputs", inputs, ("T", K, "B", V.shape[2]))
    require(
        inputs.shape[0] >= 1 and inputs.shape[2] >= 1,
        f"inputs of shape {tuple(inputs.shape)}",
        "at least one step and one entry",
        "Pass a sequence that is not empty.",
    )
    alike(u=u, V=V, b=b, W=W, b_y=b_y, inputs=inputs, h0=h0)
    n = V.shape[1] // c
    if b is not None:
        shape_is("b", b, (K, c * n))
    if h0 is not None:
        shape_is("h0", h0, (K, inputs.shape[2], c, n))
    if W is not None:
        shape_is("W", W, (K, "o", c * n))
    if W is not None and b_y is not None:
        shape_is("b_y", b_y, (K, W.shape[1]))
    return n


def _compute(
    u: Tensor,
    V: Tensor,
    b: Tensor,
    W: Tensor | None,
    b_y: Tensor | None,
    inputs: Tensor,
    h0: Tensor | None,
    activation: WaveActivation,
    what: str,
) -> Tensor:
    """What `_WaveKernel` computes, by the compiled kernel, by Triton or by the loop."""
    check_arguments(u, V, b, W, b_y, inputs, h0)
    one_of("activation", activation, get_args(WaveActivation))
    on_device = TRITON.serves(u, u.shape[1], u.shape[3])
    states: Tensor
    # The compiled kernel has no gradients for inputs and initial states.
    if not on_device and COMPILED.serves(u) and not gradients_wanted(inputs, h0):
        train = gradients_wanted(u, V, b, W, b_y)
        states = _WaveKernel.apply(u, V, b, W, b_y, inputs, h0, activation, what, train)
        return states
    if on_device:
        states = TRITON.kernels().scan(u, V, b, inputs, h0, activation)
    else:
        states = wave_scan_reference(u, V, b, inputs, h0, activation=activation)
    states = states if what in ("states", "every") else states[-1]
    return states if W is None or b_y is None else states.flatten(-2) @ W.mT + b_y[:, None]


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
    return _compute(u, V, b, None, None, inputs, h0, activation, "states")


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
    return _compute(u, V, b, None, None, inputs, h0, activation, "last")


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
    return _compute(u, V, b, W, b_y, inputs, h0, activation, "every" if every_step else "outputs")
