"""The self-attention boundary's parts: positions by column, stacks, hard attention, and complaints."""

from __future__ import annotations

import math

import pytest
import torch

from wavemem.theory.attention import (
    SelfAttentionBoundary,
    alibi_bias,
    apply,
    attend,
    column_ages,
    rope_frequencies,
    rotate,
    rotate_by_age,
)
from wavemem.theory.boundary import run

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_ages_and_alibi() -> None:
    assert column_ages(4).tolist() == [3, 2, 1, 0]
    assert alibi_bias(4, 0.5).tolist() == [-1.5, -1.0, -0.5, 0.0]


def test_rope_frequencies_are_the_usual_ones() -> None:
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


def test_zero_keys_are_generalized_fibonacci_up_to_a_factor() -> None:
    """Eq. 5 is a head that compares nothing: equal weights 1/s, and W_V = s·1 undoes the mean."""
    s, d = 5, 3
    f = SelfAttentionBoundary(torch.zeros(2, d, dtype=DOUBLE), draw(2, d), s * torch.eye(d, dtype=DOUBLE))
    h = draw(4, s, d, seed=1)
    torch.testing.assert_close(f(h), h.sum(-2))


def test_gradients_flow_to_every_weight() -> None:
    weights = [draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_(), draw(4, 4, seed=2).requires_grad_()]
    bias = draw(5, seed=3).requires_grad_()
    h = draw(2, 5, 4, seed=5)

    def out(*p: torch.Tensor) -> torch.Tensor:
        return SelfAttentionBoundary(*p[:3], bias=p[3])(h)

    assert torch.autograd.gradcheck(out, (*weights, bias))


def test_default_scale() -> None:
    W = torch.eye(4, dtype=DOUBLE)
    assert SelfAttentionBoundary(W, W, W).factor == 1 / math.sqrt(4)
    assert SelfAttentionBoundary(W, W, W, scale=1.0).factor == 1.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"W_Q": torch.ones(2, 3)}, "W_Q"),
        ({"W_V": torch.ones(2, 4)}, "W_V"),
        ({"W_K": torch.ones(4)}, "W_K"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"bias": torch.ones(2, 5)}, "bias"),
        ({"frequencies": torch.ones(3)}, "frequencies"),
    ],
)
def test_bad_weights(change: dict[str, object], word: str) -> None:
    good: dict[str, object] = {"W_K": torch.ones(2, 4), "W_Q": torch.ones(2, 4), "W_V": torch.ones(4, 4)}
    with pytest.raises(ValueError, match=word):
        SelfAttentionBoundary(**{**good, **change})


def test_bad_calls() -> None:
    f = SelfAttentionBoundary(torch.ones(3, 2, 4), torch.ones(3, 2, 4), torch.ones(3, 4, 4), bias=torch.ones(5))
    with pytest.raises(ValueError, match="h has shape"):
        f(torch.ones(3, 5, 3))
    with pytest.raises(ValueError, match="runs of the stack"):
        f(torch.ones(2, 5, 4))
    with pytest.raises(ValueError, match="bias has shape"):
        f(torch.ones(3, 6, 4))
    with pytest.raises(ValueError, match="d_k = 3"):
        rope_frequencies(3)
    with pytest.raises(ValueError, match="base"):
        rope_frequencies(4, base=0.5)
    with pytest.raises(ValueError, match="slope"):
        alibi_bias(4, float("inf"))
    with pytest.raises(ValueError, match="2 angles"):
        rotate(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="even d_k"):
        SelfAttentionBoundary(torch.ones(3, 4), torch.ones(3, 4), torch.ones(4, 4), frequencies=torch.ones(1))
    with pytest.raises(ValueError, match="matrices of shape"):
        apply(torch.ones(2, 3), torch.ones(4))
