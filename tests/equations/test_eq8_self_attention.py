"""Eq. 8: one attention head as the boundary of a substrate, against PyTorch's own attention and against the paper's print."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.attention import LookupHDS, SelfAttentionBoundary, alibi_bias, rope_frequencies
from wavemem.theory.boundary import run
from wavemem.theory.hds import generalized_fibonacci, random_histories

DOUBLE = torch.float64
sizes = st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))


def drawn(s: int, d: int, d_k: int, seed: int) -> tuple[torch.Tensor, ...]:
    """W_K, W_Q, an orthogonal W_V (so that sequences stay of order one), and a window."""
    g = torch.Generator().manual_seed(seed)
    W_K, W_Q, W_V = (torch.randn(m, d, generator=g, dtype=DOUBLE) for m in (d_k, d_k, d))
    return W_K, W_Q, torch.linalg.qr(W_V).Q, torch.randn(3, s, d, generator=g, dtype=DOUBLE)


@settings(max_examples=20, deadline=None)
@given(sizes)
def test_eq8_one_step_written_out(size: tuple[int, int, int, int]) -> None:
    """The sum over s columns, term by term in plain Python, with ⟨W_K h_i, W_Q h_s⟩ and 1/√d_k."""
    W_K, W_Q, W_V, u = drawn(*size)
    f = SelfAttentionBoundary(W_K, W_Q, W_V)
    for h in u:
        e = [math.exp(float((W_K @ x) @ (W_Q @ h[-1])) / math.sqrt(size[2])) for x in h]
        expected = sum((a / sum(e)) * (W_V @ x) for a, x in zip(e, h, strict=True))
        torch.testing.assert_close(f(h), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(sizes)
def test_eq8_equals_scaled_dot_product_attention_run_autoregressively(size: tuple[int, int, int, int]) -> None:
    """PyTorch's attention over a list of tokens of which only the last s are seen."""
    W_K, W_Q, W_V, u = drawn(*size)
    s, steps = size[0], 12
    tokens = list(u.unbind(1))
    for _ in range(steps):
        seen = torch.stack(tokens[-s:], dim=1)
        query = (tokens[-1] @ W_Q.T).unsqueeze(1)
        tokens.append(F.scaled_dot_product_attention(query, seen @ W_K.T, seen @ W_V.T).squeeze(1))
    states = run(u, SelfAttentionBoundary(W_K, W_Q, W_V), steps)
    assert (states[1:, :, -1] - torch.stack(tokens[s:])).abs().max() < 1e-6
    assert (states[-1] - torch.stack(tokens[-s:], dim=1)).abs().max() < 1e-6


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(0, 2**31)))
def test_eq8_equals_multihead_attention_with_one_head(size: tuple[int, int, int]) -> None:
    """`nn.MultiheadAttention`, one head, no biases, identity output projection, with a banded causal mask over all tokens.

    Every token that the substrate wrote is what the layer computes for the token before it, in one parallel pass.
    """
    s, d, seed = size
    W_K, W_Q, W_V, u = drawn(s, d, d, seed)
    layer = torch.nn.MultiheadAttention(d, 1, bias=False, batch_first=True, dtype=DOUBLE)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([W_Q, W_K, W_V]))
        layer.out_proj.weight.copy_(torch.eye(d, dtype=DOUBLE))
        states = run(u, SelfAttentionBoundary(W_K, W_Q, W_V), 10)
        tokens = torch.cat([u, states[1:, :, -1].movedim(0, 1)], dim=1)
        index = torch.arange(tokens.shape[1])
        hidden = (index[None, :] > index[:, None]) | (index[None, :] <= index[:, None] - s)
        y, _ = layer(tokens, tokens, tokens, attn_mask=hidden, need_weights=False)
    assert (y[:, s - 1 : -1] - tokens[:, s:]).abs().max() < 1e-6


def attend_with_absolute_positions(
    tokens: torch.Tensor, W_K: torch.Tensor, W_Q: torch.Tensor, W_V: torch.Tensor, s: int, start: int, kind: str
) -> torch.Tensor:
    """A plain transformer head: positions start, start + 1, ... are given to the tokens, and nothing else is known."""
    seen = tokens[-s:]
    positions = torch.arange(start + len(tokens) - len(seen), start + len(tokens), dtype=DOUBLE)
    q, k, v = W_Q @ tokens[-1], seen @ W_K.T, seen @ W_V.T
    bias = torch.zeros(len(seen), dtype=DOUBLE)
    if kind == "alibi":
        bias = -0.4 * (positions[-1] - positions)
    else:
        half = rope_frequencies(W_K.shape[0], base=50.0)
        phase = torch.polar(torch.ones(len(seen), len(half), dtype=DOUBLE), positions[:, None] * half)
        k = torch.view_as_real(torch.view_as_complex(k.reshape(len(seen), -1, 2)) * phase).flatten(1)
        q = torch.view_as_real(torch.view_as_complex(q.reshape(-1, 2)) * phase[-1]).flatten()
    return torch.softmax(k @ q / math.sqrt(len(q)) + bias, 0) @ v


