"""Choosing where to compute."""

from __future__ import annotations

import torch

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: "auto" (a CUDA device where PyTorch finds one, else the CPU), "cpu" or "cuda".

    Returns:
        The device.

    Raises:
        ValueError: If the name is unknown, or "cuda" is asked for and PyTorch finds no CUDA device.
    """
    if name not in DEVICES:
        raise ValueError(f"device is {name!r}; allowed: {', '.join(DEVICES)}. Choose one of these.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device is 'cuda'; allowed here: auto, cpu. PyTorch finds no CUDA device on this machine.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
