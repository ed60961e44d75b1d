"""An HDS that no linear boundary can run: the next vector is found by its content.

At every step the newest vector x_s asks a question, q = R x_s; the stored vector that agrees with it best is looked up, and
the next vector is a signed permutation of what was found:

    i* = argmax_i Σ_j w_j (x_i)_j (R x_s)_j,     w_j = 2^(d-1-j),     f(x_s, ..., x_1) = O x_{i*}.

The weights make the comparison lexicographic: the leading coordinates of x_i are its *key part* and decide, later ones
only break ties. By default R moves the second half of a vector to the front, so that the key part is the first half and
the *query part* of the newest vector is its second half; O shifts the coordinates by one and changes one sign (its order
is 2d), so that what was value becomes key.

On binary histories two vectors with equal scores are equal, so no tie is ambiguous. The rule also runs on real vectors,
where ties have probability 0.

The system is the book's own: the papers ask for a non-linear f without giving one (Karuvally et al., ICML 2024,
section 3.2). It is odd, f(-h) = -f(h), so that networks without biases are not at a disadvantage.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import number_in, positive_int, require, shape_is
from wavemem.theory.attention import SelfAttentionBoundary
from wavemem.theory.hds import HDS

LARGEST_D = 52
"""Sums of d different powers of two are exact in float64 up to here."""


def negacyclic_shift(d: int) -> Float[Tensor, "d d"]:
    """The signed permutation (x_1, ..., x_d) → (-x_d, x_1, ..., x_{d-1}), of order 2d; float64.

    Raises:
        ValueError: if d is not a positive whole number.
    """
    d = positive_int("d", d)
    O = torch.eye(d, dtype=torch.float64).roll(1, 0)  # noqa: E741 - the symbol of the page
    O[0] *= -1
    return O


def query_shift(d: int) -> Float[Tensor, "d d"]:
    """The permutation that moves the second half of a vector to the front (the first half is the longer one); float64.

    Raises:
        ValueError: if d is not a positive whole number.
    """
    d = positive_int("d", d)
    return torch.eye(d, dtype=torch.float64).roll(-((d + 1) // 2), 0)


def _signed_permutation(name: str, M: Tensor, d: int) -> Tensor:
    shape_is(name, M, (d, d))
    M = M.detach().to("cpu", torch.float64)
    identity = torch.eye(d, dtype=torch.float64)
    require(
        bool(torch.equal(M.abs() @ M.abs().T, identity) and torch.equal(M @ M.T, identity)),
        f"{name} = {M.tolist()}",
        "a signed permutation: one entry of +1 or -1 in every row and column",
        "Anything else leaves {-1, +1} or makes ties ambiguous.",
    )
    return M


class LookupHDS(HDS):
    """The look-up system: x_{s+1} = O x_{i*}, where x_{i*} is the stored vector that agrees best with R x_s.

    Args:
        s: length of the history.
        d: dimension of the vectors, at most 52.
        R: the question as a signed permutation of the newest vector, (d, d); by default :func:`query_shift`.
        O: what is made of the vector found, a signed permutation, (d, d); by default :func:`negacyclic_shift`.
        name: what to call the system.

    Raises:
        ValueError: if a size is out of range, or R or O is not a signed permutation.
    """

    def __init__(
        self,
        s: int,
        d: int,
        R: Float[Tensor, "d d"] | None = None,
        O: Float[Tensor, "d d"] | None = None,  # noqa: E741 - the symbol of the page
        name: str = "look-up",
    ) -> None:
        d = positive_int("d", d)
        require(
            d <= LARGEST_D, f"d = {d}", f"1 to {LARGEST_D}", "Scores are sums of d powers of two, exact to 53 bits."
        )
        super().__init__(s, d, self._apply, name)
        self.R = _signed_permutation("R", query_shift(d) if R is None else R, d)
        self.O = _signed_permutation("O", negacyclic_shift(d) if O is None else O, d)
        self.significance: Tensor = 2.0 ** torch.arange(d - 1, -1, -1, dtype=torch.float64)

    def scores(self, h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch s"]:
        """How well each stored vector agrees with the newest one's question; float64, on the device of h.

        Raises:
            ValueError: if h does not end in (s, d).
        """
        shape_is("h", h, ("...", self.s, self.d))
        exact = h.to(torch.float64)
        question = exact[..., -1, :] @ self.R.to(h.device).T * self.significance.to(h.device)
        return (exact @ question.unsqueeze(-1)).squeeze(-1)

    def found(self, h: Float[Tensor, "*batch s d"]) -> Int[Tensor, "*batch"]:
        """Index i* (from 0, the oldest) of the vector found; of equal ones the youngest.

        Raises:
            ValueError: if h does not end in (s, d).
        """
        return self.s - 1 - self.scores(h).flip(-1).argmax(-1)

    def _apply(self, h: Tensor) -> Tensor:
        index = self.found(h)[..., None, None].expand(*h.shape[:-2], 1, self.d)
        return h.gather(-2, index).squeeze(-2) @ self.O.to(dtype=h.dtype, device=h.device).T

    def head(self, sharpness: float = 8.0, dtype: torch.dtype = torch.float64) -> SelfAttentionBoundary:
        """The attention head that runs this system: W_K = 1, W_Q = β diag(w) R, W_V = O, scale 1.

        Two different binary vectors differ in score by at least 2β, so all weight but (s - 1) e^{-2β} lies on what is to be
        found, and |f(h) - O x_{i*}| ≤ 2 (s - 1) e^{-2β} in every coordinate; β → ∞ is exact.

        Args:
            sharpness: β > 0.
            dtype: type of the weights.

        Returns:
            The boundary, to be run by :func:`wavemem.theory.boundary.run`.

        Raises:
            ValueError: if the sharpness is not a positive finite number.
        """
        beta = number_in("sharpness", sharpness, 1e-12, 1e12)
        W_Q = beta * self.significance[:, None] * self.R
        return SelfAttentionBoundary(
            W_K=torch.eye(self.d, dtype=dtype), W_Q=W_Q.to(dtype), W_V=self.O.to(dtype), scale=1.0
        )
