"""Mamba against an independent implementation in loops; what each option does to the register or the state."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from wavemem.ssm.mamba import Mamba


def plain_mamba(weights: dict[str, Tensor], tokens: Tensor, layers: int) -> Tensor:
    """One run of Mamba, token by token and channel by channel, with nothing of the library in it."""

    def norm(x: Tensor, gain: Tensor) -> Tensor:
        return x / (x.pow(2).mean() + 1e-5).sqrt() * gain

    def silu(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    stream = [weights["embedding.weight"][int(token)] for token in tokens]
    for layer in range(layers):
        w = {name.split(".", 2)[2]: value for name, value in weights.items() if name.startswith(f"blocks.{layer}.")}
        E, N = w["D_skip"].shape[0], w["A_log"].shape[1]
        R, n = w["dt_proj.weight"].shape[1], w["register.C"].shape[1]
        past = [torch.zeros(E, dtype=torch.float64) for _ in range(n)]
        state = torch.zeros(E, N, dtype=torch.float64)
        following = []
        for x in stream:
            both = w["in_proj.weight"] @ norm(x, w["norm.gain"])
            u, z = both[:E], both[E:]
            past = [u, *past[:-1]]
            u = silu(sum((w["register.C"][:, j] * past[j] for j in range(n)), w["register.bias"]))
            parts = w["x_proj.weight"] @ u
            step = (w["dt_proj.weight"] @ parts[:R] + w["dt_proj.bias"]).exp().log1p()
            into, out = parts[R : R + N], parts[R + N :]
            y = torch.zeros(E, dtype=torch.float64)
            for e in range(E):
                decay = (step[e] * -w["A_log"][e].exp()).exp()
                state[e] = decay * state[e] + step[e] * into * u[e]
                y[e] = (out * state[e]).sum() + w["D_skip"][e] * u[e]
            following.append(x + w["out_proj.weight"] @ (y * silu(z)))
        stream = following
    return torch.stack([weights["head.weight"] @ norm(x, weights["norm.gain"]) for x in stream])


def make(**options: Any) -> Mamba:
    return Mamba.initialise((0, 1), 9, 16, 2, **options)


def test_mamba_is_the_plain_one() -> None:
    model = Mamba.initialise((5, 6), 7, 8, 2, n=3, N=4).double()
    tokens = torch.randint(7, (2, 2, 9))
    logits = model(tokens)
    for k in range(2):
        own = {name: value[k] for name, value in model.state_dict().items()}
        torch.testing.assert_close(logits[k, 1], plain_mamba(own, tokens[k, 1], 2))


def test_starting_values_are_the_public_ones() -> None:
    block = Mamba.initialise((0,), 9, 64, 2).layers[0]
    assert block.R == 4
    torch.testing.assert_close(block.A()[0, 5], -torch.arange(1.0, 17))
    bias = block.dt_proj.bias
    assert bias is not None
    steps = nnf.softplus(bias.detach())
    assert float(steps.min()) >= 1e-3 * 0.999
    assert float(steps.max()) <= 0.1 * 1.001
    assert float(block.out_proj.weight.detach().abs().max()) <= 128**-0.5 / math.sqrt(2)


def test_activity_is_the_past_inputs_moving_by_one_neuron_per_step() -> None:
    model, tokens = make(), torch.randint(9, (2, 10))
    activity = model.activity(tokens, layer=1)
    assert activity.shape == (10, 2, 2, 32, 4)
    torch.testing.assert_close(activity[1:, ..., 1:], activity[:-1, ..., :-1])
    assert float(activity[0, ..., 1:].abs().max()) == 0
    assert model.state_activity(tokens).shape == (10, 2, 2, 32, 16)
    assert torch.equal(model.velocities(), torch.ones(2, 2, 32))


def test_at_velocity_one_a_wave_is_mamba_and_at_zero_it_writes_nothing() -> None:
    tokens = torch.randint(9, (2, 15))
    one, zero = make(register="wave", velocity=1.0), make(register="wave", velocity=0.0, learn_velocity=False)
    torch.testing.assert_close(one(tokens), make()(tokens))
    assert torch.equal(one.velocities(), torch.ones(2, 2, 32))
    assert float(zero.activity(tokens).abs().max()) < 1e-12


def test_the_same_seed_gives_the_same_weights_whatever_the_register() -> None:
    mamba = make().state_dict()
    kinds: tuple[dict[str, Any], ...] = ({"register": "wave"}, {"register": "ring"}, {"register": "selective"})
    for options in (*kinds, {"state_velocity": 0.5}):
        own = make(**options).state_dict()
        assert all(name.endswith("A_log") or torch.equal(own[name], value) for name, value in mamba.items())


def test_register_moves_as_the_equation_says() -> None:
    model, tokens = make(register="wave", velocity=[0.25, 0.6]), torch.randint(9, (2, 8))
    activity = model.activity(tokens)
    x = model.layers[0].inputs(model.block_input(tokens, 0))[0]
    for k, v in enumerate((0.25, 0.6)):
        h = torch.zeros(2, 32, 4)
        for t in range(8):
            shifted = torch.cat([x[k, :, t, :, None], h[..., :-1]], -1)
            h = (1 - v) * h + v * shifted
            torch.testing.assert_close(activity[t, k], h.detach())
    torch.testing.assert_close(model.velocities()[:, 0, 0], torch.tensor([0.25, 0.6]))


def test_a_token_s_own_velocity_is_what_moves_it() -> None:
    model, tokens = make(register="selective", velocity=0.3), torch.randint(9, (2, 8))
    torch.testing.assert_close(model(tokens), make(register="wave", velocity=0.3)(tokens))  # g = 0
    register = model.layers[0].register
    with torch.no_grad():
        register.get_parameter("g").fill_(0.7)
        x = model.layers[0].inputs(model.block_input(tokens, 0))[0]
        v = torch.sigmoid(math.log(0.3 / 0.7) + 0.7 * (x @ register.get_parameter("w").mT.unsqueeze(1)))
        assert float(v.std()) > 1e-4
        h = torch.zeros(2, 2, 32, 4)
        for t, now in enumerate(model.activity(tokens)):
            share = v[:, :, t, :, None]
            h = (1 - share) * h + share * torch.cat([x[:, :, t, :, None], h[..., :-1]], -1)
            torch.testing.assert_close(now, h, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(model.velocities(), torch.full((2, 2, 32), 0.3))


def test_a_frozen_velocity_is_no_parameter() -> None:
    learned, frozen = make(register="wave"), make(register="wave", learn_velocity=False)
    assert learned.parameter_count() - frozen.parameter_count() == 2 * 32
    assert learned.parameter_count() == make(n=5).parameter_count()
    assert not any("theta" in name for name in frozen.state_dict())


def test_turning_the_state_is_turning_B_and_C() -> None:
    """The state itself turned by e^{iωv} per token, in complex numbers, against the phases on B and C."""
    torch.manual_seed(0)
    model = Mamba.initialise((0,), 9, 16, 1, N=8, state_velocity=0.7).double()
    block = model.layers[0]
    x = model.block_input(torch.randint(9, (1, 14)), 0)
    u, z = block.inputs(x)
    u = block.register(u)
    step, B, C = (part[0, 0] for part in block.x_proj(u).split([block.R, 8, 8], dim=-1))
    assert block.dt_proj.bias is not None
    delta = nnf.softplus(step @ block.dt_proj.weight[0].mT + block.dt_proj.bias[0])
    b, c = (torch.view_as_complex(part.contiguous().view(-1, 4, 2)) for part in (B, C))
    m = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    turn = torch.polar(torch.ones_like(m), -2 * math.pi * float(model.state_velocities()[0, 0]) / 4 * m)
    h = torch.zeros(32, 4, dtype=torch.complex128)
    A = block.A()[0, :, ::2]
    for t in range(14):
        h = (delta[t, :, None] * A).exp() * turn * h + (delta[t] * u[0, 0, t])[:, None] * b[t]
        y = (h * c[t].conj()).real.sum(-1) + block.D_skip[0] * u[0, 0, t]
        out = x[0, 0, t] + block.out_proj.weight[0] @ (y * nnf.silu(z[0, 0, t]))
        torch.testing.assert_close(block(x)[0, 0, t], out)


def test_state_wave_at_rest_is_a_state_with_paired_decays() -> None:
    wave, mamba, tokens = make(state_velocity=0.0), make(), torch.randint(9, (2, 12))
    with torch.no_grad():
        for block, own in zip(mamba.layers, wave.layers, strict=True):
            block.A_log.copy_(own.A_log.repeat_interleave(2, -1))
    torch.testing.assert_close(wave(tokens), mamba(tokens))
    for still in (wave, mamba):
        assert torch.equal(still.state_velocities(), torch.zeros(2, 2))
    torch.testing.assert_close(make(state_velocity=0.5).state_velocities(), torch.full((2, 2), 0.5))
