#compdef weir
# SPDX-License-Identifier: Apache-2.0
#
# Completion of weir(1) for zsh.  The tables at the end were made from
# tools/options.def when weir was built.

_weir() {
    local curcontext=$curcontext state line
    local -a specs
    typeset -A opt_args

    _arguments -C -A '-*' \
        '(- : *)'{-h,--help}'[list the commands]' \
        '(- : *)--version[print the version]' \
        '1:command:_weir_commands' \
        '*::argument:->argument'
    [[ $state == argument ]] || return
    curcontext=${curcontext%:*:*}:weir-$words[1]:
    _weir_command $words[1] && _arguments -s -S \
        '(- : *)'{-h,--help}'[print the options and exit]' $specs
}

_weir_models() {
    _files -g '*.weir(-.)'
}
