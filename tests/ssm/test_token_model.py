"""What holds for every model of strings: its forms agree, it sees the past alone, its costs are what is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wavemem.ssm.mamba import Mamba
from wavemem.ssm.string_copying import MODELS, Config, build
from wavemem.ssm.token_model import RMSNorm, StackedEmbedding, StackedLinear, TokenModel, generators
from wavemem.ssm.transformer import Transformer

CONFIG = Config(letters=5, width=16, heads=4, context=25, longest=6)
V = 9  # tokens


def draw(*shape: int) -> torch.Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(0))


def make(model: str, *seeds: int) -> TokenModel:
    return build(CONFIG, model, seeds or (0, 1))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_goes_on_from_a_prompt_as_it_reads_the_whole(name: str) -> None:
    model, tokens = make(name), draw(2, 3, 19)
    whole = model(tokens)
    logits, states = model.prefill(tokens[:, :, :11])
    parts = [logits]
    for t in range(11, 19):
        logits, states = model.step(tokens[:, :, t], states)
        parts.append(logits.unsqueeze(2))
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=1e-5)
    held = sum(h.numel() * (1 + h.is_complex()) for state in states for h in state.values() if h.ndim > 1)
    assert held == 2 * 3 * model.state_count(19) == 2 * 3 * model.generation_cost(19).kept
    # A block, too, goes on from where it was, by several tokens at once.
    block, x = model.layers[0], model.block_input(tokens, 0)
    first, state = block.prefill(x[:, :, :4], block.start(3))
    second, _ = block.prefill(x[:, :, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), block(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(model.block_input(tokens, -1), model.block_input(tokens, 1))


@pytest.mark.parametrize("name", MODELS)
def test_what_comes_later_changes_nothing(name: str) -> None:
    model, tokens = make(name), draw(1, 12)
    other = tokens.clone()
    other[0, 8] = (other[0, 8] + 1) % V
    before, after = model(tokens)[:, 0], model(other)[:, 0]
    torch.testing.assert_close(before[:, :8], after[:, :8], atol=1e-6, rtol=1e-6)
    assert not torch.isclose(before[:, 8], after[:, 8]).all(-1).any()


def test_generation_takes_the_most_probable_token_each_time() -> None:
    model, text = make("RoPE"), draw(2, 3, 4)
    written = model.generate(text, 5)
    for _ in range(5):
        text = torch.cat([text, model(text)[:, :, -1:].argmax(-1)], -1)
    assert torch.equal(written, text[..., 4:])
    assert torch.equal(model.generate(draw(3, 4), 2), model.generate(draw(3, 4).expand(2, -1, -1), 2))


def counted(model: TokenModel, context: int) -> int:
    """Multiplications of matrix products while the token after the context's last but one is read."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        _, states = model.prefill(torch.zeros(1, context - 1, dtype=torch.int64))
        with FlopCounterMode(display=False) as counter:
            model.step(torch.zeros(1, dtype=torch.int64), states)
    return int(counter.get_total_flops()) // 2


def test_costs_are_pytorch_s_count_and_grow_as_the_state_does() -> None:
    transformer = make("ALiBi", 0)
    for context in (2, 7, 30):
        cost = transformer.generation_cost(context)
        assert cost.weights + cost.memory == counted(transformer, context)
    assert transformer.generation_cost(200).memory == 2 * transformer.generation_cost(100).memory
    for name in ("Mamba", "v-Wave", "S4D", "H3"):
        model = make(name, 0)
        cost = model.generation_cost(8)
        # The counter sees matrix products alone: all weights, and of the state what is read out in that form.
        assert cost.weights <= counted(model, 8) <= cost.weights + cost.memory
        assert counted(model, 20) == counted(model, 8)
        assert model.generation_cost(1000) == cost
    wave, shift = (make(name, 0).generation_cost(9).memory for name in ("v-Wave", "Mamba"))
    assert wave - shift == 2 * 32 * (3 * 4 - 4)
    assert [make(name, 0).generation_cost(9).memory for name in ("S4D", "H3")] == [
        2 * 16 * 8 * 16,
        2 * 16 * (8 * 16 + 4),
    ]


