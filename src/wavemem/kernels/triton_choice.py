"""Which program serves a call where a Triton kernel might: what the environment asks for, and what has been checked.

A kernel that has never run on a device at hand is not trusted there: it serves by itself only after it has given the right
numbers for a small problem, and else PyTorch's operations do, with a warning. Triton is imported at the first use.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from wavemem.checks import one_of, require


class Choice:
    """The choice for one recurrence.

    Args:
        variable: Environment variable that says "torch" (never these kernels), "triton" (these, or an error that says why
            not) or "auto", the default (these on a CUDA device where they fit and give the right numbers).
        module: Full name of the module with the kernels, which needs Triton. Among them is `scan_forward`, and its function
            `right_numbers(device, size, …)` says whether a small problem's numbers are right on a device.
        largest: Largest size that the kernels serve; they take float32.
        counted: What the size counts, for messages.
    """

    def __init__(self, variable: str, module: str, largest: int, counted: str) -> None:
        self.variable, self.largest = variable, largest
        self._module, self._counted = module, counted
        self.kernels: Callable[[], Any] = cache(self._import)
        """Return the module with the kernels; None where there is no Triton."""
        self._right: dict[tuple[Any, ...], bool] = {}

    def _import(self) -> Any:
        try:
            return importlib.import_module(self._module)
        except ImportError:
            return None

    def _fits(self, tensor: Tensor, size: int) -> bool:
        return tensor.dtype == torch.float32 and 1 <= size <= self.largest

    def demand(self, tensor: Tensor, size: int) -> None:
        """Refuse a call that the kernels cannot serve.

        Raises:
            ValueError: If there is no Triton, the tensor is not on a CUDA device, or its type or the size does not fit.
        """
        advice = f"Set {self.variable}=auto to use Triton where it can be, or choose another method."
        require(self.kernels() is not None, "a call of a Triton kernel", "that where Triton is installed", advice)
        # What Triton's interpreter makes of a kernel takes tensors on the CPU.
        interpreted = type(self.kernels().scan_forward).__name__ == "InterpretedFunction"
        there = tensor.device.type == "cuda" or interpreted
        require(there, f"a Triton kernel for tensors on {tensor.device}", "that on a CUDA device", advice)
        got = f"a Triton kernel for {tensor.dtype} and {size} {self._counted}"
        require(self._fits(tensor, size), got, f"float32 and 1 to {self.largest}", advice)

    def serves(self, tensor: Tensor, size: int, *more: int) -> bool:
        """Whether the kernels serve a call.

        Args:
            tensor: A tensor of the call.
            size: What `largest` limits.
            more: What else `right_numbers` depends on.

        Raises:
            ValueError: If the environment's variable has an unknown value, or asks for Triton where that cannot be.
        """
        wanted = os.environ.get(self.variable, "auto")
        one_of(self.variable, wanted, ("auto", "torch", "triton"))
        if wanted == "torch" or (wanted == "auto" and tensor.device.type != "cuda"):
            return False
        if wanted == "triton":
            self.demand(tensor, size)
            return True
        return self._fits(tensor, size) and self.kernels() is not None and self.right_on(tensor.device, size, *more)

    def right_on(self, device: torch.device, *sizes: int) -> bool:
        """Check a device, once per device and sizes; warn where the kernels are not used because of it."""
        if (device, sizes) in self._right:
            return self._right[device, sizes]
        try:
            right, reason = self.kernels().right_numbers(device, *sizes), "its numbers differ from the reference"
        except Exception as error:  # whatever a compiler or a driver may raise
            right, reason = False, f"it failed with {type(error).__name__}: {error}"
        if not right:
            warnings.warn(
                f"the Triton kernel is not used on {device}: {reason}. PyTorch's own operations serve instead; "
                f"{self.variable}=torch silences this warning.",
                RuntimeWarning,
                stacklevel=3,
            )
        self._right[device, sizes] = bool(right)
        return bool(right)


def agrees(
    scan: Callable[..., Sequence[Tensor]],
    reference: Callable[..., Sequence[Tensor]],
    arguments: Sequence[Tensor],
    device: torch.device,
) -> bool:
    """Whether a scan in float32 on a device agrees with its reference in float64.

    Compared are their results, of which there may be several, and the gradients of a sum of them with random weights.
    """
    with torch.inference_mode(False), torch.enable_grad():
        exact = [value.double().requires_grad_() for value in arguments]
        own = [value.detach().float().to(device).requires_grad_() for value in arguments]
        wanted, found = list(reference(*exact)), list(scan(*own))
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(value.shape, generator=generator, dtype=value.dtype) for value in wanted]
        wanted += torch.autograd.grad(wanted, exact, weights)
        found += torch.autograd.grad(found, own, [weight.to(own[0]) for weight in weights])
    return all(
        torch.allclose(mine.double().cpu(), right, rtol=1e-3, atol=1e-4 * float(right.detach().abs().max()))
        for mine, right in zip(found, wanted, strict=True)
    )


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep PyTorch's own products in float32 inside a `with` block, whatever the program around it allows."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set by PyTorch's newer interface, which does not bear to be mixed with the older one.
        products: Any = torch.backends.cuda.matmul
        newer = products.fp32_precision
        products.fp32_precision = "ieee"
        try:
            yield
        finally:
            products.fp32_precision = newer
        return
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
