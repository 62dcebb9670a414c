// SPDX-License-Identifier: Apache-2.0
/*
 * The fields of a request, as openapi.json describes them: names, kinds, limits and help texts have
 * one source. Text of a form becomes values here, and back.
 */

const types = (schema) => [schema.type].flat().filter(Boolean);

/* How a field is asked for: "choice", "switch", "number", "list", "lines", "pairs" or "text". */
export function kindOf(schema) {
  const type = types(schema);
  if (schema.enum) return "choice";
  if (type.includes("boolean")) return "switch";
  if (type.includes("array")) return ["string", "number"].includes(schema.items?.type) ? "list" : "lines";
  if (type.includes("integer") || type.includes("number")) return "number";
  return type.includes("object") ? "pairs" : "text";
}

/* [{title, folded, fields: [{name, schema, required}]}]: in the document's groups; the rest comes last. */
export function groupsOf(document) {
  const request = document.components.schemas.JobRequest;
  const field = (name) => ({ name, schema: request.properties[name],
    required: (request.required || []).includes(name) });
  const left = new Set(Object.keys(request.properties)
    .filter((name) => !request.properties[name].deprecated));
  const groups = (request["x-groups"] || []).map((group) => ({
    title: group.title, folded: group.folded === true,
    fields: group.fields.filter((name) => left.delete(name)).map(field),
  }));
  if (left.size) groups.push({ title: "More", folded: true, fields: [...left].map(field) });
  return groups;
}

/* Does a job of @kind take the field? */
export function belongsTo(schema, kind) {
  return !schema["x-kinds"] || schema["x-kinds"].includes(kind);
}

/* What the document suggests for a field, as texts; of a list its elements. */
export function examplesOf(schema) {
  const texts = (schema.examples || []).flat().filter((value) => typeof value !== "object").map(String);
  return [...new Set(texts)].filter(Boolean);
}

/* What a field holds at first: a text, or whether a switch is on. */
export function startOf(schema) {
  return toText(schema, schema["x-start"] ?? schema.default);
}

/* Kind: a value as text, and {value} or {problem} of a trimmed text that is not empty. */
const KINDS = {
  choice: { write: String, read: (schema, text) => ({ value: schema.enum.find((v) => String(v) === text) }) },
  list: { write: (value) => [value].flat().join(", "), read: readList },
  lines: { write: writeLines, read: readLines },
  number: { write: String, read: readNumber },
  pairs: { write: writePairs, read: readPairs },
  text: { write: String, read: (schema, text) => ({ value: text }) },
};

export function toText(schema, value) {
  const kind = kindOf(schema);
  if (kind === "switch") return value === true;
  return value === null || value === undefined ? "" : KINDS[kind].write(value);
}

/* {value} or {problem} of what was typed; the value is undefined when there is none to send. */
export function fromText(schema, text, required) {
  const kind = kindOf(schema);
  if (kind === "switch") return { value: text };
  const trimmed = text.trim();
  if (trimmed !== "") return KINDS[kind].read(schema, trimmed);
  if (kind === "list" || kind === "lines") return { value: [] };
  return required ? { problem: "is required" } : { value: undefined };
}

function readList(schema, text) {
  const texts = text.split(",").map((s) => s.trim()).filter(Boolean);
  if (schema.items?.type !== "number") return { value: texts };
  const read = texts.map((one) => readNumber(schema.items, one));
  return read.find((one) => one.problem) ?? { value: read.map((one) => one.value) };
}

/* Elements that have commas of their own, one on a line; what is no text is JSON. */
function writeLines(value) {
  return [value].flat().map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join("\n");
}

function readLines(schema, text) {
  const value = [];
  for (const line of text.split("\n").map((s) => s.trim()).filter(Boolean)) {
    try {
      value.push(line.startsWith("{") ? JSON.parse(line) : line);
    } catch {
      return { problem: `'${line}' is not JSON` };
    }
  }
  return { value };
}

function readNumber(schema, text) {
  const value = Number(text);
  const whole = types(schema).includes("integer");
  if (!Number.isFinite(value)) return { problem: `'${text}' is not a number` };
  if (whole && !Number.isSafeInteger(value)) return { problem: `'${text}' is not a whole number` };
  if (value < schema.minimum) return { problem: `must be at least ${schema.minimum}` };
  if (value <= schema.exclusiveMinimum) return { problem: `must be above ${schema.exclusiveMinimum}` };
  if (value > schema.maximum) return { problem: `must be at most ${schema.maximum}` };
  return { value };
}

function writePairs(value) {
  return Object.entries(value).map(([name, text]) => `${name}=${text}`).join("\n");
}

function readPairs(schema, text) {
  const value = {};
  for (const line of text.split("\n").map((s) => s.trim()).filter(Boolean)) {
    const cut = line.indexOf("=");
    if (cut < 1) return { problem: `'${line}' is not name=value` };
    value[line.slice(0, cut).trim()] = line.slice(cut + 1).trim();
  }
  return { value };
}

/* Is @value what the daemon takes without the field, which a preset may have? */
export function isDefault(schema, value, preset) {
  return value === undefined || JSON.stringify(value) === JSON.stringify(preset ?? schema.default);
}

/* The parameters that the choice @name of the field @schema stands for; {} when it is none. */
export function presetOf(schema, name) {
  return schema?.["x-presets"]?.[name] ?? {};
}

/* {field: value} of every field that any preset of @schema names: that of @name, or undefined. */
export function presetValues(schema, name) {
  const values = {};
  for (const preset of Object.values(schema["x-presets"]))
    for (const field of Object.keys(preset)) values[field] = presetOf(schema, name)[field];
  return values;
}
