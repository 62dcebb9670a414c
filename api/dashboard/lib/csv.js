// SPDX-License-Identifier: Apache-2.0
/* Tables as CSV (RFC 4180), for spreadsheets and programs. */

/* Numbers as they are, in full; a text that a spreadsheet would take for a formula gets a quote. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export function csv(rows) {
  return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}
