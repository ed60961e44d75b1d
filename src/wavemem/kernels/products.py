"""Products of K small matrices with K batches, the inner operation of every recurrence of an ensemble.

Two ways to compute them, with the same interface and the same result up to rounding:

- `DenseProduct` uses PyTorch's batched products and works everywhere. Sequences are stored as (K, T, B, n).
- `GroupedProduct` asks oneDNN for a 1 x 1 convolution with one group per run, whose weights are packed once and used at
  every time step. Sequences are stored as (T, B, K, n). On a CPU with wide vectors it is close to twice as fast as the
  first way from N = 128 on; below that its fixed cost per call outweighs the gain. It needs operators that PyTorch
  registers for its own compiler; where they are missing the first way is used.

Source of the recurrence they serve: Karuvally et al. (2024), Eq. 9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "DenseProduct",
    "GroupedProduct",
    "Product",
    "RoundedProduct",
    "as_image",
    "grouped_available",
    "grouped_pays",
    "rounded",
    "sum_of_outer_products",
    "tanh_backward_",
    "tanh_steps",
]

_SMALLEST_GROUPED = 96
"""Hidden size from which oneDNN is the faster way (measured at a batch of 64 with 4 and 8 runs)."""

_tanh_backward = torch.ops.aten.tanh_backward.grad_input


@cache
def grouped_available() -> bool:
    """Whether PyTorch offers the oneDNN operators that `GroupedProduct` calls, and they give the right numbers."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(2, 3, 5, generator=generator)
        x = torch.randn(4, 2, 5, generator=generator)
        expected = torch.einsum("kmn,bkn->bkm", weights, x)
        product = GroupedProduct(weights, batch=4)
        out = torch.zeros(1, 4, 2, 3)
        product.accumulate(product.view(out)[0], product.view(x[None])[0])
        rows = torch.randn(6, 3, generator=generator), torch.randn(6, 5, generator=generator)
        outer = torch.ops.mkldnn._linear_pointwise.default(rows[0].t(), rows[1].t(), None, "none", [], "")
        return bool(
            torch.allclose(
                product.apply(product.view(x[None])[0]).permute(0, 2, 3, 1).reshape(4, 2, 3), expected, atol=1e-5
            )
            and torch.allclose(out[0], expected, atol=1e-5)
            and torch.allclose(outer, rows[0].t() @ rows[1], atol=1e-5)
        )
    except (AttributeError, RuntimeError, TypeError):
        return False


def grouped_pays(weights: Float[Tensor, "K N N"]) -> bool:
    """Whether `GroupedProduct` is the faster way for these recurrent weights."""
    K, N, _ = weights.shape
    return (
        weights.device.type == "cpu"
        and weights.dtype == torch.float32
        and K > 1
        and N >= _SMALLEST_GROUPED
        and grouped_available()
    )


class Product(Protocol):
    """y = A x for K matrices A of shape (m, n), applied to K batches of columns stored as rows."""

    def view(self, sequence: Tensor) -> Tensor:
        """View a stored sequence with time first; its steps are what the other methods take."""

    def apply(self, x: Tensor) -> Tensor:
        """Return A x; the result may be written over by the next call."""

    def accumulate(self, out: Tensor, x: Tensor) -> None:
        """Add A x to `out`, in place."""


class DenseProduct:
    """Batched products of PyTorch; sequences are (K, T, B, n), a step is (K, B, n).

    Args:
        weights: K matrices, shape (K, m, n).
    """

    def __init__(self, weights: Float[Tensor, "K m n"]) -> None:
        # Rows are multiplied from the right. Contiguous, because a transposed operand is packed anew at every step.
        self._right = weights.mT.contiguous()
        self._single = self._right[0] if len(self._right) == 1 else None
        self._scratch: Tensor | None = None

    def view(self, sequence: Float[Tensor, "K T B n"]) -> Tensor:
        """View with time first: a step is (K, B, n), or (B, n) where there is one run."""
        return sequence[0] if self._single is not None else sequence.transpose(0, 1)

    def apply(self, x: Tensor) -> Tensor:
        """Return A x for one step; the next call writes over the result."""
        if self._single is None:
            shape = (x.shape[0], x.shape[1], self._right.shape[2])
            if self._scratch is None or self._scratch.shape != shape:
                self._scratch = x.new_empty(shape)
            return torch.bmm(x, self._right, out=self._scratch)
        if self._scratch is None or len(self._scratch) != len(x):
            self._scratch = x.new_empty(len(x), self._single.shape[1])
        return torch.mm(x, self._single, out=self._scratch)

    def accumulate(self, out: Tensor, x: Tensor) -> None:
        """Add A x to `out`, in place."""
        if self._single is not None:
            out.addmm_(x, self._single)
        elif out.is_contiguous():
            out.baddbmm_(x, self._right)
        else:
            # PyTorch would fall back to one product after the other.
            out += self.apply(x)


