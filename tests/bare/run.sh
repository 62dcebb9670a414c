#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the commands of one document one after the other, as a reader in one shell would, and prints
# of each its exit status, its time and its first line. test_bare.sh runs it in the bare root.
# Usage: run.sh FOLDER: NNN.sh are commands; their output goes to NNN.log.
export LC_ALL=C.UTF-8 TERM=dumb
failed=0

# What the clone is to the reader; PATH and QUANTD_SERVER stay from command to command.
for command in "$1"/*.s*; do
    first=$(head -n 1 "$command" | cut -c 1-90)
    if [[ $command == *.skip ]]; then
        printf '   -        -  %s  (not run: %s)\n' "$first" "$(cat "${command%.skip}.why")"
        continue
    fi
    began=${EPOCHREALTIME/./}
    # As a file, so that a shell's redirections, quotes and comments are those of the document.
    # shellcheck disable=SC1090
    . "$command" >"${command%.sh}.log" 2>&1 </dev/null
    status=$?
    ended=${EPOCHREALTIME/./}
    printf '%4d %6d.%d s  %s\n' "$status" $(((ended - began) / 1000000)) \
        $(((ended - began) / 100000 % 10)) "$first"
    if ((status)); then
        failed=1
        tail -n 15 "${command%.sh}.log" | sed 's/^/     | /'
    fi
done
exit "$failed"
