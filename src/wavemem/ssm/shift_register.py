r"""Linear state spaces with one input and one output, and the registers among them: shift, ring, companion, diagonal.

    h_{t+1} = A h_t + B x_t,      y_t = C h_{t+1}                       (read after writing)

The v-Wave abstract prints $y_t = C h_t$: the same numbers one step later (`StateSpace.outputs` gives both). A register numbers
its n neurons from the input outwards, so that neuron j holds what came j steps ago and activity moves to *larger* numbers:

| name | first row of A | rest | what happens at the end |
|---|---|---|---|
| `register` | 0 | shift | content leaves: both ends open (the shift SSM of H3) |
| `ring` | gain at the last neuron | shift | content comes round |
| `companion` | any a | shift | a linear boundary: Φ of `wavemem.theory.boundary` with d = 1, in reversed order |

All are A = S + e_0 aᵀ, B = e_0. `companion_form` finds the basis in which any controllable system has this form, so that a
diagonal SSM, too, is a wave with a linear boundary, in a basis that may be useless. All matrices are float64 or complex128.

Source: Keller 2024 (v-Wave abstract); Fu et al. 2023 (H3, section 3); Karuvally et al. 2024, end of section 3.1; for the
companion form T. Kailath, Linear Systems, Prentice-Hall 1980, section 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is


@dataclass(frozen=True)
class StateSpace:
    """h ← A h + B x, read as C h. One input, one output.

    Attributes:
        A: (N, N), real or complex.
        B: (N,), where and how the input is written.
        C: (N,), how the state is read.
    """

    A: Tensor
    B: Tensor
    C: Tensor

    def __post_init__(self) -> None:
        """Check that the sizes fit together."""
        N = self.A.shape[-1]
        shape_is("A", self.A, (N, N))
        shape_is("B", self.B, (N,))
        shape_is("C", self.C, (N,))
        for name, value in (("A", self.A), ("B", self.B), ("C", self.C)):
            finite(name, value)

    @property
    def N(self) -> int:
        """Number of neurons."""
        return int(self.A.shape[0])

    def states(self, x: Float[Tensor, "time ..."], h0: Tensor | None = None) -> Tensor:
        """h_1, …, h_T for inputs x_0, …, x_{T−1}: the state after every input was written.

        Args:
            x: Inputs, time first.
            h0: The state before them, (*batch, N); empty unless given.

        Returns:
            (time, *batch, N): activity (time, …, position).

        Raises:
            ValueError: If x has no time axis or h0 another shape.
        """
        require(x.ndim > 0 and len(x) > 0, f"inputs of shape {tuple(x.shape)}", "(time, ...)", "Put time first.")
        h = self.A.new_zeros(*x.shape[1:], self.N) if h0 is None else h0.to(self.A.dtype)
        shape_is("h0", h, (*x.shape[1:], self.N))
        kept = []
        for x_t in x.to(self.A.dtype):
            h = h @ self.A.mT + x_t.unsqueeze(-1) * self.B
            kept.append(h)
        return torch.stack(kept)

    def outputs(self, x: Float[Tensor, "time ..."], printed: bool = False) -> Tensor:
        """C h, read after each input was written, or as the abstract prints it: before (C h_t, one step late).

        Args:
            x: Inputs, time first.
            printed: Read h_t instead of h_{t+1}.
        """
        y = self.states(x) @ self.C
        return torch.cat([torch.zeros_like(y[:1]), y[:-1]]) if printed else y

    def kernel(self, length: int) -> Tensor:
        """K(τ) = C A^τ B for τ = 0, …, length − 1: the system is the convolution with K.

        Raises:
            ValueError: If length is not positive.
        """
        impulse = torch.zeros(positive_int("length", length), dtype=torch.float64)
        impulse[0] = 1.0
        return self.outputs(impulse)

    def transfer(self, z: Complex[Tensor, "*any"]) -> Complex[Tensor, "*any"]:
        """Σ_τ K(τ) z^−τ = z C (z − A)⁻¹ B, for numbers z that are no eigenvalues of A."""
        points = z.to(torch.complex128)
        unit = torch.eye(self.N, dtype=torch.complex128)
        shifted = points[..., None, None] * unit - self.A.to(torch.complex128)
        B = self.B.to(torch.complex128).expand(*points.shape, self.N)
        return points * (torch.linalg.solve(shifted, B) @ self.C.to(torch.complex128))

    def in_basis(self, Psi: Tensor) -> StateSpace:
        """The same system for the coordinates g of h = Ψ g: A → Ψ⁻¹AΨ, B → Ψ⁻¹B, C → CΨ.

        Args:
            Psi: The new basis vectors as columns, (N, N), invertible.

        Raises:
            ValueError: If Ψ has another shape.
        """
        shape_is("Psi", Psi, (self.N, self.N))
        dtype = torch.promote_types(self.A.dtype, Psi.dtype)
        A, B, C, P = (M.to(dtype) for M in (self.A, self.B, self.C, Psi))
        return StateSpace(torch.linalg.solve(P, A @ P), torch.linalg.solve(P, B), C @ P)


def companion(a: Float[Tensor, " n"], C: Float[Tensor, " n"] | None = None) -> StateSpace:
    """A register whose first neuron takes, besides the input, a linear function of the whole: h_0 ← Σ_j a_j h_j + x.

    The characteristic polynomial is λ^n − a_0 λ^(n−1) − … − a_(n−1).

    Args:
        a: The linear boundary.
        C: The readout; the last neuron unless given.

    Raises:
        ValueError: If a is not a vector or C does not fit.
    """
    shape_is("a", a, ("n",))
    n = len(a)
    A = torch.diag(torch.ones(n - 1, dtype=a.dtype), -1)
    A[0] = a
    B = torch.zeros(n, dtype=a.dtype)
    B[0] = 1
    return StateSpace(A, B, torch.eye(n, dtype=torch.float64)[-1] if C is None else C)


def register(n: int, C: Float[Tensor, " n"] | None = None) -> StateSpace:
    """The shift SSM: h_0 ← x, h_j ← h_{j−1}; what the last neuron held is gone.

    Args:
        n: Number of neurons.
        C: The readout; the last neuron unless given.

    Raises:
        ValueError: If n is not positive or C does not fit.
    """
    return companion(torch.zeros(positive_int("n", n), dtype=torch.float64), C)


def ring(n: int, gain: float = 1.0, C: Float[Tensor, " n"] | None = None) -> StateSpace:
    """A register whose end is joined to its beginning: h_0 ← gain · h_{n−1} + x. A is circulant for gain 1.

    Args:
        n: Number of neurons.
        gain: Factor at the junction.
        C: The readout; the last neuron unless given.

    Raises:
        ValueError: If n is not positive, the gain not finite, or C does not fit.
    """
    a = torch.zeros(positive_int("n", n), dtype=torch.float64)
    a[-1] = number_in("gain", gain, -1e9, 1e9)
    return companion(a, C)


def printed_register(n: int) -> StateSpace:
    """A with ones on the first *upper* diagonal and B = e_0, as the v-Wave abstract prints it: forgets after one step.

    Read from the last of n neurons.

    Raises:
        ValueError: If n is not positive.
    """
    right = register(n)
    return StateSpace(right.A.mT.contiguous(), right.B, right.C)


def upwind_register(n: int, courant: float) -> StateSpace:
    """One upwind step of the wave equation per time step: h_j ← (1 − c) h_j + c h_{j−1}, h_0 ← (1 − c) h_0 + c x.

    Args:
        n: Number of neurons, of which the last is read.
        courant: c = v Δt/Δx, in [0, 1]; at 1 this is `register`.

    Raises:
        ValueError: If n is not positive or c is out of range.
    """
    c = number_in("courant", courant, 0.0, 1.0)
    shift = register(n)
    unit = torch.eye(shift.N, dtype=torch.float64)
    return StateSpace((1 - c) * unit + c * shift.A, c * shift.B, shift.C)


def diagonal(A: Complex[Tensor, " N"], B: Complex[Tensor, " N"], C: Complex[Tensor, " N"]) -> StateSpace:
    """N independent modes, as in S4D: A diagonal.

    Raises:
        ValueError: If the lengths differ.
    """
    shape_is("A", A, ("N",))
    return StateSpace(torch.diag(A), B, C)


def fourier_basis(n: int) -> Complex[Tensor, "n n"]:
    """The waves that live on a ring: column k is e^(−2πi jk/n)/√n over the neurons j. Unitary.

    Turning by one neuron away from the input multiplies column k by λ_k = e^(2πi k/n).

    Raises:
        ValueError: If n is not positive.
    """
    j = torch.arange(positive_int("n", n), dtype=torch.float64)
    angle = -2 * math.pi * torch.outer(j, j) / n
    return torch.polar(torch.full_like(angle, n**-0.5), angle)


def companion_form(system: StateSpace) -> tuple[StateSpace, Tensor]:
    """The basis in which a controllable system is a register with a linear boundary (`companion`), and that register.

    With the characteristic polynomial λ^N − Σ_j a_j λ^(N−1−j) the basis is

        ψ_0 = B,      ψ_j = A ψ_{j−1} − a_{j−1} B,

    so that A ψ_{j−1} = ψ_j + a_{j−1} ψ_0: what stands at neuron j−1 moves to neuron j, and a_{j−1} of it enters anew.

    Returns:
        The system in the new coordinates with A exactly of companion form, and Ψ with the ψ_j as columns: h = Ψ g.

    Raises:
        ValueError: If B does not reach all of the state space (the ψ_j are linearly dependent).
    """
    values = torch.linalg.eigvals(system.A)
    polynomial = torch.ones(1, dtype=torch.complex128)
    for value in values:
        grown = torch.zeros(len(polynomial) + 1, dtype=torch.complex128)
        grown[:-1] += polynomial
        grown[1:] -= value * polynomial
        polynomial = grown
    a = -polynomial[1:]
    if not system.A.is_complex():
        a = a.real
    columns = [system.B]
    for j in range(1, system.N):
        columns.append(system.A @ columns[-1] - a[j - 1] * system.B)
    Psi = torch.stack(columns, 1)
    singular = torch.linalg.svdvals(Psi)
    require(
        float(singular[-1]) > 1e-300 and float(singular[-1]) > 1e-16 * float(singular[0]),
        "a system whose input does not reach all of its states",
        "a controllable pair (A, B)",
        "Leave out the modes that B does not excite, and repeated eigenvalues of a diagonal A.",
    )
    return companion(a, system.C.to(Psi.dtype) @ Psi), Psi


def resolvent_norm(A: Tensor, z: Complex[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """‖(z − A)⁻¹‖ in the spectral norm. Above 1/ε on the ε-pseudospectrum: z is an eigenvalue of A + E with ‖E‖ ≤ ε.

    Args:
        A: (N, N).
        z: Points of the complex plane.

    Returns:
        The norms; infinite at eigenvalues.

    Raises:
        ValueError: If A is not square.
    """
    shape_is("A", A, (A.shape[-1], A.shape[-1]))
    finite("A", A)
    finite("z", z)
    unit = torch.eye(A.shape[-1], dtype=torch.complex128)
    shifted = z.to(torch.complex128)[..., None, None] * unit - A.to(torch.complex128)
    return 1 / torch.linalg.svdvals(shifted)[..., -1]
