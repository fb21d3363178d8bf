# SPDX-License-Identifier: Apache-2.0
# Prints FILE:LINE:CODE for every line of C, with comments replaced by a blank
# and the contents of strings and characters left out.
FNR == 1 {
    in_comment = 0
}
{
    rest = $0
    code = ""
    while (rest != "") {
        if (in_comment) {
            at = index(rest, "*/")
            if (!at)
                break
            rest = substr(rest, at + 2)
            in_comment = 0
        } else if (match(rest, /\/\*|\/\/|["']/)) {
            token = substr(rest, RSTART, RLENGTH)
            code = code substr(rest, 1, RSTART - 1)
            rest = substr(rest, RSTART + RLENGTH)
            if (token == "//")
                break
            if (token == "/*") {
                in_comment = 1
                code = code " "
            } else {
                code = code token token
                end = token == "\"" ? "^([^\"\\\\]|\\\\.)*\"" : \
                                      "^([^'\\\\]|\\\\.)*'"
                if (match(rest, end))
                    rest = substr(rest, RLENGTH + 1)
                else
                    rest = ""
            }
        } else {
            code = code rest
            rest = ""
        }
    }
    print FILENAME ":" FNR ":" code
}
