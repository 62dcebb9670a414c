# SPDX-License-Identifier: Apache-2.0
# Usage: completion.bash SCRIPT WORD...: what bash offers for the last of the words, one a line.
source /usr/share/bash-completion/bash_completion
source "$1"
shift
COMP_LINE=$*
COMP_POINT=${#COMP_LINE}
COMP_WORDS=()
for word; do
    # as readline splits words, by COMP_WORDBREAKS
    while [[ $word == *[:=]* ]]; do
        rest=${word#*[:=]}
        head=${word%"$rest"}
        [[ ${head%[:=]} ]] && COMP_WORDS+=("${head%[:=]}")
        COMP_WORDS+=("${head: -1}")
        word=$rest
    done
    COMP_WORDS+=("$word")
done
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_quantctl
printf '%s\n' "${COMPREPLY[@]}"
