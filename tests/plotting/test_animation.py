"""The animation: what its HTML holds, that it never changes by itself, refusals.

How it plays in a browser is tested with the book's pages.
"""

from __future__ import annotations

import pytest
import torch
from bs4 import BeautifulSoup

from wavemem.plotting.animation import animate
from wavemem.streams import stream

S, D, N, STEPS = 4, 3, 20, 12


def test_html_stands_alone_and_stays(ring) -> None:
    animation = animate(**ring)
    soup = BeautifulSoup(animation.html, "html.parser")
    for request in ("http", "src=", "url("):
        assert request not in animation.html
    assert len(soup.select("svg rect")) == N + S * D
    assert len(soup.select("rect.x")) == 1
    assert soup.select_one("div.wm-anim")["aria-label"] == "Animation: A <ring> & more"
    assert ring["alt"] in soup.select_one("[role=img]")["aria-label"]
    assert ring["alt"] in soup.select_one("details").get_text()
    assert soup.select_one(".wm-anim-controls").has_attr("hidden"), "without a script there is nothing to press"
    said = soup.select_one(".wm-anim-status").get_text()
    assert said.startswith(f"Step {S} of {STEPS}: input phase, input {S} of {S}")
    assert "§" not in animation.html
    assert animation._repr_html_() == animate(**ring).html
    assert repr(animation) == f"Animation of {STEPS} steps"


def test_the_paper_size_is_light(ring) -> None:
    content = torch.randn(40, 8, 8, generator=stream(0, "content"))
    assert len(animate(**ring | {"neurons": torch.zeros(40, 128), "content": content}).html.encode()) < 60_000


def test_refuses_states_that_do_not_belong_together(ring) -> None:
    with pytest.raises(ValueError, match="same time"):
        animate(**ring | {"neurons": torch.zeros(5, N)})
