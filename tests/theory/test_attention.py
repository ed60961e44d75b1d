"""The self-attention boundary, its KV cache as a travelling wave and as a ring buffer, and the look-up system."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.attention import (
    LookupHDS,
    SelfAttentionBoundary,
    alibi_bias,
    apply,
    attend,
    column_ages,
    generate,
    moving_frame,
    negacyclic_shift,
    query_shift,
    rope_frequencies,
    rotate,
    rotate_by_age,
)
from wavemem.theory.boundary import run
from wavemem.theory.hds import random_histories

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def head(d: int, d_k: int, stack: tuple[int, ...] = (), seed: int = 0, **options: object) -> SelfAttentionBoundary:
    g = torch.Generator().manual_seed(seed)
    W_K, W_Q, W_V = (torch.randn(*stack, m, d, generator=g, dtype=DOUBLE) for m in (d_k, d_k, d))
    # An orthogonal value map: random ones let the sequence grow or die within a few steps.
    return SelfAttentionBoundary(W_K, W_Q, torch.linalg.qr(W_V).Q, **options)


def histories(batch: int, s: int, d: int, seed: int = 0) -> torch.Tensor:
    return random_histories(batch, s, d, torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_positions_are_the_usual_ones() -> None:
    assert column_ages(4).tolist() == [3, 2, 1, 0]
    assert alibi_bias(4, 0.5).tolist() == [-1.5, -1.0, -0.5, 0.0]
    torch.testing.assert_close(rope_frequencies(4), torch.tensor([1.0, 0.01], dtype=DOUBLE))


def test_rotation_is_multiplication_by_a_phase() -> None:
    x, angle = draw(5, 6), draw(5, 3, seed=1)
    as_complex = torch.view_as_complex(x.reshape(5, 3, 2)) * torch.polar(torch.ones(5, 3, dtype=DOUBLE), angle)
    torch.testing.assert_close(rotate(x, angle), torch.view_as_real(as_complex).flatten(-2))


def test_the_newest_key_is_not_turned_and_age_adds_up() -> None:
    keys, theta = draw(2, 4, 6), rope_frequencies(6)
    turned = rotate_by_age(keys, theta)
    torch.testing.assert_close(turned[:, -1], keys[:, -1])
    # Travelling one column further turns by one more θ.
    later = torch.cat([keys[:, 1:], keys[:, :1]], dim=1)
    torch.testing.assert_close(rotate(turned[:, 1:], -theta), rotate_by_age(later, theta)[:, :-1])


def test_stacked_runs_are_the_single_ones() -> None:
    K, s, d = 3, 5, 4
    W_K, W_Q, W_V, bias = draw(K, 2, d), draw(K, 2, d, seed=1), draw(K, d, d, seed=2), draw(K, s, seed=3)
    h = draw(K, 2, 7, s, d, seed=4)
    f = SelfAttentionBoundary(W_K, W_Q, W_V, bias=bias)
    together = run(h, f, 6)
    for k in range(K):
        alone = SelfAttentionBoundary(W_K[k], W_Q[k], W_V[k], bias=bias[k])
        torch.testing.assert_close(together[:, k], run(h[k], alone, 6))


def test_hard_attention_is_the_limit_of_low_temperature() -> None:
    scores = draw(20, 6)
    torch.testing.assert_close(attend(scores, 1e-6), attend(scores, 0.0))
    assert attend(torch.tensor([1.0, 3.0, 3.0]), 0.0).tolist() == [0.0, 0.5, 0.5]


def test_gradients_flow_to_every_weight() -> None:
    weights = [draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_(), draw(4, 4, seed=2).requires_grad_()]
    bias = draw(5, seed=3).requires_grad_()
    h = draw(2, 5, 4, seed=5)

    def out(*p: torch.Tensor) -> torch.Tensor:
        return SelfAttentionBoundary(*p[:3], bias=p[3])(h)

    assert torch.autograd.gradcheck(out, (*weights, bias))


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
    f, u, horizon = head(5, 4, stack, **POSITIONS[name]), draw(*stack, 7, 6, 5, seed=9), 20
    expected = run(u, f, horizon)[1:, ..., -1, :].movedim(0, -2)
    for cache in ("travelling", "ring"):
        assert (generate(f, u, horizon, cache).outputs - expected).abs().max() < 1e-10


def test_the_travelling_cache_is_the_substrate_in_another_basis() -> None:
    f, u = head(5, 4), draw(6, 5, seed=9)
    states, cache = run(u, f, 12), generate(f, u, 12)
    torch.testing.assert_close(cache.keys.mT, apply(f.W_K, states))
    torch.testing.assert_close(cache.values.mT, apply(f.W_V, states))


def test_the_ring_buffer_is_the_same_memory_in_a_moving_frame() -> None:
    f, u = head(5, 4), draw(3, 6, 5, seed=9)
    wave, ring = generate(f, u, 15), generate(f, u, 15, "ring")
    torch.testing.assert_close(moving_frame(ring.keys, ring.newest), wave.keys)
    torch.testing.assert_close(moving_frame(ring.values, ring.newest), wave.values)
    torch.testing.assert_close(moving_frame(ring.weights, ring.newest[:-1]), wave.weights)
    # In its own frame one slot per step changes, the others stand still.
    changed = (ring.values[1:] != ring.values[:-1]).any(dim=(1, 2)).sum(-1)
    assert changed.tolist() == [1] * 15


def test_ropes_keys_turn_as_they_travel() -> None:
    theta = rope_frequencies(4, base=100.0)
    f, u = head(5, 4, frequencies=theta), draw(6, 5, seed=9)
    keys = generate(f, u, 10).keys.mT
    torch.testing.assert_close(keys[1:, :-1], rotate(keys[:-1, 1:], -theta))
    # In the ring buffer they stand still, turned once by their absolute time; the two differ by the query's turn.
    ring = generate(f, u, 10, "ring")
    rolled = moving_frame(ring.keys, ring.newest).mT
    now = torch.arange(5, 16, dtype=DOUBLE)[:, None, None]
    torch.testing.assert_close(rotate(rolled, -now * theta), keys)


@settings(max_examples=30, deadline=None)
@given(s=st.integers(1, 9), d=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_rule_against_a_loop_in_words(s: int, d: int, seed: int) -> None:
    """Compare coordinate by coordinate, most significant first: written without scores."""
    task = LookupHDS(s, d)
    half = (d + 1) // 2
    for h in histories(4, s, d, seed):
        question = [float(h[-1, (j + half) % d]) for j in range(d)]
        agreement = [tuple(float(x) == q for x, q in zip(column, question, strict=True)) for column in h]
        found = h[max(range(s), key=lambda i: agreement[i])]
        expected = torch.cat([-found[-1:], found[:-1]])
        assert torch.equal(task.next(h), expected)


@settings(max_examples=30, deadline=None)
@given(s=st.integers(2, 8), d=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_equal_scores_mean_equal_vectors(s: int, d: int, seed: int) -> None:
    task = LookupHDS(s, d)
    h = histories(16, s, d, seed)
    scores = task.scores(h)
    same_score = scores[..., :, None] == scores[..., None, :]
    same_vector = (h[..., :, None, :] == h[..., None, :, :]).all(-1)
    assert torch.equal(same_score, same_vector)


def test_it_is_odd_stays_binary_and_runs_on_real_vectors_in_their_type() -> None:
    task, u = LookupHDS(8, 8), histories(64, 8, 8)
    assert set(task.targets(u, 100).unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(task.next(-u), -task.next(u))
    u = draw(3, 2, 8, 8, seed=1).float()
    y = task.targets(u, 7)
    assert y.shape == (3, 2, 7, 8)
    assert y.dtype == torch.float32
    lengths = u.norm(dim=-1)
    assert ((y[..., 0, :].norm(dim=-1, keepdim=True) - lengths).abs().min(-1).values < 1e-6).all()


def test_no_linear_boundary_runs_it() -> None:
    """The least-squares F on fresh histories is right in about 7 of 10 signs; on repeat copy it would be perfect."""
    task = LookupHDS(8, 8)
    u, v = histories(8000, 8, 8, 1), histories(2000, 8, 8, 2)
    F = torch.linalg.lstsq(u.flatten(1), task.next(u)).solution
    share = ((v.flatten(1) @ F) * task.next(v) > 0).double().mean()
    assert 0.65 < share < 0.8


def test_default_matrices() -> None:
    x = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert (negacyclic_shift(5) @ x).tolist() == [-5, 1, 2, 3, 4]
    assert (query_shift(5) @ x).tolist() == [4, 5, 1, 2, 3]
    assert torch.equal(torch.linalg.matrix_power(negacyclic_shift(5), 5), -torch.eye(5, dtype=torch.float64))


SOUND = {"W_K": torch.ones(2, 4), "W_Q": torch.ones(2, 4), "W_V": torch.ones(4, 4)}
STACK = SelfAttentionBoundary(torch.ones(3, 2, 4), torch.ones(3, 2, 4), torch.ones(3, 4, 4), bias=torch.ones(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfAttentionBoundary(**{**SOUND, "W_Q": torch.ones(2, 3)}), "W_Q"),
        (lambda: SelfAttentionBoundary(**{**SOUND, "W_V": torch.ones(2, 4)}), "W_V"),
        (lambda: SelfAttentionBoundary(**{**SOUND, "W_K": torch.ones(4)}), "W_K"),
        (lambda: SelfAttentionBoundary(**SOUND, temperature=-1.0), "temperature"),
        (lambda: SelfAttentionBoundary(**SOUND, temperature=math.nan), "temperature"),
        (lambda: SelfAttentionBoundary(**SOUND, bias=torch.ones(2, 5)), "bias"),
        (lambda: SelfAttentionBoundary(**SOUND, frequencies=torch.ones(3)), "frequencies"),
        (
            lambda: SelfAttentionBoundary(torch.ones(3, 4), torch.ones(3, 4), torch.ones(4, 4), frequencies=1),
            "even d_k",
        ),
        (lambda: STACK(torch.ones(3, 5, 3)), "h has shape"),
        (lambda: STACK(torch.ones(2, 5, 4)), "x has shape"),
        (lambda: STACK(torch.ones(3, 6, 4)), "bias has shape"),
        (lambda: rope_frequencies(3), "d_k = 3"),
        (lambda: rope_frequencies(4, base=0.5), "base"),
        (lambda: alibi_bias(4, math.inf), "slope"),
        (lambda: rotate(torch.ones(3), torch.ones(2)), "2 angles"),
        (lambda: apply(torch.ones(2, 3), torch.ones(4)), "x has shape"),
        (lambda: generate(head(4, 2), draw(6, 4, seed=9), 3, "still"), "cache = 'still'"),
        (lambda: generate(head(4, 2), draw(6, 4, seed=9), 0), "horizon = 0"),
        (lambda: generate(head(4, 2), draw(6, 3, seed=9), 3), "u has shape"),
        (lambda: moving_frame(torch.ones(4, 2, 3), torch.zeros(5, dtype=torch.long)), "newest has shape"),
        (lambda: LookupHDS(0, 4), "s = 0"),
        (lambda: LookupHDS(4, 0), "d = 0"),
        (lambda: LookupHDS(4, 53), "d = 53"),
        (lambda: LookupHDS(4, 3).next(torch.ones(3, 4)), "h has shape"),
        (lambda: LookupHDS(4, 3).head(0.0), "sharpness"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
