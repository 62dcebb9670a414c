// SPDX-License-Identifier: Apache-2.0
/*
 * Points on two axes, with a line through those of the Pareto front. It is drawn as SVG, so that each
 * point is a link that the keyboard reaches (one stop, then arrows), and the picture can be saved.
 */
import { el, setText, show, svg } from "../lib/dom.js";
import { colour, onTheme } from "../lib/theme.js";
import { scaleOf } from "../lib/ticks.js";
import { placeOf } from "./placement.js";

const HEIGHT = 360;
const MARGIN = { top: 16, right: 20, bottom: 50, left: 76 };
const WORDS_MAX = 30; // points that all have a text; of more, those of the front have one
const SERIES = 7;
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/* A shape for each series, so that it does not depend on colour: paths around 0, 0. */
const SHAPES = ["M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z", "M-4.5 -4.5H4.5V4.5H-4.5Z", "M0 -5.5L5.5 4.5H-5.5Z",
  "M0 -6L6 0L0 6L-6 0Z", "M0 5.5L5.5 -4.5H-5.5Z", "M-6 -2H-2V-6H2V-2H6V2H2V6H-2V2H-6Z",
  "M-5.5 -3L0 -6L5.5 -3V3L0 6L-5.5 3Z"];

const font = () => getComputedStyle(document.body).fontFamily;
const measure = document.createElement("canvas").getContext("2d");

function widthOf(text) {
  measure.font = `12px ${font()}`;
  return measure.measureText(text).width;
}