@pytest.mark.parametrize("kind", ["alibi", "rope"])
@pytest.mark.parametrize("start", [0, 37, 1000])
def test_eq8_alibi_and_rope_see_the_column_only(kind: str, start: int) -> None:
    """Absolute positions, wherever they start, leave nothing but a function of the column: bias -m·age, phase θ·age."""
    s, d, d_k = 6, 5, 4
    W_K, W_Q, W_V, u = drawn(s, d, d_k, 3)
    options = {"bias": alibi_bias(s, 0.4)} if kind == "alibi" else {"frequencies": rope_frequencies(d_k, base=50.0)}
    f = SelfAttentionBoundary(W_K, W_Q, W_V, **options)
    tokens = u[0]
    for _ in range(20):
        new = attend_with_absolute_positions(tokens, W_K, W_Q, W_V, s, start, kind)
        tokens = torch.cat([tokens, new[None]])
    assert (run(u[0], f, 20)[1:, -1] - tokens[s:]).abs().max() < 1e-6


def test_eq8_as_printed_is_another_function() -> None:
    """Errata: the sum to d drops or invents columns; W_K W_Q differs from W_K^T W_Q; without 1/√d the head is sharper."""
    W_K, W_Q, W_V, u = drawn(6, 4, 4, 5)
    h = u[0]
    right = SelfAttentionBoundary(W_K, W_Q, W_V)(h)

    def written(bilinear: torch.Tensor, columns: int, factor: float) -> torch.Tensor:
        a = torch.softmax(factor * h[:columns] @ bilinear @ h[-1], 0)
        return W_V @ (a @ h[:columns])

    torch.testing.assert_close(written(W_K.T @ W_Q, 6, 0.5), right)
    for bilinear, columns, factor in ((W_K @ W_Q, 6, 0.5), (W_K.T @ W_Q, 4, 0.5), (W_K.T @ W_Q, 6, 1.0)):
        assert (written(bilinear, columns, factor) - right).abs().max() > 1e-2
    # The missing transpose renames a parameter where keys have d dimensions; with fewer it cannot be computed at all.
    torch.testing.assert_close(written(W_K @ W_Q, 6, 0.5), SelfAttentionBoundary(W_K.T, W_Q, W_V)(h))
    with pytest.raises(RuntimeError):
        _ = torch.ones(2, 4) @ torch.ones(2, 4)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**31))
def test_eq8_represents_look_up_within_its_bound(s: int, d: int, seed: int) -> None:
    task = LookupHDS(s, d)
    u = random_histories(16, s, d, torch.Generator().manual_seed(seed), dtype=DOUBLE)
    for beta in (1.0, 3.0):
        error = (task.head(beta)(u) - task.next(u)).abs().max()
        assert error <= 2 * (s - 1) * math.exp(-2 * beta) + 1e-12


def test_eq8_runs_look_up_for_a_hundred_steps() -> None:
    task = LookupHDS(8, 8)
    u = random_histories(32, 8, 8, torch.Generator().manual_seed(0), dtype=DOUBLE)
    states = run(u, task.head(16.0), 100)
    assert (states[1:, :, -1].movedim(0, 1) - task.targets(u, 100)).abs().max() < 1e-6


def test_eq8_contains_generalized_fibonacci_and_repeat_copy() -> None:
    s, d = 5, 3
    zero, one = torch.zeros(1, d, dtype=DOUBLE), torch.eye(d, dtype=DOUBLE)
    u = torch.randn(4, s, d, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    torch.testing.assert_close(SelfAttentionBoundary(zero, zero, s * one)(u), generalized_fibonacci(s, d).next(u))
    old = SelfAttentionBoundary(zero, zero, one, bias=alibi_bias(s, -40.0))
    torch.testing.assert_close(old(u), u[:, 0])


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_eq8_limits_of_one_head(size: tuple[int, int, int, int]) -> None:
    """On a window of equal columns every head is the same linear map; every head is odd; content knows no order."""
    W_K, W_Q, W_V, u = drawn(*size)
    f = SelfAttentionBoundary(W_K, W_Q, W_V, bias=torch.linspace(-1, 1, size[0], dtype=DOUBLE))
    constant = u[:, -1:, :].expand_as(u)
    torch.testing.assert_close(f(constant), u[:, -1] @ W_V.T)
    torch.testing.assert_close(f(-u), -f(u))
    content = SelfAttentionBoundary(W_K, W_Q, W_V)
    order = [*torch.randperm(size[0] - 1, generator=torch.Generator().manual_seed(size[3])).tolist(), size[0] - 1]
    torch.testing.assert_close(content(u[:, order]), content(u))
