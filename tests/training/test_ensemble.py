"""Every model, many runs at once in float32, against its single members in float64 stepped by a plain loop.

As `tests/kernels/test_fuzz.py` does for the kernels: sizes, layouts in memory, the process's default format, modes of autograd,
results that are kept and calls from two threads are drawn; nothing of that may change a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wavemem.elman.network import ElmanEnsemble
from wavemem.kernels.elman import elman_scan_reference
from wavemem.kernels.wave import wave_scan_reference
from wavemem.ssm.diagonal_ssm import h3_block, s4d_block
from wavemem.ssm.mamba import Mamba
from wavemem.ssm.token_model import StackedEmbedding, StackedLinear, TokenModel, generators
from wavemem.ssm.transformer import Transformer
from wavemem.training.ensemble import Ensemble, stack
from wavemem.wave_rnn.network import Cell, GatedRNN, IdentityRNN, RecurrentNetwork, WaveRNN

VOCABULARY, WIDTH, INPUTS = 7, 8, 3
Shape = tuple[int, int, int]  # K runs, T steps, B entries


@dataclass(frozen=True)
class Model:
    """A model, the call that is tried, and the same by a loop over time for one run in float64."""

    make: Callable[[Sequence[int]], Ensemble]
    inputs: Callable[[Shape], tuple[int, ...]]
    call: Callable[[Any, Tensor], Tensor]
    loop: Callable[[Any, Tensor], Tensor]
    runs: tuple[int, int]  # axis of the runs in what goes in and in what comes out
    tokens: bool = False


def _time_first(shape: Shape) -> tuple[int, ...]:
    K, T, B = shape
    return (T, K, B, INPUTS)


def _recurrent(make: Callable[[Sequence[int]], RecurrentNetwork], what: str) -> Model:
    def states(net: RecurrentNetwork, x: Tensor) -> Tensor:
        h = wave_scan_reference(net.kernel(), net.V, net.bias(), x, activation=net.activation)
        return h if isinstance(net, WaveRNN) else h.mT

    def read(net: RecurrentNetwork, x: Tensor) -> Tensor:
        h = wave_scan_reference(net.kernel(), net.V, net.bias(), x, activation=net.activation).flatten(3)
        if net.readout == "mlp":
            return torch.relu(h @ net.W1.mT + net.b1[:, None]) @ net.W2.mT + net.b2[:, None]
        return h @ net.W.mT + net.b_y[:, None]

    if what == "states":
        return Model(make, _time_first, lambda net, x: net.states(x), states, (1, 1))
    if what == "every step":
        return Model(make, _time_first, lambda net, x: net(x, every_step=True), read, (1, 1))
    return Model(make, _time_first, lambda net, x: net(x), lambda net, x: read(net, x)[-1], (1, 0))


def _gated(cell: Cell) -> Model:
    def loop(net: GatedRNN, x: Tensor) -> Tensor:
        layer = getattr(nn, f"{cell}Cell")(net.d, net.hidden).double()
        weights = {"weight_ih": net.W_ih[0], "weight_hh": net.W_hh[0], "bias_ih": net.b_ih[0], "bias_hh": net.b_hh[0]}
        state, out = None, []
        for now in x[:, 0]:
            state = torch.func.functional_call(layer, weights, (now, state))
            out.append((state[0] if cell == "LSTM" else state) @ net.W[0].mT + net.b_y[0])
        return torch.stack(out)[:, None]

    return Model(
        lambda seeds: GatedRNN.initialise(seeds, 5, INPUTS, 2, cell),
        _time_first,
        lambda net, x: net(x, every_step=True),
        loop,
        (1, 1),
    )


def _token_loop(net: TokenModel, tokens: Tensor) -> Tensor:
    """Entry by entry and token by token, in the recurrent form."""
    entries = []
    for b in range(tokens.shape[1]):
        logits, states = net.prefill(tokens[:, b : b + 1, :1])
        said = [logits]
        for t in range(1, tokens.shape[2]):
            now, states = net.step(tokens[:, b : b + 1, t], states)
            said.append(now.unsqueeze(2))
        entries.append(torch.cat(said, 2))
    return torch.cat(entries, 1)


def _tokens(make: Callable[[Sequence[int]], Ensemble]) -> Model:
    return Model(make, lambda s: (s[0], s[2], s[1]), lambda net, x: net(x), _token_loop, (0, 0), tokens=True)


def _blocks(block: Callable[[Sequence[torch.Generator]], nn.Module]) -> Model:
    def make(seeds: Sequence[int]) -> TokenModel:
        draws = generators(seeds, "model")
        embedding = StackedEmbedding.draw(draws, VOCABULARY, WIDTH, sd=1.0)
        blocks: Any = [block(draws), block(draws)]
        return TokenModel(embedding, blocks, StackedLinear.draw(draws, WIDTH, VOCABULARY, bias=False))

    return _tokens(make)


def _wave(**options: Any) -> Callable[[Sequence[int]], WaveRNN]:
    start = {"units": 6, "channels": 2, "inputs": INPUTS, "outputs": 2, "V_init": "normal", "V_scale": 0.3}
    return lambda seeds: WaveRNN.initialise(seeds, **(start | options))


def _identity(seeds: Sequence[int]) -> IdentityRNN:
    return IdentityRNN.initialise(seeds, 6, INPUTS, 2)


MODELS = {
    "Wave-RNN, states": _recurrent(_wave(), "states"),
    "Wave-RNN, every step": _recurrent(_wave(u_init="uniform", activation="tanh"), "every step"),
    "Wave-RNN, last step": _recurrent(_wave(u_init="uniform", kernel=5), "last step"),
    "Wave-RNN, linear": _recurrent(_wave(u_init="uniform", activation="linear"), "states"),
    "Wave-RNN, hidden readout": _recurrent(_wave(readout="mlp", readout_width=4), "last step"),
    "Wave-RNN, hidden readout, every step": _recurrent(_wave(readout="mlp", readout_width=4), "every step"),
    "iRNN, states": _recurrent(_identity, "states"),
    "iRNN, last step": _recurrent(_identity, "last step"),
    "Elman": Model(
        lambda seeds: ElmanEnsemble.initialise(seeds, 6, INPUTS),
        _time_first,
        lambda net, x: net(x, steps=len(x) + 3),
        lambda net, x: net.outputs(elman_scan_reference(net.W_hh, net.W_uh, x, steps=len(x) + 3)),
        (1, 1),
    ),
    "LSTM": _gated("LSTM"),
    "GRU": _gated("GRU"),
    "Mamba": _tokens(lambda seeds: Mamba.initialise(seeds, VOCABULARY, WIDTH, 2)),
    "v-Wave": _tokens(lambda seeds: Mamba.initialise(seeds, VOCABULARY, WIDTH, 1, register="wave", velocity=0.4)),
    "v-Wave, selective": _tokens(
        lambda seeds: Mamba.initialise(seeds, VOCABULARY, WIDTH, 1, register="selective", learn_velocity=False)
    ),
    "v-Wave, ring and state": _tokens(
        lambda seeds: Mamba.initialise(seeds, VOCABULARY, WIDTH, 1, register="ring", state_velocity=0.7)
    ),
    "S4D": _blocks(lambda draws: s4d_block(draws, WIDTH, 4)),
    "H3": _blocks(lambda draws: h3_block(draws, WIDTH, 4, 3)),
    "transformer": _tokens(lambda seeds: Transformer.initialise(seeds, VOCABULARY, WIDTH, 1, heads=2)),
    "transformer, rotary": _tokens(
        lambda seeds: Transformer.initialise(seeds, VOCABULARY, WIDTH, 1, heads=2, position="rope")
    ),
}

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda x: x.contiguous(),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every other": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "offset": lambda x: torch.cat([x[:1], x])[1:],
}


def draw(model: Model, shape: Shape, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if model.tokens:
        return torch.randint(VOCABULARY, model.inputs(shape), generator=generator)
    return torch.randn(model.inputs(shape), generator=generator, dtype=torch.float64).float() * 0.5


def exact(model: Model, seeds: Sequence[int], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs of the single members in float64, and the gradients of a weighted sum of them, stacked over runs."""
    outputs, gradients = [], []
    goes_in, comes_out = model.runs
    for k, seed in enumerate(seeds):
        member = model.make([seed]).double()
        own = x.narrow(goes_in, k, 1)
        y = model.loop(member, own if model.tokens else own.double())
        y = y if y.dim() and y.shape[comes_out] == 1 else y.unsqueeze(comes_out)
        loss = (y * weight(y)).sum()
        names, values = zip(*member.named_parameters(), strict=True)
        found = torch.autograd.grad(loss, values, allow_unused=True)
        gradients.append({n: g for n, g in zip(names, found, strict=True) if g is not None})
        outputs.append(y.detach())
    return torch.cat(outputs, comes_out), {name: torch.cat([g[name] for g in gradients]) for name in gradients[0]}


