"""What travels: the part of an operator that is built in, correlations along and against the way, power on a line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wavemem.elman import basis_quality as travel
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.variable_memories import VariableMemories, algorithm_1, true_histories
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import phi_in_basis
from wavemem.theory.hds import random_histories
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import reduced_basis

S, D, N = 4, 4, 40
TASKS = ("T1", "T2", "T3", "T4")


def designed(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Recurrent weights and readout of a memory in an orthonormal basis."""
    basis = random_basis(S * D, stream(0, "travel"), "orthogonal", N=N)
    return phi_in_basis(paper_task(name, S, D).Phi(), basis), basis.dual_block(S - 1, D)


def untrained(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    fresh = ElmanEnsemble.initialise([seed], N, D, dtype=torch.float64)
    return fresh.W_hh[0].detach(), fresh.W_r[0].detach()


def memories_of(name: str, weights: tuple[torch.Tensor, torch.Tensor]) -> VariableMemories:
    return algorithm_1(*weights, S, reduced_basis(paper_task(name, S, D).Phi()).keep)


@pytest.mark.parametrize("name", TASKS)
def test_all_but_d_entries_are_inherited(name: str) -> None:
    memories = memories_of(name, designed(name))
    assert int((~travel.inherited_entries(memories)).sum()) == D
    # The free ones are the entries that the task reads.
    free = memories.keep[~travel.inherited_entries(memories)].tolist()
    read = (paper_task(name, S, D).F != 0).any(0).nonzero().flatten().tolist()
    assert free == read


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inherited_columns_show_a_shift_whatever_the_network(name: str, seed: int) -> None:
    W, W_r = untrained(seed)
    memories = memories_of(name, (W, W_r))
    operator, keep = memories.operator(W), memories.keep.tolist()
    for column, entry in enumerate(keep):
        if entry - D in keep:
            rest = operator[:, column].clone()
            assert rest[keep.index(entry - D)] > 0
            rest[keep.index(entry - D)] = 0.0
            assert rest.abs().max() < 1e-9


@pytest.mark.parametrize("name", TASKS)
def test_free_columns_tell_a_memory_from_any_other_network(name: str) -> None:
    Phi = paper_task(name, S, D).Phi()
    own = travel.operator_share(memories_of(name, designed(name)), designed(name)[0], Phi)
    other = travel.operator_share(memories_of(name, untrained()), untrained()[0], Phi)
    assert own.all == pytest.approx(1.0)
    assert own.free == pytest.approx(1.0)
    assert own.inherited == pytest.approx(other.inherited) == pytest.approx(1.0)
    assert other.free < 0.3
    assert other.all > 0.5, "the built-in part alone makes a network that learned nothing look right"


def test_share_of_nothing_is_undetermined() -> None:
    memories = VariableMemories(torch.eye(N, dtype=torch.float64)[:, :D], torch.arange(D), S, D)
    share = travel.operator_share(memories, torch.eye(N, dtype=torch.float64), paper_task("T1", S, D).Phi())
    assert math.isnan(share.inherited)


def test_agreement() -> None:
    truth = torch.randn(200, 3, generator=stream(0, "truth"), dtype=torch.float64)
    other = torch.randn(200, generator=stream(1, "other"), dtype=torch.float64)
    content = torch.stack([3 * truth[:, 0] + 1, -truth[:, 1], other], dim=1)
    found = travel.agreement(content.reshape(10, 20, 3), truth.reshape(10, 20, 3))
    assert found[:2].tolist() == pytest.approx([1.0, -1.0])
    assert abs(float(found[2])) < 0.2
    assert math.isnan(float(travel.agreement(content, torch.zeros_like(truth))[0]))
    with pytest.raises(ValueError, match="truth"):
        travel.agreement(content, truth[:, :2])


def test_step_correlation_of_a_wave_of_a_reversed_one_and_with_dropped_entries() -> None:
    task = paper_task("T1", S, D)
    content = true_histories(task, random_histories(256, S, D, stream(0, "u"), torch.float64), 24)[S:]
    along, against = travel.step_correlation(content)
    assert along == pytest.approx(1.0)
    assert abs(against) < 0.1
    assert travel.step_correlation(content.flip(-2)) == pytest.approx((against, along))
    content = content.clone()
    content[..., 0, 1:] = float("nan")
    assert travel.step_correlation(content)[0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two steps"):
        travel.step_correlation(content[:1])


def test_line_share() -> None:
    generator = np.random.default_rng(0)
    positions, time = 8, 32
    ring = torch.from_numpy(generator.standard_normal((16, positions)))
    wave = torch.stack([ring.roll(-t, dims=1) for t in range(time)])
    assert travel.line_share(wave) == pytest.approx(1.0)
    assert travel.line_share(wave, velocity=-1.0) < 0.5
    assert travel.line_share(wave.flip(-1), velocity=-1.0) == pytest.approx(1.0)
    noise = torch.from_numpy(generator.standard_normal((time, 200, positions)))
    assert travel.line_share(noise) == pytest.approx(1 / time, abs=0.01)
    assert math.isnan(travel.line_share(torch.ones(8, 2, 4)))


@pytest.mark.parametrize("activity", [torch.zeros(9, 3, 4), torch.zeros(8, 3, 1), torch.full((8, 3, 4), torch.nan)])
def test_line_share_refuses(activity: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="multiple"):
        travel.line_share(activity)


def test_standardised() -> None:
    reference = torch.randn(50, 40, S, D, generator=stream(0, "reference"), dtype=torch.float64)
    reference *= torch.arange(1.0, S * D + 1).reshape(S, D)
    reference[..., 0, 0] = 5.0
    reference[..., 0, 1] = float("nan")
    shown = travel.standardised(reference[:, 0], reference)
    assert shown[..., 0, 0].unique().tolist() == [5.0], "what never varies is left as it is"
    assert bool(torch.isnan(shown[..., 0, 1]).all())
    spread = travel.standardised(reference, reference).std(dim=(0, 1))
    torch.testing.assert_close(spread[1:], torch.ones(S - 1, D, dtype=torch.float64), rtol=1e-2, atol=0)
    with pytest.raises(ValueError, match="reference"):
        travel.standardised(reference[:, 0], reference[..., :2, :])
    with pytest.raises(ValueError, match="skip"):
        travel.standardised(reference[:, 0], reference, skip=50)
