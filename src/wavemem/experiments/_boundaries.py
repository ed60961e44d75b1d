"""The models that the self-attention experiment compares, as functions of stacked parameters.

Three are boundaries of a substrate, f: (K, B, s, d) → (K, B, d): one attention head by content ("SBC") or with a learned bias
by column ("SBC + position"), a matrix ("LBC"), and a layer of tanh neurons with biases ("hidden layer"). The fourth,
"Elman", has no substrate and must build its own (TWM Eq. 9).

All but the hidden layer are odd functions of the history, f(-h) = -f(h): they have no biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, shape_is
from wavemem.kernels.elman import elman_scan
from wavemem.models.attention import AttentionHeads
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.substrate.attention import SelfAttentionBoundary, apply
from wavemem.substrate.lattice import step

__all__ = ["MODELS", "boundary_of", "free_run", "initial", "next_vectors", "parameter_count", "windows"]

MODELS = ("SBC", "SBC + position", "LBC", "hidden layer", "Elman")

Parameters = Mapping[str, Tensor]


def initial(
    model: str, seeds: Sequence[int], s: int, d: int, hidden: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Initial weights, one model per seed: every matrix from U(±1/√(its inputs)), PyTorch's default for a linear layer.

    Args:
        model: one of ``MODELS``.
        seeds: one seed per model; its weights depend on that alone.
        s: columns.
        d: waves.
        hidden: neurons of "Elman" and "hidden layer".
        device: where the weights shall live.

    Returns:
        Name → stacked weights (K, …).

    Raises:
        ValueError: if there is no such model.
    """
    one_of("model", model, MODELS)
    if model == "Elman":
        elman = ElmanEnsemble.initialise(seeds, hidden, d, device=device)
        return {name: value.detach() for name, value in elman.named_parameters()}
    if model.startswith("SBC"):
        heads = AttentionHeads.initialise(seeds, d, s=s if model == "SBC + position" else None, device=device)
        return {name: value.detach() for name, value in heads.named_parameters()}
    shapes: dict[str, tuple[int, ...]] = {"F": (d, s * d)}
    inputs = {"F": s * d, "W_1": s * d, "b_1": s * d, "W_2": hidden}
    if model == "hidden layer":
        shapes = {"W_1": (hidden, s * d), "b_1": (hidden,), "W_2": (d, hidden)}
    drawn: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for seed in seeds:
        generator = stream(seed, "weights")
        for name, shape in shapes.items():
            uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
            drawn[name].append(uniform / math.sqrt(inputs[name]))
    return {name: torch.stack(values).to(device, torch.float32) for name, values in drawn.items()}


def parameter_count(parameters: Parameters) -> int:
    """Numbers that each of the stacked models learns."""
    return sum(value[0].numel() for value in parameters.values())


def boundary_of(model: str, parameters: Parameters) -> Callable[[Tensor], Tensor]:
    """The boundary f of a substrate model, from (K, …, s, d) to (K, …, d).

    Raises:
        ValueError: if the model is not a boundary.
    """
    one_of("model", model, [name for name in MODELS if name != "Elman"])
    if model == "LBC":
        return lambda h: apply(parameters["F"], h.flatten(-2))
    if model == "hidden layer":
        W_1, b_1, W_2 = (parameters[name] for name in ("W_1", "b_1", "W_2"))

        def layer(h: Tensor) -> Tensor:
            bias = b_1.reshape(b_1.shape[0], *(1,) * (h.ndim - 3), b_1.shape[1])
            return apply(W_2, torch.tanh(apply(W_1, h.flatten(-2)) + bias))

        return layer
    return SelfAttentionBoundary(parameters["W_K"], parameters["W_Q"], parameters["W_V"], bias=parameters.get("bias"))


def windows(u: Float[Tensor, "*batch s d"], future: Float[Tensor, "*batch T d"]) -> Float[Tensor, "*batch T s d"]:
    """The substrate's true states before each vector of ``future``: window t ends with the vector before future[t]."""
    s = u.shape[-2]
    return torch.cat([u, future[..., :-1, :]], dim=-2).unfold(-2, s, 1).mT


def next_vectors(
    model: str, parameters: Parameters, u: Float[Tensor, "K batch s d"], future: Float[Tensor, "K batch T d"]
) -> Float[Tensor, "K batch T d"]:
    """Predictions of ``future``, each from the true past before it.

    The substrate holds the last s vectors; the Elman network has read all of them, one after the other.

    Raises:
        ValueError: if there is no such model or the shapes do not fit.
    """
    one_of("model", model, MODELS)
    shape_is("future", future, (*u.shape[:2], "T", u.shape[-1]))
    if model != "Elman":
        return boundary_of(model, parameters)(windows(u, future))
    shown = torch.cat([u, future[..., :-1, :]], dim=-2).permute(2, 0, 1, 3)
    states = elman_scan(parameters["W_hh"], parameters["W_uh"], shown)[u.shape[-2] - 1 :]
    return torch.einsum("tkbn,kdn->kbtd", states, parameters["W_r"])


def free_run(
    model: str,
    parameters: Parameters,
    u: Float[Tensor, "K batch s d"],
    horizon: int,
    signs: bool = False,
    silent: bool = False,
) -> Float[Tensor, "K batch horizon d"]:
    """What a model produces after the history u when nobody corrects it.

    A substrate writes its outputs into column s. The Elman network is given its own output as the next input, or,
    where ``silent``, zeros: the output phase of the paper, in which its first output follows one silent step.

    Args:
        model: one of ``MODELS``.
        parameters: its stacked weights.
        u: histories.
        horizon: steps.
        signs: replace every output by its signs before it is written or read in.
        silent: the Elman network receives zeros.

    Raises:
        ValueError: if there is no such model.
    """
    one_of("model", model, MODELS)
    outputs = []
    if model != "Elman":
        h, f = u, boundary_of(model, parameters)
        for _ in range(horizon):
            h = step(h, f)
            outputs.append(h[..., -1, :])
            if signs:
                h = torch.cat([h[..., :-1, :], h[..., -1:, :].sign()], dim=-2)
        return torch.stack(outputs, dim=-2)
    W_hh, W_uh, W_r = (parameters[name] for name in ("W_hh", "W_uh", "W_r"))
    shown = u.permute(2, 0, 1, 3)
    if silent:
        states = elman_scan(W_hh, W_uh, shown, steps=u.shape[-2] + horizon)[u.shape[-2] :]
        return torch.einsum("tkbn,kdn->kbtd", states, W_r)
    state = elman_scan(W_hh, W_uh, shown)[-1]
    for t in range(horizon):
        y = apply(W_r, state)
        outputs.append(y)
        if t < horizon - 1:
            read = y.sign() if signs else y
            state = elman_scan(W_hh, W_uh, read.unsqueeze(0), h0=state)[-1]
    return torch.stack(outputs, dim=-2)
