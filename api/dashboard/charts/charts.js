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
        type: "line", data: { datasets }, options,
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
