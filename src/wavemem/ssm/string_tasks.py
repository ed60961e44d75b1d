r"""String copying and two n-gram look-ups, as text that a sequence model reads and continues.

The tasks are those of "Repeat After Me" (Jelassi et al., 2024) and the first of them is the one on which the v-Wave
abstract compares its model. An example is a short text over a small alphabet:

- copy, ``$string|string.``: the string has to be said again;
- prefix, ``$ngram|string|answer.``: what follows the n-gram, which is named before the string;
- suffix, ``$string|ngramanswer.``: what follows the n-gram, which is named after it.

For training, examples are packed one after another into a context of fixed length, and the last one is cut off where the
context ends. The loss counts the answers and their final stop only; nothing of a cut example counts. Letters and
lengths are even draws.

The n-gram of a look-up occurs once in its string, and at least one letter (or the asked number of them) follows it. The
public code of the paper means the same and does something slightly different: it makes sure that *some* n-gram of the
string occurs once and then draws among all of them, leaving out those near the end. With 26 letters that is rare; with
few letters its answer is the one after the first occurrence.

Questions to sequence models, the loss of their training and the scores of their answers, for K runs at once.

What can be copied at all: by looking up the last letters in a context, and by a state of so many bits.

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
import string
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.ssm.token_model import TokenModel

KINDS = ("copy", "prefix", "suffix")
SYMBOLS = "$|.*"
ATTEMPTS = 100


class StringBatch(NamedTuple):
    """Packed contexts, shifted by one so that `targets` is what comes next.

    Attributes:
        inputs: tokens, (size, context − 1), int64.
        targets: the token after each of them, the same shape.
        mask: which of the targets belong to an answer (or are its stop).
    """

    inputs: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time"]


@dataclass(frozen=True)
class StringTask:
    """One of the three tasks.

    Tokens 0, …, letters − 1 are the letters a, b, …; then follow `$`, `|`, `.` and `*`.

    Args:
        kind: "copy", "prefix" or "suffix".
        letters: size of the alphabet, 1 to 26.
        lengths: shortest and longest string of the packed contexts, both included.
        context: length of a packed context; the longest example has to fit.
        n_gram: letters of the n-gram (of no meaning to "copy").
        answer: how many letters an answer has; None for all of the string, or all that follows the n-gram.

    Raises:
        ValueError: if a setting is out of its range or the settings do not fit each other.
    """

    kind: str = "copy"
    letters: int = 26
    lengths: tuple[int, int] = (10, 20)
    context: int = 220
    n_gram: int = 3
    answer: int | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        letters = positive_int("letters", self.letters)
        require(letters <= 26, f"letters = {letters}", "1 to 26", "The alphabet ends at z.")
        require(len(self.lengths) == 2, f"lengths = {self.lengths!r}", "(shortest, longest)", "Give two whole numbers.")
        low, high = (positive_int("lengths", value) for value in self.lengths)
        require(low <= high, f"lengths = {self.lengths!r}", "shortest ≤ longest", "Swap the two.")
        positive_int("n_gram", self.n_gram)
        if self.answer is not None:
            positive_int("answer", self.answer)
        if self.kind != "copy":
            fits = letters**self.n_gram < 2**62
            require(fits, f"n_gram = {self.n_gram}", "letters ** n_gram < 2 ** 62", "Use a shorter n-gram.")
        self._check_length(low, "lengths")
        positive_int("context", self.context)
        longest = self.example_length(high)
        require(
            longest <= self.context,
            f"context = {self.context}",
            f"at least {longest}, the longest example",
            "Lengthen the context or shorten the strings.",
        )

    @property
    def vocabulary(self) -> int:
        """Number of tokens: the letters and four symbols."""
        return self.letters + len(SYMBOLS)

    @property
    def start(self) -> int:
        """The token `$` that begins an example."""
        return self.letters

    @property
    def bar(self) -> int:
        """The token `|` that parts string and n-gram from what comes next."""
        return self.letters + 1

    @property
    def stop(self) -> int:
        """The token `.` that ends an example."""
        return self.letters + 2

    @property
    def pad(self) -> int:
        """The token `*` that stands for nothing."""
        return self.letters + 3

    @property
    def characters(self) -> str:
        """The characters of all tokens, in order."""
        return string.ascii_lowercase[: self.letters] + SYMBOLS

    def prompt_length(self, length: int) -> int:
        """Tokens before the answer to a string of this length."""
        return length + {"copy": 2, "prefix": self.n_gram + 3, "suffix": self.n_gram + 2}[self.kind]

    def answer_length(self, length: int) -> int:
        """The most letters that an answer to a string of this length can have."""
        if self.answer is not None:
            return self.answer
        return length if self.kind == "copy" else length - self.n_gram

    def example_length(self, length: int) -> int:
        """The most tokens that an example with a string of this length can have, its stop included."""
        return self.prompt_length(length) + self.answer_length(length) + 1

    def decode(self, tokens: Int[Tensor, " time"]) -> str:
        """Text of a row of tokens.

        Args:
            tokens: one axis.

        Raises:
            ValueError: if there is more than one axis or a token is none of the task's.
        """
        require(tokens.dim() == 1, f"tokens of shape {tuple(tokens.shape)}", "one axis", "Decode row by row.")
        values = [int(token) for token in tokens]
        inside = all(0 <= value < self.vocabulary for value in values)
        require(inside, f"tokens {values}", f"0 to {self.vocabulary - 1}", "Was the text made with more letters?")
        return "".join(self.characters[value] for value in values)

    def batch(self, size: int, generator: torch.Generator) -> StringBatch:
        """Draw packed contexts.

        Args:
            size: how many.
            generator: source of the random numbers.

        Raises:
            ValueError: if the size is no positive whole number, or if no n-gram that occurs once was found.
        """
        size = positive_int("size", size)
        low, high = self.lengths
        # Of a look-up's answer, which begins anywhere, at least one letter.
        answer = 1 if self.answer is None and self.kind != "copy" else self.answer_length(low)
        shortest = self.prompt_length(low) + answer + 1
        many = -(-self.context // shortest)
        where = generator.device
        lengths = torch.randint(low, high + 1, (size * many,), generator=generator, device=where)
        letters, begins, counts = self._draw(lengths, high, generator)
        before = lengths + (self.prompt_length(low) - low)
        ends = (before + counts + 1).view(size, many).cumsum(1)
        time = torch.arange(self.context, device=where).repeat(size, 1)
        example = torch.searchsorted(ends, time, right=True)
        index = example + many * torch.arange(size, device=where).unsqueeze(1)
        # Read the end from a flat table, so that what is used of one example is fetched by one kind of index.
        end = ends.flatten()[index]
        before, lengths, begins, counts = (value[index] for value in (before, lengths, begins, counts))
        offset = time - (end - before - counts - 1)
        tokens = self._tokens(offset, letters, index, lengths, begins, counts)
        mask = (offset >= before) & (end <= self.context)
        return StringBatch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), mask[:, 1:].contiguous())

    def questions(self, length: int, size: int, generator: torch.Generator) -> Questions:
        """Draw single examples with strings of one length, which need not lie within `lengths`.

        Args:
            length: letters of each string.
            size: how many.
            generator: source of the random numbers.

        Raises:
            ValueError: if a number is no positive whole number, or the length leaves no room for n-gram and answer.
        """
        length, size = positive_int("length", length), positive_int("size", size)
        self._check_length(length, "length")
        where = generator.device
        lengths = torch.full((size,), length, device=where)
        letters, begins, counts = self._draw(lengths, length, generator)
        split, longest = self.prompt_length(length), self.example_length(length)
        offset = torch.arange(longest, device=where).expand(size, -1)
        index = torch.arange(size, device=where).unsqueeze(1)
        lengths, begins, counts = (value.unsqueeze(1) for value in (lengths, begins, counts))
        tokens = self._tokens(offset, letters, index, lengths, begins, counts)
        tokens = tokens.masked_fill(offset > split + counts, self.pad)[:, : split + int(counts.max()) + 1]
        return Questions(tokens[:, :split].contiguous(), tokens[:, split:].contiguous(), self.stop, self.pad)

    def _check_length(self, length: int, name: str) -> None:
        needed = self.answer or 1
        if self.kind != "copy":
            needed += self.n_gram
        require(
            length >= needed,
            f"{name} with strings of {length}",
            f"at least {needed} letters (n-gram and answer)",
            "Use longer strings, a shorter n-gram or a shorter answer.",
        )

    def _draw(self, lengths: Tensor, longest: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Letters (examples, longest string), and where in its string each answer begins, and how many letters it has."""
        shape = (len(lengths), longest)
        letters = torch.randint(self.letters, shape, generator=generator, device=generator.device)
        if self.kind == "copy":
            counts = lengths if self.answer is None else torch.full_like(lengths, self.answer)
            return letters, torch.zeros_like(lengths), counts
        possible = self._possible(letters, lengths)
        for _ in range(ATTEMPTS):
            without = possible.any(1).logical_not().nonzero()[:, 0]
            if not len(without):
                break
            shape = (len(without), shape[1])
            letters[without] = torch.randint(self.letters, shape, generator=generator, device=generator.device)
            possible[without] = self._possible(letters[without], lengths[without])
        require(
            bool(possible.any(1).all()),
            f"{self.letters} letters and an n-gram of {self.n_gram}, strings of {int(lengths.min())} to {int(lengths.max())}",
            "settings for which some n-gram occurs once in a string",
            "Use more letters or a longer n-gram.",
        )
        dice = torch.rand(possible.shape, generator=generator, device=generator.device)
        begins = torch.where(possible, dice, -1.0).argmax(1) + self.n_gram
        counts = lengths - begins if self.answer is None else torch.full_like(lengths, self.answer)
        return letters, begins, counts

    def _possible(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """Which n-grams of each string may be asked for, (examples, positions): they occur once and enough follows."""
        windows = letters.unfold(1, self.n_gram, 1)
        places = self.letters ** torch.arange(self.n_gram, device=letters.device)
        codes = (windows * places).sum(-1)
        position = torch.arange(codes.shape[1], device=letters.device)
        codes = torch.where(position <= (lengths - self.n_gram).unsqueeze(1), codes, -1 - position)
        ordered, order = codes.sort(1)
        same = ordered[:, 1:] == ordered[:, :-1]
        repeated = torch.zeros_like(codes, dtype=torch.bool)
        repeated[:, 1:] |= same
        repeated[:, :-1] |= same
        once = torch.empty_like(repeated).scatter_(1, order, ~repeated)
        return once & (position <= (lengths - self.n_gram - (self.answer or 1)).unsqueeze(1))

    def _tokens(
        self, offset: Tensor, letters: Tensor, index: Tensor, lengths: Tensor, begins: Tensor, counts: Tensor
    ) -> Tensor:
        """Tokens at these offsets of the examples `index`; all arguments but `letters` have (or spread to) one shape."""
        n = 0 if self.kind == "copy" else self.n_gram
        if self.kind == "prefix":  # $ngram|string|answer.
            bars = (offset == n + 1) | (offset == n + lengths + 2)
            place = torch.where(offset <= n, begins - n + offset - 1, offset - n - 2)
            place = torch.where(offset > n + lengths + 2, begins + offset - (n + lengths + 3), place)
            last = n + lengths + 3 + counts
        else:  # $string|string. and $string|ngramanswer.
            bars = offset == lengths + 1
            place = torch.where(offset <= lengths, offset - 1, begins - n + offset - lengths - 2)
            last = lengths + 2 + n + counts
        wide = letters.shape[1]
        tokens = letters.flatten()[index * wide + place.clamp(0, wide - 1)]
        tokens = tokens.masked_fill(bars, self.bar)
        tokens = tokens.masked_fill(offset == 0, self.start)
        return tokens.masked_fill(offset == last, self.stop)


class Questions(NamedTuple):
    """One example each, cut where the answer begins.

    Attributes:
        prompts: tokens up to the one after which the answer begins, (size, P), int64.
        answers: the answer and its stop, (size, A); shorter answers are filled up with the task's `pad`.
        stop: the token that ends an answer.
        pad: the token that stands for nothing.
    """

    prompts: Int[Tensor, "batch prompt"]
    answers: Int[Tensor, "batch answer"]
    stop: int
    pad: int


class Scores(NamedTuple):
    """Shares of right answers, one number per run.

    Attributes:
        characters: share of the answers' characters that are right.
        strings: share of the answers that are right as a whole.
    """

    characters: Float[Tensor, " runs"]
    strings: Float[Tensor, " runs"]


def guessing_loss(task: StringTask) -> float:
    """Loss per answered character, in nats, of even guesses among the letters with the stop known, for string copying.

    Of examples drawn one by one; a packed context holds a few more of the short ones.
    """
    mean = sum(task.lengths) / 2
    return math.log(task.letters) * mean / (mean + 1)


def masked_loss(
    logits: Float[Tensor, "runs batch time vocabulary"],
    targets: Int[Tensor, "*runs batch time"],
    mask: Bool[Tensor, "*runs batch time"],
) -> Float[Tensor, " runs"]:
    """Cross-entropy per run, in nats, averaged over the marked positions.

    Args:
        logits: (K, B, L, V).
        targets: (K, B, L), or (B, L) for all runs.
        mask: which targets count; the same shape as `targets`. A run without a marked target gets NaN.

    Raises:
        ValueError: if the shapes do not fit.
    """
    shape_is("logits", logits, ("K", "B", "L", "V"))
    shape = logits.shape[:-1]
    shape_is("targets", targets, shape if targets.dim() == 3 else shape[1:])
    shape_is("mask", mask, targets.shape)
    targets, counted = targets.expand(shape), mask.expand(shape).to(logits.dtype)
    losses = cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(shape)
    return (losses * counted).sum((1, 2)) / counted.sum((1, 2))


def scores(said: Int[Tensor, "runs batch said"], questions: Questions) -> Scores:
    """Shares of right characters and of right answers; the stop does not count, as in the public code of the task's authors.

    Args:
        said: what each run answered, (K, B, steps); what comes after the answers' end is not looked at.
        questions: with the right answers.

    Raises:
        ValueError: if too little was said or the batch differs.
    """
    answers = questions.answers[:, :-1]
    counts = (answers != questions.pad) & (answers != questions.stop)
    said = said[..., : answers.shape[1]]
    shape_is("said", said, ("K", *answers.shape))
    right = (said == answers) & counts
    characters = right.double().sum((1, 2)) / counts.sum()
    return Scores(characters, (right | ~counts).all(-1).double().mean(1))


@torch.no_grad()
def generated_scores(model: TokenModel, questions: Questions) -> Scores:
    """Let every run answer all questions by itself, each character greedily chosen and fed back."""
    prompts = questions.prompts.expand(model.K, -1, -1)
    return scores(model.generate(prompts, questions.answers.shape[1] - 1), questions)


@torch.no_grad()
def teacher_forced_scores(model: TokenModel, questions: Questions) -> Scores:
    """Score each character given the *right* ones before it, which is what the public code of the task's authors does.

    A string counts as right if every one of these is. That is the same as for generated answers, since the first
    mistake of a run is made after right characters in both cases; the share of characters is not.
    """
    prompts, answers = questions.prompts, questions.answers
    logits = model(torch.cat([prompts, answers[:, :-1]], 1).expand(model.K, -1, -1))
    return scores(logits[:, :, prompts.shape[1] - 1 :].argmax(-1), questions)


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
