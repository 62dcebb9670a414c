# SPDX-License-Identifier: Apache-2.0
# Usage: completion.zsh SCRIPT WORD...: what zsh offers for the last of the words, one a line.
script=$1
shift
words=("$@")
CURRENT=$#words
compset() { }
_files() { print -r -- files }
_values() {
    [[ $1 == -s ]] && shift 2
    shift
    print -rl -- "${@//\\/}"
}
compadd() {
    shift
    print -rl -- "$@"
}
_describe() {
    local array=$argv[-1]
    print -rl -- "${(@P)array%%:*}"
}
source $script
