"""Mamba against an independent implementation in loops, and the three ways of running it against each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wavemem.ssm.mamba import Mamba, MambaBlock
from wavemem.ssm.token_model import TokenModel


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


def runs_of(model: TokenModel, k: int) -> dict[str, Tensor]:
    return {name: value[k].double() for name, value in model.parameters_dict().items()}


def test_mamba_is_the_plain_one() -> None:
    model = Mamba.initialise((5, 6), 7, 8, 2, n=3, N=4, dtype=torch.float64)
    tokens = torch.randint(7, (2, 2, 9))
    logits = model(tokens)
    for k in range(2):
        expected = plain_mamba(runs_of(model, k), tokens[k, 1], 2)
        torch.testing.assert_close(logits[k, 1], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recurrent_and_parallel_forms_agree(dtype: torch.dtype) -> None:
    model = Mamba.initialise((0, 1, 2), 9, 16, 2, dtype=dtype)
    tokens = torch.randint(9, (3, 4, 21))
    whole = model(tokens)
    start, states = model.prefill(tokens[:, :, :13])
    parts = [start]
    for t in range(13, 21):
        logits, states = model.step(tokens[:, :, t], states)
        parts.append(logits.unsqueeze(2))
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=1e-5)


def test_state_has_one_size_whatever_the_length() -> None:
    model = Mamba.initialise((0,), 9, 16, 2)
    for length in (3, 40):
        _, states = model.prefill(torch.randint(9, (2, length)))
        kept = sum(value.numel() for state in states for name, value in state.items() if name != "tokens")
        assert kept == 2 * model.state_count(length)


def test_a_later_token_changes_nothing_before() -> None:
    model = Mamba.initialise((0,), 9, 16, 2)
    tokens = torch.randint(9, (1, 12))
    other = tokens.clone()
    other[0, 8] = (other[0, 8] + 1) % 9
    assert torch.equal(model(tokens)[0, 0, :8], model(other)[0, 0, :8])
    assert not torch.equal(model(tokens)[0, 0, 8:], model(other)[0, 0, 8:])


def test_runs_do_not_influence_each_other() -> None:
    several, alone = Mamba.initialise((3, 4), 9, 16, 2), Mamba.initialise((4,), 9, 16, 2)
    tokens = torch.randint(9, (2, 11))
    torch.testing.assert_close(several(tokens)[1], alone(tokens)[0])
    gradients = torch.autograd.grad(several(tokens)[0].sum(), list(several.parameters()), allow_unused=True)
    assert all(g is None or float(g[1].abs().max()) == 0 for g in gradients)


def test_starting_values_are_the_public_ones() -> None:
    model = Mamba.initialise((0,), 9, 64, 2)
    block = model.layers[0]
    assert isinstance(block, MambaBlock)
    assert block.R == 4
    torch.testing.assert_close(block.A()[0, 5], -torch.arange(1.0, 17))
    bias = block.dt_proj.bias
    assert bias is not None
    steps = torch.nn.functional.softplus(bias.detach())
    assert float(steps.min()) >= 1e-3 * 0.999
    assert float(steps.max()) <= 0.1 * 1.001
    assert float(block.out_proj.weight.detach().abs().max()) <= 128**-0.5 / math.sqrt(2)


def test_generation_takes_the_most_probable_token_each_time() -> None:
    model = Mamba.initialise((0, 1), 9, 16, 1)
    prompt = torch.randint(9, (3, 5))
    written = model.generate(prompt, 4)
    text = prompt.expand(2, -1, -1)
    for t in range(4):
        following = model(text)[:, :, -1].argmax(-1)
        assert torch.equal(following, written[:, :, t])
        text = torch.cat([text, following.unsqueeze(-1)], -1)


def test_activity_is_the_past_inputs_moving_by_one_neuron_per_step() -> None:
    model = Mamba.initialise((0,), 9, 16, 2)
    activity = model.activity(torch.randint(9, (2, 10)), layer=1)
    assert activity.shape == (10, 1, 2, 32, 4)
    torch.testing.assert_close(activity[1:, ..., 1:], activity[:-1, ..., :-1])
    assert float(activity[0, ..., 1:].abs().max()) == 0
    assert model.state_activity(torch.randint(9, (2, 10))).shape == (10, 1, 2, 32, 16)
    assert torch.equal(model.velocities(), torch.ones(1, 2, 32))


def test_models_say_what_does_not_fit() -> None:
    model = Mamba.initialise((0, 1), 9, 16, 1)
    with pytest.raises(ValueError, match="tokens have type"):
        model(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="tokens have shape"):
        model(torch.zeros(3, 3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="steps"):
        model.generate(torch.zeros(1, 3, dtype=torch.int64), 0)
    with pytest.raises(ValueError, match="prompts"):
        model.generate(torch.zeros(1, 0, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="layer"):
        model.activity(torch.zeros(1, 3, dtype=torch.int64), layer=1)
    for wrong in ({"layers": 0}, {"n": 0}, {"N": 0}, {"width": 0}, {"vocabulary": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Mamba.initialise((0,), **({"vocabulary": 9, "width": 16, "layers": 1} | wrong))
    with pytest.raises(ValueError, match="one side only"):
        model.load({"embedding.weight": torch.zeros(2, 9, 16)})
    with pytest.raises(ValueError, match="has shape"):
        model.load({name: value[:1] for name, value in model.parameters_dict().items()})


def test_load_is_the_inverse_of_parameters_dict() -> None:
    tokens = torch.randint(9, (2, 6))
    one, other = Mamba.initialise((0, 1), 9, 16, 1), Mamba.initialise((5, 6), 9, 16, 1)
    assert torch.equal(other.load(one.parameters_dict())(tokens), one(tokens))
