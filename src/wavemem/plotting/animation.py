"""The hidden state over time in two bases, as an animation that a page plays without a kernel and without a network.

Two drawings (neurons on the left, the substrate on the right), a line that says what happens, buttons and a slider, and a
script of a few lines. Colour encodes sign and opacity encodes size, so the drawings take the ground of the page they stand on,
light or dark. Nothing moves before a reader starts it, and with reduced motion preferred it moves at half the pace and without
fading. Without JavaScript, or on paper, the drawings show one step and the controls stay hidden.

Bytes depend on the arguments alone, so an executed chapter stays the same from one execution to the next.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import require

_LEVELS = 20
"""Steps of opacity."""
_WIDTH = 300
"""Of a drawing, in its own units."""

_STYLE = """
.wm-anim{--wm-ink:var(--pst-color-text-base,#1f2430);--wm-line:var(--pst-color-text-muted,#6b7280);--wm-pos:#c0392b;--wm-neg:#2166ac;
 --wm-ground:var(--pst-color-background,#fff);color:var(--wm-ink);background:var(--wm-ground);max-width:46rem;padding:.25rem}
html[data-theme="dark"] .wm-anim{--wm-pos:#ff7b6b;--wm-neg:#5aa9ff}
html[data-theme="dark"] .bd-content div.cell_output .text_html:has(.wm-anim){background:transparent}
.wm-anim-panels{display:flex;flex-wrap:wrap;align-items:flex-start;gap:.75rem}
.wm-anim-panels svg{flex:1 1 17rem;min-width:0;height:auto}
.wm-anim svg text{fill:var(--wm-ink);font:12px sans-serif}
.wm-anim .wm-c{stroke:var(--wm-line);stroke-width:.4;stroke-opacity:.6;fill:transparent}
.wm-anim .p{fill:var(--wm-pos)}
.wm-anim .n{fill:var(--wm-neg)}
.wm-anim .x{fill:none;stroke-dasharray:2 2}
.wm-anim .wm-arrow{stroke:var(--wm-ink);fill:none;stroke-width:1.4}
.wm-anim p{margin:.4rem 0;color:inherit}
.wm-anim-status{min-height:3em}
.wm-anim-controls{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem}
.wm-anim-controls[hidden]{display:none}
.wm-anim button{min-width:5.5rem;min-height:2.2rem;font:inherit;color:inherit;background:transparent;
 border:1px solid currentColor;border-radius:4px;cursor:pointer}
.wm-anim :focus-visible{outline:3px solid var(--wm-neg);outline-offset:2px}
.wm-anim label{display:flex;flex:1 1 12rem;align-items:center;gap:.5rem}
.wm-anim input{flex:1;min-width:6rem;accent-color:var(--wm-neg)}
@media (prefers-reduced-motion:no-preference){.wm-anim rect{transition:fill-opacity .15s}}
@media print{.wm-anim-controls,.wm-anim details{display:none}}
"""

# Every rectangle of both drawings is one number of a frame: the step of its opacity with its sign, or null where there is none.
_SCRIPT = """
(()=>{const root=document.currentScript.closest(".wm-anim"),frames=§FRAMES§,said=§SAID§,cells=[...root.querySelectorAll("rect")],
find=n=>root.querySelector(".wm-anim-"+n),play=find("play"),slide=find("slide"),status=find("status"),
slow=matchMedia("(prefers-reduced-motion: reduce)"),pause=()=>slow.matches?1000:500;
let k=slide.value-1,timer=0;
const show=to=>{k=Math.max(0,Math.min(frames.length-1,to));
cells.forEach((c,i)=>{const v=frames[k][i];if(v===null)return;
c.setAttribute("class","wm-c "+(v<0?"n":"p"));c.style.fillOpacity=Math.abs(v)/§LEVELS§});
slide.value=k+1;slide.setAttribute("aria-valuetext",said[k]);status.textContent=said[k]};
const stop=()=>{clearTimeout(timer);timer=0;play.textContent="Play";status.setAttribute("aria-live","polite")};
const tick=()=>{if(k>=frames.length-1)return stop();show(k+1);timer=setTimeout(tick,pause())};
const go=()=>{if(timer)return stop();status.setAttribute("aria-live","off");play.textContent="Pause";
if(k>=frames.length-1)show(0);timer=setTimeout(tick,pause())};
const step=by=>{stop();show(k+by)};
play.onclick=go;find("back").onclick=()=>step(-1);find("next").onclick=()=>step(1);
slide.oninput=()=>{stop();show(slide.value-1)};
root.addEventListener("keydown",e=>{if(e.ctrlKey||e.altKey||e.metaKey||e.target===slide&&e.key!==" ")return;
const does={ArrowLeft:()=>step(-1),ArrowRight:()=>step(1),Home:()=>{stop();show(0)},End:()=>{stop();show(frames.length-1)},
" ":e.target.matches("button,summary")?null:go}[e.key];if(does){e.preventDefault();does()}});
find("controls").hidden=false;show(k)})()
"""

_CONTROLS = """
<div class="wm-anim-controls" hidden><button type="button" class="wm-anim-play">Play</button>
<button type="button" class="wm-anim-back">Step back</button><button type="button" class="wm-anim-next">Step on</button>
<label>Step <input class="wm-anim-slide" type="range" min="1" max="§STEPS§" step="1" value="§FIRST§"></label></div>
"""


@dataclass(frozen=True)
class Animation:
    """HTML that plays by itself.

    Attributes:
        html: a `div` with everything in it.
        steps: how many steps it shows.
    """

    html: str
    steps: int

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """A sentence: what a terminal shows, the same in every execution."""
        return f"Animation of {self.steps} steps"


def _squares(corners: Iterable[tuple[float, float]], side: float, levels: Iterable[int | None]) -> str:
    drawn = []
    for (x, y), level in zip(corners, levels, strict=True):
        look = "x" if level is None else f'{"n" if level < 0 else "p"}" style="fill-opacity:{abs(level) / _LEVELS:g}'
        drawn.append(f'<rect class="wm-c {look}" x="{x:.5g}" y="{y:.5g}" width="{side:.5g}" height="{side:.5g}"/>')
    return "".join(drawn)


def _svg(height: float, *parts: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" aria-hidden="true">{"".join(parts)}</svg>'


def _neurons(levels: list[int | None]) -> str:
    """The neurons in rows, in the order of their numbers."""
    N = len(levels)
    across = math.ceil(math.sqrt(N))
    side = (_WIDTH - 8) / across
    corners = [(4 + (i % across) * side, 24 + (i // across) * side) for i in range(N)]
    title = f'<text x="4" y="12">Basis of the neurons: 1 … {N}</text>'
    return _svg(46 + math.ceil(N / across) * side, title, _squares(corners, side, levels))


def _memories(levels: list[int | None], s: int, d: int) -> str:
    """The substrate: column 1 on the left, column s on the right, dimension 1 at the top."""
    side = (_WIDTH - 8) / max(s, d)
    left, bottom = (_WIDTH - s * side) / 2, 24 + d * side
    numbers = [
        f'<text x="{left + (i + 0.5) * side:g}" y="{bottom + 15:g}" text-anchor="middle">{i + 1}</text>'
        for i in range(s)
    ]
    corners = [(left + i * side, 24 + j * side) for i in range(s) for j in range(d)]
    arrow = f'<path class="wm-arrow" d="M{left + s * side:g} 19H{left:g}m6 -4l-6 4l6 4"/>'
    title = f'<text x="{left:g}" y="12">Basis of the memories: columns 1 … {s}</text>'
    return _svg(bottom + 22, title, arrow, _squares(corners, side, levels), *numbers)


def _sentence(t: int, content: Float[np.ndarray, "time s d"]) -> str:
    time, s, _ = content.shape
    phase = f"input phase, input {t} of {s} arrives" if t <= s else "output phase, no input, the boundary writes"
    signs = "\u00a0".join("·" if math.isnan(v) else "+" if v > 0 else "−" for v in content[t - 1, -1])
    return f"Step {t} of {time}: {phase}. Column {s} reads {signs}"


def animate(neurons: Float[Tensor, "time N"], content: Float[Tensor, "time s d"], *, title: str, alt: str) -> Animation:
    """The hidden state of one episode, step by step, among neurons and on the substrate.

    Neurons get the full colour at the 99th percentile of their own |activity|, the content at 1.5. Before anything moves, and on
    paper, the end of the input phase is shown.

    Args:
        neurons: hidden states h(1), h(2), … of a network.
        content: the same in the basis of the memories, standardised; NaN where an entry was dropped.
        title: what is shown, a few words.
        alt: what is to be seen, for readers who do not see it: a sentence or two.

    Returns:
        An object that a notebook shows as HTML.

    Raises:
        ValueError: if the shapes do not fit.
    """
    require(
        neurons.ndim == 2 and content.ndim == 3 and len(neurons) == len(content) >= content.shape[1],
        f"neurons of shape {tuple(neurons.shape)} and content of shape {tuple(content.shape)}",
        "(time, N) and (time, s, d) with the same time, at least s steps",
        "Choose one history: states[:, b] and memories.substrate(states[:, b]).",
    )
    h, x = neurons.numpy(), content.numpy()
    time, s, d = x.shape
    both = np.concatenate([h / (np.quantile(np.abs(h), 0.99) or 1.0), x.reshape(time, -1) / 1.5], axis=1)
    steps = np.rint(_LEVELS * both.clip(-1.0, 1.0))
    frames = [[None if math.isnan(v) else int(v) for v in row] for row in steps]
    said = [_sentence(t, x) for t in range(1, time + 1)]
    shown, N = frames[s - 1], h.shape[1]
    script, controls = _SCRIPT, _CONTROLS.replace("§STEPS§", str(time)).replace("§FIRST§", str(s))
    for key, value in {"FRAMES": frames, "SAID": said, "LEVELS": _LEVELS}.items():
        script = script.replace(f"§{key}§", json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    label, described = (html.escape(text) for text in (f"Animation: {title}", f"{title}. {alt}"))
    page = (
        f'<div class="wm-anim" role="group" aria-label="{label}"><style>{_STYLE}</style>'
        f'<div class="wm-anim-panels" role="img" aria-label="{described}">'
        f"{_neurons(shown[:N])}{_memories(shown[N:], s, d)}</div>"
        f'<p class="wm-anim-status" aria-live="polite">{said[s - 1]}</p>{controls}'
        f"<details><summary>In words, and the keys</summary><p>{html.escape(alt)}</p><p>Red is positive, blue negative, the "
        "ground of the page is 0. Arrow keys step, Home and End go to the first and the last step, the space bar plays and "
        f"pauses.</p></details><script>{script}</script></div>"
    )
    return Animation(page, time)
