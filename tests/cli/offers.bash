# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the completion in FOLDER/weir offers at the end of LINE, one a line.
# Usage: bash offers.bash FOLDER LINE
. "$1/weir" || exit
line=${2//=/ = } # bash makes words of these
IFS=' ' read -ra COMP_WORDS <<<"$line"
[[ $line != *' ' ]] || [[ $line == *= ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))

[[ $(complete -p weir) =~ -F\ ([^ ]+) ]] || exit
"${BASH_REMATCH[1]}" weir "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
