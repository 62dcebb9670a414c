#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The units as systemd reads them: nothing that it does not know, and an exposure of 1.5 at most.

Usage: test_units.py QUANTD SERVICE SOCKET SYSUSERS CATALOG
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

QUANTD, SERVICE, SOCKET, SYSUSERS, CATALOG = map(os.path.abspath, sys.argv[1:6])
EXPOSURE = 1.5
SKIP = 77


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)


def check_exposure(service):
    done = run("systemd-analyze", "security", "--no-pager", "--offline=true",
               f"--threshold={EXPOSURE * 10:.0f}", service)
    level = re.search(r"Overall exposure level for \S+: (\S+)", done.stdout)
    assert level, done.stdout
    assert done.returncode == 0, f"exposed too much:\n{done.stdout}"
    print(f"ok: exposure {level.group(1)}, {EXPOSURE} at most")


def check_words(folder):
    """Every line is understood; the program is where the service says."""
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
               folder + "/quantd.service", folder + "/quantd.socket")
    # Of other units that this machine has, or has not, nothing is said.
    ours = [line for line in done.stdout.splitlines() if "quantd" in line]
    assert not ours, "\n".join(ours)
    print("ok: systemd-analyze verify")


def check_devices(text):
    for name in ("nvidia", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        assert f"\nDeviceAllow=char-{name} " in text, f"no GPU without char-{name}"
    for option in ("PrivateUsers", "PrivateDevices"):
        assert f"\n{option}=" not in text, f"{option} takes away what quantd needs"
    print("ok: the GPU's devices, and users as they are")


def check_user(folder):
    done = run("systemd-sysusers", "--root=" + folder, SYSUSERS)
    assert done.returncode == 0, done.stdout
    with open(folder + "/etc/group", encoding="utf-8") as f:
        assert any(line.startswith("quantd:") for line in f), done.stdout
    print("ok: user and group quantd")


def check_catalog(folder):
    done = run("journalctl", "--update-catalog", "--root=" + folder)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout
    done = run("journalctl", "--list-catalog", "--root=" + folder)
    with open(CATALOG, encoding="utf-8") as f:
        n = sum(line.startswith("-- ") for line in f)
    assert n > 0 and len(done.stdout.splitlines()) == n, done.stdout
    print(f"ok: the catalog has {n} messages")


def main():
    for program in ("systemd-analyze", "systemd-sysusers", "journalctl"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            return SKIP
    home = tempfile.mkdtemp(prefix="quantd-units-")
    try:
        with open(SERVICE, encoding="utf-8") as f:
            text = f.read()
        with open(home + "/quantd.service", "w", encoding="utf-8") as f:
            f.write(re.sub(r"(?m)^(Exec.*[= ])\S*/quantd ", rf"\1{QUANTD} ", text))
        shutil.copy(SOCKET, home)
        os.makedirs(home + "/etc")
        os.makedirs(home + "/var/lib/systemd/catalog")
        os.makedirs(home + "/usr/lib/systemd/catalog")
        shutil.copy(CATALOG, home + "/usr/lib/systemd/catalog")
        check_exposure(home + "/quantd.service")
        check_words(home)
        check_devices(text)
        check_user(home)
        check_catalog(home)
    finally:
        shutil.rmtree(home)
    return 0


sys.exit(main())
