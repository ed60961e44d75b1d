"""The errata of the TWM paper, item by item: the formula as printed fails, the corrected one holds.

Each test states both readings from scratch in a few lines and shares no code with the library's implementations, so
that the page does not rest on them. The errata of the other papers are in test_errata_wave_rnn.py.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from wavemem.theory.selection import paper_task

Array = npt.NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def phi(F: Array) -> Array:
    """Shift of column blocks, and F at the newest one."""
    d, sd = F.shape
    operator = np.eye(sd, k=d)
    operator[-d:] = F
    return operator


PAPER = {name: paper_task(name).F.numpy().astype(float) for name in ("T1", "T2", "T3", "T4")}


def copy_matrix(s: int, d: int) -> Array:
    return np.hstack([np.eye(d), np.zeros((d, (s - 1) * d))])


def gaussian_basis(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    Psi = rng.standard_normal((n, n)) / math.sqrt(n)
    return Psi, np.asarray(np.linalg.inv(Psi), dtype=np.float64)


# --- TWM, the substrate -------------------------------------------------------------------------------------------


def fill(u: Array, offset: int) -> Array:
    """Write u at column s, one vector per step; column i takes column i + offset, missing columns are empty."""
    s, d = u.shape
    h = np.zeros((s, d))
    for vector in u:
        padded = np.vstack([np.zeros((1, d)), h, np.zeros((1, d))])
        moved = padded[1 + offset : 1 + offset + s]
        moved[-1] = vector
        h = moved
    return h


def test_eq3_printed_index_stores_one_vector_only(rng: np.random.Generator) -> None:
    u = rng.standard_normal((5, 3))
    np.testing.assert_array_equal(fill(u, +1), u)
    printed = fill(u, -1)
    np.testing.assert_array_equal(printed[-1], u[-1])
    assert not printed[:-1].any()


def test_eq5_printed_arguments_do_not_make_fibonacci_numbers() -> None:
    def continued(take: slice) -> list[int]:
        h = [1, 1]
        for _ in range(6):
            h.append(sum(h[-2:][take]))
        return h

    assert continued(slice(0, 2)) == [1, 1, 2, 3, 5, 8, 13, 21]
    assert continued(slice(0, 1)) == [1] * 8  # h_{s-1}, …, h_1 without h_s


def test_eq20_is_an_equation_for_the_boundary_not_an_update() -> None:
    # h(0, t) = f(h(0, t), …): with the Fibonacci sum the boundary value cancels and the rest must vanish.
    rest = np.array([1.0, 1.0])
    for value in (-3.0, 0.0, 2.0):
        assert value + rest.sum() != value


def test_eq23_boundary_at_0_forgets_at_once(rng: np.random.Generator) -> None:
    # Printed: position k takes position k + 1, and f drives position 0; what is written at 0 has nowhere to go.
    u = rng.standard_normal(6)
    h = np.zeros(6)
    for value in u:
        h = np.append(h[1:], 0.0)
        h[0] = value
    np.testing.assert_array_equal(h, [u[-1], 0, 0, 0, 0, 0])


def test_eq24_printed_range_leaves_out_column_1_and_asks_for_column_s_plus_1() -> None:
    s = 8
    printed, right = set(range(2, s + 1)), set(range(1, s))
    assert 1 not in printed
    assert max(i + 1 for i in printed) == s + 1
    assert max(i + 1 for i in right) == s
    assert right | {s} == set(range(1, s + 1))


def test_flattening_index_is_one_block_too_far() -> None:
    s, d = 4, 3
    printed = {i * d + j for i in range(1, s + 1) for j in range(1, d + 1)}
    right = {(i - 1) * d + j for i in range(1, s + 1) for j in range(1, d + 1)}
    assert right == set(range(1, s * d + 1))
    assert max(printed) == s * d + d
    assert printed != right


# --- TWM, the linear boundary ---------------------------------------------------------------------------------------


def test_eq7_without_an_input_term_stays_empty(rng: np.random.Generator) -> None:
    s, d = 4, 2
    Phi, u = phi(copy_matrix(s, d)), rng.standard_normal((s, d))
    W_uh = np.eye(s * d)[:, -d:]
    printed = driven = np.zeros(s * d)
    for vector in u:
        printed = Phi @ printed
        driven = Phi @ driven + W_uh @ vector
    assert not printed.any()
    np.testing.assert_array_equal(driven, u.ravel())


def test_eq25_needs_the_pseudo_inverse_and_holds_to_first_order(rng: np.random.Generator) -> None:
    s, d, N = 3, 2, 10
    Phi, xi = phi(copy_matrix(s, d)), rng.standard_normal((N, s * d)) / 3
    dual = np.linalg.pinv(xi)
    np.testing.assert_allclose(dual @ xi, np.eye(s * d), atol=1e-12)
    assert np.abs(xi.T @ xi - np.eye(s * d)).max() > 0.1
    direction = rng.standard_normal(N)
    W_hh = xi @ Phi @ dual
    gaps = [np.linalg.norm(np.tanh(W_hh @ (a * direction)) - W_hh @ (a * direction)) for a in (1e-2, 1e-3)]
    assert 2.9 < math.log10(gaps[0] / gaps[1]) < 3.1  # cubic: tanh differs from its linear part in third order


def test_eq38_printed_index_is_one_block_too_far(rng: np.random.Generator) -> None:
    s, d = 5, 3
    Psi, dual = gaussian_basis(s * d, rng)
    W_hh, u = Psi @ phi(copy_matrix(s, d)) @ dual, rng.standard_normal((s, d))
    h = Psi @ u.ravel()  # Eq. 37
    for t in range(2 * s):
        right, printed = np.zeros(s * d), np.zeros((s + 1) * d)
        for mu in range(1, s + 1):
            block = (mu - t - 1) % s
            right[block * d : (block + 1) * d] = u[mu - 1]
            printed[(block + 1) * d : (block + 2) * d] = u[mu - 1]  # [((mu - t - 1 mod s) + 1) d + i]
        np.testing.assert_allclose(h, Psi @ right, atol=1e-12)
        assert printed[s * d :].any()  # one vector is sought beyond the last basis vector
        assert np.linalg.norm(h - Psi @ printed[: s * d]) > 0.5
        h = W_hh @ h


def test_similarity_holds_up_to_zeros(rng: np.random.Generator) -> None:
    s, d, N = 3, 2, 11
    Phi, Psi = phi(copy_matrix(s, d)), rng.standard_normal((N, s * d))
    spectrum = np.linalg.eigvals(Psi @ Phi @ np.linalg.pinv(Psi))
    lasting = spectrum[np.abs(spectrum) > 1e-6]
    assert len(lasting) == s * d
    for value in np.linalg.eigvals(Phi):
        assert np.abs(lasting - value).min() < 1e-6


# --- TWM, attention -------------------------------------------------------------------------------------------------


def test_eq8_corrected_is_an_attention_head_and_printed_is_not(rng: np.random.Generator) -> None:
    s, d, d_k = 6, 4, 3
    h = rng.standard_normal((s, d))
    W_K, W_Q, W_V = rng.standard_normal((d_k, d)), rng.standard_normal((d_k, d)), rng.standard_normal((d, d))
    scores = h @ W_K.T @ W_Q @ h[-1] / math.sqrt(d_k)
    weights = np.exp(scores) / np.exp(scores).sum()
    head = torch.nn.functional.scaled_dot_product_attention(
        torch.tensor(h[-1:] @ W_Q.T)[None], torch.tensor(h @ W_K.T)[None], torch.tensor(h @ W_V.T)[None]
    )
    np.testing.assert_allclose(weights @ (h @ W_V.T), head[0, 0].numpy(), atol=1e-12)
    assert weights[:d].sum() < 1 - 1e-3  # the sum over i = 1..d leaves out columns
    with pytest.raises(ValueError, match="matmul"):
        W_K @ W_Q  # without the transpose the product exists only if keys are as wide as states


# --- TWM, Algorithm 1 and section 4 ---------------------------------------------------------------------------------


def test_algorithm1_transpose_needs_an_orthonormal_basis_and_repeat_copy(rng: np.random.Generator) -> None:
    s, d = 5, 2
    gaussian, orthonormal = gaussian_basis(s * d, rng)[0], np.linalg.qr(rng.standard_normal((s * d, s * d)))[0]
    other = np.hstack([np.triu(np.ones((d, d))), np.zeros((d, (s - 1) * d))])  # reads column 1, and mixes it
    for Psi, F, right in (
        (orthonormal, copy_matrix(s, d), True),
        (gaussian, copy_matrix(s, d), False),
        (orthonormal, other, False),
    ):
        W_hh = Psi @ phi(F) @ np.linalg.inv(Psi)
        blocks = [Psi[:, i * d : (i + 1) * d] for i in range(s)]
        for k in range(1, s):
            forward = np.linalg.matrix_power(W_hh, k) @ blocks[-1]
            np.testing.assert_allclose(forward, blocks[s - 1 - k], atol=1e-9)  # column s - k, in every case
            printed = np.linalg.matrix_power(W_hh.T, k) @ blocks[-1]  # to be column k
            gap = np.abs(printed - blocks[k - 1]).max()
            assert gap < 1e-9 if right else gap > 0.1


def test_algorithm1_pseudo_inverse_of_the_readout_needs_orthogonal_columns(rng: np.random.Generator) -> None:
    s, d = 5, 2
    for Psi, exact in (
        (np.linalg.qr(rng.standard_normal((s * d, s * d)))[0], True),
        (gaussian_basis(s * d, rng)[0], False),
    ):
        W_r = np.linalg.inv(Psi)[-d:]
        gap = np.abs(np.linalg.pinv(W_r) - Psi[:, -d:]).max()
        assert gap < 1e-12 if exact else gap > 0.1


def test_section42_projection_does_not_change_the_basis(rng: np.random.Generator) -> None:
    Psi, dual = gaussian_basis(8, rng)
    u = rng.choice([-1.0, 1.0], 8)
    h = Psi @ u
    np.testing.assert_allclose(Psi @ np.linalg.pinv(Psi) @ h, h, atol=1e-10)  # still the neurons' coordinates
    np.testing.assert_allclose(dual @ h, u, atol=1e-10)


def test_algorithm1_complement_of_a_projected_state_is_empty(rng: np.random.Generator) -> None:
    Psi, h = rng.standard_normal((12, 5)), rng.standard_normal((12, 40))
    project = Psi @ np.linalg.pinv(Psi)
    projected = project @ h
    np.testing.assert_allclose(projected - project @ projected, 0.0, atol=1e-12)
    assert np.linalg.matrix_rank(h - project @ h) == 12 - 5


def test_section42_block_shift_is_there_for_any_matrix(rng: np.random.Generator) -> None:
    s, d, N = 4, 2, 20
    W_hh, W_r = rng.standard_normal((N, N)), rng.standard_normal((d, N))  # nothing was learned
    blocks = [np.linalg.pinv(W_r)]
    for _ in range(s - 1):
        blocks.insert(0, W_hh @ blocks[0])
    Psi = np.hstack(blocks)
    Psi /= np.linalg.norm(Psi, axis=0)
    seen = np.linalg.pinv(Psi) @ W_hh @ Psi
    older = seen[:, d:]  # the columns from 2 to s of the substrate: one positive entry each, one block up
    assert (np.diag(older) > 0).all()
    np.testing.assert_allclose(older - np.eye(s * d, (s - 1) * d) * np.diag(older), 0.0, atol=1e-9)
    boundary = seen[:, :d]  # what could have failed, and does
    assert np.abs(boundary[:-d]).max() > 0.1


def test_section41_comparison_by_angle_ignores_the_modulus_not_the_real_part() -> None:
    theory = np.exp(2j * np.pi * np.arange(8) / 8)
    learned = 1.2 * theory
    assert np.abs(np.angle(learned / theory)).max() < 1e-12
    assert np.abs(learned.imag - theory.imag).max() > 0.19  # what excluding the real part would leave


def test_section41_equal_angles_do_not_mean_equal_memories(rng: np.random.Generator) -> None:
    s, d, N = 4, 4, 64
    Phi = phi(paper_task("T1", s, d).F.numpy().astype(float))
    Psi = np.linalg.qr(rng.standard_normal((N, s * d)))[0]
    x = rng.choice([-1.0, 1.0], size=(200, s * d))
    share = {}
    for gain in (1.01, 1.5):
        W = gain * Psi @ Phi @ Psi.T
        lasting = np.linalg.eigvals(W)
        lasting = lasting[np.abs(lasting) > 0.9]
        assert len(lasting) == s * d
        assert np.abs(np.angle(lasting**s)).max() < 1e-8  # the angles of Phi at both gains
        assert np.abs(lasting).min() >= 1
        h = 0.1 * x @ Psi.T
        for _ in range(25 * s):
            h = np.tanh(h @ W.T)
        share[gain] = (h @ Psi * x > 0).mean()
    assert share[1.01] > 0.99
    assert share[1.5] < 0.85


def test_table1_counts_are_of_lasting_eigenvalues_not_ranks() -> None:
    operators = [phi(F) for F in PAPER.values()]
    assert [int(np.linalg.matrix_rank(Phi)) for Phi in operators] == [64, 57, 57, 57]
    assert [int((np.abs(np.linalg.eigvals(Phi)) > 0.9).sum()) for Phi in operators] == [64, 36, 36, 36]


def test_tasks_conserve_volume_only_for_repeat_copy() -> None:
    volumes = [abs(np.linalg.det(phi(F))) for F in PAPER.values()]
    np.testing.assert_allclose(volumes, [1, 0, 0, 0], atol=1e-12)


# --- TWM, gradients -------------------------------------------------------------------------------------------------


def chain(rng: np.random.Generator, N: int = 16, d: int = 3, s: int = 5) -> tuple[Array, Array, list[Array], Array]:
    """Weights, slopes of every step, and the true derivative of a linear cost at h(s+1) by the input at step 1."""
    W_hh, W_uh = rng.uniform(-1, 1, (N, N)) / math.sqrt(N), rng.uniform(-1, 1, (N, d)) / math.sqrt(N)
    u, cost = rng.choice([-1.0, 1.0], (s + 1, d)), rng.standard_normal(N)
    x = torch.tensor(u, requires_grad=True)
    h, slopes = torch.zeros(N, dtype=torch.float64), []
    for t in range(s + 1):
        h = torch.tanh(torch.tensor(W_hh) @ h + torch.tensor(W_uh) @ x[t])
        slopes.append(np.diag(1 - h.detach().numpy() ** 2))
    (h @ torch.tensor(cost)).backward()
    assert x.grad is not None
    return W_hh, W_uh, [cost, *slopes], x.grad[0].numpy()


def test_eq10_needs_the_first_slope_and_the_last_step_first(rng: np.random.Generator) -> None:
    W_hh, W_uh, (cost, *J), true = chain(rng)
    factors = [J[k] @ W_hh for k in range(1, len(J))]  # steps 2 .. s+1
    newest_first: Array = np.linalg.multi_dot(factors[::-1])
    np.testing.assert_allclose(cost @ newest_first @ J[0] @ W_uh, true, atol=1e-14)
    scale = np.linalg.norm(true)
    assert np.linalg.norm(cost @ newest_first @ W_uh - true) > 0.01 * scale
    oldest_first: Array = np.linalg.multi_dot(factors)
    assert np.linalg.norm(cost @ oldest_first @ J[0] @ W_uh - true) > 0.01 * scale


def test_eq13_printed_bound_is_violated_by_one_neuron() -> None:
    w, s = 0.5, 5
    true = w**s  # C = h(s+1), linear, W_uh = 1
    at_s_plus_1, at_s = 1.0, w  # |dC/dh(s+1)| and |dC/dh(s)|
    assert true <= at_s_plus_1 * w**s
    assert true > at_s * w**s


def test_eq14_bound_grows_where_the_gradient_decays(rng: np.random.Generator) -> None:
    N = 256
    W = rng.uniform(-1, 1, (N, N)) / math.sqrt(N)  # PyTorch's initialisation
    assert 1.05 < np.linalg.norm(W, 2) < 2 / math.sqrt(3) + 0.05
    assert abs(np.abs(np.linalg.eigvals(W)).max() - 1 / math.sqrt(3)) < 0.08


def test_eq15_sum_of_basis_vectors_gives_the_sum_of_the_gradient(rng: np.random.Generator) -> None:
    N, d = 12, 3
    cost, W_hh, Psi_1 = rng.standard_normal(N), rng.standard_normal((N, N)), rng.standard_normal((N, d))
    gradient = cost @ W_hh @ Psi_1
    printed = cost @ W_hh @ Psi_1.sum(1)
    assert gradient.shape == (d,)
    assert printed == pytest.approx(gradient.sum())


def test_eq16_printed_bound_depends_on_the_scale_of_the_basis(rng: np.random.Generator) -> None:
    s, d = 4, 2
    Psi = np.linalg.qr(rng.standard_normal((s * d, s * d)))[0]
    W_hh = Psi @ phi(copy_matrix(s, d)) @ Psi.T
    broken = []
    for c in (0.1, 1.0, 10.0):
        cost = Psi[:, -d:].sum(1) / c  # a readout that undoes the scale c of the stored columns
        true = np.linalg.norm(cost @ W_hh @ (c * Psi[:, :d]))
        mu = np.linalg.norm(W_hh, 2)
        assert true <= np.linalg.norm(cost) * mu * np.linalg.norm(c * Psi[:, :d], 2) + 1e-12
        broken.append(bool(true > np.linalg.norm(cost) * mu * d))
    assert broken == [False, False, True]


def test_section43_the_power_hides_in_the_basis_vectors(rng: np.random.Generator) -> None:
    N, s = 64, 12
    W = rng.uniform(-1, 1, (N, N)) / math.sqrt(N)
    W_uh = rng.standard_normal((N, 2))
    carried = [np.linalg.norm(np.linalg.matrix_power(W, k) @ W_uh, 2) for k in range(s)]
    # h(s) = sum of x(mu) psi_mu holds in this wave-free linear network too, with psi_1 = W^(s-1) W_uh.
    assert carried[-1] < 0.02 * carried[0]


# --- TWM, linearisation and error analysis --------------------------------------------------------------------------


def test_eq39_printed_identity_misses_in_first_order(rng: np.random.Generator) -> None:
    N = 6
    W, direction = rng.standard_normal((N, N)) / 2, rng.standard_normal(N)

    def residual(size: float, printed: bool) -> float:
        now = size * direction
        after = np.tanh(W @ now)  # around the fixed point 0, where the Jacobian of tanh is the identity
        return float(np.linalg.norm(after - W @ (after if printed else now)))

    assert residual(1e-2, False) / residual(1e-3, False) > 500  # vanishes faster than the deviation
    assert residual(1e-2, True) / residual(1e-3, True) == pytest.approx(10, rel=0.1)  # only as fast


def columns_by_power(F: Array, s: int, d: int, k: int) -> list[Array]:
    """Blocks of Phi^k applied to the newest column, newest block first (the numbering of appendix A.6)."""
    moved = np.linalg.matrix_power(phi(F), k) @ np.eye(s * d)[:, -d:]
    return [moved[(s - 1 - i) * d : (s - i) * d] for i in range(s)]


def test_eq45_is_the_second_state(rng: np.random.Generator) -> None:
    s, d = 4, 2
    F, u = rng.standard_normal((d, s * d)), rng.standard_normal((2, d))
    W_uh = np.eye(s * d)[:, -d:]
    h1 = W_uh @ u[0]
    h2 = phi(F) @ h1 + W_uh @ u[1]
    expected = np.zeros(s * d)
    expected[-2 * d : -d] = u[0]
    expected[-d:] = u[1] + F[:, -d:] @ u[0]  # u(2) + Phi(0, …, u(1))
    np.testing.assert_allclose(h2, expected, atol=1e-14)
    assert np.linalg.norm(h1 - expected) > 0.5


def test_eq46_error_is_a_matrix_that_no_input_enters(rng: np.random.Generator) -> None:
    s, d = 4, 2
    F = rng.standard_normal((d, s * d))
    newest, second, *rest = columns_by_power(F, s, d, 1)
    np.testing.assert_allclose(second, np.eye(d))
    np.testing.assert_allclose(newest, F[:, -d:])  # the error of the second memory: the block of F on the newest column
    assert not any(block.any() for block in rest)


def test_eq47_lacks_the_feedback_of_the_first_error(rng: np.random.Generator) -> None:
    s, d = 4, 2
    F = rng.standard_normal((d, s * d))
    F_1, F_2 = F[:, -d:], F[:, -2 * d : -d]
    newest, second, third, _ = columns_by_power(F, s, d, 2)
    np.testing.assert_allclose(third, np.eye(d))
    np.testing.assert_allclose(second, F_1, atol=1e-14)
    np.testing.assert_allclose(newest, F_2 + F_1 @ F_1, atol=1e-14)
    assert np.abs(newest - F_2).max() > 0.1


def test_section_a6_error_reaches_one_dimension_in_eight() -> None:
    assert [int(np.abs(F[:, -8:]).sum()) for F in PAPER.values()] == [0, 1, 1, 1]


def test_eq48_reads_its_input_one_step_later_than_eq9(rng: np.random.Generator) -> None:
    W, V, u = rng.standard_normal((5, 5)) / 3, rng.standard_normal((5, 2)), rng.standard_normal((4, 2))

    early, late, h = [], [], np.zeros(5)
    for u_t in u:
        late.append(h)
        h = np.tanh(W @ h + V @ u_t)
        early.append(h)
    assert not late[0].any()
    for t in range(3):
        np.testing.assert_array_equal(late[t + 1], early[t])


def test_fig9_no_linear_code_in_fewer_dimensions_keeps_all_signs(rng: np.random.Generator) -> None:
    # sign(M x) = x for every x in {-1, 1}^n makes M strictly diagonally dominant, hence invertible: rank n.
    n = 6
    every_x = np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
    for rank in (3, 4, 5):
        for _ in range(50):
            M = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
            assert ((every_x @ M.T) * every_x).min() <= 0
    dominant = np.eye(n) + rng.uniform(-0.1, 0.1, (n, n))
    assert ((every_x @ dominant.T) * every_x).min() > 0


def test_fig9_a_linear_code_in_63_of_80_dimensions_keeps_most_signs(rng: np.random.Generator) -> None:
    # Every Fourier mode over the 16 columns gives up one direction (conjugates share it), the mode of phase pi a second.
    P = np.eye(80, dtype=complex)
    lost = [(k, min(k, 16 - k) % 5) for k in range(16)] + [(8, 4)]
    for k, j in lost:
        wave = np.kron(np.exp(2j * np.pi * k * np.arange(16) / 16) / 4, np.eye(5)[j])
        P -= np.outer(wave, wave.conj())
    P, Phi = P.real, phi(copy_matrix(16, 5))
    np.testing.assert_allclose(P @ P, P, atol=1e-12)
    np.testing.assert_allclose(P @ Phi, Phi @ P, atol=1e-12)
    assert round(float(np.trace(P))) == 63
    x = rng.choice([-1.0, 1.0], size=(4000, 80))
    assert 0.95 < ((x @ P) * x > 0).mean() < 0.99
