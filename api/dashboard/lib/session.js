// SPDX-License-Identifier: Apache-2.0
/* Who looks at the page: the token, if one is needed, and what the daemon says of it. */

const KEY = "quantd.token";

function read(storage) {
  try {
    return storage.getItem(KEY);
  } catch {
    return null; // storage is switched off
  }
}

function write(storage, token) {
  try {
    if (token) storage.setItem(KEY, token);
    else storage.removeItem(KEY);
  } catch {
    /* The token lasts as long as the page, then. */
  }
}

export class Session {
  token = read(sessionStorage) || read(localStorage);
  caller = null; // {owner, role, auth}

  /* Keeps @token until the tab is closed, or with @remember on this machine. */
  signIn(token, remember) {
    this.token = token;
    write(sessionStorage, remember ? null : token);
    write(localStorage, remember ? token : null);
  }

  signOut() {
    this.token = null;
    this.caller = null;
    write(sessionStorage, null);
    write(localStorage, null);
  }
}
