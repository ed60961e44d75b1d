"""Which program serves a call where a Triton kernel might: what the environment asks for, and what has been checked.

A kernel that has never run on a device at hand is not trusted there: it serves by itself only after it has given the right
numbers for a small problem, and else PyTorch's operations do, with a warning. The Wave-RNN's kernel holds the same rules
itself.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from wavemem.checks import one_of, require


class Choice:
    """The choice for one kernel.

    Args:
        variable: Environment variable that says "torch" (never this kernel), "triton" (this one, or an error that says why
            not) or "auto", the default (this one on a CUDA device where it fits and gives the right numbers).
        module: Full name of the module with the kernels; it may need Triton.
        kernel: Name of one of them.
    """

    def __init__(self, variable: str, module: str, kernel: str) -> None:
        self.variable, self._module, self._kernel = variable, module, kernel
        self.kernels: Callable[[], Any] = cache(self._import)
        """Return the module with the kernels; None where there is no Triton."""
        self._right: dict[tuple[Any, ...], bool] = {}

    def _import(self) -> Any:
        try:
            return importlib.import_module(self._module)
        except ImportError:
            return None

    def wanted(self) -> str:
        """Return what the environment asks for.

        Raises:
            ValueError: If it is none of "auto", "torch" and "triton".
        """
        choice = os.environ.get(self.variable, "auto")
        one_of(self.variable, choice, ("auto", "torch", "triton"))
        return choice

    def interpreted(self) -> bool:
        """Whether the kernels are carried out by Triton's interpreter, which takes tensors on the CPU."""
        return type(getattr(self.kernels(), self._kernel)).__name__ == "InterpretedFunction"

    def demand(self, tensor: Tensor, fits: bool, got: str, allowed: str) -> None:
        """Refuse a call that the kernels cannot serve.

        Args:
            tensor: A tensor of the call.
            fits: Whether types and sizes are such that the kernels could serve it.
            got: Types and sizes, for the message.
            allowed: What would fit, for the message.

        Raises:
            ValueError: If there is no Triton, the tensor is not on a CUDA device, or it does not fit.
        """
        advice = f"Set {self.variable}=auto to use Triton where it can be, or choose another method."
        require(self.kernels() is not None, "a call of a Triton kernel", "that where Triton is installed", advice)
        there = tensor.device.type == "cuda" or self.interpreted()
        require(there, f"a Triton kernel for tensors on {tensor.device}", "that on a CUDA device", advice)
        require(fits, f"a Triton kernel for {got}", allowed, advice)

    def serves(
        self,
        tensor: Tensor,
        fits: bool,
        got: str,
        allowed: str,
        check: Callable[[torch.device], bool],
        key: object = None,
    ) -> bool:
        """Whether the kernels serve a call.

        Args:
            tensor: As in `demand`, as the next three.
            fits: See there.
            got: See there.
            allowed: See there.
            check: Runs a small problem on a device and says whether its numbers were right; asked once per device and key.
            key: What else the check depends on.

        Raises:
            ValueError: If the environment's variable has an unknown value, or asks for Triton where that cannot be.
        """
        wanted = self.wanted()
        if wanted == "torch" or (wanted == "auto" and tensor.device.type != "cuda"):
            return False
        if wanted == "triton":
            self.demand(tensor, fits, got, allowed)
            return True
        return fits and self.kernels() is not None and self.right_on(tensor.device, check, key)

    def right_on(self, device: torch.device, check: Callable[[torch.device], bool], key: object = None) -> bool:
        """Ask a check once per device and key; warn where the kernels are not used because of it."""
        if (device, key) not in self._right:
            self._right[device, key] = self._ask(device, check)
        return self._right[device, key]

    def _ask(self, device: torch.device, check: Callable[[torch.device], bool]) -> bool:
        try:
            right, reason = check(device), "its numbers differ from the reference"
        except Exception as error:  # whatever a compiler or a driver may raise
            right, reason = False, f"it failed with {type(error).__name__}: {error}"
        if not right:
            warnings.warn(
                f"the Triton kernel is not used on {device}: {reason}. PyTorch's own operations serve instead; "
                f"{self.variable}=torch silences this warning.",
                RuntimeWarning,
                stacklevel=4,
            )
        return right


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
