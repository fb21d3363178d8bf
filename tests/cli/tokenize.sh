# SPDX-License-Identifier: Apache-2.0
# weir tokenize: text to ids and back, and what it refuses.
. "${srcdir:-.}/tests/tap.sh"

here=$(cd "${srcdir:-.}" && pwd)
tokenizer=$here/tests/golden/tokenizer/small.tokenizer.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# weir INPUT ARGUMENT...: its answer in out, its messages in err, its status.
weir() {
    printf '%b' "$1" >in
    shift
    status=0
    "$WEIR" tokenize "$@" <in >out 2>err || status=$?
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

weir 'Hello world' --tokenizer "$tokenizer" --ids
gives '1324 1981 504 488 438 719\n' "text to ids on one line"
weir 'Hello world' --tokenizer "$tokenizer"
gives '1324 1981 504 488 438 719\n' "--ids is the default"
weir 'Hello world' "$tokenizer"
gives '1324 1981 504 488 438 719\n' "the kind of file is found by its content"
weir '' --tokenizer "$tokenizer"
gives '\n' "no text, no ids"
weir 'x<|eom|>  y' --tokenizer "$tokenizer"
gives '961 5 430 430 800\n' "special tokens are parsed"
weir 'a\0000b' --tokenizer "$tokenizer"
gives '436 10 333\n' "NUL is a character"
weir '1324 1981 504 488 438 719' --tokenizer "$tokenizer" --decode
gives 'Hello world' "ids to text, nothing added"
weir '[4, 7, 430, 1057]' --tokenizer "$tokenizer" --decode
gives '<|bom|><|user|>  h' "special tokens are shown"
weir '' --tokenizer "$tokenizer" --decode
gives '' "no ids, no text"

weir 'ab\0377c' --tokenizer "$tokenizer"
refuses 3 'byte 2.*iconv' "text that is not UTF-8"
weir '1 two' --tokenizer "$tokenizer" --decode
refuses 3 "byte 2: 'two'" "a word that is no id"
weir '1 -5' --tokenizer "$tokenizer" --decode
refuses 3 "'-5'" "a negative id"
weir '99999' --tokenizer "$tokenizer" --decode
refuses 3 'number 1, 99999' "an id that is not in the vocabulary"
weir '' --tokenizer "$tokenizer" --decode --ids
refuses 2 'exclude' "--ids with --decode"
weir '' --tokenizer "$tokenizer" --decode --bos
refuses 2 'no meaning' "--bos with --decode"
weir ''
refuses 2 'no MODEL' "no file"
weir '' "$tokenizer" --tokenizer "$tokenizer"
refuses 2 'one MODEL' "two files"
weir '' --tokenizer missing.json
refuses 1 'missing.json' "a file that is not there"
weir '' in
refuses 3 'neither a tokenizer.json' "a file of another kind"
printf '\211WEIR\r\n\032 and no more' >damaged.weir
weir '' damaged.weir
refuses 3 'damaged.weir' "a damaged model"

# A model that was packed with a tokenizer, and one without.
mkdir with
cp "$here"/tests/golden/dense-tied/* with
chmod u+w with with/*
"$WEIR" pack with -o without.weir >/dev/null 2>&1
cp "$tokenizer" with/tokenizer.json
"$WEIR" pack with -o with.weir >/dev/null 2>&1
weir 'Hello world' with.weir
gives '1324 1981 504 488 438 719\n' "the tokenizer of a packed model"
weir 'Hello world' without.weir
refuses 3 'without a tokenizer' "a model packed without a tokenizer"
tap_done
