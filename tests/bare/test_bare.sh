#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a bare Debian 12, clones the project there, and runs the commands of README.md and
# docs/TUTORIAL.md from top to bottom: commands.py says which cannot run. Needs root, debootstrap
# and the Debian archive.
#
# Usage: test_bare.sh [FOLDER]: the root and the output of each command are kept in FOLDER, and the
# clean root is taken from there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

skip() {
    echo "skipped: $*"
    exit 77
}

((EUID == 0)) || skip "only root can make a Debian root"
for program in debootstrap unshare chroot git python3; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
# Its own mounts and processes: what is left over ends with this script.
if [[ -z ${QUANTD_BARE_INSIDE:-} ]]; then
    unshare -mpf --mount-proc true 2>/dev/null || skip "this root may not mount anything"
    QUANTD_BARE_INSIDE=1 exec unshare -mpf --mount-proc --kill-child "$0" "$@"
fi

folder=${1:-}
if [[ -z $folder ]]; then
    folder=$(mktemp -d /tmp/quantd-bare-XXXXXX)
    trap 'umount -R "$folder/root/dev" "$folder/root/proc" 2>/dev/null; rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"
folder=$(realpath "$folder")
root=$folder/root

# ---- the root, and the project as it is in the working tree ----

if [[ ! -f $folder/base.tar ]]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=git,ca-certificates bookworm "$root" \
        >"$folder/debootstrap.log" 2>&1 || {
        tail -n 5 "$folder/debootstrap.log"
        skip "debootstrap found no Debian archive"
    }
    tar -C "$root" -cf "$folder/base.tar" .
fi
rm -rf "$root" "$folder/commands"
mkdir -p "$root"
tar -C "$root" -xf "$folder/base.tar"
cp /etc/resolv.conf "$root/etc/resolv.conf"
python3 "$here/commands.py" "$source" "$folder/commands"

mkdir "$root/source" "$root/root/tutorial"
git -C "$source" ls-files -z --cached --others --exclude-standard | sort -zu |
    (cd "$source" && xargs -0 ls -d 2>/dev/null) |
    tar -C "$source" -cf - --no-recursion -T - | tar -C "$root/source" -xf -
git_as=(git -c user.name=test -c user.email=test@localhost -C /source)

# in_root COMMAND...
in_root() {
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
in_root chown -R root:root /source
in_root "${git_as[@]}" init -q
in_root "${git_as[@]}" add -A
in_root "${git_as[@]}" commit -q -m "the working tree"
in_root git clone -q /source /root/quantd
# The user whom README adds to the group, and the packaged daemon's socket, which systemd would
# open: here it leads to the daemon of scripts/try.
in_root useradd -m user
mkdir -p "$root/run/quantd"
ln -s /root/.local/state/quantd-try/quantd.sock "$root/run/quantd/quantd.sock"

# ---- the documents ----

cp -r "$folder/commands" "$root/commands"
cp "$here/run.sh" "$root/commands/run.sh"
status=0
echo "exit     time  command of README.md"
in_root bash -c 'cd /root/quantd && bash /commands/run.sh /commands/README' || status=1
python3 "$here/links.py" "$root/usr/share/doc/quantd" || status=1
echo
echo "exit     time  command of docs/TUTORIAL.md"
# shellcheck disable=SC2016
in_root bash -c 'cd /root/quantd && scripts/try remove && eval "$(scripts/try)" &&
    cd /root/tutorial && bash /commands/run.sh /commands/TUTORIAL' 2>"$folder/try.log" || status=1
in_root /root/quantd/scripts/try remove 2>/dev/null || true
cp -r "$root/commands/." "$folder/commands"
if ((status)); then
    echo "failed, see above"
fi
exit "$status"
