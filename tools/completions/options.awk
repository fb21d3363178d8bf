# SPDX-License-Identifier: Apache-2.0
# Usage: awk -f options.awk -f SHELL.awk head.SHELL options.def
#
# Prints the first file as it is and reads the table of options from the
# second, for SHELL.awk to print as that shell wants it.  Nothing that was
# built is run, so that a build for another machine has completions too.
# After this one there are:
#
#   n_commands            and, for c from 1 to n_commands:
#   command[c]            its name, with operands[c] and summary[c]
#   n_options[c]          and, for i from 1 to n_options[c]:
#   letter[c, i]          or ""
#   name[c, i]            without the dashes
#   operand[c, i]         "" when it takes none
#   help[c, i]

BEGIN { string = "\"([^\"\\\\]|\\\\.)*\"" }
NR == FNR { print; next }
{ text = text $0 "\n" }

END {
    while (match(text, "/[*]([^*]|[*]+[^*/])*[*]+/"))
        text = substr(text, 1, RSTART - 1) substr(text, RSTART + RLENGTH)
    while (take("[A-Z]+ *[(]"))
        read_entry(taken)
    if (text !~ /^[ \n]*$/)
        give_up("cannot read: " substr(text, 1, 60))
    if (!n_commands)
        give_up("there is no command")
}

# Takes what matches `pattern` off the head of the text.
function take(pattern) {
    sub(/^[ \n]+/, "", text)
    if (!match(text, "^" pattern))
        return 0
    taken = substr(text, 1, RLENGTH)
    text = substr(text, RLENGTH + 1)
    return 1
}

# An argument: string literals side by side, or anything without a comma.
function read_argument(    value) {
    if (!take(string)) {
        take("[^,()\"]+")
        sub(/[ \n]+$/, "", taken)
        return taken == "0" || taken == "NULL" ? "" : taken
    }
    do
        value = value substr(taken, 2, length(taken) - 2)
    while (take(string))
    gsub(/\\"/, "\"", value)
    if (value ~ /\\/)
        give_up("a backslash in: " value)
    return value
}

function read_entry(head,    argument, n, c, i) {
    do
        argument[++n] = read_argument()
    while (take(","))
    if (!take("[)]"))
        give_up("no ) before: " substr(text, 1, 60))
    if (head ~ /^COMMAND/ && n == 3) {
        c = ++n_commands
        number[argument[1]] = c
        command[c] = argument[1]
        operands[c] = argument[2]
        summary[c] = argument[3]
    } else if (head ~ /^OPTION/ && n == 6 && argument[1] in number) {
        c = number[argument[1]]
        i = ++n_options[c]
        letter[c, i] = substr(argument[3], 2, 1)
        name[c, i] = argument[4]
        operand[c, i] = argument[5]
        help[c, i] = argument[6]
    } else
        give_up(head argument[1] "...) with " n " arguments")
}

function give_up(why) {
    print "options.def: " why >"/dev/stderr"
    exit 1
}

# What stands in the place of an operand: "file", "folder", "model", "words"
# or "other".
function kind(operand) {
    if (operand ~ /^(FILE|FOLDER|MODEL)$/)
        return tolower(operand)
    return operand ~ /[|]/ ? "words" : "other"
}

# The kind of the arguments of a command: of the words among its operands that
# belong to no option.  Those of different kinds are files of any sort.
function argument_kind(c,    word, n, i, found) {
    n = split(operands[c], word, /[^A-Za-z-]+/)
    for (i = 1; i <= n; i++)
        if (word[i] ~ /^-/)
            i++
        else if (kind(word[i]) != "other" && kind(word[i]) != found)
            found = found ? "file" : kind(word[i])
    return found ? found : "other"
}

function words_of(operand) {
    gsub(/[|]/, " ", operand)
    return operand
}

