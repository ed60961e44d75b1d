"""Ensembles: K independent models side by side, every parameter stacked to the shape (K, …).

All models of the book that are trained are ensembles, so that one call of a kernel and one optimiser serve all seeds and
settings. Run k's outputs depend on slice k of the parameters alone, and its initial weights on its own seed alone.
Weights are kept, stored and put back as PyTorch does it, with `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from wavemem.checks import require
from wavemem.streams import stream


class Ensemble(nn.Module):
    """K independent models with stacked parameters; calling it returns the outputs of all."""

    __call__: Callable[..., Tensor]

    def set_parameters(self, parameters: Mapping[str, Tensor], axes: Mapping[str, str]) -> None:
        """Take copies of tensors as the parameters.

        Args:
            parameters: Name → weights (K, …).
            axes: Name → names of the axes, such as "K N d"; axes of one name have one size.

        Raises:
            ValueError: If parameters are missing, unknown or do not fit together.
        """
        require(
            set(parameters) == set(axes),
            f"parameters named {', '.join(sorted(parameters))}",
            ", ".join(sorted(axes)),
            "Give every weight once, stacked over the runs.",
        )
        sizes: dict[str, int] = {}
        for name, value in parameters.items():
            own = axes[name].split()
            known = ", ".join(f"{axis} = {sizes[axis]}" if axis in sizes else axis for axis in own)
            fits = value.ndim == len(own) and all(
                sizes.setdefault(axis, size) == size for axis, size in zip(own, value.shape, strict=True)
            )
            require(
                fits, f"{name} has shape {tuple(value.shape)}", f"({known})", "Stack the runs along the first axis."
            )
            self.register_parameter(name, nn.Parameter(value.detach().clone()))

    @property
    def K(self) -> int:
        """Number of runs."""
        return len(next(self.parameters()))

    def run(self, k: int) -> Self:
        """Run k alone, as an ensemble of one with copied weights.

        Raises:
            ValueError: If there is no such run.
        """
        require(0 <= k < self.K, f"k = {k}", f"0 to {self.K - 1}", "Choose one of the runs.")
        return _with_tensors(self, (value[k : k + 1] for value in _tensors(self)))

    def parameter_count(self, biases: bool = True) -> int:
        """Parameters of one run, with or without its biases."""
        named = self.named_parameters()
        return sum(value[0].numel() for name, value in named if biases or not name.rpartition(".")[2].startswith("b"))


Kind = TypeVar("Kind", bound=Ensemble)


def _tensors(model: Ensemble) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _with_tensors(model: Kind, tensors: Iterable[Tensor]) -> Kind:
    """A copy of a model with other parameters and buffers, be they of another number of runs."""
    other = copy.deepcopy(model)
    for own, value in zip(_tensors(other), tensors, strict=True):
        own.data = value.detach().clone()
    return other


def stack(ensembles: Sequence[Kind]) -> Kind:
    """Ensembles of one kind and size as one, their runs one after the other, with copied weights."""
    return _with_tensors(ensembles[0], map(torch.cat, zip(*map(_tensors, ensembles), strict=True)))


def draw_runs(
    seeds: Sequence[int],
    draw: Callable[[torch.Generator], Mapping[str, Tensor]],
    dtype: torch.dtype,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """Draw the parameters of one run per seed, each from a stream of its own, and stack them.

    Args:
        seeds: One per run.
        draw: Generator → name → weights of one run, in float64, so that the type does not change the draw.
        dtype, device: Of what is returned.

    Raises:
        ValueError: If there is no seed.
    """
    require(len(seeds) > 0, "seeds is empty", "at least one seed", "Give one seed per run.")
    runs = [draw(stream(seed, "weights")) for seed in seeds]
    return {name: torch.stack([run[name] for run in runs]).to(device, dtype) for name in runs[0]}
