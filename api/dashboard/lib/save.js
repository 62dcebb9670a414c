// SPDX-License-Identifier: Apache-2.0
/* Files that the page makes, or holds, for the browser to save. */

const KEPT_MS = 10000;

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
