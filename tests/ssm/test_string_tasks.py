"""String copying and look-ups: packed contexts against a slow parser, masks, questions, losses, scores; what limits copying."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.ssm import string_tasks as strings
from wavemem.ssm.string_tasks import KINDS, Questions, StringTask
from wavemem.ssm.token_model import TokenModel
from wavemem.streams import stream


def example_text(task: StringTask, word: str, begin: int) -> tuple[str, int]:
    """One example as text, and where its answer begins: written out from the task's definition."""
    if task.kind == "copy":
        answer = word if task.answer is None else word[: task.answer]
        return f"${word}|{answer}.", len(word) + 2
    gram, rest = word[begin : begin + task.n_gram], word[begin + task.n_gram :]
    answer = rest if task.answer is None else rest[: task.answer]
    head = f"${gram}|{word}|" if task.kind == "prefix" else f"${word}|{gram}"
    return f"{head}{answer}.", len(head)


def pack(task: StringTask, words: list[tuple[str, int]]) -> tuple[str, list[bool]]:
    """A packed context and its mask, built example by example; `words` may be more than fit."""
    text, mask = "", []
    for word, begin in words:
        example, split = example_text(task, word, begin)
        if len(text) + len(example) > task.context:
            cut = task.context - len(text)
            return text + example[:cut], mask + [False] * cut
        text += example
        mask += [False] * split + [True] * (len(example) - split)
    return text, mask


def split_word(task: StringTask, example: str) -> tuple[str, int]:
    """String and place of the n-gram of a whole example, read from its text alone."""
    parts = example[1:-1].split("|")
    if task.kind == "copy":
        return parts[0], 0
    word, gram = (parts[1], parts[0]) if task.kind == "prefix" else (parts[0], parts[1][: task.n_gram])
    places = [i for i in range(len(word)) if word.startswith(gram, i)]
    assert len(places) == 1, "the n-gram of a look-up occurs once"
    return word, places[0]


def rows_of(task: StringTask, size: int, seed: int) -> list[tuple[str, list[bool]]]:
    """Packed contexts as text with the mask of every token, the shift undone."""
    batch = task.batch(size, torch.Generator().manual_seed(seed))
    assert batch.inputs.shape == batch.targets.shape == batch.mask.shape == (size, task.context - 1)
    assert (batch.inputs.dtype, batch.targets.dtype, batch.mask.dtype) == (torch.int64, torch.int64, torch.bool)
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    ids = torch.cat([batch.inputs[:, :1], batch.targets], 1)
    assert (ids[:, 0] == task.start).all()
    return [(task.decode(row), [False, *map(bool, mask)]) for row, mask in zip(ids, batch.mask, strict=True)]


@st.composite
def tasks(draw: st.DrawFn) -> StringTask:
    kind = draw(st.sampled_from(KINDS))
    letters = draw(st.integers(4, 26))
    n_gram = draw(st.integers(1, 3))
    answer = draw(st.none() | st.integers(1, 3))
    low = draw(st.integers(6, 9))
    high = low + draw(st.integers(0, 6))
    context = draw(st.integers(20, 90))
    assume(not (kind != "copy" and n_gram == 1 and letters < 12))  # one letter that occurs once: too rare below
    room = StringTask(kind, letters, (low, high), 200, n_gram, answer).example_length(high)
    return StringTask(kind, letters, (low, high), max(context, room), n_gram, answer)


@settings(max_examples=120, deadline=None)
@given(task=tasks(), seed=st.integers(0, 999))
def test_every_packed_row_is_whole_examples_and_a_cut_one(task: StringTask, seed: int) -> None:
    for text, mask in rows_of(task, 3, seed):
        assert len(text) == task.context
        whole = text.split("$")[1:]
        cut = "" if text.endswith(".") else whole.pop()
        words = [split_word(task, f"${example}") for example in whole]
        low, high = task.lengths
        assert all(low <= len(word) <= high for word, _ in words)
        assert words, "at least one whole example in each row"
        # The oracle builds the same row from what was parsed, mask included.
        again, expected = pack(task, words)
        if cut or text.endswith("$"):
            again, expected = again + f"${cut}", expected + [False] * (1 + len(cut))
        assert again == text
        assert expected == mask
        # The cut example, too, is the beginning of a right one.
        string, *parts = cut.split("|")
        if parts and task.kind == "copy":
            assert string.startswith(parts[0])
        elif parts and task.kind == "suffix":
            assert parts[0] in string
        elif len(parts) == 2:
            assert string + parts[1] in parts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_letters_and_places_are_even_draws(kind: str) -> None:
    task = StringTask(kind, 26, (4, 7), 400, n_gram=2)
    words = [split_word(task, f"${example}") for text, _ in rows_of(task, 150, 0) for example in text.split("$")[1:-1]]
    lengths = torch.bincount(torch.tensor([len(word) for word, _ in words]), minlength=8)[4:].double()
    assert (lengths / lengths.sum() - 0.25).abs().max() < 0.03
    letters = torch.bincount(torch.tensor([ord(c) - 97 for word, _ in words for c in word]), minlength=26).double()
    assert (letters / letters.sum() * 26 - 1).abs().max() < 0.2
    if kind != "copy":
        places = torch.bincount(torch.tensor([place for word, place in words if len(word) == 7])).double()
        assert len(places) == 5  # the n-gram of two letters may stand anywhere but at the very end
        assert (places / places.sum() - 0.2).abs().max() < 0.07


