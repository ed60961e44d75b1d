// Equations and tables wider than the text are drawn smaller; what is still wider scrolls, by keyboard too.
(() => {
  // A numbered equation is centred between margins as wide as its number: there is no room for them on a telephone.
  const narrow = matchMedia("(max-width: 600px)");
  const margins = () => ({ displayAlign: narrow.matches ? "left" : "center", displayIndent: "0" });
  if (window.MathJax) Object.assign((window.MathJax.svg ??= {}), margins());
  narrow.addEventListener("change", () => {
    const drawn = window.MathJax?.startup?.document;
    if (!drawn) return;
    Object.assign(drawn.outputJax.options, margins());
    drawn.rerender();
    requestAnimationFrame(all);
  });
  const BOXES = ".bd-content :is(div.math, pre, .cell_output .output, .pst-scrollable-table-container)";
  // On a telephone a table that is still too wide becomes one block per row, each cell with its heading.
  const stack = (table) => {
    const names = [];
    for (const cell of table.tHead?.rows[table.tHead.rows.length - 1].cells ?? []) names.push(cell.textContent.trim());
    for (const row of table.tBodies[0].rows) {
      const missing = names.length - row.cells.length;
      [...row.cells].forEach((cell, k) => (cell.dataset.head = names[k + missing] ?? ""));
    }
    table.classList.add("stacked");
  };
  const paper = () => matchMedia("print").matches || document.documentElement.classList.contains("on-paper");
  const fit = (box) => {
    box.querySelectorAll("table.stacked").forEach((table) => table.classList.remove("stacked"));
    const least = box.matches("div.math") || paper() ? 0.45 : 0.8;
    box.style.removeProperty("--fit");
    // In small steps: the unit of formulas, the height of an x, may be rounded to whole pixels.
    for (let size = 1; size > least && box.scrollWidth > box.clientWidth; ) {
      size = Math.max(least, Math.min((size * box.clientWidth) / box.scrollWidth, size - 0.03));
      box.style.setProperty("--fit", size);
    }
    if (narrow.matches && box.scrollWidth > box.clientWidth + 1) {
      const tables = box.querySelectorAll("table:has(tbody)");
      if (tables.length) box.style.removeProperty("--fit");
      tables.forEach(stack);
    }
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const all = () => document.querySelectorAll(BOXES).forEach(fit);
  const widths = new WeakMap();
  const watch = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      // A formula that was drawn, or made smaller, changes the height alone.
      const seen = `${contentRect.width} ${target.querySelector("mjx-container") !== null}`;
      if (widths.get(target) !== seen) fit(target);
      widths.set(target, seen);
    }
  });
  addEventListener("DOMContentLoaded", () => document.querySelectorAll(BOXES).forEach((box) => watch.observe(box)));
  addEventListener("load", () => window.MathJax?.startup?.promise.then(all));
  // A page is printed in its light colours, at the width of paper.
  const page = document.documentElement;
  let theme = "light";
  addEventListener("beforeprint", () => {
    theme = page.dataset.theme;
    page.dataset.theme = "light";
    page.classList.add("on-paper");
    all();
  });
  addEventListener("afterprint", () => {
    page.dataset.theme = theme;
    page.classList.remove("on-paper");
    all();
  });
})();
