"""Sequences made of images; what a ring and a bump hold of an image before training, and what readouts recover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.wave_rnn.image_files import ImageSet
from wavemem.wave_rnn.image_tasks import (
    HASHES,
    SequentialImages,
    folded,
    noise_block,
    permutation,
    recovered,
    ridge_accuracy,
    splits,
)
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN


def make(count: int, tested: int, shape: tuple[int, ...] = (28, 28)) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return ImageSet("made up", images, torch.arange(count) % 10, tested)


def test_fixed_arrays_have_their_committed_hashes() -> None:
    # Each call compares with its hash; here the names are checked, so that none of the comparisons is missed.
    assert torch.equal(permutation(784).sort().values, torch.arange(784))
    assert permutation(784)[:5].tolist() == np.random.RandomState(784).permutation(784)[:5].tolist()
    permutation(64)
    noise = noise_block(968, 96)
    assert noise.shape == (968, 96)
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert torch.equal(noise * 1024, (noise * 1024).round())
    noise_block(92, 8)
    empty = torch.zeros((70_000, 1, 1), dtype=torch.uint8)
    for count, tested, sizes in (
        (70_000, 10_000, (57_000, 3_000, 10_000)),
        (60_000, 10_000, (47_000, 3_000, 10_000)),
        (1797, 0, (1200, 197, 400)),
    ):
        parts = splits(ImageSet("", empty[:count], torch.zeros(count, dtype=torch.int64), tested))
        assert tuple(map(len, parts)) == sizes
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(count))
        if tested:
            assert torch.equal(parts.test, torch.arange(count - tested, count))


def test_other_numbers_than_the_committed_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASHES, "permutation of 64", "0" * 64)
    with pytest.raises(ValueError, match="permutation of 64 has the SHA-256"):
        permutation(64)


def test_pixels_come_one_by_one_in_order_or_permuted() -> None:
    images = make(30, 6)
    plain, permuted = SequentialImages("smnist", images=images), SequentialImages("psmnist", images=images)
    assert (plain.T, plain.d, plain.classes, len(plain.labels)) == (784, 1, 10, 30)
    indices = plain.train[:4]
    expected = images.images[indices].flatten(1).T.float().unsqueeze(-1) / 255
    assert torch.equal(plain.sequence(indices), expected)
    assert torch.equal(permuted.sequence(indices), expected[permutation(784)])
    assert torch.equal(plain.labels[indices], images.labels[indices])


def test_rows_of_colours_and_then_noise() -> None:
    images = make(30, 6, (32, 32, 3))
    task = SequentialImages("nscifar10", images=images)
    assert (task.T, task.shown, task.d) == (1000, 32, 96)
    shown = task.sequence(torch.tensor([3, 5]))
    assert shown.shape == (1000, 2, 96)
    reference = images.images[[3, 5]].permute(0, 3, 1, 2).float() / 255  # (batch, colour, height, width)
    reference = reference.permute(0, 2, 1, 3).reshape(-1, 32, 96)  # as the paper's public code flattens a row
    assert torch.equal(shown[:32], reference.movedim(1, 0))
    assert torch.equal(shown[32:, 0], shown[32:, 1])  # the same noise for all
    assert torch.equal(shown[32:, 0], noise_block(968, 96))


def test_small_digits_as_sequences() -> None:
    sizes = {"sdigits": (64, 64, 1), "psdigits": (64, 64, 1), "nsdigits": (100, 8, 8)}
    for kind, (T, shown, d) in sizes.items():
        task = SequentialImages(kind)
        assert (task.T, task.shown, task.d) == (T, shown, d)
        assert (len(task.train), len(task.validation), len(task.test)) == (1200, 197, 400)
        assert float(task.sequence(task.train)[:shown].max()) == 1.0
        assert torch.bincount(task.labels[task.test], minlength=10).min() > 30
    assert SequentialImages("nsdigits", length=8).sequence(torch.tensor([0])).shape == (8, 1, 8)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(T=st.integers(1, 30), n=st.integers(3, 20), bias=st.floats(0, 0.5))
def test_an_untrained_wave_rnn_holds_the_image_folded_onto_its_ring(T: int, n: int, bias: float) -> None:
    network = WaveRNN.initialise([0], n, 2, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        network.b_u.fill_(bias)
    x = drawn(T, 4)
    held = network.states(x[..., None])[-1, 0]
    for channel in range(2):
        torch.testing.assert_close(held[:, channel], folded(x, n) + T * bias)


def test_folding_adds_what_is_one_round_apart() -> None:
    x = torch.arange(1.0, 7.0)[:, None]
    assert folded(x, 4).tolist() == [[6 + 2, 3, 4, 5 + 1]]  # unit 0 has the newest and what came four steps before it
    assert folded(x, 6).tolist() == [[6, 1, 2, 3, 4, 5]]
    torch.testing.assert_close(folded(drawn(20, 3, 2), 7).sum(-1), drawn(20, 3, 2).sum(0))


def test_an_untrained_identity_network_holds_the_total_ink_whatever_the_order() -> None:
    network = IdentityRNN.initialise([0], 40, 1, 3, dtype=torch.float64)
    x = drawn(30, 5)
    held = network.states(x[..., None])[-1, 0, :, 0]
    bias, V = network.b_V[0], network.V[0, :, 0]
    sure = bias.abs() > 0.01  # far from the edge of the rectifier, which V = O(0.001) does not cross
    expected = torch.where(bias > 0, 30 * bias + x.sum(0)[:, None] * V, torch.zeros_like(V))
    torch.testing.assert_close(held[:, sure], expected[:, sure])
    permuted = x[torch.randperm(30, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(network.states(permuted[..., None])[-1, 0, :, 0][:, sure], held[:, sure])


def test_a_readout_sees_what_is_there() -> None:
    states, labels = drawn(200, 6), torch.arange(200) % 3
    states[torch.arange(200), labels] += 2
    assert ridge_accuracy(states[:100], labels[:100], states[100:], labels[100:]) > 0.99
    guessed = ridge_accuracy(drawn(300, 6), torch.arange(300) % 3, drawn(300, 6, seed=1), torch.arange(300) % 3)
    assert 0.2 < guessed < 0.5


def test_what_is_recovered_of_each_input() -> None:
    inputs = drawn(400, 5)
    states = torch.stack([inputs[:, 0], inputs[:, 1] + inputs[:, 2], torch.ones(400).double()], 1)
    found = recovered(states[:200], inputs[:200], states[200:], inputs[200:])
    assert float(found[0]) == pytest.approx(1, abs=1e-4)
    assert found[1:3].tolist() == pytest.approx([0.5, 0.5], abs=0.1)  # half the variance of a sum of two
    assert float(found[3:].abs().max()) < 0.05
    constant = inputs.clone()
    constant[:, 4] = 1.0
    assert math.isnan(float(recovered(states[:200], constant[:200], states[200:], constant[200:])[4]))
