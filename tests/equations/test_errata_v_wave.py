"""The errata of the v-Wave abstract and of the public code of string copying, each stated from scratch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch


def test_vwave_a_state_of_that_size_is_not_what_300_letters_lack() -> None:
    needed = 300 * math.log2(26)  # bits of a string of 300 letters
    layers, channels, states, register = 12, 2 * 1024, 32, 4  # the published Mamba, expanded by 2
    kept = layers * channels * (states + register)
    assert round(needed) == 1410
    assert kept == 884_736
    assert kept / needed > 600  # numbers per bit: less than one bit in 600 numbers would have to survive
    assert 32 * kept / math.log2(26) > 6_000_000  # letters that fit, in single precision
    # 2^b states have 2^b answers; the bound that the theorem gives for b bits falls within a few letters
    bits = 100
    share = [min(1.0, 2.0 ** (bits - L * math.log2(26))) for L in (20, 21, 22, 24)]
    assert share[0] == share[1] == 1.0
    assert share[2] < 0.15
    assert share[3] < 1e-3


@pytest.mark.parametrize("n", [2, 4, 9])
def test_vwave_another_velocity_changes_reach_and_smoothness_with_it(n: int) -> None:
    ages = range(400)

    def pulses(v: float) -> np.ndarray:
        held = [[math.comb(t, j) * v ** (j + 1) * (1 - v) ** max(t - j, 0) for t in ages] for j in range(n)]
        return np.array(held)

    assert np.array_equal(pulses(1.0), np.eye(n, len(ages)))  # reaches n - 1 and no further, whatever is read out
    slow = pulses(0.5)
    mean = slow @ np.array(ages)
    np.testing.assert_allclose(mean, (np.arange(n) + 0.5) / 0.5, atol=1e-9)  # reaches twice as far
    overlap = (slow @ slow.T)[0, 1]
    assert overlap > 0  # … and neighbours hold mixtures
    # neither is a larger memory: of independent inputs n numbers' worth can be recovered at both
    for held in (pulses(1.0), slow):
        recovered = np.diag(held.T @ np.linalg.solve(held @ held.T, held))
        np.testing.assert_allclose(recovered.sum(), n, rtol=1e-6)


def test_string_copy_the_command_of_the_readme_evaluates_nothing() -> None:
    assert len(np.arange(20, 20)) == 0  # --min_eval_len 20 --max_eval_len 20
    assert list(np.arange(5, 20))[-1] == 19  # the training range of the same command ends at 20


def _answers(say: Callable[[str], str], prompt: str, truth: str, forced: bool) -> str:
    text, said = prompt, ""
    for letter in truth:
        new = say(text)
        said += new
        text += letter if forced else new
    return said


def test_string_copy_accuracy_is_scored_after_right_letters() -> None:
    string = "qwertyui"
    prompt = f"${string}|"

    def say(text: str) -> str:
        """Look the last letter up and say what follows, but begin with a wrong one."""
        answer = text.split("|")[1]
        return string[3] if not answer else (string + string)[string.index(answer[-1]) + 1]

    written, taught = (_answers(say, prompt, string, forced) for forced in (False, True))
    right = [sum(a == b for a, b in zip(said, string, strict=True)) for said in (written, taught)]
    assert right == [0, len(string) - 1]  # characters: none, and all but the first
    assert (written == string) == (taught == string)  # whole strings agree: the first mistake follows right letters
    # the stop is not scored: the answer is compared up to its last letter, whatever is said next
    text = prompt + string + "."
    scored = text[text.index("|") + 1 :][:-1]
    assert scored == string


@pytest.mark.parametrize(("answer", "left_out"), [(3, 3), (0, 2)])
@pytest.mark.parametrize("length", [12, 30])
def test_string_copy_look_ups_never_ask_for_the_last_places(length: int, answer: int, left_out: int) -> None:
    n = 3
    possible = [i for i in range(length) if i + n + max(answer, 1) <= length]  # enough letters follow
    listed = list(range(length - n - answer - 1)) if answer > 0 else list(range(length - n - 1))
    drawn = listed[: len(listed) - 1]  # randint(0, len - 1) excludes its upper end
    assert possible[:-left_out] == drawn
    # the shortest strings that the code admits, n + answer + 1 letters, list no n-gram at all
    if answer:
        assert not list(range((n + answer + 1) - n - answer - 1))


def test_string_copy_look_ups_may_ask_for_an_n_gram_that_is_there_twice() -> None:
    string, n = "abcxabcyz", 3
    listed = [string[i : i + n] for i in range(len(string) - n - 1)]
    unique = [g for g in listed if listed.count(g) == 1]
    assert unique  # one n-gram that occurs once is all that the code asks for …
    assert listed.count("abc") == 2  # … and then it draws from the whole list
    assert string[string.index("abc") + n] == "x"  # the answer expected is that of the first
    assert string[string.rindex("abc") + n] == "y"


def test_string_copy_the_first_and_the_last_update_have_rate_zero() -> None:
    steps, warm_up = 2000, 100

    def scale(done: int) -> float:  # linear warm-up and decay, by the number of updates done
        if done < warm_up:
            return done / warm_up
        return max(0.0, (steps - done) / (steps - warm_up))

    parameter = torch.nn.Parameter(torch.ones(()))
    optimiser = torch.optim.AdamW([parameter], lr=1.0, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, scale)
    rates = []
    for step in range(1, 10_000):  # the loop counts from 1 and stops when the count exceeds the number of steps
        rates.append(optimiser.param_groups[0]["lr"])
        parameter.grad = torch.ones(())
        optimiser.step()
        schedule.step()
        if step > steps:
            break
    assert len(rates) == steps + 1
    assert rates[0] == rates[-1] == 0.0
    assert rates[1] == pytest.approx(0.01)
    assert max(rates) == 1.0
    assert rates.index(1.0) == warm_up


def test_string_copy_weight_decay_reaches_what_mamba_exempts() -> None:
    A_log = torch.nn.Parameter(torch.log(torch.arange(1.0, 33.0)))
    A_log._no_weight_decay = True  # the mark that Mamba sets, for whoever builds the optimiser to heed
    start = A_log.detach().clone()
    optimiser = torch.optim.AdamW([A_log], lr=1e-3, weight_decay=0.1)  # one group of all parameters, as in the code
    for _ in range(2000):
        A_log.grad = torch.zeros(32)
        optimiser.step()
    shrunk = float(A_log.detach()[-1] / start[-1])
    assert shrunk == pytest.approx((1 - 1e-4) ** 2000, rel=1e-4)
    assert float(A_log.detach().exp()[-1]) < 18  # the fastest decay, 32 at the start, by decay alone
    # at the default rate of the code, 1e-5, nothing of this is seen
    assert (1 - 1e-6) ** 2000 > 0.997


def test_string_copy_scores_count_three_quarters_of_a_head_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 5, 64, generator=generator, dtype=torch.float64)
    rotary = 64 // 4  # GPT-NeoX turns a quarter of each head; these variants turn nothing, but still cut it off …
    doubled_query = torch.cat([query, query[:, rotary:]], -1)  # … and append the rest to the whole
    doubled_key = torch.cat([key, key[:, rotary:]], -1)
    printed = doubled_query @ doubled_key.T / 8.0
    turned, rest = query[:, :rotary] @ key[:, :rotary].T, query[:, rotary:] @ key[:, rotary:].T
    torch.testing.assert_close(printed, (turned + 2 * rest) / 8.0)
    assert not torch.allclose(printed, query @ key.T / 8.0)
    # a rescaling of the learned query map undoes it: it changes where training starts, not what can be represented
    scale = torch.cat([torch.ones(rotary), torch.full((64 - rotary,), 0.5)]).double()
    rescaled = query * scale
    undone = torch.cat([rescaled, rescaled[:, rotary:]], -1) @ doubled_key.T / 8.0
    torch.testing.assert_close(undone, query @ key.T / 8.0)
