# SPDX-License-Identifier: Apache-2.0
# bash completion for quantctl(1). Verbs and options are those that its help lists.

# The options of "quantctl help [VERB]", one a line: --name or --name VALUE.
_quantctl_options() {
    quantctl help "$@" 2>/dev/null | sed -nE 's/^  (--[a-z-]+( [^ ]+)?)( .*)?$/\1/p'
}

_quantctl_verbs() {
    quantctl help 2>/dev/null | sed -nE 's/^  ([a-z][a-z-]*)( .*)?$/\1/p'
}

# The ids of the newest jobs whose status matches; silent and quick when quantd is down.
_quantctl_jobs() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" list --limit 100 2>/dev/null |
        awk -v status="^($1)$" '$1 ~ /^[0-9]+$/ && $2 ~ status { print $1 }'
}

# Groups whose status matches.
_quantctl_groups() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" groups --limit 100 2>/dev/null |
        awk -v status="^($1)$" '$1 ~ /^group:/ && $2 ~ status { print $1 }'
}

_quantctl_models() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" models 2>/dev/null |
        awk 'NR > 1 && $2 ~ /^[0-9]/ { print $1 }'
    _quantctl_jobs succeeded | sed 's/^/job:/'
}

_quantctl_fetched() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" models 2>/dev/null |
        awk 'NR > 1 && / hub(,|$)/ { print $1 }'
}

# The texts below the data roots.
_quantctl_texts() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" datasets 2>/dev/null |
        awk 'NR > 1 && /^file:/ { print $1 }'
}

_quantctl_tokens() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" token list 2>/dev/null |
        awk 'NR > 1 { print $1 }'
}

# Folders that can be adopted.
_quantctl_orphans() {
    COLUMNS=500 timeout 1 quantctl "${_quantctl_where[@]}" admin adopt 2>/dev/null |
        awk '$NF == "yes" { print $1 }'
}

# The values of an option that help shows as "--NAME VALUE".
_quantctl_values() {
    case $1 in
    --eval)
        echo wikitext2 ptb c4 ptb-new c4-new none file:
        _quantctl_texts
        ;;
    --status) echo queued running cancelling succeeded failed cancelled ;;
    --sort) echo perplexity divergence bits size time priority ;;
    --server) echo unix: http:// ;;
    --role) echo read submit admin ;;
    *) [[ $2 == *\|* ]] && tr '|' ' ' <<<"$2" ;;
    esac
}

_quantctl_files() { # DIR, FILE
    compopt -o filenames 2>/dev/null
    if [[ $1 == DIR ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$2")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
    fi
}

# The value $2 of option $1, which takes $3.
_quantctl_option_value() {
    local head= cur=$2

    case $3 in
    DIR | FILE | PATH)
        _quantctl_files "$3" "$cur"
        return
        ;;
    LIST) # words with commas between them
        [[ $cur == *,* ]] && head=${cur%,*},
        cur=${cur##*,}
        compopt -o nospace 2>/dev/null
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$head" -W "$(_quantctl_values "$1" "$3")" -- "$cur")
}

# The positional word $2 (counted from 1) of verb $1.
_quantctl_word() {
    case $1:$2 in
    quantize:1 | plan:1)
        mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_models)" -- "$3"; compgen -d -- "$3")
        ;;
    eval:*)
        mapfile -t COMPREPLY < <(
            compgen -W "$(_quantctl_models)" -- "$3"
            compgen -W "$(_quantctl_groups 'running|succeeded|failed|cancelled')" -- "$3"
            compgen -d -- "$3"
        )
        ;;
    quantize:2 | plan:2)
        mapfile -t COMPREPLY < <(
            compgen -W "wikitext2 ptb c4 file: $(_quantctl_texts)" -- "$3"
            compgen -f -- "$3"
        )
        ;;
    hold:* | release:* | prio:*)
        mapfile -t COMPREPLY < <(
            compgen -W "$(_quantctl_jobs 'queued|pull|paused|held')" -- "$3"
            compgen -W "$(_quantctl_groups 'queued|running')" -- "$3"
        )
        ;;
    logs:*) mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_jobs '.*')" -- "$3") ;;
    show:* | compare:*)
        mapfile -t COMPREPLY < <(
            compgen -W "$(_quantctl_jobs '.*') $(_quantctl_groups '.*')" -- "$3"
        )
        ;;
    watch:* | wait:* | cancel:*)
        mapfile -t COMPREPLY < <(
            compgen -W "$(_quantctl_jobs 'queued|pull|running|paused|held')" -- "$3"
            compgen -W "$(_quantctl_groups 'queued|running')" -- "$3"
        )
        ;;
    retry:*) mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_jobs 'failed|cancelled')" -- "$3") ;;
    delete:*)
        mapfile -t COMPREPLY < <(
            compgen -W "$(_quantctl_jobs 'succeeded|failed|cancelled')" -- "$3"
            compgen -W "$(_quantctl_groups 'succeeded|failed|cancelled')" -- "$3"
        )
        ;;
    download:1 | export:1)
        mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_jobs succeeded)" -- "$3")
        ;;
    download:2) _quantctl_files DIR "$3" ;;
    rm-model:1)
        mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_fetched)" -- "$3")
        ;;
    token:1) mapfile -t COMPREPLY < <(compgen -W "create list revoke" -- "$3") ;;
    token:2) mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_tokens)" -- "$3") ;;
    admin:1) mapfile -t COMPREPLY < <(compgen -W "backup adopt" -- "$3") ;;
    admin:*)
        if [[ " ${words[*]} " == *" adopt "* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_orphans)" -- "$3")
        else
            _quantctl_files FILE "$3"
        fi
        ;;
    help:1) mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_verbs)" -- "$3") ;;
    esac
}

_quantctl() {
    local cur prev words cword verb= n=0 i word options value
    local _quantctl_where=()

    COMPREPLY=()
    _get_comp_words_by_ref -n := cur prev words cword
    options=$(_quantctl_options)
    for ((i = 1; i < cword; i++)); do
        word=${words[i]}
        if [[ $word == --*=* ]]; then
            [[ $word =~ ^--(server|token-file)= ]] && _quantctl_where+=("$word")
        elif [[ $word == --* ]]; then
            # its value is the next word, when it takes one
            if grep -q "^$word " <<<"$options"; then
                [[ $word == --server || $word == --token-file ]] &&
                    _quantctl_where+=("$word" "${words[i + 1]}")
                ((i + 1 < cword)) && ((i++))
            fi
        elif [[ -z $verb ]]; then
            verb=$word
            options=$(_quantctl_options "$verb")
        else
            n=$((n + 1))
        fi
    done

    if [[ $cur == --*=* ]]; then
        value=$(sed -n "s/^${cur%%=*} //p" <<<"$options")
        _quantctl_option_value "${cur%%=*}" "${cur#*=}" "$value"
        ((${#COMPREPLY[@]})) && COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
    elif [[ $prev == --* && -n $(grep "^$prev " <<<"$options") ]]; then
        value=$(sed -n "s/^$prev //p" <<<"$options")
        _quantctl_option_value "$prev" "$cur" "$value"
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cut -d' ' -f1 <<<"$options")" -- "$cur")
    elif [[ -z $verb ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_quantctl_verbs)" -- "$cur")
    else
        _quantctl_word "$verb" "$((n + 1))" "$cur"
    fi
    __ltrim_colon_completions "$cur" 2>/dev/null
    [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${cur%%=*}="}")
    return 0
}

complete -F _quantctl quantctl
