// SPDX-License-Identifier: Apache-2.0
/* Charts by chart.js, in the colours of the theme. Each has a text and a table beside it. */
import { colour, onTheme } from "../lib/theme.js";

export const available = () => typeof globalThis.Chart === "function";

/* Colours that people with any colour vision can distinguish; each comes with a shape of its own. */
const SHAPES = ["circle", "rect", "triangle", "rectRot", "crossRot", "star", "rectRounded"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [], [6, 3], [2, 2]];

export function style(i) {
  const at = i % SHAPES.length;
  return { colour: colour(`series-${at}`), shape: SHAPES[at], dash: DASHES[at] };
}

const font = () => ({ family: getComputedStyle(document.body).fontFamily, size: 12 });

function axis(options) {
  return {
    grid: { color: colour("line"), borderColor: colour("edge") },
    ...options,
    title: { display: true, text: options.title, color: colour("muted"), font: font() },
    ticks: { color: colour("muted"), font: font(), ...options.ticks },
  };
}

const LINE = 12; // height of a text

/*
 * Where a text of @width goes beside @point so that it covers none of @taken, which then has it too:
 * {x, y} of its left end; null when there is no room. @below: under the point first, as for a line.
 */
export function placeOf(point, width, below, area, taken) {
  const right = [point.x + 9, point.y + 4];
  const left = [point.x - 9 - width, point.y + 4];
  const under = [point.x + 9, point.y + 15];
  const over = [point.x + 9, point.y - 6];
  const middle = point.x - width / 2;
  const places = below ? [under, over] : [right, left, [middle, point.y - 9], [middle, point.y + 18],
    under, over, [left[0], under[1]], [left[0], over[1]]];
  for (const [x, y] of places) {
    const box = { left: x, right: x + width, top: y - LINE + 2, bottom: y + 2 };
    const inside = box.left >= area.left && box.right <= area.right + 8 && box.bottom <= area.bottom &&
      box.top >= area.top - LINE;
    const free = taken.every((other) => box.right <= other.left || box.left >= other.right ||
      box.bottom <= other.top || box.top >= other.bottom);
    if (!inside || !free) continue;
    taken.push(box);
    return { x, y };
  }
  return null;
}

/* Words beside each point, as a canvas has no labels of its own. */
const pointLabels = {
  id: "pointLabels",
  afterDatasetsDraw(chart) {
    const { ctx, chartArea } = chart;
    ctx.save();
    ctx.fillStyle = colour("ink");
    ctx.font = `12px ${font().family}`;
    const taken = [];
    chart.data.datasets.forEach((set, i) => {
      if (!set.words || !chart.isDatasetVisible(i)) return;
      chart.getDatasetMeta(i).data.forEach((point, j) => {
        const text = set.words[j] ?? "";
        const place = placeOf(point, ctx.measureText(text).width, set.wordsBelow, chartArea, taken);
        if (place) ctx.fillText(text, place.x, place.y);
      });
    });
    ctx.restore();
  },
};

/*
 * A chart on @canvas. @describe() gives {label, x, y, datasets, tooltip}, and is asked again when
 * the colours change or update() is called.
 */
export class LineChart {
  #canvas;
  #describe;
  #chart = null;
  #offTheme = onTheme(() => this.update());

  constructor(canvas, describe) {
    this.#canvas = canvas;
    this.#describe = describe;
  }

  update() {
    if (!available()) return;
    const { label, x, y, datasets, tooltip } = this.#describe();
    const options = {
      animation: false, responsive: true, maintainAspectRatio: false, normalized: true,
      interaction: { mode: "nearest", intersect: false },
      layout: { padding: { top: 12, right: 8 } },
      scales: { x: axis(x), y: axis(y) },
      plugins: {
        legend: { display: false },
        tooltip: {
          backgroundColor: colour("ink"), titleColor: colour("surface"), cornerRadius: 3,
          bodyColor: colour("surface"), bodyFont: font(), titleFont: font(), callbacks: tooltip,
        },
      },
    };
    this.#canvas.setAttribute("role", "img");
    this.#canvas.setAttribute("aria-label", label);
    if (this.#chart) {
      const hidden = this.#chart.data.datasets.map((_, i) => !this.#chart.isDatasetVisible(i));
      this.#chart.options = options;
      this.#chart.data.datasets = datasets.map((set, i) => ({ ...set, hidden: hidden[i] ?? false }));
      this.#chart.update("none");
    } else {
      this.#chart = new globalThis.Chart(this.#canvas, {
        type: "line", data: { datasets }, options, plugins: [pointLabels],
      });
    }
  }

  setVisible(i, on) {
    this.#chart?.setDatasetVisibility(i, on);
    this.#chart?.update("none");
  }

  close() {
    this.#offTheme();
    this.#chart?.destroy();
    this.#chart = null;
  }
}
