"""Which device chapters run on when nobody says, without importing PyTorch where its version already tells."""

from __future__ import annotations

import importlib.metadata

from wavemem.building.errors import UsageError, choose
from wavemem.building.paths import DEVICES

__all__ = ["resolve_device"]


def _has_cuda() -> bool:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    if version.endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def resolve_device(device: str) -> str:
    """Turn "auto" into "cuda" where there is a usable GPU, else into "cpu".

    Raises:
        UsageError: If the name is unknown, or "cuda" is asked for where there is none.
    """
    choose("device", device, DEVICES)
    if device == "cpu":
        return "cpu"
    if _has_cuda():
        return "cuda"
    if device == "cuda":
        raise UsageError("device 'cuda' is not available on this machine; available: auto, cpu")
    return "cpu"
