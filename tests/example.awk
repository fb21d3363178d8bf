# SPDX-License-Identifier: Apache-2.0
# The C program in a man page: the literal display that has a main().
/^\.Bd -literal/ { shown = ""; inside = 1; next }
/^\.Ed/ {
    if (shown ~ /int main\(/)
        printf "%s", shown
    inside = 0
}
inside {
    sub(/^\\&/, "")
    gsub(/\\e/, "\\")
    shown = shown $0 "\n"
}
