# SPDX-License-Identifier: Apache-2.0
# options.def, --help, the man pages and the completions name the same commands
# and options.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"
completions=$build_folder/tools/completions

commands_of_table() {
    sed -nE 's/^COMMAND\(([a-z]+), *".*/\1/p' tools/options.def
}

# The options of a command as a user writes them, one a line.
options_of_table() { # COMMAND
    awk -v command="$1" '
    { text = text " " $0 }
    END {
        head = "OPTION\\(" command ", *[a-z_]+, *(\047.\047|0), *\"[^\"]+\""
        while (match(text, head)) {
            n = split(substr(text, RSTART, RLENGTH), part, /[ ,"]+/)
            print "--" part[n - 1]
            if (part[3] != "0")
                print "-" substr(part[3], 2, 1)
            text = substr(text, RSTART + RLENGTH)
        }
    }' tools/options.def | sort
}

# The page of a command, which is in section 8 for one that serves.
page_of() { # COMMAND
    ls "man/weir-$1.1" "man/weir-$1.8" 2>/dev/null
}

# Every Fl of a page; a page has no reason to speak of another's options.
options_of_page() { # COMMAND
    awk '/^\./ {
        for (i = 1; i < NF; i++)
            if ($i == "Fl" || $i == ".Fl")
                print "-" $(i + 1)
    }' "$(page_of "$1")" | sort -u
}

options_of_help() { # COMMAND
    "$WEIR" "$1" --help | sed -nE \
        -e 's/^  (-.),( --[a-z0-9-]+).*/\1\2/p' -e t \
        -e 's/^      (--[a-z0-9-]+).*/\1/p' |
        tr ' ' '\n' | grep -vx -e -h -e --help | sort
}

# The options in the text of a completion; tests/cli/completions.sh runs it.
options_of_completion() { # SHELL COMMAND
    case $1 in
    bash)
        sed -n "/^    $2)\$/,/;;/s/^ *options='\(.*\)'/\1/p" \
            "$completions/weir" | tr ' ' '\n'
        ;;
    zsh)
        sed -n "/^    $2)\$/,/;;/p" "$completions/_weir" |
            sed -nE -e 's/^ .*\{(-.)\+?,(--[a-z0-9-]+).*/\1\n\2/p' -e t \
                -e "s/^ *'(--[a-z0-9-]+).*/\\1/p"
        ;;
    fish)
        sed -n "s/^complete -c weir -n '__weir_command $2' //p" \
            "$completions/weir.fish" |
            sed -nE -e 's/^-s (.) -l ([a-z0-9-]+) .*/-\1\n--\2/p' -e t \
                -e 's/^-l ([a-z0-9-]+) .*/--\1/p'
        ;;
    esac | grep -vx -e -h -e --help | sort
}

# The choices of a command as its page heads them, "-codec Cm auto | raw".
choices_of_help() { # COMMAND
    "$WEIR" "$1" --help |
        sed -nE 's/^.* -(-[a-z0-9-]+) ([^ ]+\|[^ ]+) .*/\1 Cm \2/p' |
        sed 's/|/ | /g' | sort
}

choices_of_page() { # COMMAND
    sed -nE 's/^\.It .*Fl (-[a-z0-9-]+ Cm .* \| )/\1/p' "$(page_of "$1")" |
        sort
}

same() { # TEXT ONE OTHER: ok when both are the same, and not empty
    [ -n "$2" ] && [ "$2" = "$3" ]
    tap_ok $? "$1"
    if [ "$2" != "$3" ]; then
        printf 'the table has:\n%s\nthere is:\n%s\n' "$2" "$3" | tap_diag
    fi
}

same "every command has a page" "$(commands_of_table | sort)" \
    "$(printf '%s\n' man/weir-*.[18] |
        sed 's|man/weir-\(.*\)\.[18]|\1|' | sort)"
for command in $(commands_of_table); do
    same "weir-$command(1) has the options of the table" \
        "$(options_of_table "$command")" "$(options_of_page "$command")"
    if [ -n "$WEIR" ]; then
        same "weir $command --help has the options of the table" \
            "$(options_of_table "$command")" "$(options_of_help "$command")"
    else
        tap_skip "weir $command --help: there is no WEIR"
    fi
    if [ -n "$WEIR" ] && [ -n "$(choices_of_help "$command")" ]; then
        same "weir-$command(1) has the choices of weir $command --help" \
            "$(choices_of_help "$command")" "$(choices_of_page "$command")"
    fi
    for shell in bash zsh fish; do
        if [ -d "$completions" ]; then
            same "weir-$command(1) has the options that $shell completes" \
                "$(options_of_completion $shell "$command")" \
                "$(options_of_page "$command")"
        else
            tap_skip "completions for $shell: they were not built"
        fi
    done
    for page in man/weir.1 man/weir.7; do
        section=$(page_of "$command")
        section=${section##*.}
        grep -Eq "Xr weir-$command $section" $page
        tap_ok $? "$page names weir-$command($section)"
    done
done
tap_done