export class Scatter {
  #what = null;
  #places = []; // of the points, as they are drawn: {x, y, point, link}, from left to right
  #at = 0; // the point that the keyboard stops at
  #svg = svg("svg", { class: "scatter", role: "group", height: HEIGHT });
  #told = el("p", { class: "told", "aria-hidden": "true" });
  #legend = el("ul", { class: "legend" });
  #watch = new ResizeObserver(() => this.#draw());
  #offTheme = onTheme(() => this.#draw());
  node = el("div", {}, this.#legend, this.#svg, this.#told);

  constructor() {
    this.#watch.observe(this.node);
    this.#svg.addEventListener("keydown", (event) => this.#key(event));
    this.#svg.addEventListener("focusin", (event) => this.#tell(event.target));
    this.#svg.addEventListener("mouseover", (event) => this.#tell(event.target));
    this.#svg.addEventListener("mouseleave", () => this.#tell(document.activeElement));
  }

  close() {
    this.#watch.disconnect();
    this.#offTheme();
  }

  /*
   * @what: {label, x, y, points, level, series}. An axis: {title, log, text(value)}. A point: {x, y,
   * word, label, href, series, front, own}; its series is an index into @what.series, their names.
   * level: {y, word}, a line across, or null.
   */
  update(what) {
    this.#what = what;
    this.#draw();
  }

  /* The picture as it is, as a text of SVG that stands alone. */
  text() {
    const copy = this.#svg.cloneNode(true);
    for (const link of copy.querySelectorAll("a")) link.removeAttribute("href");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("font-family", font());
    const { width, height } = this.size;
    const legend = this.#legendAsPicture(height);
    copy.setAttribute("height", height + legend.height);
    copy.setAttribute("viewBox", `0 0 ${width} ${height + legend.height}`);
    copy.append(...legend.nodes);
    copy.prepend(svg("rect", { width, height: height + legend.height, fill: colour("surface") }));
    return new XMLSerializer().serializeToString(copy);
  }

  get size() {
    return { width: Number(this.#svg.getAttribute("width")), height: HEIGHT };
  }

  #legendAsPicture(top) {
    const names = this.#what.series.length > 1 ? this.#what.series : [];
    const nodes = names.map((name, i) => svg("g",
      { transform: `translate(${MARGIN.left} ${top + 14 + i * 20})` },
      this.#mark(i, 0, 0), this.#write(12, 4, name)));
    return { nodes, height: names.length ? names.length * 20 + 12 : 0 };
  }

  #draw() {
    const width = Math.floor(this.node.clientWidth);
    if (!this.#what || width < 100) return;
    const { x, y, points, level } = this.#what;
    this.node.hidden = points.length === 0;
    const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top,
      bottom: HEIGHT - MARGIN.bottom };
    const levels = level ? [level.y] : [];
    const across = scaleOf(points.map((p) => p.x), x.log, Math.max(2, Math.floor(width / 110)));
    const up = scaleOf([...points.map((p) => p.y), ...levels], y.log);
    const at = (value, other) => ({ x: area.left + across.place(value) * (area.right - area.left),
      y: area.bottom - up.place(other) * (area.bottom - area.top) });
    const hadFocus = this.#svg.contains(document.activeElement);
    this.#places = points.map((point) => ({ ...at(point.x, point.y), point }))
      .sort((a, b) => a.x - b.x || b.y - a.y);
    this.#at = Math.min(this.#at, this.#places.length - 1);
    this.#svg.setAttribute("width", width);
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.setAttribute("aria-label", this.#what.label);
    show(this.#svg, this.#axes(area, across, up, at), level ? this.#level(area, at) : null,
      this.#front(area), this.#points(), this.#words(area));
    this.#drawLegend();
    if (hadFocus) this.#places[this.#at]?.link.focus({ preventScroll: true });
    this.#tell(document.activeElement);
  }

  #write(x, y, text, more = {}) {
    return svg("text", { x, y, "font-size": 12, fill: colour("ink"), ...more }, text);
  }

  #axes(area, across, up, at) {
    const { x, y } = this.#what;
    const line = (d) => svg("path", { d, stroke: colour("line"), fill: "none" });
    const muted = { fill: colour("muted") };
    const middle = (area.top + area.bottom) / 2;
    return svg("g", { "aria-hidden": "true" },
      across.ticks.map((tick) => {
        const place = at(tick, this.#what.points[0].y).x;
        return [line(`M${place} ${area.top}V${area.bottom}`),
          this.#write(place, area.bottom + 18, x.text(tick), { ...muted, "text-anchor": "middle" })];
      }),
      up.ticks.map((tick) => {
        const place = at(this.#what.points[0].x, tick).y;
        return [line(`M${area.left} ${place}H${area.right}`),
          this.#write(area.left - 8, place + 4, y.text(tick), { ...muted, "text-anchor": "end" })];
      }),
      svg("path", { d: `M${area.left} ${area.top}V${area.bottom}H${area.right}`, stroke: colour("edge"),
        fill: "none" }),
      this.#write((area.left + area.right) / 2, HEIGHT - 12, x.title + (x.log ? " (logarithmic)" : ""),
        { ...muted, "text-anchor": "middle" }),
      this.#write(0, 0, y.title + (y.log ? " (logarithmic)" : ""),
        { ...muted, "text-anchor": "middle", transform: `translate(14 ${middle}) rotate(-90)` }));
  }

  #level(area, at) {
    const { level, points } = this.#what;
    const y = at(points[0].x, level.y).y;
    return svg("g", { "aria-hidden": "true" },
      svg("path", { d: `M${area.left} ${y}H${area.right}`, stroke: colour("muted"), fill: "none",
        "stroke-width": 1.5, "stroke-dasharray": "5 4" }),
      this.#write(area.left + 6, y - 5, level.word, { fill: colour("muted") }));
  }

  /* Steps through the points of the front: what lies above and right of them is beaten by one. */
  #front() {
    const best = this.#places.filter(({ point }) => point.front);
    if (best.length < 2) return null;
    const d = best.map(({ x, y }, i) => (i ? `H${x}V${y}` : `M${x} ${y}`)).join("");
    return svg("path", { d, stroke: colour("edge"), fill: "none", "stroke-width": 1.5, "aria-hidden": "true" });
  }

  #mark(series, x, y, own = false) {
    const paint = colour(`series-${series % SERIES}`);
    return svg("path", { d: SHAPES[series % SERIES], fill: paint, stroke: colour("surface"), "stroke-width": 1,
      transform: `translate(${x} ${y})${own ? " scale(1.4)" : ""}` });
  }

  #points() {
    const links = this.#places.map((place, i) => {
      const { point } = place;
      place.link = svg("a", { href: point.href, tabindex: i === this.#at ? "0" : "-1", "aria-label": point.label },
        svg("circle", { cx: place.x, cy: place.y, r: 9, fill: "transparent", class: "halo" }),
        this.#mark(point.series, place.x, place.y, point.own));
      return place;
    });
    // What counts lies above the others.
    const above = ({ point }) => Number(point.own) * 2 + Number(point.front);
    return links.sort((a, b) => above(a) - above(b)).map(({ link }) => link);
  }

  #words(area) {
    const all = this.#places.length <= WORDS_MAX;
    const named = this.#places.filter(({ point }) => all || point.front || point.own);
    const taken = named.map(({ x, y }) => ({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }));
    return svg("g", { "aria-hidden": "true" }, named.map((place) => {
      const found = placeOf(place, widthOf(place.point.word), area, taken);
      return found ? this.#write(found.x, found.y, place.point.word) : null;
    }));
  }

  #drawLegend() {
    const names = this.#what.series;
    this.#legend.hidden = names.length < 2;
    show(this.#legend, names.map((name, i) => el("li", { class: "key" },
      svg("svg", { viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": "true" }, this.#mark(i, 0, 0)),
      name)));
  }

  #tell(target) {
    const link = target?.closest?.("a");
    const inside = link && this.#svg.contains(link);
    setText(this.#told, inside ? link.getAttribute("aria-label") : "Point at a job, or use the arrow keys.");
  }

  #key(event) {
    const last = this.#places.length - 1;
    let to = null;
    if (STEPS[event.key]) to = this.#at + STEPS[event.key];
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = last;
    if (to === null || event.altKey || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    if (to < 0 || to > last) return;
    this.#places[this.#at].link.setAttribute("tabindex", "-1");
    this.#at = to;
    this.#places[to].link.setAttribute("tabindex", "0");
    this.#places[to].link.focus();
  }
}

/* The picture @text of SVG as a PNG, @scale pixels for one. */
export async function png(text, scale = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = el("canvas", { width: image.naturalWidth * scale, height: image.naturalHeight * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
