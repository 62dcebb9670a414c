// SPDX-License-Identifier: Apache-2.0
/* What a job object means, as text. */

import { moment } from "./units.js";

const ENDED = ["succeeded", "failed", "cancelled"];
const ROLES = ["read", "submit", "admin"];

export const PHASES = ["pull", "load", "plan", "calibrate", "quantize", "evaluate", "export"];

export function hasEnded(job) {
  return ENDED.includes(job.status);
}

export function title(job) {
  return job.name || job.params?.model || `job ${job.id}`;
}

/* Its method in a few words: "gptq 4 bit g128 act-order mse". */
export function method(job) {
  const p = job.params || {};
  if (job.kind === "eval") return "evaluation";
  if (job.kind === "export") return `export as ${p.format}`;
  if (p.wbits === 16) return "unquantized";
  const words = [p.target_bits > 0 ? `${p.method} ${p.target_bits} bit on average` : `${p.method} ${p.wbits} bit`];
  if (p.groupsize > 0) words.push(`g${p.groupsize}`);
  for (const [name, word] of [["act_order", "act-order"], ["sym", "sym"],
    ["true_sequential", "true-sequential"], ["static_groups", "static groups"]])
    if (p[name]) words.push(word);
  if (p.grid && p.grid !== "minmax") words.push(p.grid);
  if (p.drift > 0) words.push(`drift ${p.drift}`);
  if (p.refine) words.push(`refine ${p.refine}`);
  if (p.rules?.length) words.push(p.rules.length === 1 ? "1 rule" : `${p.rules.length} rules`);
  return words.join(" ");
}

/* Bits of a weight as stored; 16 for a job that quantizes nothing; NaN when it is not known. */
export function bits(job) {
  const value = job.result?.bits_per_weight;
  if (typeof value === "number") return value;
  return job.params?.wbits === 16 || job.kind === "eval" ? 16 : NaN;
}

/* Why @caller may not do what needs @role to @job; null: they may. */
export function refusal(caller, role, job) {
  if (!caller) return null;
  if (ROLES.indexOf(caller.role) < ROLES.indexOf(role))
    return `needs the role ${role}; yours is ${caller.role}`;
  if (job && caller.role !== "admin" && caller.owner !== job.owner)
    return `is for its owner, ${job.owner}, and admins`;
  return null;
}

const PHASES_OF_LAYERS = ["quantize", "evaluate"];

/* What it does now, by its status; that of others is their status. */
const STANDINGS = {
  queued: (job, p) => {
    if (job.held) return "held until it is released";
    if (p?.phase === "pull") return `fetching ${p.file || "its files"}`;
    return job.queue_position ? `number ${job.queue_position} in the queue` : "in the queue";
  },
  running: (job, p) => {
    if (job.engine?.state === "PENDING") {
      const reason = job.engine.reason ? ` (${job.engine.reason})` : "";
      const start = job.engine.starts_at ? `, expected to start at ${moment(job.engine.starts_at)}` : "";
      return `waits in ${job.engine.name}${reason}${start}`;
    }
    const node = job.engine?.node ? ` on ${job.engine.node}` : "";
    if (!p) return job.status + node;
    const layers = p.layers_total && PHASES_OF_LAYERS.includes(p.phase);
    return (layers ? `${p.phase}, layer ${(p.layer ?? 0) + 1} of ${p.layers_total}` : p.phase) + node;
  },
  cancelling: () => "stopping",
};

/* The way from the queue to its end: "number 3 in the queue", "quantize, layer 4 of 16". */
export function standing(job) {
  if (job.paused) return `paused: ${job.paused.detail || job.paused.code}`;
  return STANDINGS[job.status]?.(job, job.progress) ?? job.status;
}

/* How much of it is done, 0 to 1; null when it is not known. */
export function fraction(job) {
  const p = job.progress;
  if (!p || hasEnded(job)) return null;
  if (p.phase === "pull") return p.bytes_total > 0 ? p.bytes / p.bytes_total : null;
  if (job.status === "queued" && !(p.fraction > 0)) return null;
  return typeof p.fraction === "number" ? p.fraction : null;
}

/* [{set, value, stderr, baseline, difference, windows, tokens}] of what it measured. */
export function perplexities(job) {
  const found = job.result?.perplexity || {};
  return Object.entries(found).map(([set, entry]) => ({
    set, value: entry.value, stderr: entry.stderr, windows: entry.windows, tokens: entry.tokens,
    baseline: job.result.baseline?.[set] ?? (job.params?.wbits === 16 ? entry.value : null),
    difference: job.result.difference?.[set] ?? null,
  }));
}
