// SPDX-License-Identifier: Apache-2.0
/* A question before something that cannot be taken back. */
import { el } from "./dom.js";

/* Asks; @work runs while the dialog is open and what it throws is shown there. True: it was done. */
export function confirmed({ title, text, yes, no = "Leave it", work }) {
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const agree = el("button", { type: "button", class: "danger" }, yes);
  const leave = el("button", { type: "button", autofocus: true }, no);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" },
    el("h2", { id: "dialog-title" }, title), el("p", {}, text), problem,
    el("div", { class: "actions" }, leave, agree));

  return new Promise((resolve) => {
    let done = false;
    leave.addEventListener("click", () => dialog.close());
    agree.addEventListener("click", async () => {
      agree.disabled = true;
      try {
        await work();
        done = true;
        dialog.close();
      } catch (error) {
        problem.textContent = [error.message, error.hint].filter(Boolean).join(": ");
        problem.hidden = false;
        agree.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
