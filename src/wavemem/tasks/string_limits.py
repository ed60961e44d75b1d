r"""What can be copied at all: by looking up the last letters in a context, and by a state of so many bits.

**Looking up.** To say the next letter, take the last $n$ letters said, find them in the string, and say what follows. It
goes wrong where these $n$ letters stand in the string twice and different letters follow. In an even draw two given places
carry the same $n$ letters with probability $V^{-n}$, so that, adding over pairs,

$$P(\text{string wrong}) \le \binom{L-n+1}{2} V^{-n},$$

and $n = O(\log_V L)$ letters are enough (Jelassi et al., 2024, section 2).

**A state.** Whatever writes the answer after the string has been read knows it through its state only. A state of $b$ bits
is one of $2^b$, each of which leads to one answer, so that at most $2^b$ of the $V^L$ strings are copied (there too).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from torch import Tensor

from wavemem.checks import positive_int, require

__all__ = ["letters_in", "looked_up", "lookup_error_bound", "state_bound"]


def looked_up(strings: Int[Tensor, "batch length"], n: int, letters: int) -> Int[Tensor, "batch length"]:
    """The answers of a copier that looks up its last n letters, each given the right letters before it.

    Fewer than n letters have been said at first: they are looked up at the beginning of the string. Where the letters
    stand at several places, the last of them is taken; what follows the string's last letter is no letter (-1).

    Args:
        strings: letters, 0 to letters - 1.
        n: how many letters are looked up, at least 1.
        letters: size of the alphabet.

    Returns:
        The letter said at every place.

    Raises:
        ValueError: if n or letters is not positive, n is longer than the strings, or the strings are no letters.
    """
    n, letters = positive_int("n", n), positive_int("letters", letters)
    require(strings.ndim == 2, f"strings of shape {tuple(strings.shape)}", "(batch, length)", "Stack the strings.")
    length = strings.shape[1]
    require(n <= length, f"n = {n} on strings of {length}", "at most their length", "Look fewer letters up.")
    inside = bool(((strings >= 0) & (strings < letters)).all())
    require(inside, "strings with other tokens", f"0 to {letters - 1}", "Pass the letters without $ and |.")
    windows = strings.unfold(1, n, 1)  # (batch, length - n + 1, n), window i ends at place i + n - 1
    codes = (windows * letters ** torch.arange(n)).sum(-1)
    following = torch.cat([strings[:, n:], torch.full_like(strings[:, :1], -1)], 1)
    # Equal codes stand side by side when sorted, in the order of their places: the last of them is the newest.
    ordered, places = codes.sort(dim=1, stable=True)
    last = places.gather(1, torch.searchsorted(ordered, codes, right=True) - 1)
    said = following.gather(1, last)
    # The last window's successor is the end of the answer; the first n letters are known from the beginning.
    return torch.cat([strings[:, :n], said[:, : length - n]], 1)


def lookup_error_bound(letters: int, length: int, n: int) -> float:
    """Upper bound of the share of strings on which looking up n letters errs, at most 1.

    Raises:
        ValueError: if a number is not positive.
    """
    letters, length, n = positive_int("letters", letters), positive_int("length", length), positive_int("n", n)
    places = max(length - n + 1, 0)
    return min(1.0, places * (places - 1) / 2 * float(letters) ** -n)


def state_bound(bits: float, letters: int, length: int) -> float:
    """Upper bound of the share of strings that a model copies from a state of so many bits: min(1, 2^bits / V^length).

    Raises:
        ValueError: if bits is negative, or another number not positive.
    """
    letters, length = positive_int("letters", letters), positive_int("length", length)
    require(bits >= 0, f"bits = {bits!r}", "a number from 0", "Count the bits of the state.")
    return 2.0 ** min(0.0, bits - length * math.log2(letters))


def letters_in(bits: float, letters: int) -> float:
    """The longest string that a state of so many bits can hold: bits / log2(V) letters.

    Raises:
        ValueError: if bits is negative or there are fewer than two letters.
    """
    letters = positive_int("letters", letters, minimum=2)
    require(bits >= 0, f"bits = {bits!r}", "a number from 0", "Count the bits of the state.")
    return bits / math.log2(letters)
