"""The hidden state over time in two bases, as an animation that a page plays without a kernel and without a network.

The result is one piece of HTML: two drawings (neurons on the left, the substrate on the right), a line that says what
happens, buttons and a slider, and a script of a few lines. Colour encodes sign and opacity encodes size, so the drawings take
the ground of the page they stand on, light or dark. Nothing moves before a reader starts it, and with reduced motion
preferred it moves at half the pace and without fading. Without JavaScript, or on paper, the drawings show one step and the
controls stay hidden.

Bytes depend on the arguments alone, so an executed chapter stays the same from one execution to the next.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import number_in, positive_int, require

__all__ = ["Animation", "animate"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
"""One letter per step of colour, the middle one for 0."""
_LEVELS = len(_ALPHABET) // 2
_MISSING = "."

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

# k is the step from 0; every rectangle of both drawings is one character of a frame.
_SCRIPT = """
(()=>{const own=document.currentScript&&document.currentScript.closest(".wm-anim"),root=own||document.getElementById(§ID§);
if(!root||root.dataset.ready)return;root.dataset.ready="1";
const frames=§FRAMES§,said=§SAID§,cells=[...root.querySelectorAll("rect")],find=n=>root.querySelector(".wm-anim-"+n),
play=find("play"),slide=find("slide"),status=find("status"),slow=matchMedia("(prefers-reduced-motion: reduce)");
let k=§FIRST§,timer=0;
const show=to=>{k=Math.max(0,Math.min(frames.length-1,to));const f=frames[k];
cells.forEach((c,i)=>{const v=§ALPHABET§.indexOf(f[i])-§LEVELS§;if(f[i]===".")return;
c.setAttribute("class","wm-c "+(v<0?"n":"p"));c.style.fillOpacity=Math.abs(v)/§LEVELS§});
slide.value=k+1;slide.setAttribute("aria-valuetext",said[k]);status.textContent=said[k]};
const stop=()=>{clearTimeout(timer);timer=0;play.textContent="Play";status.setAttribute("aria-live","polite")};
const tick=()=>{if(k>=frames.length-1)return stop();show(k+1);timer=setTimeout(tick,slow.matches?2*§PAUSE§:§PAUSE§)};
const go=()=>{if(timer)return stop();status.setAttribute("aria-live","off");play.textContent="Pause";
if(k>=frames.length-1)show(0);timer=setTimeout(tick,§PAUSE§)};
const step=by=>{stop();show(k+by)};
play.onclick=go;find("back").onclick=()=>step(-1);find("next").onclick=()=>step(1);
slide.oninput=()=>{stop();show(slide.value-1)};
root.addEventListener("keydown",e=>{if(e.ctrlKey||e.altKey||e.metaKey||e.target===slide&&e.key!==" ")return;
const does={ArrowLeft:()=>step(-1),ArrowRight:()=>step(1),Home:()=>{stop();show(0)},End:()=>{stop();show(frames.length-1)},
" ":e.target.matches("button,summary")?null:go}[e.key];if(does){e.preventDefault();does()}});
find("controls").hidden=false;show(k)})()
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


