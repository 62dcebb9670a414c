// SPDX-License-Identifier: Apache-2.0
/*
 * What a page must have so that all can use it: names, labels, roles, contrast, sizes. The body of a
 * function that test_dashboard.py runs inside the browser; it returns a list of what is wrong.
 */
const wrong = [];
const name = (node) => {
  const id = node.id ? `#${node.id}` : "";
  const kind = node.getAttribute("class") ? `.${node.getAttribute("class").split(" ")[0]}` : "";
  return `${node.localName}${id}${kind} "${(node.textContent || "").trim().slice(0, 30)}"`;
};
const shown = (node) => node.checkVisibility({ visibilityProperty: true });
const byId = (ids) => (ids || "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id));

/* Relative luminance and contrast as WCAG 2 has them. */
const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function read(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255);
}
function over([r, g, b, a], under) {
  return [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
}
function background(node) {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    const colour = read(getComputedStyle(at).backgroundColor);
    if (colour[3] > 0) layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((under, colour) => over(colour, under), [1, 1, 1]);
}

function checkContrast() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || seen.has(node) || !shown(node) || node.closest("option, .unseen, svg")) continue;
    if (node.closest(":disabled, .skip")) continue;
    seen.add(node);
    const style = getComputedStyle(node);
    const under = background(node);
    const a = luminance(over(read(style.color), under));
    const b = luminance(under);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)} of ${name(node)}`);
  }
  if (seen.size < 5) wrong.push(`only ${seen.size} texts were found`);
}

function labelOf(node) {
  const by = byId(node.getAttribute("aria-labelledby")).map((n) => n?.textContent || "").join(" ");
  return (node.getAttribute("aria-label") || by || [...(node.labels || [])].map((l) => l.textContent).join(" ") ||
    (node.matches("input, select, textarea") ? "" : node.textContent) || node.getAttribute("alt") || "").trim();
}

function checkNames() {
  const all = "a[href], button, input, select, textarea, [role=img], [role=progressbar], [role=grid], " +
    "[role=region], [role=group], dialog, section, nav, fieldset, img:not([alt=''])";
  for (const node of document.querySelectorAll(all)) {
    if (!shown(node)) continue;
    const label = node.localName === "fieldset" ? node.querySelector("legend")?.textContent : labelOf(node);
    if (!label) wrong.push(`${name(node)} has no name`);
  }
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
    for (const attribute of ["aria-labelledby", "aria-describedby"])
      if (byId(node.getAttribute(attribute)).includes(null)) wrong.push(`${name(node)}: ${attribute} names nothing`);
  const ids = [...document.querySelectorAll("[id]")].map((n) => n.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push(`the id ${id} is there twice`);
}

/* Each region has a name of its own: a list of them would not say which is which. */
function checkRegions() {
  const regions = [...document.querySelectorAll("section, nav, aside, [role=region], [role=search]")]
    .filter(shown).map(labelOf);
  for (const label of new Set(regions.filter((text, i) => regions.indexOf(text) !== i)))
    wrong.push(`two regions are called "${label}"`);
}

function checkStructure() {
  if (!document.documentElement.lang) wrong.push("no language");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  const headings = [...document.querySelectorAll("h1, h2, h3")].filter(shown);
  if (headings.filter((h) => h.localName === "h1").length !== 1) wrong.push("not one h1");
  if (headings[0]?.localName !== "h1") wrong.push("h1 is not the first heading");
  for (const table of document.querySelectorAll("table"))
    if (shown(table) && !table.querySelector("th[scope]")) wrong.push(`${name(table)} has no header cells`);
  for (const grid of document.querySelectorAll("[role=grid]"))
    if (shown(grid) && grid.querySelectorAll("[role=gridcell][tabindex='0']").length !== 1)
      wrong.push("a grid has not one stop for the keyboard");
  for (const node of document.querySelectorAll("[style], [onclick]"))
    if (node.getAttribute("style") && !node.matches(".meter > span, canvas, table.heat, #main ~ span"))
      wrong.push(`${name(node)} has a style of its own`);
}

/* Nothing sticks out to the side, and what fingers hit is not too small. */
function checkSizes() {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) wrong.push(`the page is ${wide} pixels too wide`);
  for (const node of document.querySelectorAll("button, select, .button, input")) {
    const box = node.getBoundingClientRect();
    if (shown(node) && !node.closest(".choice") && node.type !== "checkbox" && box.height < 24)
      wrong.push(`${name(node)} is ${box.height} pixels high`);
  }
}

checkContrast();
checkNames();
checkRegions();
checkStructure();
checkSizes();
return wrong;
