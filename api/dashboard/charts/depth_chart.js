// SPDX-License-Identifier: Apache-2.0
/* The error of each kind of matrix, from the first layer to the last. */
import { LineChart, available, style } from "./charts.js";
import { el, setAttribute, show, svg } from "../lib/dom.js";
import { KINDS } from "../lib/layers.js";
import { onTheme } from "../lib/theme.js";
import { error } from "../lib/units.js";

const WORDS = { q: "query", k: "key", v: "value", o: "output", gate: "gate", up: "up", down: "down" };

/* A line of a legend as the chart draws it. */
function sample(i) {
  const { colour, dash } = style(i);
  const shapes = [
    ["circle", { cx: 12, cy: 6, r: 3.5 }], ["rect", { x: 8.5, y: 2.5, width: 7, height: 7 }],
    ["path", { d: "M12 2L16 9.500H8Z" }], ["path", { d: "M12 1.500L16.500 6L12 10.500L7.500 6Z" }],
    ["path", { d: "M8.500 2.500L15.500 9.500M15.500 2.500L8.500 9.500" }],
    ["path", { d: "M12 1.500V10.500M7.500 6H16.500M9 3L15 9M15 3L9 9" }],
    ["rect", { x: 8.5, y: 2.5, width: 7, height: 7, rx: 2 }],
  ];
  const [tag, attributes] = shapes[i % shapes.length];
  return svg("svg", { viewBox: "0 0 24 12", width: 24, height: 12, "aria-hidden": "true",
    stroke: colour, fill: colour, "stroke-width": 1.5 },
  svg("path", { d: "M0 6H24", "stroke-dasharray": dash.join(" ") || null }), svg(tag, attributes));
}

export class DepthChart {
  #layers;
  #over = "median";
  #canvas = el("canvas");
  #legend = el("div", { class: "legend", role: "group", "aria-label": "Kinds of matrices shown" });
  #table = el("div", { class: "scroll", tabindex: "0", role: "region",
    "aria-label": "Error by kind and layer" });
  #chart;
  #offTheme;
  node;

  constructor(layers) {
    this.#layers = layers;
    const over = el("select", { id: "depth-over" }, el("option", { value: "median" }, "median"),
      el("option", { value: "worst" }, "worst"));
    over.addEventListener("change", () => {
      this.#over = over.value;
      this.update();
    });
    this.node = el("section", { class: "card", "aria-labelledby": "depth-title" },
      el("div", { class: "spread" }, el("h2", { id: "depth-title" }, "Error over depth"),
        el("div", { class: "inline" }, el("label", { for: "depth-over" }, "Of the experts the"),
          over)),
      el("p", { class: "help" }, "Relative error of each layer's output by kind of matrix: ",
        "what the rounding adds, as a share of the output."),
      available() ? el("div", { class: "chart" }, this.#canvas) : null, this.#legend,
      el("details", {}, el("summary", {}, "As a table"), this.#table));
    this.#chart = new LineChart(this.#canvas, () => this.#describe());
    this.#offTheme = onTheme(() => this.#drawLegend());
    this.#drawLegend();
  }

  update() {
    this.#chart.update();
    this.#drawTable();
  }

  close() {
    this.#chart.close();
    this.#offTheme();
  }

  #describe() {
    const list = this.#layers.list;
    return {
      label: `Line chart of the relative error of ${list.length} layers by kind of matrix. ` +
        "The table below has the figures.",
      x: { type: "linear", title: "layer", ticks: { precision: 0 },
        min: 0, max: Math.max(1, this.#layers.places.length - 1) },
      y: { type: "logarithmic", title: "relative error",
        ticks: { callback: (value) => (/^[125]/.test(value.toExponential()) ? error(value) : "") } },
      datasets: KINDS.map((kind, i) => {
        const { colour, shape, dash } = style(i);
        return {
          label: WORDS[kind], borderColor: colour, backgroundColor: colour, borderDash: dash,
          borderWidth: 1.5, clip: 8, pointStyle: shape, pointRadius: 3.5, pointBorderWidth: 1.5,
          data: this.#layers.depth(kind, this.#over).filter((p) => p.value > 0)
            .map((p) => ({ x: p.layer, y: p.value })),
        };
      }),
      tooltip: {
        title: ([item]) => (item ? `layer ${item.raw.x}` : ""),
        label: (item) => `${item.dataset.label}: ${error(item.raw.y)}`,
      },
    };
  }

  #drawLegend() {
    const before = [...this.#legend.children].map((b) => b.getAttribute("aria-pressed"));
    show(this.#legend, KINDS.map((kind, i) => {
      const button = el("button", { type: "button", class: "small", "aria-pressed":
        before[i] ?? "true" }, sample(i), WORDS[kind]);
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        setAttribute(button, "aria-pressed", String(on));
        this.#chart.setVisible(i, on);
      });
      return button;
    }));
  }

  #drawTable() {
    const depths = KINDS.map((kind) => this.#layers.depth(kind, this.#over));
    show(this.#table, el("table", { class: "figures" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Layer"),
        KINDS.map((kind) => el("th", { scope: "col", class: "number" }, WORDS[kind])))),
      el("tbody", {}, this.#layers.list.map((layer, i) => el("tr", {},
        el("th", { scope: "row" }, `${layer.layer}`),
        depths.map((depth) => el("td", { class: "number" }, error(depth[i].value))))))));
  }
}
