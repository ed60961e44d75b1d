"""What the modules with Triton kernels share; nothing here needs Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


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
