#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What test_deb.sh does on the clean machine, as root: install, use, upgrade, purge.
set -euxo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PAGER=cat
exec 3>&1 1>&2
trap 'journalctl -b --no-pager >/packages/journal 2>&1' EXIT

ok() {
    echo "ok: $*" >&3
}

apt() {
    apt-get -q -y --no-install-recommends "$@"
}

# as USER COMMAND...
as() {
    runuser -u "$1" -- "${@:2}"
}

# until SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

job() {
    as user quantctl --json show "$1" | jq -r "$2"
}

is() {
    [[ $(job "$1" "$2") == "$3" ]]
}

long_job() {
    as user quantctl --json quantize olmoe-demo file:demo-calibration.txt --wbits 4 --act-order \
        --eval file:demo-evaluation.txt --nsamples 64 --name "$1" --detach | jq -r .id
}

# ---- install ----

apt install /packages/first.deb
systemctl is-active quantd.socket
systemctl is-enabled quantd.socket quantd.service
[[ $(systemctl is-active quantd.service) == inactive ]]
getent passwd quantd && getent group quantd
systemd-analyze verify --man=no quantd.service quantd.socket
[[ $(stat -c '%U:%G %a' /run/quantd/quantd.sock) == 'quantd:quantd 660' ]]
[[ -f /etc/quantd/quantd.conf && -f /usr/share/man/man8/quantd.8.gz ]]
[[ -f /usr/share/bash-completion/completions/quantctl ]]
journalctl --list-catalog d3fe964397074a799456b5bba36bd9de
ok "installed; the socket listens, the daemon waits for the first request"

# ---- use ----

useradd -m -G quantd user
useradd -m other
cat >/etc/quantd/quantd.conf <<'END'
[daemon]
model-root = /usr/share/quantd
data-root = /usr/share/quantd/texts
hub-offline = yes
disk-floor = 1M
END
if as other quantctl list; then
    exit 1
fi
as user quantctl list
systemctl is-active quantd.service
ok "a member of the group is served, another user is not"

first=$(as user quantctl --json quantize olmoe-demo file:demo-calibration.txt --wbits 4 \
    --eval file:demo-evaluation.txt --nsamples 8 --name $'x\nPRIORITY=0' --detach | jq -r .id)
until_true 300 is "$first" .status succeeded
is "$first" .owner user
as user quantctl download "$first" /home/user/model
[[ -f /home/user/model/config.json ]]
ok "a job succeeds, the checkpoint is downloaded"

# ---- the journal ----

by_job=(journalctl --no-pager -o json _SYSTEMD_UNIT=quantd.service "JOB_ID=$first")
[[ $("${by_job[@]}" MESSAGE_ID=d3fe964397074a799456b5bba36bd9de | jq -r .OWNER) == user ]]
[[ $("${by_job[@]}" LAYER=2 | jq -r .PRIORITY) == 6 ]]
[[ $("${by_job[@]}" | jq -r .PRIORITY | sort -u) == 6 ]]
journalctl --no-pager -x _SYSTEMD_UNIT=quantd.service | grep "Job $first has started"
ok "fields and the catalog in the journal"

# ---- reload ----

echo 'nonsense = 1' >>/etc/quantd/quantd.conf
if systemctl reload quantd; then
    exit 1
fi
systemctl is-active quantd.service
sed -i 's/^nonsense.*/log-level = debug/' /etc/quantd/quantd.conf
systemctl reload quantd
until_true 30 bash -c "journalctl --no-pager _SYSTEMD_UNIT=quantd.service | grep \"'log-level' has changed\""
ok "reload; a bad file is refused"

# ---- stop in the middle, a daemon that hangs ----

second=$(long_job second)
until_true 120 is "$second" .progress.phase quantize
began=$EPOCHREALTIME
systemctl stop quantd.service
ended=$EPOCHREALTIME
milliseconds=$(((${ended/./} - ${began/./}) / 1000))
((milliseconds < 30000))
systemctl start quantd.service
until_true 600 is "$second" .status succeeded
is "$second" .attempt 1
ok "stopped in the middle of a layer within $milliseconds ms, the job went on"

mkdir -p /etc/systemd/system/quantd.service.d
printf '[Service]\nWatchdogSec=3\nRestartSec=1\n' >/etc/systemd/system/quantd.service.d/test.conf
systemctl daemon-reload
systemctl restart quantd.service
pid=$(systemctl show -P MainPID quantd.service)
kill -STOP "$pid"
until_true 60 bash -c "[[ \$(systemctl show -P NRestarts quantd.service) -ge 1 ]]"
until_true 60 as user quantctl list
[[ $(systemctl show -P MainPID quantd.service) != "$pid" ]]
rm -r /etc/systemd/system/quantd.service.d
systemctl daemon-reload
ok "the watchdog ends a daemon that hangs, a new one serves"

# ---- upgrade ----

third=$(long_job third)
until_true 120 is "$third" .progress.phase quantize
before=$(systemctl show -P MainPID quantd.service)
apt install /packages/next.deb
[[ $(dpkg-query -W -f '${Version}' quantd) == *+next1 ]]
systemctl is-active quantd.socket quantd.service
[[ $(systemctl show -P MainPID quantd.service) != "$before" ]]
grep -q nonsense /etc/quantd/quantd.conf || grep -q log-level /etc/quantd/quantd.conf
until_true 600 is "$third" .status succeeded
is "$third" .attempt 1
is "$first" .status succeeded
ok "upgraded while a job ran: it went on, the configuration stayed"

# ---- remove ----

apt remove quantd
[[ -f /etc/quantd/quantd.conf && -d /var/lib/quantd/jobs ]]
if systemctl is-active quantd.socket; then
    exit 1
fi
apt purge quantd
for path in /etc/quantd /var/lib/quantd /var/cache/quantd /run/quantd /usr/share/quantd \
    /usr/share/doc/quantd /lib/systemd/system/quantd.service \
    /etc/systemd/system/multi-user.target.wants/quantd.service \
    /etc/systemd/system/sockets.target.wants/quantd.socket; do
    [[ ! -e $path && ! -L $path ]]
done
getent passwd quantd
find / -xdev -path /proc -prune -o -path /sys -prune -o -user quantd -print | tee /packages/left
[[ ! -s /packages/left ]]
systemctl daemon-reload
[[ $(systemctl list-unit-files 'quantd*' --no-legend | wc -l) == 0 ]]
ok "purged; nothing but the user is left"
touch /packages/passed
