// SPDX-License-Identifier: Apache-2.0
/* The prompt for a token. */
import { el } from "../lib/dom.js";

/* @wrong: the token that was sent was refused. @enter(token, remember) is called with the next. */
export function signInPage(wrong, enter) {
  const token = el("input", {
    type: "password", id: "token", name: "token", autocomplete: "current-password",
    required: true, spellcheck: "false", "aria-describedby": "token-help token-wrong",
    "aria-invalid": wrong ? "true" : null,
  });
  const remember = el("input", { type: "checkbox", id: "remember" });
  const form = el("form", { class: "card narrow", "aria-labelledby": "sign-in" },
    el("h1", { id: "sign-in", tabindex: "-1" }, "Sign in"),
    el("p", { id: "token-help", class: "help" },
      "This daemon requires a token. An administrator of quantd can create one: ",
      el("code", {}, "quantctl token create NAME")),
    el("div", { class: "field" }, el("label", { for: "token" }, "Token"), token,
      el("p", { id: "token-wrong", class: "problem", role: "alert" },
        wrong ? "This token is not known, or was revoked." : "")),
    el("div", { class: "check" }, remember,
      el("label", { for: "remember" }, "Remember it on this device, not just in this tab")),
    el("div", { class: "actions" }, el("button", { type: "submit", class: "main" }, "Sign in")));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (token.value.trim()) enter(token.value.trim(), remember.checked);
  });
  return { title: "Sign in", node: form, close() {}, focus: token };
}
