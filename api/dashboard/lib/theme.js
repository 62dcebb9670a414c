// SPDX-License-Identifier: Apache-2.0
/* Light or dark: as the system says, until the button says otherwise. */

const KEY = "quantd.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const probe = document.createElement("span");
const watchers = new Set();

function chosen() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function isDark() {
  const choice = document.documentElement.dataset.theme;
  return choice ? choice === "dark" : dark.matches;
}

/* Calls @change when the colours do. Returns what ends that. */
export function onTheme(change) {
  watchers.add(change);
  return () => watchers.delete(change);
}

/* A colour of theme.css, as it is now: the value of the variable itself names both themes'. */
export function colour(name) {
  probe.style.color = `var(--${name})`;
  if (!probe.isConnected) document.body.append(probe);
  return getComputedStyle(probe).color;
}

export function startTheme(button) {
  const choice = chosen();
  const told = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use the ${isDark() ? "light" : "dark"} theme`);
    for (const change of watchers) change();
  };
  if (choice === "dark" || choice === "light") document.documentElement.dataset.theme = choice;
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      /* It lasts as long as the page. */
    }
    told();
  });
  dark.addEventListener("change", told);
  told();
}
