# SPDX-License-Identifier: Apache-2.0
# weir tokenize: text to ids and back, and what it refuses.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

here=$(cd "${srcdir:-.}" && pwd)
tokenizer=$here/tests/golden/tokenizer/small.tokenizer.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# tokenize INPUT ARGUMENT...: weir tokenize with INPUT on standard input
tokenize() {
    printf '%b' "$1" >in
    shift
    weir tokenize "$@" <in
}

gives() { # ANSWER TEXT
    [ "$status" -eq 0 ] && [ ! -s err ] && printf '%b' "$1" | cmp -s - out
    ok=$?
    tap_ok $ok "$2"
    [ $ok -eq 0 ] || cat out err | tap_diag
}

refuses() { # STATUS PATTERN TEXT
    [ "$status" -eq "$1" ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
        grep -q -e "$2" err
    ok=$?
    tap_ok $ok "$3"
    [ $ok -eq 0 ] || cat out err | tap_diag
}

tokenize 'Hello world' --tokenizer "$tokenizer" --ids
gives '1324 1981 504 488 438 719\n' "text to ids on one line"
tokenize 'Hello world' --tokenizer "$tokenizer"
gives '1324 1981 504 488 438 719\n' "--ids is the default"
tokenize 'Hello world' "$tokenizer"
gives '1324 1981 504 488 438 719\n' "the kind of file is found by its content"
tokenize '' --tokenizer "$tokenizer"
gives '\n' "no text, no ids"
tokenize 'x<|eom|>  y' --tokenizer "$tokenizer"
gives '961 5 430 430 800\n' "special tokens are parsed"
tokenize 'a\0000b' --tokenizer "$tokenizer"
gives '436 10 333\n' "NUL is a character"
tokenize '1324 1981 504 488 438 719' --tokenizer "$tokenizer" --decode
gives 'Hello world' "ids to text, nothing added"
tokenize '[4, 7, 430, 1057]' --tokenizer "$tokenizer" --decode
gives '<|bom|><|user|>  h' "special tokens are shown"
tokenize '' --tokenizer "$tokenizer" --decode
gives '' "no ids, no text"

tokenize 'ab\0377c' --tokenizer "$tokenizer"
refuses 3 'byte 2.*iconv' "text that is not UTF-8"
tokenize '1 two' --tokenizer "$tokenizer" --decode
refuses 3 "byte 2: 'two'" "a word that is no id"
tokenize '1 -5' --tokenizer "$tokenizer" --decode
refuses 3 "'-5'" "a negative id"
tokenize '99999' --tokenizer "$tokenizer" --decode
refuses 3 'number 1, 99999' "an id that is not in the vocabulary"
tokenize '' --tokenizer "$tokenizer" --decode --ids
refuses 2 'exclude' "--ids with --decode"
tokenize '' --tokenizer "$tokenizer" --decode --bos
refuses 2 'no meaning' "--bos with --decode"
tokenize ''
refuses 2 'no MODEL' "no file"
tokenize '' "$tokenizer" --tokenizer "$tokenizer"
refuses 2 'one MODEL' "two files"
tokenize '' --tokenizer missing.json
refuses 1 'missing.json' "a file that is not there"
tokenize '' in
refuses 3 'neither a tokenizer.json' "a file of another kind"
printf '\211WEIR\r\n\032 and no more' >damaged.weir
tokenize '' damaged.weir
refuses 3 'damaged.weir' "a damaged model"

# A model that was packed with a tokenizer, and one without.
mkdir with
cp "$here"/tests/golden/dense-tied/* with
chmod u+w with with/*
"$WEIR" pack with -o without.weir >/dev/null 2>&1
cp "$tokenizer" with/tokenizer.json
"$WEIR" pack with -o with.weir >/dev/null 2>&1
tokenize 'Hello world' with.weir
gives '1324 1981 504 488 438 719\n' "the tokenizer of a packed model"
tokenize 'Hello world' without.weir
refuses 3 'without a tokenizer' "a model packed without a tokenizer"
tap_done
