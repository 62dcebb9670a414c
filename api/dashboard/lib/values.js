// SPDX-License-Identifier: Apache-2.0
/* Values of parameters as text. */

const SELECTORS = ["layers", "experts"];
const SETTINGS = ["wbits", "groupsize", "sym", "method"];

/* A rule as --rule takes it: "layers=0-3,15/down_proj:wbits=4,groupsize=64". */
export function ruleText(rule) {
  const named = (names) => names.filter((name) => name in rule).map((name) => `${name}=${rule[name]}`);
  const modules = rule.modules === undefined ? [] : [[rule.modules].flat().join(",")];
  return `${[...named(SELECTORS), ...modules].join("/")}:${named(SETTINGS).join(",")}`;
}

/* Any value; @none is said of one that is not there. */
export function valueText(value, none = "none") {
  if (value === null || value === undefined || value === "") return none;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map((one) => valueText(one)).join(", ") || "none";
  if (typeof value !== "object") return String(value);
  return SETTINGS.some((name) => name in value) ? ruleText(value) : JSON.stringify(value);
}

/* The options of quantctl quantize for @rules beside @wbits bits. */
export function rulesOptions(wbits, rules) {
  return [`--wbits ${wbits}`, ...rules.map((rule) => `--rule '${ruleText(rule)}'`)].join(" ");
}
