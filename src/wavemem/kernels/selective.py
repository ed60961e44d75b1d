r"""The selective scan of Mamba's S6 layer for K independent runs, with its own backward pass.

Every channel e holds N states, which decay and are written to at a pace that depends on the input (v-Wave Eq. 4 with
matrices that follow the input; Gu and Dao's Mamba, Algorithm 2):

    Δ_t = softplus(delta_t + bias),      h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t,      y_t = Σ_N C_t h_t + D u_t,

and at the end the gate, y_t ← y_t · silu(z_t). A (E, N) is diagonal and negative; B_t and C_t are shared by the channels.
With o_t = Σ C_t h_t + D u_t and g_t the gradient with respect to o_t, the adjoint runs backwards in time,

    G_t = C_t g_t + exp(Δ_{t+1} A) G_{t+1},      ∂B_t = Σ_e G_t Δ_t u_t,      ∂C_t = Σ_e g_t h_t,
    ∂A = Σ_t Δ_t q_t,      ∂Δ_t = Σ_N (q_t A + G_t B_t u_t),      q_t = G_t exp(Δ_t A) h_{t-1}.

Four ways to compute it: the plain loop (the oracle of the tests), PyTorch by segments of time
(`wavemem.kernels.selective_chunked`), a C kernel on the CPU (`wavemem.kernels.selective_cpu`), and Triton on a CUDA
device (`wavemem.kernels.selective_triton`).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, require, shape_is
from wavemem.kernels import selective_chunked, selective_cpu
from wavemem.kernels.arguments import alike, first_derivatives, gradients_wanted
from wavemem.kernels.selective_chunked import Given, step_sizes
from wavemem.kernels.triton_choice import Choice

SelectiveMethod = Literal["auto", "compiled", "chunked", "triton", "reference"]

TRITON = Choice("WAVEMEM_SELECTIVE_KERNEL", "wavemem.kernels.selective_triton", 256, "numbers per state")


def selective_scan_reference(
    u: Float[Tensor, "K B L E"],
    delta: Float[Tensor, "K B L E"],
    A: Float[Tensor, "K E N"],
    B: Float[Tensor, "K B L N"],
    C: Float[Tensor, "K B L N"],
    D: Float[Tensor, "K E"] | None = None,
    z: Float[Tensor, "K B L E"] | None = None,
    delta_bias: Float[Tensor, "K E"] | None = None,
    *,
    softplus: bool = False,
    h0: Float[Tensor, "K B E N"] | None = None,
) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "L K B E N"]]:
    """The recurrence written out, one `selective_step` after the other, differentiated by autograd.

    Arguments and errors are those of `selective_scan`.

    Returns:
        y, shape (K, B, L, E), and the states h_1 … h_L, shape (L, K, B, E, N).
    """
    given = Given(u, delta, A, B, C, D, z, delta_bias, h0)
    _check(given)
    h = u.new_zeros(*u.shape[:2], *A.shape[1:]) if h0 is None else h0
    outputs, states = [], []
    for t in range(u.shape[2]):
        y, h = _step(given, softplus, h, t)
        outputs.append(y)
        states.append(h)
    return torch.stack(outputs, 2), torch.stack(states)


def _step(given: Given, softplus: bool, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
    u, B, C = given.u[:, :, t], given.B[:, :, t], given.C[:, :, t]
    d = step_sizes(given.delta[:, :, t], given.delta_bias, softplus)
    h = torch.exp(d.unsqueeze(-1) * given.A[:, None]) * h + (d * u).unsqueeze(-1) * B.unsqueeze(2)
    y = (h * C.unsqueeze(2)).sum(-1)
    if given.D is not None:
        y = y + given.D[:, None] * u
    return (y if given.z is None else y * nnf.silu(given.z[:, :, t])), h


def _backend(method: SelectiveMethod, u: Tensor, states: int) -> Any:
    """The module that computes this call, by its functions `scan` and `scan_backward`."""
    if method == "triton":
        TRITON.demand(u, states)
        return TRITON.kernels()
    if method == "auto" and TRITON.serves(u, states):
        return TRITON.kernels()
    compiled = method != "chunked" and selective_cpu.COMPILED.serves(u)
    require(
        compiled or method != "compiled",
        f'method = "compiled" for {u.dtype} on {u.device}',
        "float32 on the CPU of a machine with a C compiler",
        'Pass method = "auto" to take what there is; `wavemem doctor` says whether a compiler was found.',
    )
    return selective_cpu if compiled else selective_chunked


class _Scan(torch.autograd.Function):
    """Outputs and last state, by a module's `scan`; gradients by its `scan_backward`."""

    @staticmethod
    def forward(ctx: Any, backend: Any, softplus: bool, keep: bool, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        y, h, kept = backend.scan(Given(*tensors), softplus=softplus, keep=keep)
        if keep:
            ctx.save_for_backward(*tensors, kept)
            ctx.backend, ctx.softplus = backend, softplus
            ctx.set_materialize_grads(False)
        return y, h

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gy: Tensor | None, gh: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, kept = ctx.saved_tensors
        given = Given(*tensors)
        gy = torch.zeros_like(given.u) if gy is None else gy
        return None, None, None, *ctx.backend.scan_backward(given, kept, gy, gh, softplus=ctx.softplus)


def _check(given: Given) -> None:
    u, A = given.u, given.A
    shape_is("u", u, ("K", "B", "L", "E"))
    K, batch, length, E = u.shape
    shape_is("A", A, (K, E, "N"))
    N = A.shape[2]
    require(
        min(*u.shape, N) >= 1,
        f"u of shape {tuple(u.shape)} and N = {N} states",
        "at least one run, entry, step, channel and state",
        "Pass a sequence that is not empty.",
    )
    sequence, mixing = (K, batch, length, E), (K, batch, length, N)
    shapes = (sequence, sequence, (K, E, N), mixing, mixing, (K, E), sequence, (K, E), (K, batch, E, N))
    for name, tensor, shape in zip(Given._fields, given, shapes, strict=True):
        if tensor is not None:
            shape_is(name, tensor, shape)
    alike(**given._asdict())


def selective_scan(
    u: Float[Tensor, "K B L E"],
    delta: Float[Tensor, "K B L E"],
    A: Float[Tensor, "K E N"],
    B: Float[Tensor, "K B L N"],
    C: Float[Tensor, "K B L N"],
    D: Float[Tensor, "K E"] | None = None,
    z: Float[Tensor, "K B L E"] | None = None,
    delta_bias: Float[Tensor, "K E"] | None = None,
    *,
    softplus: bool = False,
    h0: Float[Tensor, "K B E N"] | None = None,
    method: SelectiveMethod = "auto",
) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E N"]]:
    """Outputs of K independent selective scans (the recurrence at the top of this module), and the states they end with.

    Differentiable once with respect to everything given.

    Args:
        u: Inputs, shape (K, B, L, E): runs, batch, time, channels.
        delta: Step sizes before bias and softplus, shape (K, B, L, E).
        A: Logarithmic decays per unit of Δ, shape (K, E, N); negative for a state that fades.
        B: What writes into the states, shape (K, B, L, N).
        C: What reads them, shape (K, B, L, N).
        D: Weight of the path around the states, shape (K, E), or None for no such path.
        z: Gate, shape (K, B, L, E), or None for no gate.
        delta_bias: Bias of the step sizes, shape (K, E), or None.
        softplus: Whether the step sizes go through a softplus; otherwise they are taken as they are.
        h0: State before the first step, shape (K, B, E, N); zeros by default.
        method: "auto" takes Triton on a CUDA device, else the compiled kernel, else "chunked"; "reference" is the loop.

    Returns:
        y, shape (K, B, L, E), and h_L, shape (K, B, E, N), from which a later call can go on.

    Raises:
        ValueError: If shapes, number formats or devices do not fit together, the sequence is empty, or the method is
            unknown or cannot serve these arguments.
    """
    one_of("method", method, get_args(SelectiveMethod))
    given = Given(u, delta, A, B, C, D, z, delta_bias, h0)
    _check(given)
    if method == "reference":
        y, states = selective_scan_reference(*given[:8], softplus=softplus, h0=h0)
        return y, states[-1]
    y, h = _Scan.apply(_backend(method, u, A.shape[2]), softplus, gradients_wanted(*given), *given)
    return y, h


def selective_step(
    u: Float[Tensor, "K B E"],
    delta: Float[Tensor, "K B E"],
    A: Float[Tensor, "K E N"],
    B: Float[Tensor, "K B N"],
    C: Float[Tensor, "K B N"],
    D: Float[Tensor, "K E"] | None = None,
    z: Float[Tensor, "K B E"] | None = None,
    delta_bias: Float[Tensor, "K E"] | None = None,
    *,
    softplus: bool = False,
    h: Float[Tensor, "K B E N"],
) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E N"]]:
    """One step of `selective_scan`, for generating: its arguments without the axis of time.

    Args:
        u, delta, A, B, C, D, z, delta_bias, softplus: As in `selective_scan`, at one time.
        h: State before the step, shape (K, B, E, N).

    Returns:
        y, shape (K, B, E), and the state after the step.

    Raises:
        ValueError: As `selective_scan`.
    """
    gate = None if z is None else z.unsqueeze(2)
    given = Given(u.unsqueeze(2), delta.unsqueeze(2), A, B.unsqueeze(2), C.unsqueeze(2), D, gate, delta_bias, h)
    _check(given)
    return _step(given, softplus, h, 0)
