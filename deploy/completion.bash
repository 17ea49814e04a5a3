# SPDX-License-Identifier: MIT
# Completion for halo and halo-*: verbs, options and their values are asked from the programs themselves,
# which print them from the tables that parse them.
_halo() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=(${COMP_WORDS[0]}) words
    COMPREPLY=()
    if [ "${program[0]##*/}" = halo ]; then
        if [ "$COMP_CWORD" -eq 1 ]; then
            mapfile -t COMPREPLY < <(compgen -W "$("${program[0]}" --print-words 2>/dev/null)" -- "$cur")
            return
        fi
        program+=("${COMP_WORDS[1]}")
    fi
    words=$("${program[@]}" --print-words 2>/dev/null) || return
    case $prev in
    --*) # a value, where the option has a list of them
        local values
        values=$(sed -n "s/^$prev=//p" <<<"$words")
        if [ -n "$values" ]; then
            mapfile -t COMPREPLY < <(compgen -W "${values//|/ }" -- "$cur")
            return
        fi
        ;;
    esac
    [[ $cur == -* ]] && mapfile -t COMPREPLY < <(compgen -W "${words//=*([^[:space:]])/}" -- "$cur")
}
complete -o default -F _halo halo halo-gateway halo-tokenizer halo-router halo-engine halo-supervisor \
    halo-bench halo-ppl halo-model halo-load
