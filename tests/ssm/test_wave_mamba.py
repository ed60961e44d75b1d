"""Mamba with waves: what each option does to the register or the state, and the forms of computing it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from wavemem.ssm.mamba import Mamba, MambaBlock
from wavemem.ssm.wave_mamba import WaveMamba, WaveStateBlock

OPTIONS: list[dict[str, Any]] = [
    {},
    {"velocity": 1.0},
    {"learn_velocity": False, "velocity": 0.3},
    {"register": "ring", "velocity": 1.7},
    {"register": "selective"},
    {"register": "shift", "state_velocity": 0.5},
    {"velocity": 0.4, "state_velocity": 1.3},
]


def make(**options: Any) -> WaveMamba:
    return WaveMamba.initialise((0, 1), 9, 16, 2, **options)


@pytest.mark.parametrize("options", OPTIONS)
def test_recurrent_and_parallel_forms_agree(options: dict[str, Any]) -> None:
    model = make(**options)
    tokens = torch.randint(9, (2, 3, 19))
    whole = model(tokens)
    start, states = model.prefill(tokens[:, :, :11])
    parts = [start]
    for t in range(11, 19):
        logits, states = model.step(tokens[:, :, t], states)
        parts.append(logits.unsqueeze(2))
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    model = make(**options)
    loss = model(torch.randint(9, (2, 3, 19))).square().sum()
    named = list(model.named_parameters())
    gradients = torch.autograd.grad(loss, [value for _, value in named], allow_unused=True)
    for (name, _), gradient in zip(named, gradients, strict=True):
        assert gradient is not None, name
        assert bool(torch.isfinite(gradient).all()), name
        # w acts through g, which starts at 0; σ(θ) is flat where v = 1.
        flat = name.endswith("register.w") or (name.endswith("theta") and options.get("velocity") == 1.0)
        assert flat or float(gradient.abs().max()) > 0, name


def test_at_velocity_one_it_is_mamba() -> None:
    tokens = torch.randint(9, (2, 15))
    mamba = Mamba.initialise((0, 1), 9, 16, 2)
    torch.testing.assert_close(make(velocity=1.0)(tokens), mamba(tokens))
    torch.testing.assert_close(make(register="shift")(tokens), mamba(tokens))
    assert torch.equal(make(velocity=1.0).velocities(), torch.ones(2, 2, 32))


def test_a_stopped_wave_writes_nothing() -> None:
    model = make(velocity=0.0, learn_velocity=False)
    assert float(model.activity(torch.randint(9, (2, 15))).abs().max()) < 1e-12


def test_the_same_seed_gives_the_same_weights_as_mamba() -> None:
    mamba = Mamba.initialise((0, 1), 9, 16, 2).parameters_dict()
    for options in OPTIONS:
        own = make(**options).parameters_dict()
        for name, value in mamba.items():
            assert name.endswith("A_log") or torch.equal(own[name], value), name


def test_register_moves_as_the_equation_says() -> None:
    model = make(velocity=[0.25, 0.6])
    tokens = torch.randint(9, (2, 8))
    activity = model.activity(tokens)
    block = model.layers[0]
    assert isinstance(block, MambaBlock)
    x = block._inputs(model.block_input(tokens, 0))[0]
    for k, v in enumerate((0.25, 0.6)):
        h = torch.zeros(2, 32, 4)
        for t in range(8):
            shifted = torch.cat([x[k, :, t, :, None], h[..., :-1]], -1)
            h = (1 - v) * h + v * shifted
            torch.testing.assert_close(activity[t, k], h.detach())
    torch.testing.assert_close(model.velocities()[:, 0, 0], torch.tensor([0.25, 0.6]))


def test_a_frozen_velocity_is_no_parameter() -> None:
    learned, frozen = make(), make(learn_velocity=False)
    assert learned.parameter_count() - frozen.parameter_count() == 2 * 32
    assert learned.parameter_count() == Mamba.initialise((0, 1), 9, 16, 2, n=5).parameter_count()
    assert not any("theta" in name for name in frozen.parameters_dict())


def test_turning_the_state_is_turning_B_and_C() -> None:
    """The state itself turned by e^{iωv} per token, in complex numbers, against the phases on B and C."""
    torch.manual_seed(0)
    model = WaveMamba.initialise((0,), 9, 16, 1, N=8, register="shift", state_velocity=0.7, dtype=torch.float64)
    block = model.layers[0]
    assert isinstance(block, WaveStateBlock)
    x = model.block_input(torch.randint(9, (1, 14)), 0)
    u, z = block._inputs(x)
    u = block.register(u)
    step, B, C = (part[0, 0] for part in block.x_proj(u).split([block.R, 8, 8], dim=-1))
    assert block.dt_proj.bias is not None
    delta = torch.nn.functional.softplus(step @ block.dt_proj.weight[0].mT + block.dt_proj.bias[0])
    b, c = (torch.view_as_complex(part.contiguous().view(-1, 4, 2)) for part in (B, C))
    m = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    turn = torch.polar(torch.ones_like(m), -2 * math.pi * 0.7 / 4 * m)
    h = torch.zeros(32, 4, dtype=torch.complex128)
    A = block.A()[0, :, ::2]
    for t in range(14):
        h = (delta[t, :, None] * A).exp() * turn * h + (delta[t] * u[0, 0, t])[:, None] * b[t]
        y = (h * c[t].conj()).real.sum(-1) + block.D_skip[0] * u[0, 0, t]
        out = x[0, 0, t] + block.out_proj.weight[0] @ (y * torch.nn.functional.silu(z[0, 0, t]))
        torch.testing.assert_close(block(x)[0, 0, t], out)


def test_state_wave_at_rest_is_a_state_with_paired_decays() -> None:
    wave = make(register="shift", state_velocity=0.0)
    mamba = Mamba.initialise((0, 1), 9, 16, 2)
    tokens = torch.randint(9, (2, 12))
    with torch.no_grad():
        for block, own in zip(mamba.layers, wave.layers, strict=True):
            assert isinstance(block, MambaBlock)
            assert isinstance(own, WaveStateBlock)
            block.A_log.copy_(own.A_log.repeat_interleave(2, -1))
    torch.testing.assert_close(wave(tokens), mamba(tokens))
    assert torch.equal(wave.state_velocities(), torch.zeros(2, 2))
    torch.testing.assert_close(make(state_velocity=0.5).state_velocities(), torch.full((2, 2), 0.5))


def test_models_say_what_does_not_fit() -> None:
    for options, named in (
        ({"velocity": 1.5}, "velocity"),
        ({"velocity": -0.1}, "velocity"),
        ({"velocity": (0.5,)}, "velocities"),
        ({"register": "river"}, "register"),
        ({"state_velocity": 0.5, "N": 5}, "N = 5"),
        ({"damping": 0.0, "register": "ring"}, "damping"),
        ({"layers": 0}, "layers"),
    ):
        with pytest.raises(ValueError, match=named):
            WaveMamba.initialise(**({"seeds": (0, 1), "vocabulary": 9, "width": 16, "layers": 1} | options))