def test_layers_of_many_runs_are_pytorch_s_run_by_run() -> None:
    layer = StackedLinear.draw(generators((3, 4), "test"), 5, 7)
    table = StackedEmbedding.draw(generators((0, 1), "test"), 6, 3)
    without = StackedLinear.draw(generators((3,), "test"), 5, 7, bias=False)
    norm = RMSNorm(2, 4)
    with torch.no_grad():
        norm.gain.copy_(torch.rand(2, 4))
    x, y, tokens = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 5, 4).double(), torch.randint(6, (2, 4, 5))
    for k in range(2):
        assert layer.bias is not None
        torch.testing.assert_close(layer(x)[k], nn.functional.linear(x[k], layer.weight[k], layer.bias[k]))
        torch.testing.assert_close(table(tokens)[k], table.weight[k][tokens[k]])
        torch.testing.assert_close(norm(y)[k], nn.functional.rms_norm(y[k], (4,), norm.gain[k], norm.eps))
    torch.testing.assert_close(without(x[:1])[0], x[0] @ without.weight[0].mT)
    assert float(without.weight.detach().abs().max()) <= 5**-0.5


MODEL = make("Mamba")
DRAWS = generators((0, 1), "test")
SMALL = {"vocabulary": 9, "width": 16, "layers": 1}
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: MODEL(torch.zeros(2, 3, 4)), "tokens have type"),
    (lambda: MODEL(torch.zeros(3, 3, 4, dtype=torch.int64)), "tokens has shape"),
    (lambda: MODEL.generate(draw(1, 3), 0), "steps"),
    (lambda: MODEL.generate(draw(1, 0), 2), "prompts"),
    (lambda: MODEL.block_input(draw(1, 3), 2), "layer = 2"),
    (lambda: MODEL.generation_cost(0), "context"),
    (lambda: TokenModel(MODEL.embedding, [], MODEL.head), "blocks is empty"),
    (lambda: TokenModel(MODEL.embedding, MODEL.layers, StackedLinear.draw(DRAWS, 16, 8)), "head.weight has shape"),
    (lambda: StackedLinear.draw(DRAWS, 5, 7)(torch.zeros(3, 4, 5)), "x has shape"),
    (lambda: StackedLinear.draw(DRAWS, 5, 0), "outputs"),
    (lambda: StackedLinear(torch.zeros(2, 7, 5), torch.zeros(2, 6)), "bias"),
    (lambda: StackedEmbedding.draw(DRAWS, 6, 3)(torch.zeros(3, 4, dtype=torch.int64)), "tokens"),
    (lambda: RMSNorm(2, 4)(torch.zeros(2, 3, 5)), "x has shape"),
    (lambda: generators((), "test"), "seeds"),
    *[(lambda size=size: Mamba.initialise((0,), **(SMALL | {size: 0})), size) for size in (*SMALL, "n", "N")],
    (lambda: Mamba.initialise((0,), **SMALL, register="wave", velocity=1.5), "velocity"),
    (lambda: Mamba.initialise((0, 1), **SMALL, register="wave", velocity=(0.5,)), "velocities"),
    (lambda: Mamba.initialise((0,), **SMALL, register="river"), "register"),
    (lambda: Mamba.initialise((0,), **SMALL, state_velocity=0.5, N=5), "N = 5"),
    (lambda: Transformer.initialise([], **SMALL), "seeds"),
    (lambda: Transformer.initialise([0], **SMALL, heads=3), "3 heads"),
    (lambda: Transformer.initialise([0], **SMALL, heads=0), "heads"),
    (lambda: Transformer.initialise([0], **(SMALL | {"layers": 0})), "layers"),
    (lambda: Transformer.initialise([0], **SMALL, heads=8, position="rope"), "size = 2"),
    (lambda: Transformer.initialise([0], **SMALL, position="sinusoidal"), "'alibi', 'rope', 'none', 'hard-alibi'"),
    (lambda: Transformer.initialise([0], **SMALL).activity(draw(1, 4), layer=1), "layer = 1"),
    (lambda: Transformer.initialise([0], **SMALL).activity(draw(1, 4), positions=0), "positions"),
    (lambda: Transformer.initialise([0], **SMALL).layers[0].start(0), "B = 0"),
    (lambda: Transformer.initialise([0], **SMALL).state_count(-1), "length"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
