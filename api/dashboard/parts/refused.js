// SPDX-License-Identifier: Apache-2.0
/* What a page shows in place of the one thing that it is about. */
import { el, show } from "../lib/dom.js";
import { format } from "../lib/router.js";

/*
 * Fills @node: the daemon refuses @what, "job" or "group", number @id. @gone: why there may be none
 * of this number. A 401 is no matter of the page: the frame asks for a token.
 */
export function showRefused(node, problem, { what, id, gone }) {
  const head = problem.status === 403 ? `This ${what} is private`
    : problem.status === 404 ? `There is no ${what} ${id}` : `The ${what} cannot be shown`;
  const text = problem.status === 404 ? [gone] : [problem.message, problem.hint];
  node.hidden = false;
  show(node, el("h1", { tabindex: "-1" }, head),
    text.filter(Boolean).map((line) => el("p", {}, line)),
    el("p", {}, el("a", { href: format(`${what}s`) }, `All ${what}s`)));
}
