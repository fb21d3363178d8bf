# SPDX-License-Identifier: Apache-2.0
# What every command has in common: help, wrong command lines, exit statuses.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

commands=$(sed -nE 's/^COMMAND\(([a-z]+), *".*/\1/p' \
    "${srcdir:-.}/tools/options.def")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null

# The last run exited with STATUS and, if that is not 0, said in one line why.
ends() { # STATUS TEXT
    if [ "$1" -eq 0 ]; then
        [ "$status" -eq 0 ] && [ ! -s err ]
    else
        [ "$status" -eq "$1" ] && [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ]
    fi
    ok=$?
    tap_ok $ok "$2"
    [ $ok -eq 0 ] || {
        tap_diag "status $status, not $1; it said:"
        tap_diag <err
    }
}

weir --version
ends 0 "--version"
says out '^weir [0-9]*\.[0-9]*\.[0-9]*$'
weir --help
ends 0 "--help"
for command in $commands; do
    says out "^  $command "
done
weir
ends 2 "no command"
weir pcak
ends 2 "an unknown command"
says err pcak
for command in $commands; do
    weir "$command" --help
    ends 0 "$command --help"
    weir "$command"
    ends 2 "$command without arguments"
    weir "$command" --no-such-option x
    ends 2 "$command with an unknown option"
    says err "weir $command --help"
done
weir pack --quan none folder -o x.weir
ends 2 "a misspelt option"
says err 'did you mean --quant'
weir pack folder -o
ends 2 "an option without its operand"
weir inspect --json=1 x.weir
ends 2 "a value for an option that takes none"
weir verify -t 0 x.weir
ends 2 "a number out of its range"
# COMMAND OPTION this|that, for every option whose operand is one of words.
for command in $commands; do
    "$WEIR" "$command" --help |
        sed -nE "s/^.* (--[a-z0-9-]+) ([^ ]+\\|[^ ]+) .*/$command \\1 \\2/p"
done >choices
[ -s choices ]
tap_ok $? "there are options whose operand is one of some words"
while read -r command option words; do
    weir "$command" "$option" best
    ends 2 "weir $command $option with a word that is not among those allowed"
    says err "must be one of $words, not 'best'"
done <choices
for command in inspect verify; do
    weir "$command" no-such-file.weir
    ends 1 "$command of a file that is not there"
    says err no-such-file.weir
    echo 'This is not a model.' >text.weir
    weir "$command" text.weir
    ends 3 "$command of a file that is no model"
    says err text.weir
done
if [ -e /dev/full ]; then
    status=0
    "$WEIR" --help >/dev/full 2>err || status=$?
    [ "$status" -eq 1 ]
    tap_ok $? "an answer that cannot be written is a failure"
else
    tap_skip "there is no /dev/full"
fi
tap_done
