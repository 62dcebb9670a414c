# SPDX-License-Identifier: Apache-2.0
"""The files that are checked: what git tracks or would, or all but hidden and build folders."""
import os
import subprocess


class Tree:
    """A source tree. Paths are relative to its root, with '/'."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(path for path in self._list() if os.path.isfile(self.path(path)))
        self._texts = {}

    def _list(self):
        if os.path.exists(os.path.join(self.root, ".git")):
            git = subprocess.run(
                ["git", "-c", f"safe.directory={self.root}", "-C", self.root, "ls-files", "-z",
                 "--cached", "--others", "--exclude-standard"],
                capture_output=True, text=True, check=False)
            if git.returncode == 0:
                return [path for path in git.stdout.split("\0") if path]
        return list(self._walk())

    def _walk(self):
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders
                          if not name.startswith((".", "build")) and name != "__pycache__"]
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def path(self, name):
        return os.path.join(self.root, name)

    def has(self, name):
        return os.path.exists(self.path(name))

    def text(self, name):
        if name not in self._texts:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                self._texts[name] = file.read()
        return self._texts[name]

    def lines(self, name):
        return self.text(name).splitlines()

    def with_suffix(self, *suffixes):
        return [name for name in self.files if name.endswith(suffixes)]
