"""The animation: what its HTML holds, that it never changes by itself, refusals.

How it plays in a browser is tested with the book's pages.
"""

from __future__ import annotations

import pytest
import torch
from bs4 import BeautifulSoup

from wavemem.plotting.animation import Animation, animate
from wavemem.streams import stream

S, D, N, STEPS = 4, 3, 20, 12
ALT = "Left the neurons flicker, right a pattern moves to the left by one column per step."


def made() -> Animation:
    """Neurons at random; a pattern on a ring of columns, one entry dropped."""
    ring = torch.randn(S, D, generator=stream(0, "ring")).sign()
    content = torch.stack([ring.roll(-t, 0) for t in range(STEPS)])
    content[:, 0, 2] = torch.nan
    neurons = torch.randn(STEPS, N, generator=stream(0, "neurons")).tanh()
    return animate(neurons, content, title="A <ring> & more", alt=ALT)


def test_html_stands_alone_and_stays() -> None:
    animation = made()
    soup = BeautifulSoup(animation.html, "html.parser")
    for request in ("http", "src=", "url("):
        assert request not in animation.html
    assert len(soup.select("svg rect")) == N + S * D
    assert len(soup.select("rect.x")) == 1
    assert soup.select_one("div.wm-anim")["aria-label"] == "Animation: A <ring> & more"
    assert ALT in soup.select_one("[role=img]")["aria-label"]
    assert ALT in soup.select_one("details").get_text()
    assert soup.select_one(".wm-anim-controls").has_attr("hidden"), "without a script there is nothing to press"
    assert (
        soup.select_one(".wm-anim-status").get_text().startswith(f"Step {S} of {STEPS}: input phase, input {S} of {S}")
    )
    assert "§" not in animation.html
    assert animation._repr_html_() == made().html
    assert repr(animation) == f"Animation of {STEPS} steps"


def test_the_paper_size_is_light() -> None:
    neurons, content = torch.zeros(40, 128), torch.randn(40, 8, 8, generator=stream(0, "content"))
    assert len(animate(neurons, content, title="t", alt=ALT).html.encode()) < 60_000


def test_refuses_states_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="same time"):
        animate(torch.zeros(5, N), torch.zeros(6, S, D), title="t", alt=ALT)
