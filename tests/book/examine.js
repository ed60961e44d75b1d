// Looks at a loaded page as a reader sees it. `examine(what)` returns plain data; each fault names the element.
(() => {
  const article = () => document.querySelector("article.bd-article") || document.querySelector("main") || document.body;

  const name = (element) => {
    const parts = [];
    for (let e = element; e && e !== document.body && parts.length < 4; e = e.parentElement) {
      const classes = [...e.classList].slice(0, 2).map((c) => "." + c).join("");
      parts.unshift(e.tagName.toLowerCase() + (e.id ? "#" + e.id : classes));
      if (e.id) break;
    }
    return parts.join(" > ");
  };
  const excerpt = (text) => text.replace(/\s+/g, " ").trim().slice(0, 70);
  const describe = (element) => `${name(element)} «${excerpt(element.alt || element.textContent || "")}»`;

  const drawn = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  // A colour as [r, g, b, alpha]: the canvas understands every notation that the style sheets use.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parsed = new Map();
  const colour = (text) => {
    if (!parsed.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      parsed.set(text, [r, g, b, a / 255]);
    }
    return parsed.get(text);
  };
  const over = (top, bottom) => {
    const alpha = top[3];
    return [0, 1, 2].map((k) => alpha * top[k] + (1 - alpha) * bottom[k]).concat(1);
  };
  // What lies behind an element: the backgrounds up to the nearest opaque one. `known` holds what was found before.
  const background = (element, known = new Map()) => {
    if (!element) return [255, 255, 255, 1];
    if (!known.has(element)) {
      const layer = colour(getComputedStyle(element).backgroundColor);
      known.set(element, layer[3] === 1 ? layer : over(layer, background(element.parentElement, known)));
    }
    return known.get(element);
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const hex = (c) => "#" + c.slice(0, 3).map((v) => Math.round(v).toString(16).padStart(2, "0")).join("");

  const textNodes = (root, leaveOut) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, {
      acceptNode: (node) =>
        node.textContent.trim() && !node.parentElement.closest("script, style, noscript, svg, mjx-container, " + leaveOut)
          ? NodeFilter.FILTER_ACCEPT
          : NodeFilter.FILTER_REJECT,
    });
    const found = [];
    while (walker.nextNode()) found.push(walker.currentNode);
    return found;
  };

  const contrast = () => {
    const faults = [];
    const seen = new Set();
    const known = new Map();
    const judge = (element, text) => {
      const style = getComputedStyle(element);
      const behind = background(element, known);
      const opacity = parseFloat(style.opacity);
      const ink = colour(style.color);
      const front = over([ink[0], ink[1], ink[2], ink[3] * opacity], behind);
      const key = [element.tagName, element.className, front, behind].join("|");
      if (seen.has(key)) return;
      seen.add(key);
      const value = ratio(front, behind);
      if (value < 4.5 && drawn(element)) {
        faults.push(`${name(element)} «${excerpt(text)}» ${hex(front)} on ${hex(behind)}: ${value.toFixed(2)}`);
      }
    };
    for (const node of textNodes(document.body, ".headerlink, .skip-link, #pst-skip-link, dialog:not([open])")) {
      judge(node.parentElement, node.textContent);
    }
    for (const formula of document.querySelectorAll("mjx-container")) judge(formula, "formula");
    return faults;
  };

  // What a reader of a narrow screen would have to scroll the whole page for, or could not reach at all.
  const overflow = () => {
    const width = document.documentElement.clientWidth;
    const faults = [];
    const scrolls = (element) => {
      for (let e = element; e && e !== document.body; e = e.parentElement) {
        const style = getComputedStyle(e);
        if (["auto", "scroll", "hidden", "clip"].includes(style.overflowX) || style.position === "fixed") return true;
      }
      return false;
    };
    for (const element of article().querySelectorAll("*")) {
      if (element.closest("svg, mjx-assistive-mml") && element.tagName.toLowerCase() !== "svg") continue;
      const box = element.getBoundingClientRect();
      if (box.width > 0 && box.right > width + 1 && drawn(element) && !scrolls(element)) {
        faults.push(`${describe(element)} ends at ${Math.round(box.right)} of ${width} px`);
        if (faults.length === 6) break;
      }
    }
    return { scrollWidth: document.documentElement.scrollWidth, width, faults };
  };

  const pictures = () => [...article().querySelectorAll("img")];

  // Boxes whose content is wider than they are: what a reader would have to scroll, or could not see at all.
  const boxes = () => {
    const faults = [];
    const box = ".cell_output .output, .pst-scrollable-table-container";
    for (const element of article().querySelectorAll("pre, table, div.math, figure img")) {
      const holder = element.matches("table") ? element.closest(box) || element.parentElement : element;
      if (!drawn(element) || !holder.clientWidth) continue;
      let beyond = holder.scrollWidth - holder.clientWidth;
      if (element.matches("img")) beyond = element.getBoundingClientRect().right - article().getBoundingClientRect().right;
      if (element.matches("div.math")) {
        const { left } = element.getBoundingClientRect();
        const inked = [...element.querySelectorAll("svg [data-mml-node]")].map((e) => e.getBoundingClientRect());
        const lost = left - Math.min(...inked.filter((r) => r.width).map((r) => r.left));
        if (lost > 2 || element.scrollLeft > 0) faults.push(`${describe(element)} opens without its left ${Math.round(lost)} px`);
      }
      if (beyond > 1) faults.push(`${describe(element)} is ${Math.round(beyond)} px wider than its place`);
    }
    return faults;
  };

  const dark = () => luminance(background(article())) < 0.2;

  // The corner of a figure as drawn, its own pixels over what lies behind it: neither a white card in the dark nor the reverse.
  const grounds = () => {
    const faults = [];
    for (const image of pictures().filter((i) => i.naturalWidth > 0 && drawn(i))) {
      const pad = new OffscreenCanvas(40, 40).getContext("2d");
      pad.drawImage(image, 0, 0, 40, 40);
      for (const [x, y] of [[1, 1], [38, 1], [1, 38], [38, 38]]) {
        const [r, g, b, a] = pad.getImageData(x, y, 1, 1).data;
        const shown = over([r, g, b, a / 255], background(image));
        if (dark() ? luminance(shown) > 0.2 : luminance(shown) < 0.6) {
          faults.push(`${describe(image)} has ${hex(shown)} (alpha ${a}) in a corner`);
          break;
        }
      }
    }
    return faults;
  };

  // The colours of a figure for dark pages against the page, beside those of the one for light pages against white: text keeps
  // 4.5 : 1 and lines 3 : 1 where they have it on paper. Parts that stay the same lie on a picture that does.
  const inks = async () => {
    const faults = [];
    const read = async (image) => {
      const drawing = new DOMParser().parseFromString(await (await fetch(image.src)).text(), "image/svg+xml");
      return [drawing.querySelector("image") !== null, [...drawing.querySelectorAll("[style]")].map((e) => {
        const [, kind, ink] = e.getAttribute("style").match(/(fill|stroke): (#[0-9a-f]{6})/) || [];
        return ink && [e.closest("[id^=text_]") ? 4.5 : 3, kind, ink];
      })];
    };
    for (const image of article().querySelectorAll("img.figure-dark")) {
      const [[pictured, before], [, after]] = await Promise.all([read(image.previousElementSibling), read(image)]);
      if (before.length !== after.length) faults.push(`${describe(image)}: ${before.length} parts in the light, ${after.length} in the dark`);
      const seen = new Set();
      before.forEach((part, k) => {
        if (!part || !after[k] || (pictured && part[2] === after[k][2])) return;
        const [least, kind, ink] = part;
        const paper = ratio(colour(ink), [255, 255, 255, 1]);
        const value = ratio(colour(after[k][2]), background(image));
        const key = `${kind} ${ink} becomes ${after[k][2]}: ${value.toFixed(2)} instead of ${paper.toFixed(2)}`;
        if (value < 0.97 * Math.min(least, paper) && !seen.has(key)) faults.push(`${describe(image)}: ${key}`);
        seen.add(key);
      });
    }
    return faults;
  };

  const maths = () => {
    const text = textNodes(article(), "pre, code, .tex2jax_ignore");
    return {
      unrendered: [...document.querySelectorAll(".math")].filter((e) => !e.querySelector("mjx-container")).map(describe),
      errors: [...document.querySelectorAll("[data-mjx-error], [data-mml-node=merror]")].map(
        (e) => `${name(e.closest("mjx-container").parentElement)}: ${e.getAttribute("data-mjx-error") || "error"}` +
          ` in «${excerpt(e.closest("mjx-container").textContent)}»`),
      raw: text
        .filter((node) => /\\\(|\\\[|\$\$|\\[a-zA-Z]{2,}|\{[a-z:]+\}`/.test(node.textContent))
        .map((node) => `${name(node.parentElement)} «${excerpt(node.textContent)}»`),
      formulas: document.querySelectorAll("mjx-container").length,
    };
  };

  const figures = async () => {
    await Promise.all(pictures().map((image) => {
      image.loading = "eager";
      return image.decode().catch(() => undefined);
    }));
    const caption = (figure) => figure.querySelector("figcaption .caption-text")?.textContent.trim() ?? "";
    return {
      broken: pictures().filter((image) => !(image.complete && image.naturalWidth > 0)).map((i) => `${describe(i)} ${i.src}`),
      alt: pictures().filter((image) => !image.matches(".toggler") && image.alt.trim().length < 20).map((i) => `${describe(i)} ${i.src}`),
      caption: [...article().querySelectorAll("figure")].filter((f) => caption(f).length < 20).map(describe),
      loose: [...article().querySelectorAll(".cell_output img, .cell_output > svg")].filter((i) => !i.closest("figure")).map(describe),
      count: pictures().length,
    };
  };

  const visible = (element) => element.getClientRects().length > 0 && drawn(element);
  const searchBoxes = () =>
    [...document.querySelectorAll("input[type=search], input[name=q], .search-button, .search-button-field")]
      .filter(visible).map(describe);

  window.examine = async (what) => ({ contrast, overflow, boxes, grounds, inks, maths, figures, searchBoxes })[what]();
})();