def _array(values: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu").numpy()
    return np.asarray(values, dtype=np.float64)


def _characters(values: NDArray[np.float64]) -> list[str]:
    """One string per step: a letter per value, from -1 to 1, and a dot where there is none."""
    levels = np.rint(np.nan_to_num(np.clip(values, -1.0, 1.0)) * _LEVELS).astype(int) + _LEVELS
    letters = np.where(np.isnan(values), _MISSING, np.array(list(_ALPHABET))[levels])
    return ["".join(row) for row in letters]


def _rectangle(x: float, y: float, side: float, character: str) -> str:
    where = f'x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}"'
    if character == _MISSING:
        return f'<rect class="wm-c x" {where}/>'
    value = _ALPHABET.index(character) - _LEVELS
    return f'<rect class="wm-c {"n" if value < 0 else "p"}" {where} style="fill-opacity:{abs(value) / _LEVELS:g}"/>'


def _signs(vector: NDArray[np.float64]) -> str:
    return "\u00a0".join("·" if math.isnan(v) else "+" if v > 0 else "−" for v in vector)


def _sentences(content: NDArray[np.float64], s: int) -> list[str]:
    said = []
    for t, column in enumerate(content[:, -1], start=1):
        phase = f"input phase, input {t} of {s} arrives" if t <= s else "output phase, no input, the boundary writes"
        said.append(f"Step {t} of {len(content)}: {phase}. Column {s} reads {_signs(column)}")
    return said


def _neuron_panel(frame: str, width: int) -> str:
    """The neurons in rows, in the order of their numbers."""
    N = len(frame)
    across = math.ceil(math.sqrt(N))
    side = round((width - 8) / across, 2)
    height = math.ceil(N / across) * side
    cells = [_rectangle(4 + (i % across) * side, 24 + (i // across) * side, side, frame[i]) for i in range(N)]
    return _svg(width, 24 + height + 22, [f'<text x="4" y="12">Basis of the neurons: 1 … {N}</text>', *cells])


def _memory_panel(frame: str, s: int, d: int, width: int) -> str:
    """The substrate: column 1 on the left, column s on the right, dimension 1 at the top."""
    side = min((width - 8) / s, (width - 8) / d)
    left = 4 + (width - 8 - s * side) / 2
    cells = [
        _rectangle(round(left + i * side, 2), round(24 + j * side, 2), round(side, 2), frame[i * d + j])
        for i in range(s)
        for j in range(d)
    ]
    bottom = 24 + d * side
    labels = [
        f'<text x="{left + (i + 0.5) * side:g}" y="{bottom + 15:g}" text-anchor="middle">{i + 1}</text>'
        for i in range(s)
    ]
    arrow = f'<path class="wm-arrow" d="M{left + s * side:g} 19H{left:g}m6 -4l-6 4l6 4"/>'
    title = f'<text x="{left:g}" y="12">Basis of the memories: columns 1 … {s}</text>'
    return _svg(width, bottom + 22, [title, arrow, *cells, *labels])


def _svg(width: float, height: float, parts: list[str]) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true">{"".join(parts)}</svg>'


def _script_text(value: object) -> str:
    """JSON that no HTML parser can mistake for the end of the script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def animate(
    neurons: ArrayLike | torch.Tensor,
    content: ArrayLike | torch.Tensor,
    *,
    title: str,
    alt: str,
    first: int | None = None,
    steps_per_second: float = 2.0,
    limit: float = 1.5,
) -> Animation:
    """The hidden state of one episode, step by step, among neurons and on the substrate.

    Args:
        neurons: (time, N) hidden states h(1), h(2), … of a tanh network, in -1 … 1.
        content: (time, s, d) the same states in the basis of the memories, see `wavemem.figures.hidden_waves.standardised`. NaN
            where an entry was dropped.
        title: what is shown, a few words.
        alt: what is to be seen, for readers who do not see it: a sentence or two.
        first: the step, from 1, that is shown before anything moves and on paper; the end of the input phase unless given.
        steps_per_second: pace.
        limit: the content that gets the full colour. Neurons get it at the 99th percentile of their own |activity|.

    Returns:
        An object that a notebook shows as HTML.

    Raises:
        ValueError: if the shapes do not fit, a neuron is not finite, the description is too short to be one, or a number is
            out of range.
    """
    h, x = _array(neurons), _array(content)
    require(
        h.ndim == 2 and x.ndim == 3 and len(h) == len(x) and len(h) > 1,
        f"neurons of shape {h.shape} and content of shape {x.shape}",
        "(time, N) and (time, s, d) with the same time, at least two steps",
        "Choose one history: states[:, b] and memories.substrate(states[:, b]).",
    )
    require(bool(np.isfinite(h).all()), "neurons with NaN or infinite values", "finite states", "Did the run diverge?")
    missing = np.isnan(x)
    require(
        not np.isinf(x).any() and bool((missing == missing[:1]).all()),
        "content with infinite values, or with NaN that come and go",
        "NaN for dropped entries only, at every step",
        "Use VariableMemories.substrate.",
    )
    require(len(alt.strip()) >= 20, f"alt = {alt!r}", "at least 20 characters", "Say what is to be seen.")
    pace = number_in("steps_per_second", steps_per_second, 0.1, 3.0)
    limit = number_in("limit", limit, 1e-6, math.inf)
    time, s, d = x.shape
    start = positive_int("first", min(s, time) if first is None else first)
    require(start <= time, f"first = {start}", f"1 to {time}", "Choose a step of the episode.")

    strong = float(np.quantile(np.abs(h), 0.99)) or 1.0
    left, right = _characters(h / strong), _characters(x.reshape(time, s * d) / limit)
    frames = [a + b for a, b in zip(left, right, strict=True)]
    said = _sentences(x, s)
    name = "wm-anim-" + hashlib.sha256(json.dumps([frames, title, alt, pace, start]).encode()).hexdigest()[:12]
    script = _SCRIPT
    for key, value in {
        "FRAMES": frames,
        "SAID": said,
        "FIRST": start - 1,
        "LEVELS": _LEVELS,
        "ALPHABET": _ALPHABET,
        "PAUSE": round(1000 / pace),
        "ID": name,
    }.items():
        script = script.replace(f"§{key}§", _script_text(value))
    panels = _neuron_panel(left[start - 1], 300) + _memory_panel(right[start - 1], s, d, 300)
    controls = (
        '<div class="wm-anim-controls" hidden><button type="button" class="wm-anim-play">Play</button>'
        '<button type="button" class="wm-anim-back">Step back</button>'
        '<button type="button" class="wm-anim-next">Step on</button>'
        f'<label>Step <input class="wm-anim-slide" type="range" min="1" max="{time}" step="1" value="{start}"></label></div>'
    )
    words = (
        f"<details><summary>In words, and the keys</summary><p>{html.escape(alt)}</p><p>Red is positive, blue negative, the "
        "ground of the page is 0. Arrow keys step, Home and End go to the first and the last step, the space bar plays and "
        "pauses.</p></details>"
    )
    label, described = (html.escape(text, quote=True) for text in (f"Animation: {title}", f"{title}. {alt}"))
    page = (
        f'<div class="wm-anim" id="{name}" role="group" aria-label="{label}"><style>{_STYLE}</style>'
        f'<div class="wm-anim-panels" role="img" aria-label="{described}">{panels}</div>'
        f'<p class="wm-anim-status" aria-live="polite">{html.escape(said[start - 1])}</p>'
        f"{controls}{words}<script>{script}</script></div>"
    )
    return Animation(page, time)
