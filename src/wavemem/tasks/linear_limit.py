"""What a linear recurrent network can make of a task: the smallest loss over all of them.

The output of a linear Elman network is y(t) = Σ_k R_k u(t - k) with R_k = W_r W_hh^k W_uh: what it makes of an input depends
on how long ago it came, not on where in the history it stood. A linear history-dependent system asks for
y*(s + m) = Σ_i A_{m,i} u(i), where A_{m,i} need not be a function of m - i. The part that is not cannot be learned without
a non-linearity, however many neurons there are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int
from wavemem.tasks.hds import LinearHDS

__all__ = ["linear_floor"]


def linear_floor(task: LinearHDS, horizon: int) -> Float[Tensor, " d"]:
    """Smallest mean squared error of each output that a linear network can have, over independent ±1 histories.

    For entries of zero mean and unit variance the expected squared error is the sum of the squared differences of the
    coefficients. Each R_k is fitted to all the A_{m,i} with s + m - i = k, so the best one is their mean. It is attained:
    a delay line holds every u(t - k) that counts.

    Args:
        task: The linear history-dependent system.
        horizon: Steps of the output phase.

    Returns:
        One loss per output, averaged over the horizon; their mean is the smallest training loss.

    Raises:
        ValueError: If the horizon is not a positive whole number.
    """
    horizon = positive_int("horizon", horizon)
    A = task.horizon_operator(horizon).double().reshape(horizon, task.d, task.s, task.d)
    total = torch.zeros(task.d, dtype=torch.float64)
    for delay in range(1, task.s + horizon):
        # 0-based: output step m, history entry i, and s + m - i = delay.
        pairs = [(m, task.s + m - delay) for m in range(horizon) if 0 <= task.s + m - delay < task.s]
        same = torch.stack([A[m, :, i] for m, i in pairs])
        total += ((same - same.mean(0)) ** 2).sum((0, 2))
    return total / horizon
