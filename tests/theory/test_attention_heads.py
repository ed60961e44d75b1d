"""The KV cache as a travelling wave and as a ring buffer, and the trainable heads."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.attention import (
    AttentionHeads,
    SelfAttentionBoundary,
    alibi_bias,
    apply,
    generate,
    moving_frame,
    rope_frequencies,
    rotate,
)
from wavemem.theory.boundary import run
from wavemem.theory.lookup import LookupHDS
from wavemem.theory.readings import estimate_velocity

DOUBLE = torch.float64


def head(d: int, d_k: int, stack: tuple[int, ...] = (), seed: int = 0, **options: object) -> SelfAttentionBoundary:
    g = torch.Generator().manual_seed(seed)
    W_K, W_Q, W_V = (torch.randn(*stack, m, d, generator=g, dtype=DOUBLE) for m in (d_k, d_k, d))
    # An orthogonal value map: random ones let the sequence grow or die within a few steps.
    return SelfAttentionBoundary(W_K, W_Q, torch.linalg.qr(W_V).Q, **options)


def window(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(9), dtype=DOUBLE)


POSITIONS = {
    "content": {},
    "ALiBi": {"bias": alibi_bias(6, 0.3)},
    "RoPE": {"frequencies": rope_frequencies(4, base=100.0)},
    "both, soft": {"bias": alibi_bias(6, -0.2), "frequencies": rope_frequencies(4), "temperature": 2.0},
    "hard": {"temperature": 0.0},
}


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("stack", [(), (3,)])
def test_both_caches_generate_what_the_substrate_does(name: str, stack: tuple[int, ...]) -> None:
    f, u, horizon = head(5, 4, stack, **POSITIONS[name]), window(*stack, 7, 6, 5), 20
    expected = run(u, f, horizon)[1:, ..., -1, :].movedim(0, -2)
    for cache in ("travelling", "ring"):
        assert (generate(f, u, horizon, cache).outputs - expected).abs().max() < 1e-10


def test_the_travelling_cache_is_the_substrate_in_another_basis() -> None:
    f, u = head(5, 4), window(6, 5)
    states, cache = run(u, f, 12), generate(f, u, 12)
    torch.testing.assert_close(cache.keys.mT, apply(f.W_K, states))
    torch.testing.assert_close(cache.values.mT, apply(f.W_V, states))


def test_the_ring_buffer_is_the_same_memory_in_a_moving_frame() -> None:
    f, u = head(5, 4), window(3, 6, 5)
    wave, ring = generate(f, u, 15), generate(f, u, 15, "ring")
    torch.testing.assert_close(moving_frame(ring.keys, ring.newest), wave.keys)
    torch.testing.assert_close(moving_frame(ring.values, ring.newest), wave.values)
    torch.testing.assert_close(moving_frame(ring.weights, ring.newest[:-1]), wave.weights)
    # In its own frame one slot per step changes, the others stand still.
    changed = (ring.values[1:] != ring.values[:-1]).any(dim=(1, 2)).sum(-1)
    assert changed.tolist() == [1] * 15


def test_the_travelling_cache_travels_at_one_column_per_step() -> None:
    # A head whose sequence neither dies nor settles, so that there is something to see for the whole time.
    wave = generate(LookupHDS(24, 4).head(), window(24, 4).sign(), 48)
    for activity in (wave.keys, wave.values):
        assert abs(float(estimate_velocity(activity).value) - 1.0) < 0.05


def test_ropes_keys_turn_as_they_travel() -> None:
    theta = rope_frequencies(4, base=100.0)
    f, u = head(5, 4, frequencies=theta), window(6, 5)
    keys = generate(f, u, 10).keys.mT
    torch.testing.assert_close(keys[1:, :-1], rotate(keys[:-1, 1:], -theta))
    # In the ring buffer they stand still, turned once by their absolute time; the two differ by the query's turn.
    ring = generate(f, u, 10, "ring")
    rolled = moving_frame(ring.keys, ring.newest).mT
    now = torch.arange(5, 16, dtype=DOUBLE)[:, None, None]
    torch.testing.assert_close(rotate(rolled, -now * theta), keys)


def test_a_run_depends_on_its_own_seed_alone() -> None:
    many, one = AttentionHeads.initialise([4, 7], 5, s=3), AttentionHeads.initialise([7], 5, s=3)
    for name, value in many.named_parameters():
        assert torch.equal(value[1], dict(one.named_parameters())[name][0])
    assert many.K == 2
    assert float(many.W_K.detach().abs().max()) <= 5**-0.5


def test_heads_run_their_substrates() -> None:
    heads = AttentionHeads.initialise([0, 1], 4, s=6, key_size=3, dtype=DOUBLE)
    u = window(2, 5, 6, 4)
    y = heads(u, 7)
    assert y.shape == (2, 5, 7, 4)
    for k in range(2):
        torch.testing.assert_close(y[k].detach(), run(u[k], heads.run(k), 7)[1:, :, -1].movedim(0, 1))
    y.square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in heads.parameters())


def test_bad_arguments() -> None:
    f, u = head(4, 2), window(6, 4)
    with pytest.raises(ValueError, match="cache = 'still'"):
        generate(f, u, 3, "still")
    with pytest.raises(ValueError, match="horizon = 0"):
        generate(f, u, 0)
    with pytest.raises(ValueError, match="u has shape"):
        generate(f, window(6, 3), 3)
    with pytest.raises(ValueError, match="newest has shape"):
        moving_frame(torch.ones(4, 2, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match="seeds is empty"):
        AttentionHeads.initialise([], 4)
    heads = AttentionHeads.initialise([0], 4)
    with pytest.raises(ValueError, match="k = 1"):
        heads.run(1)
    with pytest.raises(ValueError, match="u has shape"):
        heads(window(2, 5, 6, 4), 3)
    with pytest.raises(ValueError, match="W_K has shape"):
        AttentionHeads(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 3))
