# SPDX-License-Identifier: Apache-2.0
# The page as C: a string for each stretch between two marks @NONCE@.

# Within quotes of C, also where two question marks would be a trigraph
function quoted(text,    i, c, out) {
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        out = out ((c == "\\" || c == "\"" || c == "?") ? "\\" c : c)
    }
    return "\"" out
}

BEGIN {
    print "/* Made by page.awk. */"
    print "#include \"serve/page.h\"\n"
    print "const char *const weir_page_parts[] = {"
}
{
    n = split($0, parts, "@NONCE@")
    for (i = 1; i < n; i++)
        print quoted(parts[i]) "\","
    print quoted(n ? parts[n] : "") "\\n\""
}
END {
    print ", 0};"
}
