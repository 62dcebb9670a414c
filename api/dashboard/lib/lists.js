// SPDX-License-Identifier: Apache-2.0
/* Lists of values of parameters, which make a group of jobs: one for each combination. */
import { belongsTo, fromText, kindOf } from "./schema.js";

export const MEMBERS_MAX = 64;

/* What a submission says of all its jobs, in every member the same. */
const OF_ALL = ["kind", "name", "labels", "priority", "private", "where", "notify", "model"];
const SWITCHES = { yes: true, true: true, no: false, false: false };

/* May several values be given for a field of this name? */
export function mayVary(name, schema, kind) {
  return !OF_ALL.includes(name) && belongsTo(schema, kind) &&
    ["choice", "number", "switch", "text"].includes(kindOf(schema));
}

function valueOf(schema, text) {
  if (kindOf(schema) === "switch") {
    const value = SWITCHES[text.toLowerCase()];
    return value === undefined ? { problem: `'${text}' is not yes or no` } : { value };
  }
  const { value, problem } = fromText(schema, text, true);
  if (problem) return { problem };
  return value === undefined ? { problem: `'${text}' is none of ${schema.enum.filter((v) => v !== null).join(", ")}` }
    : { value };
}

/* "3, 4" as {values: [3, 4]}, or {problem}; no values of an empty text. */
export function valuesOf(schema, text) {
  const found = text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => valueOf(schema, part));
  const problem = found.find((one) => one.problem)?.problem;
  if (problem) return { problem };
  const values = found.map((one) => one.value);
  return new Set(values).size < values.length ? { problem: "has a value twice" } : { values };
}

/* How many jobs @lists, {name: values}, make. */
export function countOf(lists) {
  return Object.values(lists).reduce((n, values) => n * values.length, 1);
}
