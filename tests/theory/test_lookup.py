"""The look-up system: its rule against a slow oracle, its ties, its domain, and that it stays alive."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.episodes import random_histories
from wavemem.theory.lookup import LookupHDS, negacyclic_shift, query_shift


def histories(batch: int, s: int, d: int, seed: int = 0) -> torch.Tensor:
    return random_histories(batch, s, d, torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_it_is_an_odd_function_and_stays_binary() -> None:
    task = LookupHDS(8, 8)
    u = histories(64, 8, 8)
    y = task.targets(u, 100)
    assert set(y.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(task.next(-u), -task.next(u))


def test_it_runs_on_real_vectors_and_keeps_their_type() -> None:
    task = LookupHDS(5, 4)
    u = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))
    y = task.targets(u, 7)
    assert y.shape == (3, 2, 7, 4)
    assert y.dtype == torch.float32
    lengths = u.norm(dim=-1)
    assert ((y[..., 0, :].norm(dim=-1, keepdim=True) - lengths).abs().min(-1).values < 1e-6).all()


@pytest.mark.parametrize(("s", "d"), [(4, 4), (8, 8), (8, 4), (6, 6)])
def test_it_stays_informative(s: int, d: int) -> None:
    """No fixed point: the age of what is found stays spread out, long after the history has left the window."""
    task = LookupHDS(s, d)
    u = histories(300, s, d)
    y = task.targets(u, 60)
    sequence = torch.cat([u, y], dim=1)
    windows = sequence.unfold(1, s, 1).mT[:, 40:60]
    found = torch.bincount(task.found(windows).flatten(), minlength=s) / windows[..., 0, 0].numel()
    entropy = -(found[found > 0] * found[found > 0].log2()).sum() / torch.log2(torch.tensor(float(s)))
    assert entropy > 0.8
    assert not (y[:, 41:] == y[:, 40:-1]).all(-1).all(-1).any()  # no history ends in a constant sequence
    assert y.mean().abs() < 0.02


def test_the_number_of_ancestors_never_grows() -> None:
    """Every vector is O^n of one of the first s: what is not looked up before it leaves is gone."""
    s, d = 8, 8
    task = LookupHDS(s, d)
    h = histories(200, s, d)
    ancestors = torch.arange(s).expand(200, s)
    alive = []
    for _ in range(40):
        found = task.found(h)
        h = torch.cat([h[:, 1:], task.next(h)[:, None]], dim=1)
        ancestors = torch.cat([ancestors[:, 1:], ancestors.gather(1, found[:, None])], dim=1)
        alive.append(torch.tensor([len(set(row.tolist())) for row in ancestors]))
    counts = torch.stack(alive)
    assert (counts[1:] <= counts[:-1]).all()
    assert counts[-1].double().mean() < 2


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


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"s": 0, "d": 4}, "s = 0"),
        ({"s": 4, "d": 0}, "d = 0"),
        ({"s": 4, "d": 53}, "d = 53"),
        ({"s": 4, "d": 2, "R": torch.ones(2, 2)}, "signed permutation"),
        ({"s": 4, "d": 2, "O": torch.eye(3)}, "O has shape"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        LookupHDS(**arguments)


def test_bad_histories_and_sharpness() -> None:
    task = LookupHDS(4, 3)
    with pytest.raises(ValueError, match="h has shape"):
        task.next(torch.ones(3, 4))
    with pytest.raises(ValueError, match="sharpness"):
        task.head(0.0)
    with pytest.raises(ValueError, match="d = 0"):
        negacyclic_shift(0)
    with pytest.raises(ValueError, match="d = 0"):
        query_shift(0)
