# SPDX-License-Identifier: Apache-2.0
# The tables that head.fish speaks of; options.awk comes before this one.

END {
    for (c = 1; c <= n_commands; c++)
        print_complete("\"\"", " -a " command[c], summary[c])
    for (c = 1; c <= n_commands; c++) {
        print ""
        print_complete(command[c], wanted(argument_kind(c), ""), "")
        for (i = 1; i <= n_options[c]; i++)
            print_option(c, i)
    }
}

function print_complete(command, rest, text) {
    print "complete -c weir -n '__weir_command " command "'" rest \
          (text ? " -d " quoted(text) : "")
}

function print_option(c, i,    rest) {
    if (letter[c, i])
        rest = " -s " letter[c, i]
    rest = rest " -l " name[c, i]
    if (operand[c, i])
        rest = rest " -r" wanted(kind(operand[c, i]), operand[c, i])
    print_complete(command[c], rest, help[c, i])
}

function wanted(what, operand) {
    if (what == "file")
        return " -F"
    if (what == "folder")
        return " -f -a '(__fish_complete_directories)'"
    if (what == "model")
        return " -f -k -a '(__fish_complete_suffix .weir)'"
    if (what == "words")
        return " -f -a '" words_of(operand) "'"
    return " -f"
}

function quoted(text) {
    gsub(/[\\']/, "\\\\&", text)
    return "'" text "'"
}