def weight(y: Tensor) -> Tensor:
    """Uneven weights that all runs share, so that a mean of zero hides nothing."""
    return torch.linspace(0.5, 1.5, y.shape[-1], dtype=y.dtype)


def close(found: Tensor, wanted: Tensor) -> None:
    scale = wanted.abs().max().clamp(min=1.0)
    torch.testing.assert_close(found.double() / scale, wanted / scale, rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=4, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(4, 12), st.integers(1, 4)),
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.sampled_from(sorted(LAYOUTS)),
)
def test_many_runs_are_their_single_members(
    name: str, shape: Shape, seed: int, default: torch.dtype, layout: str
) -> None:
    model, seeds = MODELS[name], range(seed, seed + shape[0])
    x = draw(model, shape, seed)
    wanted, gradients = exact(model, seeds, x)
    torch.set_default_dtype(default)
    try:
        net = model.make(seeds)
        assert {value.dtype for value in net.parameters()} == {torch.float32}
        kept = model.call(net, LAYOUTS[layout](x))
        assert kept.dtype == torch.float32
        before = kept.detach().clone()
        model.call(net, draw(model, shape, seed + 1))
        named = {n: value for n, value in net.named_parameters() if n in gradients}
        found = torch.autograd.grad((kept * weight(kept)).sum(), list(named.values()))
        model.call(net, draw(model, shape, seed + 2))
        assert torch.equal(kept.detach(), before)
    finally:
        torch.set_default_dtype(torch.float32)
    close(before, wanted)
    for own, value in zip(named, found, strict=True):
        close(value, gradients[own])


