# SPDX-License-Identifier: Apache-2.0
"""Runs a script again with the Python packages that it needs, in a virtual environment."""
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import venv


def is_there(module, requirement):
    """Can @module be imported, of the version that the requirement NAME==VERSION names?"""
    name, _, version = requirement.partition("==")
    if not importlib.util.find_spec(module):
        return False
    return not version or importlib.metadata.version(name) == version


def need(folder, **packages):
    """Returns at once when all of @packages (module=package of the index, or package==version) can
    be imported; else makes a virtual environment in @folder, unless it is there, installs them, and
    starts over."""
    if all(is_there(*package) for package in packages.items()):
        return
    python = os.path.join(folder, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(folder):
        sys.exit(f"'{folder}' has not all of {', '.join(packages.values())}: remove it")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages.values()], check=True)
    os.execv(python, [python, *sys.argv])
