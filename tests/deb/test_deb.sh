#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the package and tries it on a clean Debian 12 that systemd boots in a container: try.sh has
# what happens there. Needs root, debootstrap, systemd-nspawn and the Debian archive.
#
# Usage: test_deb.sh [FOLDER]: the packages and the root are kept in FOLDER, and taken from there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

skip() {
    echo "skipped: $*"
    exit 77
}

# Without the machine's own systemd, which there may be none of.
nspawn=(systemd-nspawn -q --register=no --keep-unit)

((EUID == 0)) || skip "only root can make a container"
for program in debootstrap systemd-nspawn dpkg-deb; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done

folder=${1:-}
if [[ -z $folder ]]; then
    folder=$(mktemp -d /tmp/quantd-deb-XXXXXX)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"
folder=$(realpath "$folder")

compgen -G "$folder/packages/quantd_*.deb" >/dev/null ||
    "$source/scripts/deb" --build "$folder/packages" --without-cuda
deb=("$folder"/packages/quantd_*.deb)

# ---- a clean root, with all that the package asks for in its cache ----

if [[ ! -f $folder/clean.tar ]]; then
    rm -rf "$folder/root"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,curl,jq,zstd \
        bookworm "$folder/root" >"$folder/debootstrap.log" 2>&1 || {
        tail -n 5 "$folder/debootstrap.log"
        skip "debootstrap found no Debian archive"
    }
    tar -C "$folder/root" -cf "$folder/clean.tar" .
fi
rm -rf "$folder/root"
mkdir -p "$folder/root"
tar -C "$folder/root" -xf "$folder/clean.tar"
root=$folder/root
mkdir -p "$root/packages"
cp "${deb[0]}" "$root/packages/first.deb"
"${nspawn[@]}" -D "$root" --pipe env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    install --download-only --no-install-recommends /packages/first.deb >"$folder/apt.log" 2>&1 || {
    tail -n 20 "$folder/apt.log"
    echo "the package cannot be installed"
    exit 1
}

# The same once more, as a version that comes after.
dpkg-deb -R "${deb[0]}" "$folder/next"
sed -i 's/^Version: \(.*\)/Version: \1+next1/' "$folder/next/DEBIAN/control"
dpkg-deb -Zgzip -z1 --root-owner-group -b "$folder/next" "$root/packages/next.deb" >/dev/null
rm -rf "$folder/next"

# ---- boot it ----

install -m 755 "$here/try.sh" "$root/packages/try.sh"
cat >"$root/etc/systemd/system/try.service" <<'END'
[Unit]
Description=the test
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/packages/try.sh
StandardOutput=file:/packages/out
StandardError=file:/packages/trace
ExecStopPost=systemctl --no-block poweroff
[Install]
WantedBy=default.target
END
ln -s multi-user.target "$root/etc/systemd/system/default.target"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s /etc/systemd/system/try.service "$root/etc/systemd/system/multi-user.target.wants/"
timeout 1200 "${nspawn[@]}" -D "$root" --private-network -b \
    </dev/null >"$folder/boot.log" 2>&1 || true
cat "$root/packages/out" 2>/dev/null || {
    tail -n 20 "$folder/boot.log"
    skip "systemd does not boot in a container here"
}
if [[ ! -f $root/packages/passed ]]; then
    tail -n 40 "$root/packages/trace"
    cat "$root/packages/journal" 2>/dev/null | tail -n 60
    echo "failed, see above"
    exit 1
fi
