# SPDX-License-Identifier: Apache-2.0
# The tables that head.bash speaks of; options.awk comes before this one.

END {
    print "\n_weir_commands() {\n    cat <<'EOF'"
    for (c = 1; c <= n_commands; c++)
        print command[c]
    print "EOF\n}"
    print "\n# The options of a command, and what its arguments are."
    print "_weir_command() { # COMMAND\n    case $1 in"
    for (c = 1; c <= n_commands; c++) {
        print "    " command[c] ")"
        print "        argument=" argument_kind(c)
        print "        options='" options_of(c) "'"
        print "        ;;"
    }
    print "    *) return 1 ;;\n    esac\n}"
    print "\n# What an option wants: nothing, a kind of name, or one of words."
    print "_weir_operand() { # COMMAND:OPTION\n    case $1 in"
    for (c = 1; c <= n_commands; c++)
        for (i = 1; i <= n_options[c]; i++)
            if (operand[c, i])
                print_operand(c, i, kind(operand[c, i]))
    print "    esac\n}"
}

function options_of(c,    i, list) {
    for (i = 1; i <= n_options[c]; i++) {
        if (letter[c, i])
            list = list "-" letter[c, i] " "
        list = list "--" name[c, i] " "
    }
    return list "-h --help"
}

function print_operand(c, i, what,    pattern) {
    pattern = command[c] ":--" name[c, i]
    if (letter[c, i])
        pattern = command[c] ":-" letter[c, i] " | " pattern
    if (what == "words")
        what = words_of(operand[c, i])
    print "    " pattern ") echo '" what "' ;;"
}