@pytest.mark.parametrize("kind", KINDS)
def test_batches_repeat_with_the_generator(kind: str) -> None:
    task = StringTask(kind, 16, (4, 10), 46)
    one, two, other = (task.batch(8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [None, 2])
def test_questions_at_any_length(kind: str, answer: int | None) -> None:
    task = StringTask(kind, 26, (6, 8), 60, answer=answer)
    for length in (6, 8, 40, 300):  # also far beyond the training lengths and the context
        asked = task.questions(length, 9, torch.Generator().manual_seed(length))
        assert asked.prompts.shape == (9, task.prompt_length(length))
        assert asked.answers.shape[1] <= task.answer_length(length) + 1
        for prompt, reply in zip(asked.prompts, asked.answers, strict=True):
            text, said = task.decode(prompt), task.decode(reply).rstrip("*")
            word, begin = split_word(task, text + said)
            assert len(word) == length
            assert example_text(task, word, begin) == (text + said, len(text))


def test_the_default_is_the_paper_s_size() -> None:
    task = StringTask()
    assert (task.vocabulary, task.start, task.bar, task.stop, task.pad) == (30, 26, 27, 28, 29)
    assert task.decode(torch.tensor([26, 0, 1, 25, 27, 28, 29])) == "$abz|.*"
    assert task.batch(2, torch.Generator().manual_seed(0)).inputs.shape == (2, 219)


def test_the_loss_of_guessing() -> None:
    assert strings.guessing_loss(StringTask("copy", 16, (4, 10), 46)) == pytest.approx(math.log(16) * 7 / 8)


def test_the_loss_is_the_mean_over_marked_positions_of_each_run() -> None:
    task = StringTask("suffix", 16, (6, 10), 46)
    batch = task.batch(5, torch.Generator().manual_seed(0))
    logits = torch.randn(3, 5, 45, task.vocabulary, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    found = strings.masked_loss(logits, batch.targets, batch.mask)
    for k in range(3):
        single = [
            -torch.log_softmax(logits[k, b, t], -1)[batch.targets[b, t]]
            for b in range(5)
            for t in range(45)
            if batch.mask[b, t]
        ]
        torch.testing.assert_close(found[k], torch.stack(single).mean())
    own = strings.masked_loss(logits, batch.targets.expand(3, -1, -1), batch.mask.expand(3, -1, -1))
    assert torch.equal(own, found)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert not gradient[:, ~batch.mask].any()
    assert gradient[:, batch.mask].any(-1).all()


class Parrot:
    """K runs that know the answer but for the places at which run k is told to be wrong."""

    def __init__(self, questions: Questions, vocabulary: int, wrong: list[list[int]]) -> None:
        self.K, self.questions, self.vocabulary, self.wrong = len(wrong), questions, vocabulary, wrong

    def said(self) -> Tensor:
        answers = self.questions.answers.expand(self.K, -1, -1).clone()
        for k, places in enumerate(self.wrong):
            for place in places:
                answers[k, :, place] = (answers[k, :, place] + 1) % self.vocabulary
        return answers

    def __call__(self, tokens: Tensor) -> Tensor:
        P = self.questions.prompts.shape[1]
        logits = torch.zeros(*tokens.shape, self.vocabulary)
        logits[:, :, P - 1 :] = torch.nn.functional.one_hot(self.said(), self.vocabulary).float()
        return logits

    def generate(self, tokens: Tensor, steps: int) -> Tensor:
        assert torch.equal(tokens[0], self.questions.prompts)
        return self.said()[..., :steps]


def test_scores_per_character_and_per_string() -> None:
    task = StringTask("copy", 16, (4, 10), 46)
    asked = task.questions(8, 10, torch.Generator().manual_seed(0))
    model = Parrot(asked, task.vocabulary, [[], [2], [8], [0, 1, 8]])
    for score in (strings.generated_scores, strings.teacher_forced_scores):
        plain = score(cast(TokenModel, model), asked)  # the stop, place 8, does not count
        torch.testing.assert_close(plain.characters, torch.tensor([1, 7 / 8, 1, 6 / 8], dtype=torch.float64))
        torch.testing.assert_close(plain.strings, torch.tensor([1.0, 0, 1, 0], dtype=torch.float64))


def test_answers_of_different_lengths_are_scored_to_their_own_end() -> None:
    task = StringTask("suffix", 26, (6, 10), 46)
    asked = task.questions(12, 40, torch.Generator().manual_seed(0))
    lengths = (asked.answers < task.letters).sum(1)
    assert lengths.min() < lengths.max()
    first = asked.answers.clone()
    first[:, 0] = (first[:, 0] + 1) % task.letters
    assert float(strings.scores(first[None], asked).characters) == pytest.approx(1 - 40 / float(lengths.sum()))
    # Whatever is said after the end changes nothing.
    rubbish = torch.where(asked.answers >= task.letters, 0, asked.answers)
    assert strings.scores(rubbish[None], asked).strings == 1.0


def test_look_ups_with_few_letters_ask_for_n_grams_that_occur_once() -> None:
    task = StringTask("prefix", 3, (8, 12), 60, n_gram=2)
    for text, _ in rows_of(task, 40, 3):
        for example in text.split("$")[1:-1]:
            split_word(task, f"${example}")  # asserts it


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StringTask("reverse"), "kind = 'reverse'"),
        (lambda: StringTask(letters=27), "letters = 27"),
        (lambda: StringTask(lengths=(5, 4)), "shortest ≤ longest"),
        (lambda: StringTask(lengths=(1, 2, 3)), "shortest, longest"),
        (lambda: StringTask(context=42), "at least 43"),
        (lambda: StringTask("suffix", lengths=(3, 9)), "at least 4 letters"),
        (lambda: StringTask("copy", lengths=(3, 9), answer=4), "at least 4 letters"),
        (lambda: StringTask("suffix", lengths=(20, 30), n_gram=14), "n_gram = 14"),
        (lambda: StringTask().batch(0, torch.Generator()), "size = 0"),
        (lambda: StringTask("suffix").questions(3, 1, torch.Generator()), "length with strings of 3"),
        (lambda: StringTask("suffix", letters=1).batch(2, torch.Generator()), "Use more letters"),
        (lambda: StringTask(letters=3).decode(torch.tensor([7])), "0 to 6"),
        (lambda: StringTask(letters=3).decode(torch.zeros(2, 2)), "Decode row by row"),
        (
            lambda: strings.masked_loss(torch.zeros(2, 3, 4, 5), torch.zeros(3, 3), torch.zeros(3, 3)),
            "targets has shape",
        ),
        (
            lambda: strings.scores(
                torch.zeros(1, 2, 2), StringTask().questions(10, 2, torch.Generator().manual_seed(0))
            ),
            "said has shape",
        ),
        (lambda: strings.looked_up(torch.zeros(2, 3, dtype=torch.int64), 0, 2), "n = 0"),
        (lambda: strings.looked_up(torch.zeros(2, 3, dtype=torch.int64), 4, 2), "n = 4 on"),
        (lambda: strings.looked_up(torch.zeros(3, dtype=torch.int64), 1, 2), "strings of shape"),
        (lambda: strings.looked_up(torch.full((2, 3), 5), 1, 2), "other tokens"),
        (lambda: strings.lookup_error_bound(0, 3, 1), "letters = 0"),
        (lambda: strings.state_bound(-1, 2, 3), "bits = -1"),
        (lambda: strings.state_bound(1, 2, 0), "length = 0"),
        (lambda: strings.letters_in(3, 1), "letters = 1"),
        (lambda: strings.letters_in(-3, 2), "bits = -3"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@given(st.lists(st.integers(0, 2), min_size=3, max_size=12), st.integers(1, 3))
def test_looking_up_is_a_search_in_text(string: list[int], n: int) -> None:
    text = "".join("abc"[c] for c in string)
    expected = list(text[:n])
    for i in range(n, len(text)):
        place = text.rfind(text[i - n : i]) + n
        expected.append(text[place] if place < len(text) else "-")
    said = strings.looked_up(torch.tensor([string]), n, 3)[0]
    assert ["abc"[c] if c >= 0 else "-" for c in said.tolist()] == expected


def test_the_bound_on_errors_holds() -> None:
    drawn = torch.randint(26, (2000, 40), generator=stream(0, "strings"))
    for n in (1, 2, 3, 4):
        wrong = (strings.looked_up(drawn, n, 26) != drawn).any(1).double().mean().item()
        assert wrong <= strings.lookup_error_bound(26, 40, n) + 0.005
    assert strings.lookup_error_bound(26, 300, 6) < 0.001
    assert strings.lookup_error_bound(2, 300, 1) == 1.0


def test_a_state_of_b_bits_copies_at_most_two_to_the_b_strings() -> None:
    """Whatever the reader does: here it keeps the parity of every letter."""
    copied = 0
    for string in itertools.product(range(4), repeat=3):
        state = tuple(c % 2 for c in string)  # three bits
        copied += string == state  # the writer says the even or odd letter that it is most often
    assert copied / 4**3 <= strings.state_bound(3, 4, 3) == 2**-3


def test_bits_and_letters() -> None:
    assert strings.letters_in(32, 16) == 8
    assert strings.state_bound(32, 16, 8) == 1.0
    assert strings.state_bound(31, 16, 8) == 0.5
    assert strings.state_bound(0, 26, 300) < 1e-300
    assert strings.state_bound(1e6, 26, 300) == 1.0
