"""Adam for K independent runs with stacked parameters: each with its own rate, weight decay and gradient clip."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def per_run(name: str, value: float | Sequence[float], K: int) -> Float[Tensor, " K"]:
    """Return one float64 value per run, from one number or K of them.

    Raises:
        ValueError: If there are neither one nor K values, or one of them is negative or not finite.
    """
    values = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
    if len(values) not in (1, K):
        raise ValueError(f"{name} has {len(values)} values; allowed: one, or one per run ({K}). Match the runs.")
    values = values.expand(K).clone()
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise ValueError(f"{name} is {values.tolist()}; allowed: finite numbers >= 0. Correct the value.")
    return values


class EnsembleAdam:
    """Adam (Kingma & Ba, 2015) run by run: equal to `torch.optim.Adam` and `clip_grad_norm_` on each run alone.

    The gradient norm of a run is taken over all its parameters and clipped as in `torch.nn.utils.clip_grad_norm_`;
    weight decay is then added to the gradient (the coupled L2 of `torch.optim.Adam`), or taken off the parameter itself
    (`decoupled`: Loshchilov & Hutter, 2019, equal to `torch.optim.AdamW`).

    A run whose loss or gradient norm is not finite is frozen: from then on its parameters keep their last values. Other
    runs are not touched by it.

    Args:
        parameters: Tensors of shape (K, …); updated in place.
        lr: Learning rate, one or one per run.
        weight_decay: Coupled L2 penalty or decoupled decay, one or one per run.
        clip: Largest gradient norm, one or one per run; None leaves gradients as they are.
        decoupled: Whether the decay is decoupled from the gradient.
        exempt: Positions of parameters that do not decay.
        betas: Decay of the two moments.
        eps: Added to the root of the second moment.

    Raises:
        ValueError: If the parameters do not share K or a value is not allowed.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float | Sequence[float] = 1e-3,
        weight_decay: float | Sequence[float] = 0.0,
        clip: float | Sequence[float] | None = 1.0,
        decoupled: bool = False,
        exempt: Collection[int] = (),
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        sizes = {parameter.shape[0] for parameter in self.parameters if parameter.ndim > 0}
        if len(sizes) != 1 or any(parameter.ndim == 0 for parameter in self.parameters):
            shapes = [tuple(parameter.shape) for parameter in self.parameters]
            raise ValueError(f"parameters have shapes {shapes}; allowed: (K, …) with one K. Stack the runs first.")
        self.K = sizes.pop()
        device = self.parameters[0].device
        self.lr = per_run("lr", lr, self.K).to(device)
        self.weight_decay = per_run("weight_decay", weight_decay, self.K).to(device)
        self.clip = None if clip is None else per_run("clip", clip, self.K).to(device)
        self.decoupled = decoupled
        self.exempt = frozenset(exempt)
        self.betas = betas
        self.eps = eps
        self.steps = torch.tensor(0)
        self.alive: Bool[Tensor, " K"] = torch.ones(self.K, dtype=torch.bool, device=device)
        self._decay = bool((self.weight_decay > 0).any())
        # On a device, to look whether all runs are alive would wait for it.
        self._looks = device.type == "cpu"
        self._mean = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._square = [torch.zeros_like(parameter) for parameter in self.parameters]

    def scale_lr(self, factor: float) -> None:
        """Multiply every run's learning rate by a factor."""
        self.lr.mul_(factor)

    def state(self) -> dict[str, Tensor]:
        """Everything that changes while training but the parameters, in place: moments, rates, and which runs are alive."""
        moments = {f"mean {i}": value for i, value in enumerate(self._mean)}
        moments |= {f"square {i}": value for i, value in enumerate(self._square)}
        return {**moments, "lr": self.lr, "alive": self.alive, "steps": self.steps}

    @torch.no_grad()
    def step(
        self, gradients: Sequence[Tensor], losses: Float[Tensor, " K"] | None = None, factor: float = 1.0
    ) -> Float[Tensor, " K"]:
        """Update all parameters once.

        Args:
            gradients: One per parameter, of the same shapes. Changed in place.
            losses: The runs' losses, used only to freeze runs whose loss is not finite.
            factor: By what all learning rates are multiplied in this update alone.

        Returns:
            Gradient norms before clipping, shape (K,).
        """
        self.steps += 1
        steps = int(self.steps)
        beta1, beta2 = self.betas
        norms = torch.stack([torch.linalg.vector_norm(g.reshape(self.K, -1), dim=1) for g in gradients])
        norms = torch.linalg.vector_norm(norms, dim=0).double()
        finite = torch.isfinite(norms)
        if losses is not None:
            finite &= torch.isfinite(losses)
        self.alive &= finite
        scale = torch.ones_like(norms) if self.clip is None else (self.clip / (norms + 1e-6)).clamp(max=1.0)
        lr = self.lr * factor
        rate = lr / (1.0 - beta1**steps)
        correction = (1.0 - beta2**steps) ** 0.5
        if not self._looks or not bool(self.alive.all()):
            for gradient in gradients:
                gradient.masked_fill_(~self.alive.view((self.K,) + (1,) * (gradient.ndim - 1)), 0.0)
            scale = torch.where(self.alive, scale, 0.0)
            rate = torch.where(self.alive, rate, 0.0)
        # A run that is frozen keeps its parameters.
        kept = 1.0 - torch.where(self.alive, lr, 0.0) * self.weight_decay if self.decoupled else None
        moments = zip(self.parameters, gradients, self._mean, self._square, strict=True)
        for i, (p, g, mean, square) in enumerate(moments):
            shape = (self.K,) + (1,) * (p.ndim - 1)
            g.mul_(scale.to(g.dtype).view(shape))
            if self._decay and i not in self.exempt:
                if kept is not None:
                    p.mul_(kept.to(p.dtype).view(shape))
                else:
                    g.addcmul_(p, self.weight_decay.to(g.dtype).view(shape))
            mean.lerp_(g, 1.0 - beta1)
            square.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
            denominator = square.sqrt().div_(correction).add_(self.eps)
            p.sub_(mean.div(denominator).mul_(rate.to(g.dtype).view(shape)))
        return norms
