# SPDX-License-Identifier: Apache-2.0
#
# What the completion in FOLDER/_weir offers at the end of LINE, one a line.
# Usage: zsh -f offers.zsh FOLDER LINE SCRATCH
#
# A zsh on a terminal of its own gets the line and a TAB.  Its compadd writes
# down what it is given to offer; with -A, -O or -D it only fills an array.
export folder=$1 scratch=$3
export setup='
PS1= PS2=
fpath=($folder $fpath)
autoload -Uz compinit && compinit -u -d $scratch/zcompdump
compadd() {
    local -a offered
    if [[ -z ${(M)@:#-[AOD]} ]]; then
        builtin compadd -A offered "$@"
        print -rl -- $offered >>$scratch/offers
    fi
    builtin compadd "$@"
}
probe() {
    zle complete-word
    print -n "<done>"
}
zle -N probe
bindkey "^I" probe'

zmodload zsh/zpty
: >$scratch/offers
zpty shell zsh -f -i
zpty -w shell 'eval $setup'
zpty -w -n shell "$2"$'\t'
zpty -r shell out '*<done>*'
cat $scratch/offers
