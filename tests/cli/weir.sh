# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# What tests of the program share; they are in a folder of their own.

# weir ARGUMENT...: runs it with its answer in out, messages in err, status.
weir() {
    status=0
    "$WEIR" "$@" >out 2>err || status=$?
}

is() { # STATUS TEXT
    [ "$status" -eq "$1" ]
    ok=$?
    tap_ok $ok "$2"
    [ $ok -eq 0 ] || tap_diag <err
}

says() { # FILE PATTERN
    grep -q -e "$2" "$1"
    ok=$?
    tap_ok $ok "it says '$2'"
    [ $ok -eq 0 ] || tap_diag <"$1"
}

# A tokenizer of single bytes, and of words tN for the other ids below 512
tokenizer() {
    awk 'BEGIN {
        printf "{\"version\":\"1.0\",\"added_tokens\":["
        n = split("<pad> <s> </s>", special, " ")
        for (i = 1; i <= n; i++)
            printf "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false," \
                   "\"lstrip\":false,\"rstrip\":false," \
                   "\"normalized\":false,\"special\":true}",
                   (i > 1 ? "," : ""), i - 1, special[i]
        printf "],\"normalizer\":null,\"pre_tokenizer\":null," \
               "\"post_processor\":{\"type\":\"TemplateProcessing\"," \
               "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"," \
               "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\"," \
               "\"type_id\":0}}],\"pair\":[],\"special_tokens\":" \
               "{\"<s>\":{\"id\":\"<s>\",\"ids\":[1]," \
               "\"tokens\":[\"<s>\"]}}},"
        printf "\"decoder\":{\"type\":\"Sequence\",\"decoders\":" \
               "[{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},"
        printf "\"model\":{\"type\":\"BPE\",\"unk_token\":null," \
               "\"fuse_unk\":false,\"byte_fallback\":true,\"merges\":[]," \
               "\"vocab\":{\"<pad>\":0,\"<s>\":1,\"</s>\":2"
        for (i = 0; i < 256; i++)
            printf ",\"<0x%02X>\":%d", i, i + 3
        for (i = 259; i < 512; i++)
            printf ",\"t%d\":%d", i, i
        print "}}}"
    }'
}

# text.weir: the model in the folder $golden with that tokenizer
pack_text() {
    mkdir text
    cp "$golden/config.json" "$golden/model.safetensors" text
    chmod -R u+w text
    tokenizer >text/tokenizer.json
    "$WEIR" pack text -o text.weir -q 2>err || tap_diag <err
}

# Ends a test whose budgets leave no room for what a sanitizer takes.
skip_the_rest_if_sanitized() {
    # The name of nm may come with options.
    # shellcheck disable=SC2086
    if ${NM:-nm} "$WEIR" 2>/dev/null | grep -q __asan_init; then
        tap_skip "a sanitizer takes memory of its own"
        tap_done
        exit
    fi
}
