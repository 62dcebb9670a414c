// SPDX-License-Identifier: Apache-2.0
/* The address of a view, in the part after '#': it survives a reload and can be sent to others. */

/* {page, id, query} of "#/jobs/12?with=3,4"; page is null for what is no view. */
export function parse(hash) {
  const text = hash.replace(/^#/, "");
  const cut = text.indexOf("?");
  const path = cut < 0 ? text : text.slice(0, cut);
  const query = Object.fromEntries(new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1)));
  const one = /^\/(job|group)s\/([1-9][0-9]{0,17})$/.exec(path);
  if (path === "" || path === "/") return { page: "jobs", id: null, query };
  if (["/groups", "/submit", "/compare"].includes(path)) return { page: path.slice(1), id: null, query };
  return one ? { page: one[1], id: one[2], query } : { page: null, id: null, query };
}

/* The address of a view; parts of @query that are empty are left out. */
export function format(page, id, query = {}) {
  const path = page === "jobs" ? "/" : id !== null && id !== undefined ? `/${page}s/${id}` : `/${page}`;
  const kept = Object.entries(query).filter(([, v]) => v !== "" && v !== null && v !== undefined);
  const text = new URLSearchParams(kept).toString().replace(/%2C/g, ",").replace(/%3A/g, ":");
  return `#${path}${text ? "?" + text : ""}`;
}

/* Ids of a list as "3,4": whole numbers, each once, at most @most. */
export function ids(text, most = Infinity) {
  const found = String(text || "").split(",").filter((id) => /^[1-9][0-9]{0,17}$/.test(id));
  return [...new Set(found)].slice(0, most);
}