def rounded(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the nearest numbers with the 10 bits of mantissa of TensorFloat-32, for float32."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


class RoundedProduct(DenseProduct):
    """`DenseProduct` with the arithmetic of tensor cores, to measure what it does where there are none; float32 only.

    Args:
        weights: K matrices, shape (K, m, n).
        terms: 1 for TF32: both factors are rounded. 3 for three products of the rounded factors and what rounding left over,
            of which the smallest of the possible four is missing.
    """

    def __init__(self, weights: Float[Tensor, "K m n"], terms: int) -> None:
        coarse = rounded(weights)
        super().__init__(coarse)
        self._fine = DenseProduct(rounded(weights - coarse)) if terms == 3 else None

    def apply(self, x: Tensor) -> Tensor:
        """Return A x for one step; the next call writes over the result."""
        coarse = rounded(x)
        total = super().apply(coarse)
        if self._fine is not None:
            super().accumulate(total, rounded(x - coarse))
            self._fine.accumulate(total, coarse)
        return total

    def accumulate(self, out: Tensor, x: Tensor) -> None:
        """Add A x to `out`, in place."""
        out += self.apply(x)


class GroupedProduct:
    """1 x 1 convolutions of oneDNN, one group per run; sequences are (T, B, K, n).

    A step is handed over as an image in channels-last layout: one row of B pixels with K·n channels.

    Args:
        weights: K matrices, shape (K, m, n), float32 on the CPU.
        batch: B; the packing is chosen for it.
    """

    def __init__(self, weights: Float[Tensor, "K m n"], batch: int) -> None:
        K, m, n = weights.shape
        self._groups = K
        self._weights = torch.ops.mkldnn._reorder_convolution_weight(
            weights.reshape(K * m, n, 1, 1).contiguous(), [0, 0], [1, 1], [1, 1], K, [1, K * n, 1, batch]
        )

    def view(self, sequence: Float[Tensor, "T B K n"]) -> Tensor:
        """View with time first: a step is (1, K·n, 1, B)."""
        T, B, K, n = sequence.shape
        return sequence.view(T, 1, 1, B, K * n).permute(0, 1, 4, 2, 3)

    def apply(self, x: Tensor) -> Tensor:
        """Return A x for one step, in the same layout."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            x, self._weights, None, [0, 0], [1, 1], [1, 1], self._groups, "none", [], ""
        )
        return result

    def accumulate(self, out: Tensor, x: Tensor) -> None:
        """Add A x to `out`, in place."""
        torch.ops.mkldnn._convolution_pointwise_.binary(
            out, x, self._weights, None, [0, 0], [1, 1], [1, 1], self._groups, "add", None, None, [], None
        )


def as_image(sequence: Float[Tensor, "T B K n"]) -> Float[Tensor, "1 Kn T B"]:
    """View all steps of a sequence as one image of T x B pixels, so that `GroupedProduct` takes them in one call."""
    T, B, K, n = sequence.shape
    return sequence.view(1, T, B, K * n).permute(0, 3, 1, 2)


def sum_of_outer_products(
    total: Float[Tensor, "K m n"], left: Float[Tensor, "K R m"], right: Float[Tensor, "K R n"]
) -> None:
    """Add Σ_r left[k, r] right[k, r]ᵀ to every total[k]: a weight gradient over R = steps x batch rows, in place."""
    if (
        total.device.type == "cpu"
        and total.dtype == torch.float32
        and min(total.shape[1:]) >= _SMALLEST_GROUPED
        and left.stride()[1:] == (left.shape[2], 1)
        and right.stride()[1:] == (right.shape[2], 1)
        and grouped_available()
    ):
        # Only ever handed contiguous rows: oneDNN falls back to a slow reference for other strides.
        for k in range(len(total)):
            total[k] += torch.ops.mkldnn._linear_pointwise.default(left[k].t(), right[k].t(), None, "none", [], "")
    else:
        total.baddbmm_(left.mT, right)


def tanh_steps(states: Tensor) -> Callable[[Tensor, int], None]:
    """Return a function that writes tanh(x) to a step of `states`, a tensor with time first.

    On the CPU this is NumPy's vectorised tanh: ten times faster than PyTorch's where PyTorch takes it from MKL on a
    processor that MKL was not tuned for, and as accurate (below 1e-7 in float32).
    """
    if states.device.type == "cpu" and states.dtype in (torch.float32, torch.float64):
        arrays = list(states.numpy())
        seen: Tensor | None = None
        array = arrays[0]

        def with_numpy(x: Tensor, step: int) -> None:
            # A product's result often comes in the same memory as before: its NumPy view is made once.
            nonlocal seen, array
            if x is not seen:
                seen, array = x, x.numpy()
            np.tanh(array, out=arrays[step])

        return with_numpy

    def with_torch(x: Tensor, step: int) -> None:
        torch.tanh(x, out=states[step])

    return with_torch


def tanh_backward_(gradient: Tensor, state: Tensor) -> None:
    """Multiply a gradient by tanh' = 1 - state², in place."""
    _tanh_backward(gradient, state, grad_input=gradient)
