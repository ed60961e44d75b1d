"""What every kernel asks of its arguments.

A compiled kernel reads memory: a tensor of another type, on another device or with a lazy sign would be read as other
numbers. `alike` refuses the first two, `dense` settles the layout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from wavemem.checks import require

_Backward = TypeVar("_Backward", bound=Callable[..., Any])


def alike(**tensors: Tensor | None) -> None:
    """Check that all tensors given are floating point, of one type, on one device, and hold memory of their own.

    Args:
        tensors: by the caller's names; the first is what the others are measured by, None is passed over.

    Raises:
        ValueError: If one is of another type, device or layout, or is no tensor.
    """
    first: tuple[str, Tensor] | None = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        require(isinstance(tensor, Tensor), f"{name} is a {type(tensor).__name__}", "a tensor", "Pass torch.as_tensor.")
        kind = f"{name} holds {tensor.dtype} on {tensor.device}"
        require(tensor.dtype.is_floating_point, kind, "a floating-point type", "Convert it, for example by .float().")
        require(
            tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized,
            f"{name} is a {tensor.layout} tensor on {tensor.device}",
            "a dense tensor that holds numbers",
            "Call .to_dense(), or give it memory on a device.",
        )
        if first is None:
            first = name, tensor
        require(
            tensor.dtype == first[1].dtype and tensor.device == first[1].device,
            kind,
            f"{first[1].dtype} on {first[1].device}, as {first[0]}",
            "Convert all arguments to one type and one device.",
        )


@overload
def dense(tensor: Tensor) -> Tensor: ...
@overload
def dense(tensor: None) -> None: ...
def dense(tensor: Tensor | None) -> Tensor | None:
    """The tensor row by row in memory, a lazy sign (`z.conj().imag`) carried out; itself where it is so already."""
    return None if tensor is None else tensor.resolve_neg().contiguous()


def gradients_wanted(*tensors: Tensor | None) -> bool:
    """Whether a call will be differentiated; `ctx.needs_input_grad` is True of parameters even under `no_grad`."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def first_derivatives(backward: _Backward) -> _Backward:
    """Decorate a `backward` that cannot be differentiated itself, so that asking for that (`create_graph`) raises RuntimeError.

    PyTorch's `once_differentiable` lets gradients without a history out where none comes in, as from a plain sum: second
    derivatives are then zero without a word.
    """

    @functools.wraps(backward)
    def guarded(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "second derivatives of a kernel of wavemem (create_graph=True); allowed: first derivatives. "
                "Use the kernel's _reference function, which PyTorch differentiates any number of times."
            )
        return backward(ctx, *gradients)

    return guarded  # type: ignore[return-value]
