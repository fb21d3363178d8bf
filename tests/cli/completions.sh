# SPDX-License-Identifier: Apache-2.0
# What the completions offer in the shells themselves.
. "${srcdir:-.}/tests/tap.sh"

here=$(cd "${srcdir:-.}/tests/cli" && pwd) || exit 99
built=$PWD/tools/completions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/home" "$work/files" && cd "$work/files" || exit 99
HOME=$work/home
PATH=$(dirname "$WEIR"):$PATH # fish completes commands that are there
export HOME PATH LC_ALL=C.UTF-8
mkdir folder
touch one.weir 'two words.weir' notes.txt

offers_of() { # SHELL LINE
    # The fish code is for fish.
    # shellcheck disable=SC2016
    case $1 in
    bash) bash --norc "$here/offers.bash" "$built" "$2" ;;
    zsh) zsh -f "$here/offers.zsh" "$built" "$2" "$work" ;;
    fish) fish -c 'set -g fish_complete_path $argv[1]
        complete -C $argv[2]' "$built" "$2" ;;
    esac </dev/null 2>&1
}

# SHELL LINE WORDS TEXT: the offers are WORDS, one a line, in any order.  The
# shells differ in whether they quote blanks, mark folders, say what a word
# means and repeat --option=.
offers() {
    wanted=$(printf '%s\n' "$3" | sort)
    got=$(offers_of "$1" "$2" |
        sed -e 's/\t.*//' -e 's/^--[^=]*=//' -e 's/\\//g' -e 's,/$,,' \
            -e '/^$/d' | sort -u)
    [ "$got" = "$wanted" ]
    ok=$?
    tap_ok $ok "$1, '$2': $4"
    [ $ok -eq 0 ] ||
        printf 'wanted:\n%s\noffered:\n%s\n' "$wanted" "$got" | tap_diag
}

lines() {
    printf '%s\n' "$@"
}

# COMMAND -o --option OPERAND for each option, from --help; - for what lacks.
"$WEIR" --help | sed -nE 's/^  ([a-z]+) .*/\1/p' >"$work/commands"
while read -r command; do
    "$WEIR" "$command" --help | sed -nE \
        -e "s/^  (-.), (--[a-z0-9-]+) ([^ ]+) .*/$command \\1 \\2 \\3/p" -e t \
        -e "s/^  (-.), (--[a-z0-9-]+)  .*/$command \\1 \\2 -/p" -e t \
        -e "s/^      (--[a-z0-9-]+) ([^ ]+) .*/$command - \\1 \\2/p" -e t \
        -e "s/^      (--[a-z0-9-]+)  .*/$command - \\1 -/p"
done <"$work/commands" >"$work/options"
[ -s "$work/options" ]
tap_ok $? "there are options to complete"

options_of() { # COMMAND
    awk -v command="$1" '$1 == command { print $2 "\n" $3 }' "$work/options" |
        grep -vx -e -
}

check() { # SHELL
    offers "$1" 'weir ' "$(cat "$work/commands")" "the commands"
    offers "$1" 'weir verif' verify "one of them"
    offers "$1" 'weir --' "$(lines --help --version)" "and two options"
    while read -r command; do
        offers "$1" "weir $command -" "$(options_of "$command")" \
            "every option of --help"
    done <"$work/commands"
    while read -r command _ option operand; do
        case $operand in
        *'|'*)
            words=$(printf '%s\n' "$operand" | tr '|' '\n')
            offers "$1" "weir $command $option " "$words" "its words"
            offers "$1" "weir $command $option=" "$words" "its words"
            ;;
        FILE)
            offers "$1" "weir $command $option " \
                "$(lines folder notes.txt one.weir 'two words.weir')" "files"
            ;;
        -) ;;
        *) offers "$1" "weir $command $option " '' "nothing" ;;
        esac
    done <"$work/options"
    offers "$1" 'weir pack --codec=r' raw "one of the words"
    offers "$1" 'weir pack -o ' \
        "$(lines folder notes.txt one.weir 'two words.weir')" \
        "files after a letter"
    offers "$1" 'weir run --temp 3 --th' --threads "one option"
    offers "$1" 'weir pack ' folder "folders"
    # fish offers the models first and the other files after them
    [ "$1" = fish ] ||
        offers "$1" 'weir run ' "$(lines folder one.weir 'two words.weir')" \
            "models and folders"
    offers "$1" 'weir run o' one.weir "a model"
    offers "$1" 'weir run n' notes.txt "any file where there is no model"
    offers "$1" 'weir run -- --' '' "no option after --"
    offers "$1" 'weir nothing ' '' "nothing for a command that is none"
}

for shell in bash zsh fish; do
    if command -v $shell >/dev/null; then
        check $shell
    else
        tap_skip "there is no $shell"
    fi
done
tap_done
