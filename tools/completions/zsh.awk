# SPDX-License-Identifier: Apache-2.0
# The tables that head.zsh speaks of; options.awk comes before this one.

END {
    print "\n_weir_commands() {\n    local -a commands=("
    for (c = 1; c <= n_commands; c++)
        print "        " quoted(command[c] ":" summary[c])
    print "    )\n    _describe -t commands command commands\n}"
    print "\n# What _arguments shall know of a command."
    print "_weir_command() { # COMMAND\n    case $1 in"
    for (c = 1; c <= n_commands; c++) {
        print "    " command[c] ")\n        specs=("
        for (i = 1; i <= n_options[c]; i++)
            print_spec(c, i)
        print "            " quoted("*:argument:" \
                                    action(argument_kind(c), ""))
        print "        )\n        ;;"
    }
    print "    *) return 1 ;;\n    esac\n}"
    print "\n_weir \"$@\""
}

function print_spec(c, i,    tail, long) {
    tail = "[" bracketed(help[c, i]) "]"
    long = "--" name[c, i]
    if (operand[c, i]) {
        tail = tail ":" operand[c, i] ":" \
               action(kind(operand[c, i]), operand[c, i])
        long = long "="
    }
    printf "            "
    if (letter[c, i])
        print quoted("(-" letter[c, i] " --" name[c, i] ")") "{-" \
              letter[c, i] (operand[c, i] ? "+" : "") "," long "}" quoted(tail)
    else
        print quoted(long tail)
}

function action(what, operand) {
    if (what == "file")
        return "_files"
    if (what == "folder")
        return "_files -/"
    if (what == "model")
        return "_weir_models"
    if (what == "words")
        return "(" words_of(operand) ")"
    return " "
}

function bracketed(text) {
    gsub(/[][]/, "\\\\&", text)
    return text
}

function quoted(text) {
    gsub(/'/, "'\\''", text)
    return "'" text "'"
}
