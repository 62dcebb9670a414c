// SPDX-License-Identifier: Apache-2.0
/* The reports of finished layers, as the heat map and the chart over depth need them. */

const EXPERT = /\.experts\.(\d+)\.(gate|up|down)_proj$/;
const ATTENTION = /\.self_attn\.([qkvo])_proj$/;
const MANY = 100; // values, of which some may be strays

export const EXPERT_PARTS = ["gate", "up", "down"];
export const KINDS = ["q", "k", "v", "o", "gate", "up", "down"];

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/* One layer: {layer, seconds, attention: {q: matrix}, experts: [{gate, up, down, tokens, ...}]}. */
function readLayer(report) {
  const layer = { layer: report.layer, seconds: report.seconds, attention: {}, experts: [] };
  for (const matrix of report.matrices || []) {
    const expert = EXPERT.exec(matrix.name);
    const attention = ATTENTION.exec(matrix.name);
    if (expert) (layer.experts[Number(expert[1])] ??= {})[expert[2]] = matrix;
    else if (attention) layer.attention[attention[1]] = matrix;
  }
  layer.experts.forEach((expert) => {
    const matrices = EXPERT_PARTS.map((part) => expert[part]).filter(Boolean);
    expert.tokens = expert.gate?.tokens ?? 0;
    expert.reason = matrices.find((m) => m.reason)?.reason || null;
    expert.worst = matrices.reduce((a, m) => (m.error > (a?.error ?? -1) ? m : a), null);
  });
  return layer;
}

/* Marks the experts of which a matrix saw fewer tokens than it has inputs: GPTQ fits noise there. */
function markFew(layer, inputs) {
  const fewOf = (matrix, n) => Number.isFinite(matrix?.tokens) && matrix.tokens < n;
  for (const expert of layer.experts.filter(Boolean))
    expert.few = EXPERT_PARTS.some((part) => fewOf(expert[part], inputs[part]));
}

export class Layers {
  #layers = new Map();
  #inputs = {}; // of each part of an expert, once the model is known
  total = 0; // layers of the model, 0: not known
  version = 0; // grows with every change

  /* Takes the report of one layer; a later one of the same layer replaces it. */
  add(report) {
    if (!Number.isInteger(report?.layer) || report.layer < 0 || report.layer > 4095) return;
    const layer = readLayer(report);
    markFew(layer, this.#inputs);
    this.#layers.set(report.layer, layer);
    this.version++;
  }

  /* Takes the facts of the model, which may come after the reports. */
  setModel({ layers, hidden_size: hidden, intermediate_size: inner }) {
    this.total = Math.min(4096, layers || 0);
    if (this.#inputs.gate === hidden && this.#inputs.down === inner) return;
    this.#inputs = { gate: hidden, up: hidden, down: inner };
    for (const layer of this.#layers.values()) markFew(layer, this.#inputs);
    this.version++;
  }

  get list() {
    return [...this.#layers.values()].sort((a, b) => a.layer - b.layer);
  }

  /* All layers of the model; null for one that is not reported yet. */
  get places() {
    const list = this.list;
    const n = Math.max(this.total, 1 + (list.at(-1)?.layer ?? -1));
    return Array.from({ length: n }, (_, i) => this.#layers.get(i) ?? null);
  }

  get nExperts() {
    return this.list.reduce((n, layer) => Math.max(n, layer.experts.length), 0);
  }

  /* Whether calibration tokens were counted: a method without calibration has none. */
  get hasTokens() {
    return this.list.some((layer) => layer.experts.some((e) => e?.tokens > 0));
  }

  /* Whether errors were measured: a method without calibration has none. */
  get hasErrors() {
    const measured = (matrix) => typeof matrix?.error === "number";
    return this.list.some((layer) => Object.values(layer.attention).some(measured) ||
      layer.experts.some((e) => e && EXPERT_PARTS.some((part) => measured(e[part]))));
  }

  /* The value of an expert: its tokens, or the error of @part ("worst": the largest). */
  static value(expert, metric, part) {
    if (!expert) return NaN;
    if (metric === "tokens") return expert.tokens;
    const matrix = part === "worst" ? expert.worst : expert[part];
    return matrix && typeof matrix.error === "number" ? matrix.error : NaN;
  }

  /* Error of @kind in each layer: of attention as it is, of experts their "median" or "worst". */
  depth(kind, over = "median") {
    return this.list.map((layer) => {
      if (kind.length === 1) return { layer: layer.layer, value: layer.attention[kind]?.error ?? NaN };
      const errors = layer.experts.map((e) => e?.[kind]?.error).filter((e) => Number.isFinite(e));
      const value = !errors.length ? NaN : over === "worst" ? Math.max(...errors) : median(errors);
      return { layer: layer.layer, value };
    });
  }
}

/* The largest error of a report and where: {error, name}; null without matrices. */
export function worstOf(report) {
  return (report.matrices || []).reduce((a, m) =>
    (typeof m.error === "number" && m.error > (a?.error ?? -1) ? m : a), null);
}

/* "layers.3 experts.12 down" for "model.layers.3.mlp.experts.12.down_proj". */
export function shortName(name) {
  return String(name).replace(/^model\.layers\.\d+\./, "").replace(/^(mlp|self_attn)\./, "")
    .replace(/_proj$/, "").replace(/^experts\.(\d+)\./, "expert $1 ");
}

/*
 * Edges of @n steps over @values: logarithmic when they are > 0 and far apart. Of many values the
 * outermost fiftieths share the first and the last step, so that some strays do not take all colours.
 */
export function edges(values, n) {
  const sorted = values.filter((v) => Number.isFinite(v)).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const strays = sorted.length < MANY ? 0 : Math.floor(sorted.length / 50);
  const high = sorted[sorted.length - 1 - strays];
  const low = sorted[strays];
  const log = low > 0 && high / low > 3;
  const at = (i) => (log ? low * (high / low) ** (i / n) : low + ((high - low) * i) / n);
  return Array.from({ length: n + 1 }, (_, i) => (i === n ? high : at(i)));
}

/* The step, 0 to n-1, of @value between @edges. */
export function step(edges, value) {
  let i = 0;
  while (i < edges.length - 2 && value >= edges[i + 1]) i++;
  return i;
}
