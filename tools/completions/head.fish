# SPDX-License-Identifier: Apache-2.0
#
# Completion of weir(1) for fish.  The tables at the end were made from
# tools/options.def when weir was built.

# Whether the command of the line is NAME; '' before there is one.
function __weir_command # NAME
    set -l words (commandline -opc) ''
    test "$words[2]" = "$argv[1]"
end

complete -c weir -f
complete -c weir -n '__weir_command ""' -s h -l help -d 'list the commands'
complete -c weir -n '__weir_command ""' -l version -d 'print the version'
complete -c weir -n 'not __weir_command ""' -s h -l help \
    -d 'print the options and exit'

