// What can be seen to be wrong with an open page. Each check answers with a list of faults, in words; an empty one is good.
window.checks = (() => {
  const SOON = 1.5; // px: rounding of layout, no fault
  const named = (node) => {
    const id = node.id ? `#${node.id}` : "";
    const kind = node.getAttribute?.("class") ? `.${node.getAttribute("class").trim().split(/\s+/).join(".")}` : "";
    return `<${node.localName}${id}${kind}>`;
  };
  const said = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 60));
  const box = (rect) => `${Math.round(rect.left)}..${Math.round(rect.right)} x ${Math.round(rect.top)}..${Math.round(rect.bottom)}`;
  // Text for screen readers only is a pixel wide; it cannot be cut.
  const hidden = (node) => {
    if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return true;
    for (let at = node; at && at !== document.body; at = at.parentElement) {
      if (!(at instanceof SVGElement) && at.clientWidth <= 1 && getComputedStyle(at).overflowX !== "visible") return true;
    }
    return false;
  };

  function* texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement;
      if (!node.data.trim() || ["script", "style", "title", "desc", "option"].includes(parent.localName) || hidden(parent)) continue;
      yield [node, parent];
    }
  }

  const rectangles = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].filter((r) => r.width > 0 && r.height > 0);
  };

  const scrolled = (node) => {
    for (let at = node.parentElement; at && at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflowX !== "visible") return true;
    }
    return node instanceof SVGElement && node.localName !== "svg";
  };

  // The page itself must not scroll sideways; what is wide scrolls in a box of its own.
  function overflow() {
    const root = document.documentElement;
    const found = [];
    if (root.scrollWidth > root.clientWidth) {
      const wide = [...texts()].filter(([node, parent]) => !scrolled(parent) && rectangles(node).some((r) => r.right > root.clientWidth + 1));
      const which = wide.slice(0, 3).map(([node, parent]) => `${said(node.data)} in ${named(parent)}`);
      found.push(`the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}: ${which.join(", ")}`);
    }
    const at = window.scrollX;
    window.scrollTo({ left: 1000, behavior: "instant" });
    if (window.scrollX > 0) found.push(`the page scrolls sideways by ${window.scrollX} px`);
    window.scrollTo({ left: at, behavior: "instant" });
    return found;
  }

  // No text reaches past an edge that hides it: of the window, of a box that clips, of a picture.
  function cut() {
    const found = [];
    const width = document.documentElement.clientWidth;
    for (const [node, parent] of texts()) {
      const rects = rectangles(node);
      if (!rects.length) continue;
      const left = Math.min(...rects.map((r) => r.left)), right = Math.max(...rects.map((r) => r.right));
      const top = Math.min(...rects.map((r) => r.top)), bottom = Math.max(...rects.map((r) => r.bottom));
      let edge = { left: 0, right: width, top: -Infinity, bottom: Infinity };
      for (let box_ = parent; box_; box_ = box_.parentElement) {
        if (box_ instanceof SVGElement && box_.localName !== "svg") continue;
        const style = getComputedStyle(box_);
        const clips = style.overflowX !== "visible" || style.overflowY !== "visible";
        if (!clips || box_ === document.body || box_ === document.documentElement) continue;
        const rect = box_.getBoundingClientRect();
        const scrolls = (way) => ["auto", "scroll"].includes(style[way]);
        edge = {
          left: scrolls("overflowX") ? -Infinity : rect.left, right: scrolls("overflowX") ? Infinity : rect.right,
          top: scrolls("overflowY") ? -Infinity : rect.top, bottom: scrolls("overflowY") ? Infinity : rect.bottom,
        };
        break;
      }
      if (left < edge.left - SOON || right > edge.right + SOON || top < edge.top - SOON || bottom > edge.bottom + SOON) {
        found.push(`${said(node.data)} in ${named(parent)} is cut: ${box({ left, right, top, bottom })} within ${box(edge)}`);
      }
    }
    return found;
  }

  const upright = (node) => {
    const to = node.getScreenCTM();
    return Math.abs(to.b) < 1e-3 && Math.abs(to.c) < 1e-3;
  };
  // A line's box is taller than what is written in it.
  const ink = (node) => {
    const r = node.getBoundingClientRect();
    const lie = upright(node) || !node.getAttribute("transform")?.includes("rotate");
    const [x, y] = lie ? [1, r.height * 0.22] : [r.width * 0.22, 1];
    return { left: r.left + x, right: r.right - x, top: r.top + y, bottom: r.bottom - y };
  };
  const leaves = (svg) => [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim() && !hidden(t));

  // No two labels of a chart lie on one another.
  function overlapping() {
    const found = [];
    for (const svg of document.querySelectorAll("svg")) {
      const labels = leaves(svg).map((t) => [t, ink(t)]);
      for (let i = 0; i < labels.length; i++) {
        for (let j = i + 1; j < labels.length; j++) {
          const [a, p] = labels[i], [b, q] = labels[j];
          const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left), high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
          if (wide > 1 && high > 1) found.push(`${said(a.textContent)} lies on ${said(b.textContent)} in ${said(svg.getAttribute("aria-label") ?? "a picture")}`);
        }
      }
    }
    return found;
  }

  // Every label can be read: its size on the screen, in px.
  function small(least) {
    const found = [];
    for (const [node, parent] of texts()) {
      let size = parseFloat(getComputedStyle(parent).fontSize);
      if (parent instanceof SVGElement) {
        const to = parent.getScreenCTM();
        size *= Math.hypot(to.a, to.b);
      }
      if (size < least) found.push(`${said(node.data)} is ${size.toFixed(1)} px high in ${named(parent)}`);
    }
    return found;
  }

  // ---- contrast (WCAG 2.2, 1.4.3 and 1.4.11)
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = "#000";
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const scheme = () => (getComputedStyle(document.documentElement).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1]);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const paint = rgba(getComputedStyle(at).backgroundColor);
      layers.push(paint);
      if (paint[3] === 1) break;
    }
    return layers.reduceRight((below, paint) => over(paint, below), scheme());
  };
  const opacity = (node, name) => parseFloat(getComputedStyle(node)[name] || "1");
  const filled = (node, paint) => {
    const colour = rgba(paint);
    return [colour[0], colour[1], colour[2], colour[3] * opacity(node, "fillOpacity") * opacity(node, "opacity")];
  };
  // What lies under the middle of a label: the page, then every shape drawn before it that covers that spot.
  const under = (svg, label, shapes) => {
    const r = label.getBoundingClientRect();
    const spot = new DOMPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2);
    let paint = behind(svg);
    for (const [shape, bounds] of shapes) {
      if (!(shape.compareDocumentPosition(label) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
      if (spot.x < bounds.left || spot.x > bounds.right || spot.y < bounds.top || spot.y > bounds.bottom) continue;
      const fill = getComputedStyle(shape).fill;
      if (fill === "none" || fill.startsWith("url") || !shape.isPointInFill(spot.matrixTransform(shape.getScreenCTM().inverse()))) continue;
      paint = over(filled(shape, fill), paint);
    }
    return paint;
  };

  function contrast() {
    const found = [];
    const shapes = new Map();
    for (const [node, parent] of texts()) {
      const style = getComputedStyle(parent);
      const drawn = parent instanceof SVGElement;
      const svg = drawn ? parent.closest("svg") : null;
      if (svg && !shapes.has(svg)) {
        const all = [...svg.querySelectorAll("path, rect, circle, polygon")].filter((s) => !s.closest("defs, clipPath, marker, pattern"));
        shapes.set(svg, all.map((s) => [s, s.getBoundingClientRect()]));
      }
      const back = drawn ? under(svg, parent.closest("text"), shapes.get(svg)) : behind(parent);
      const ink_ = over(drawn ? filled(parent, style.fill) : rgba(style.color), back);
      const size = parseFloat(style.fontSize);
      const least = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700) ? 3 : 4.5;
      const seen = ratio(ink_, back);
      if (seen < least - 0.005) found.push(`${said(node.data)} in ${named(parent)}: contrast ${seen.toFixed(2)}, ${least} is needed (${ink_.slice(0, 3).map(Math.round)} on ${back.slice(0, 3).map(Math.round)})`);
    }
    return found;
  }

  // Lines and areas of the charts stand out from the paper: the variables that colour them.
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const paper = rgba(style.getPropertyValue("--paper").trim());
    const found = [];
    for (let i = 0; style.getPropertyValue(`--s${i}`); i++) {
      const seen = ratio(rgba(style.getPropertyValue(`--s${i}`).trim()), paper);
      if (seen < 3) found.push(`--s${i}: contrast ${seen.toFixed(2)} on the paper, 3 is needed`);
    }
    return found;
  }

  // ---- structure
  const name = (node) => (node?.getAttribute("aria-label") || node?.querySelector(":scope > title")?.textContent || "").trim();

  // A chart says what is to be seen, to the eye and to a screen reader, and shows its figures.
  function figures() {
    const found = [];
    for (const figure of document.querySelectorAll("figure")) {
      const svg = figure.querySelector("svg");
      const what = said(name(svg) || figure.textContent);
      if (!svg) found.push(`a figure without a picture: ${what}`);
      else if (svg.getAttribute("role") !== "img" || !name(svg)) found.push(`a picture without a name: ${what}`);
      if (!figure.querySelector("figcaption")?.textContent.trim()) found.push(`a figure without a caption: ${what}`);
      if (!figure.querySelector("details table tbody td, details table tbody th")) found.push(`a figure without its figures: ${what}`);
    }
    return found;
  }

  function headings() {
    const found = [];
    let before = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      const level = parseInt(heading.localName[1]);
      if (!heading.textContent.trim()) found.push(`an empty ${heading.localName}`);
      if (level > before + 1) found.push(`${heading.localName} ${said(heading.textContent)} follows h${before}`);
      before = level;
    }
    const tops = document.querySelectorAll("h1").length;
    if (tops !== 1) found.push(`${tops} h1`);
    return found;
  }

  function links() {
    const found = [];
    const seen = new Set();
    for (const node of document.querySelectorAll("[id]")) {
      if (seen.has(node.id)) found.push(`two of id ${node.id}`);
      seen.add(node.id);
    }
    for (const link of document.querySelectorAll("a[href^='#']")) {
      if (!seen.has(decodeURIComponent(link.getAttribute("href").slice(1)))) found.push(`${link.getAttribute("href")} leads nowhere`);
    }
    for (const use of document.querySelectorAll("use")) {
      if (!seen.has((use.getAttribute("href") ?? use.getAttribute("xlink:href") ?? "").slice(1))) found.push("a <use> of nothing");
    }
    return found;
  }

  // Files of the run that the page may lead to.
  const FILE = /^(trials\/\d+\/trial\.json|charts\/[a-z0-9-]+\.(csv|svg|png))$/;
  const files = () => [...new Set([...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")))].filter((href) => FILE.test(href));

  // What a report has no use for, and what somebody else's text would bring in.
  function foreign() {
    const found = [];
    const never = "iframe, frame, object, embed, base, img, image, video, audio, source, form[action], link, portal, foreignObject, meta[http-equiv='refresh' i]";
    for (const node of document.querySelectorAll(never)) found.push(`${named(node)} is there`);
    for (const node of document.querySelectorAll("*")) {
      for (const { name: key, value } of node.attributes) {
        if (/^on/i.test(key)) found.push(`${named(node)} has ${key}`);
        if (/^(xlink:)?href$|^src$|^action$|^formaction$|^srcdoc$|^data$/i.test(key) && !/^(#|https?:\/\/)/.test(value) && !FILE.test(value)) found.push(`${named(node)} leads to ${said(value)}`);
      }
    }
    return found;
  }

  return { overflow, cut, overlapping, small, contrast, colours, figures, headings, links, foreign, files };
})();
