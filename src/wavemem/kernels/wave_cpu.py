"""The compiled CPU kernel of the Wave-RNN: laying arrays out for it, calling it.

The kernel (`_wave.c`) works on tasks: one run and 32 entries of its batch. Arrays are laid out task by task with the
batch innermost, (task, time, feature, 32), and states carry a halo of k // 2 units at both ends of the ring. Batches
that are no multiple of 32 are filled up with zeros, whose gradients are zero.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.kernels.arguments import address
from wavemem.kernels.compiled import load_library
from wavemem.kernels.threads import share

TILE = 32
_ACTIVATIONS = {"linear": 0, "relu": 1, "tanh": 2}
_SPARE: dict[int, list[Tensor]] = {}
_MOST_SPARE = 2**28  # 1 GiB of float32: what is larger goes back to the system, which costs little in comparison


def available(tensor: Tensor) -> bool:
    """Whether the kernel can be used: float32 on the CPU, and compiled for this machine."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and load_library("_wave") is not None


@dataclass(frozen=True)
class Layout:
    """Sizes of one call.

    Args:
        K, T, B, c, n, k, d, o: runs, steps, batch, channels, units, taps, inputs, outputs (0 for none).
        every: Whether there are outputs at every step.
        activation: "relu", "tanh" or "linear".
    """

    K: int
    T: int
    B: int
    c: int
    n: int
    k: int
    d: int
    o: int
    every: bool
    activation: str

    @property
    def tiles(self) -> int:
        """Tasks per run."""
        return -(-self.B // TILE)

    @property
    def tasks(self) -> int:
        """Tasks in all."""
        return self.K * self.tiles

    @property
    def state(self) -> tuple[int, int, int]:
        """Shape of one task's state at one time, halo included."""
        return self.c, self.n + 2 * (self.k // 2), TILE

    def _sizes(self, keep: bool) -> ctypes.Array[ctypes.c_int64]:
        values = (self.T, self.c, self.n, self.k, self.d, self.o, self.every, _ACTIVATIONS[self.activation], keep)
        return (ctypes.c_int64 * 10)(*(int(v) for v in values), self.tiles)


def pack(sequence: Float[Tensor, "T K B f"]) -> Float[Tensor, "tasks T f tile"]:
    """Lay a sequence out task by task, the batch innermost."""
    T, K, B, f = sequence.shape
    tiles = -(-B // TILE)
    if tiles * TILE == B:
        tiled = sequence.reshape(T, K, tiles, TILE, f).permute(1, 2, 0, 4, 3)
        return tiled.reshape(K * tiles, T, f, TILE).contiguous()
    packed = sequence.new_zeros(K, tiles * TILE, T, f)
    packed[:, :B] = sequence.permute(1, 2, 0, 3)
    return packed.view(K, tiles, TILE, T, f).permute(0, 1, 3, 4, 2).reshape(K * tiles, T, f, TILE).contiguous()


def unpack(packed: Float[Tensor, "tasks T f tile"], K: int, B: int) -> Float[Tensor, "T K B f"]:
    """Undo `pack`."""
    tasks, T, f, tile = packed.shape
    tiles = tasks // K
    return packed.view(K, tiles, T, f, tile).permute(2, 0, 1, 4, 3).reshape(T, K, tiles * tile, f)[:, :, :B]


def states_of(held: Float[Tensor, "tasks time c width tile"], layout: Layout) -> Float[Tensor, "time K B c n"]:
    """States without their halo, in the library's order of axes and in memory of their own."""
    p, n = layout.k // 2, layout.n
    inside = held[:, :, :, p : p + n].view(layout.K, layout.tiles, held.shape[1], layout.c, n, TILE)
    states = inside.permute(2, 0, 1, 5, 3, 4).reshape(held.shape[1], layout.K, -1, layout.c, n)
    # Of one tile per run `reshape` makes a view, and what is held goes back to the pool.
    own = states.clone() if states.untyped_storage().data_ptr() == held.untyped_storage().data_ptr() else states
    return own[:, :, : layout.B]


def _take(shape: tuple[int, ...]) -> Tensor:
    """Memory for a sequence of states, used before if possible: fresh pages cost as much as computing the states."""
    size = 1
    for length in shape:
        size *= length
    try:  # not asked first: another thread may take the last one in between
        return _SPARE[size].pop().view(shape)
    except (KeyError, IndexError):
        return torch.empty(shape, dtype=torch.float32)


def give_back(states: Tensor) -> None:
    """Let the next call of the same size have this memory; made under `inference_mode` it could not be written to again."""
    if states.numel() <= _MOST_SPARE and not states.is_inference():
        spare = _SPARE.setdefault(states.numel(), [])
        if len(spare) < 4:
            spare.append(states)
        while len(_SPARE) > 8:
            del _SPARE[next(iter(_SPARE))]


def _library() -> ctypes.CDLL:
    library = load_library("_wave")
    assert library is not None  # the caller asked `available`
    return library


def forward(
    layout: Layout,
    u: Float[Tensor, "K c c k"],
    V: Float[Tensor, "K cn d"],
    b: Float[Tensor, "K cn"],
    W: Float[Tensor, "K o cn"] | None,
    b_y: Float[Tensor, "K o"] | None,
    x: Float[Tensor, "tasks T d tile"],
    h0: Float[Tensor, "K B c n"] | None,
    keep: bool = True,
) -> tuple[Float[Tensor, "tasks time c width tile"], Float[Tensor, "tasks T_or_1 o tile"] | None]:
    """Run the recurrence; all tensors contiguous float32 on the CPU.

    Args:
        layout: The sizes.
        u, V, b: Parameters of the recurrence.
        W, b_y: Readout, or None for none.
        x: Packed inputs.
        h0: Initial states; None for zeros.
        keep: Whether all states are kept (h(0) first) or only the last two, h(T) at index T mod 2.

    Returns:
        States with their halo, and packed outputs.
    """
    held = _take((layout.tasks, layout.T + 1 if keep else 2, *layout.state))
    held[:, 0] = 0
    if h0 is not None:
        p, n = layout.k // 2, layout.n
        ring = pack(h0.reshape(1, layout.K, layout.B, -1)).view(layout.tasks, layout.c, n, TILE)
        held[:, 0, :, p : p + n] = ring
        if p:
            held[:, 0, :, :p], held[:, 0, :, p + n :] = ring[:, :, n - p :], ring[:, :, :p]
    y = None
    if W is not None:
        y = x.new_empty(layout.tasks, layout.T if layout.every else 1, layout.o, TILE)
    library, sizes = _library(), layout._sizes(keep)
    tensors = [address(t) for t in (u, V, b, W, b_y, x, held, y)]
    share(
        lambda low, high: library.wave_forward(sizes, ctypes.c_int64(low), ctypes.c_int64(high), *tensors), layout.tasks
    )
    return held, y


def backward(
    layout: Layout,
    u: Float[Tensor, "K c c k"],
    W: Float[Tensor, "K o cn"] | None,
    x: Float[Tensor, "tasks T d tile"],
    held: Float[Tensor, "tasks time c width tile"],
    gy: Float[Tensor, "tasks T_or_1 o tile"] | None,
    gh: Float[Tensor, "tasks T_or_1 cn tile"] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of u, V, b and W from what the loss sends to the outputs and the states.

    Args:
        layout: The sizes.
        u, W: As in `forward`.
        x: Packed inputs.
        held: All states.
        gy: Gradient with respect to the packed outputs, or None.
        gh: Gradient with respect to the packed states, at every step or at the last only (one step), or None.

    Returns:
        Gradients of u, V, b, W (None without gy), summed over the batch in a fixed order.
    """
    tasks, cn = layout.tasks, layout.c * layout.n
    du = x.new_zeros(tasks, layout.c, layout.c, layout.k)
    dV, db = x.new_zeros(tasks, cn, layout.d), x.new_zeros(tasks, cn)
    dW = None if gy is None else x.new_zeros(tasks, layout.o, cn)
    library, sizes = _library(), layout._sizes(True)
    every = ctypes.c_int64(0 if gh is None else int(gh.shape[1] == layout.T))
    before = [address(t) for t in (u, W, x, held, gy, gh)]
    after = [address(t) for t in (du, dV, db, dW)]
    share(
        lambda low, high: library.wave_backward(
            sizes, ctypes.c_int64(low), ctypes.c_int64(high), *before, every, *after
        ),
        tasks,
    )

    def per_run(parts: Tensor) -> Tensor:
        return parts.view(layout.K, layout.tiles, *parts.shape[1:]).sum(1)

    return per_run(du), per_run(dV), per_run(db), None if dW is None else per_run(dW)
