"""The animation: what its HTML holds, that it never changes by itself, refusals.

How it plays in a browser is tested with the book's pages.
"""

from __future__ import annotations

import numpy as np
import pytest
from bs4 import BeautifulSoup

from wavemem.figures.animation import Animation, animate

S, D, N, STEPS = 4, 3, 20, 12
ALT = "Left the neurons flicker, right a pattern moves to the left by one column per step."


def states() -> tuple[np.ndarray, np.ndarray]:
    """Neurons at random; a pattern on a ring of columns, one entry dropped."""
    generator = np.random.default_rng(0)
    ring = np.where(generator.standard_normal((S, D)) > 0, 1.0, -1.0)
    content = np.stack([np.roll(ring, -t, axis=0) for t in range(STEPS)])
    content[:, 0, 2] = np.nan
    return np.tanh(generator.standard_normal((STEPS, N))), content


def made(**changes: object) -> Animation:
    neurons, content = states()
    arguments: dict[str, object] = {"title": "A <ring> & more", "alt": ALT, **changes}
    return animate(neurons, content, **arguments)


def test_html_stands_alone() -> None:
    animation = made()
    soup = BeautifulSoup(animation.html, "html.parser")
    for request in ("http", "src=", "url("):
        assert request not in animation.html
    assert len(animation.html.encode()) < 30_000
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
    assert animation._repr_html_() == animation.html
    assert repr(animation) == f"Animation of {STEPS} steps"


def test_same_bytes_every_time_and_other_names_for_other_content() -> None:
    assert made().html == made().html
    identifiers = {BeautifulSoup(a.html, "html.parser").div["id"] for a in (made(), made(first=2), made(alt=ALT + "!"))}
    assert len(identifiers) == 3


def test_the_paper_size_is_light() -> None:
    generator = np.random.default_rng(1)
    large = animate(
        np.tanh(generator.standard_normal((40, 128))), generator.standard_normal((40, 8, 8)), title="t", alt=ALT
    )
    assert len(large.html.encode()) < 60_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alt": "short"}, "20 characters"),
        ({"first": 0}, "first"),
        ({"first": STEPS + 1}, "1 to 12"),
        ({"steps_per_second": 10.0}, "steps_per_second"),
        ({"limit": 0.0}, "limit"),
    ],
)
def test_refuses_options(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_refuses_arrays() -> None:
    neurons, content = states()
    with pytest.raises(ValueError, match="same time"):
        animate(neurons[1:], content, title="t", alt=ALT)
    flickering = content.copy()
    flickering[3, 1, 1] = np.nan
    with pytest.raises(ValueError, match="come and go"):
        animate(neurons, flickering, title="t", alt=ALT)
    with pytest.raises(ValueError, match="finite"):
        animate(np.full_like(neurons, np.nan), content, title="t", alt=ALT)