@pytest.mark.parametrize("name", MODELS)
def test_modes_of_autograd_and_threads_change_no_number(name: str) -> None:
    model, seeds, shape = MODELS[name], (3, 4), (2, 5, 2)
    net = model.make(seeds)
    many = [draw(model, shape, seed) for seed in range(3)]
    wanted = [exact(model, seeds, x)[0] for x in many]
    with torch.inference_mode():
        inferred = [model.call(net, x) for x in many]
    with torch.no_grad():
        silent = [model.call(net, x) for x in many]
    trained = [model.call(net, x) for x in many]  # nothing of the inference is left in it
    trained[0].sum().backward()
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda x: model.call(net, x), many * 4))
    for results in (inferred, silent, trained, threaded[:3], threaded[-3:]):
        for result, right in zip(results, wanted, strict=True):
            close(result.detach().clone(), right)
    assert not any(result.requires_grad for result in (*inferred, *silent))


@pytest.mark.parametrize("name", MODELS)
def test_runs_are_taken_apart_stacked_and_put_back(name: str) -> None:
    model, x = MODELS[name], draw(MODELS[name], (2, 5, 2), 0)
    net, other, single = model.make([3, 4]), model.make([5, 6]), model.make([4])
    outputs = model.call(net, x)
    other.load_state_dict(net.state_dict())
    assert torch.equal(model.call(other, x), outputs)
    outputs.select(model.runs[1], 1).sum().backward()
    for own, value in net.named_parameters():
        assert value.shape[0] == 2
        assert torch.equal(value[1:], single.get_parameter(own))
        assert value.grad is None or not value.grad[0].any()
    assert net.K == 2
    assert torch.equal(model.call(stack([net.run(0), net.run(1)]), x), outputs)
    first, count = net.run(0), sum(value[0].numel() for value in net.parameters())
    with torch.no_grad():
        for value in first.parameters():
            value.zero_()  # a copy: the other has its own
    assert torch.equal(model.call(net, x), outputs)
    assert count == net.parameter_count(True) >= net.parameter_count(False)
    with pytest.raises(ValueError, match="k = 2"):
        net.run(2)
