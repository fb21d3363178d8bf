# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Completion of weir(1) for bash.  The tables at the end were made from
# tools/options.def when weir was built.

_weir() {
    # What the last option wants, if it wants anything.
    local operand='' cur=${COMP_WORDS[COMP_CWORD]} prefix=''
    local command=${COMP_WORDS[1]} argument options i

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        case $cur in
        -*) _weir_words '-h --help --version' ;;
        *) _weir_words "$(_weir_commands)" ;;
        esac
        return
    fi
    _weir_command "$command" || return 0
    for ((i = 2; i < COMP_CWORD; i++)); do
        _weir_pass "${COMP_WORDS[i]}"
    done
    if [[ $operand ]]; then
        # bash makes three words of --option=value
        [[ $cur == = ]] && cur=
        _weir_operands "$operand"
    elif [[ $options && $cur == --*=* ]]; then
        # and one, where COMP_WORDBREAKS is without a =
        prefix=${cur%%=*}=
        operand=$(_weir_operand "$command:${cur%%=*}")
        cur=${cur#*=}
        _weir_operands "$operand"
        COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
    elif [[ $options && $cur == -* ]]; then
        _weir_words "$options"
    else
        _weir_operands "$argument"
    fi
}

# Passes over a word before the one to complete.
_weir_pass() { # WORD
    if [[ $operand ]]; then
        [[ $1 == = ]] || operand=
    elif [[ $1 == -- ]]; then
        options=
    elif [[ $options && $1 == -* ]]; then
        operand=$(_weir_operand "$command:$1")
    fi
}

_weir_words() { # WORDS
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Offers what may stand where KIND is wanted, or the words of KIND.
_weir_operands() { # KIND
    case $1 in
    file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    folder) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    model)
        mapfile -t COMPREPLY < <(
            compgen -f -X '!*.weir' -- "$cur"
            compgen -d -- "$cur"
        )
        # A model may have another name.
        [[ ${COMPREPLY[0]-} ]] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    other) ;;
    *) _weir_words "$1" ;;
    esac
    case $1 in
    file | folder | model) compopt -o filenames 2>/dev/null ;;
    esac
}

complete -F _weir weir
