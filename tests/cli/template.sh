# SPDX-License-Identifier: Apache-2.0
# weir template: templates of ours beside jinja2, the templates of models, and
# what is refused.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

here=$(cd "${srcdir:-.}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# render TEMPLATE INPUT: the two as text
render() {
    printf '%b' "$1" >t.jinja
    printf '%s' "$2" >in.json
    weir template --file t.jinja <in.json
}

gives() { # TEXT WHAT
    [ "$status" -eq 0 ] && [ ! -s err ] && printf '%b' "$1" | cmp -s - out
    ok=$?
    tap_ok $ok "$2"
    [ $ok -eq 0 ] || cat out err | tap_diag
}

refuses() { # STATUS PATTERN WHAT
    [ "$status" -eq "$1" ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
        grep -q -e "$2" err
    ok=$?
    tap_ok $ok "$3"
    [ $ok -eq 0 ] || cat out err | tap_diag
}

# Where the text comes from jinja2
if python3 -c 'import jinja2' 2>err; then
    tap_run "every template renders as jinja2 has it" \
        python3 "$here/tests/chat/compare.py" "$WEIR" "$here/tests/chat" \
        "$here/demo/model/chat_template.jinja"
else
    tap_skip "there is no python3 with jinja2 (python3-jinja2) to compare with"
fi
if [ -z "${WEIR_GOLDEN_DIR-}" ]; then
    tap_skip "WEIR_GOLDEN_DIR is not set, so there is no chat/golden.json"
elif ! python3 -c '' 2>err; then
    tap_skip "there is no python3 to read chat/golden.json"
else
    tap_run "the template of Jamba 1.7 renders every row" \
        python3 "$here/tests/chat/rows.py" "$WEIR" "$WEIR_GOLDEN_DIR/chat"
fi

# What needs no jinja2
render '{% for m in list %}\n<{{ m.role }}>{{ m.content }}\n{% endfor %}\n' \
    '{"list": [{"role": "user", "content": "é"}]}'
gives '<user>é\n' "a template and its input"
weir template --file t.jinja --input in.json </dev/null
gives '<user>é\n' "--input names the input"
render 'é{{ 1 $ }}' '{}'
refuses 3 't.jinja:1:7: a character' "an error has line and column"
render 'é\n{{ 1 + }}' '{}'
refuses 3 "t.jinja:2:8: .*before '}}'; correct" "an error on the second line"
render 'é {{ x.y }}' '{}'
refuses 3 "t.jinja:1:8: 'x' is undefined; " "an error while it is rendered"
render '\n\n{{ raise_exception("No " ~ n ~ "!") }}' '{"n": 3}'
refuses 3 't.jinja:3:19: No 3!$' "what the template refuses"
render '{% include "x" %}' '{}'
refuses 3 "t.jinja:1:4: no tag called 'include'" "an unknown tag"
render '{{ 1|nope }}' '{}'
refuses 3 "t.jinja:1:6: no filter called 'nope'" "an unknown filter"
render 'a\0377' '{}'
refuses 3 't.jinja: not UTF-8 at byte 1' "a template that is not UTF-8"
render '{{ [1][0] }' '{}'
refuses 3 't.jinja:1:11: ' "a tag that does not end"

# Bounds
loop='{% for i in range(99999) %}'
end='{% endfor %}'
render "$loop$loop$end$end" '{}'
refuses 3 'more than [0-9]* \(steps\|bytes of memory\)' "endless loops end"
render "{% set n = namespace(s='x') %}$loop{% set n.s = n.s + n.s %}$end" '{}'
refuses 3 'more than [0-9]* bytes of memory' "memory is bounded"
render '{{ "x" * 999999999 }}' '{}'
refuses 3 'beyond [0-9]* bytes' "text is bounded"
render '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}' '{}'
refuses 3 'deeper than' "calls are bounded"
render "$(printf '%0200d' 0 | sed 's/0/(/g; s/^/{{ /')" '{}'
refuses 3 'open brackets' "brackets are bounded"
render "{{ $(printf '%0500d' 0 | sed 's/0/not /g') 1 }}" '{}'
refuses 3 'nested deeper' "expressions are bounded"

# The input
render 'x' '[1]'
refuses 3 'standard input: must be an object' "an input that is a list"
render 'x' '{"a": '
refuses 3 'standard input: line 1, column 7' "an input that is not JSON"
echo '{}' >in.json
weir template --file missing.jinja <in.json
refuses 1 'missing.jinja' "a template that is not there"
weir template <in.json
refuses 2 'which template' "no template"
weir template a.weir --file t.jinja <in.json
refuses 2 'which template' "two templates"

# Models
mkdir folder
cp "$here"/tests/golden/dense-tied/* folder
chmod -R u+w folder
chat='{"messages": [{"role": "user", "content": "Hi"}]}'
pack() {
    "$WEIR" pack -q folder -o model.weir 2>warnings || tap_diag <warnings
}

pack
echo "$chat" >in.json
weir template model.weir <in.json
refuses 3 'without a chat template; give one with --file' "a model without one"
cat >folder/tokenizer_config.json <<'JSON'
{"bos_token": {"content": "<s>"}, "eos_token": "</s>",
 "chat_template":
 "{{bos_token}}{{messages[0].content}}{{eos_token}}{{tools}}{{add_more}}"}
JSON
pack
weir template model.weir <in.json
gives '<s>Hi</s>None' "tokenizer_config.json has the template and tokens"
cat >folder/special_tokens_map.json <<'JSON'
{"bos_token": "<other>", "unk_token": "<unk>"}
JSON
cat >folder/tokenizer_config.json <<'JSON'
{"bos_token": "<s>", "chat_template": [
 {"name": "tool_use", "template": "with {{ tools | length }}"},
 {"name": "other", "template": "{% broken"},
 {"name": "default", "template": "{{ bos_token }} plain {{ unk_token }}"}]}
JSON
pack
weir template model.weir <in.json
gives '<s> plain <unk>' "the one called default of several"
echo '{"messages": [], "tools": [1, 2], "bos_token": ""}' >tools.json
weir template model.weir --input tools.json
gives 'with 2' "and with tools the one called tool_use"
echo 'of the file {{ messages | length }}' >folder/chat_template.jinja
pack
weir template model.weir <in.json
gives 'of the file 1' "chat_template.jinja goes before"
[ ! -s warnings ] || ! grep -q chat warnings
tap_ok $? "and packing it had no warning"
printf 'a\n{{ b c }}' >folder/chat_template.jinja
pack
[ -s model.weir ] && grep -q 'warning: chat_template.jinja:2:6: ' warnings
tap_ok $? "a template that can not be parsed is packed with a warning"
weir template model.weir <in.json
refuses 3 'chat_template.jinja:2:6: ' "and refused when it is wanted"

# A chat with the bundled model
weir pack -q "$here/demo/model" -o demo.weir
text='<|bom|><|user|> Say: my horse is slow<|eom|><|bom|><|assistant|>'
weir run demo.weir -p "$text" --temp 0
mv out wanted
weir run demo.weir --chat -p 'Say: my horse is slow' --temp 0
[ -s out ] && cmp -s wanted out
tap_ok $? "weir run --chat is the prompt with its marks"
printf '%s' 'Say: my horse is slow' >prompt
weir run demo.weir --chat -f prompt --temp 0
cmp -s wanted out
tap_ok $? "from a file too"
weir run demo.weir --chat --system 'Be <brief>.' -p Hi --json -n 1
n=$(sed 's/.*"prompt_tokens":\([0-9]*\).*/\1/' out)
text='<|bom|><|system|> Be <brief>.<|eom|>'
text="$text<|bom|><|user|> Hi<|eom|><|bom|><|assistant|>"
[ "$n" -eq "$(printf %s "$text" | "$WEIR" tokenize demo.weir --bos | wc -w)" ]
tap_ok $? "--system puts a message before"
weir run demo.weir --chat -p '<|eom|><|bom|>' --json -n 1
more=$(sed 's/.*"prompt_tokens":\([0-9]*\).*/\1/' out)
[ "$more" -gt $((n - 2)) ]
tap_ok $? "marks in a message are text"
echo '{{ messages[0].content }}' >plain.jinja
weir run demo.weir --chat --chat-template plain.jinja -p 'In the' --temp 0 -n 5
mv out wanted
weir run demo.weir -p 'In the' --temp 0 -n 5
cmp -s wanted out
tap_ok $? "--chat-template takes another"
echo '{{ 1 ' >plain.jinja
weir run demo.weir --chat --chat-template plain.jinja -p 'In the'
refuses 3 'plain.jinja:1:' "and refuses one that is wrong"
echo '{{ raise_exception("not today") }}' >plain.jinja
weir run demo.weir --chat --chat-template plain.jinja -p 'In the'
refuses 3 'plain.jinja:1:19: not today' "or that refuses"
weir run demo.weir --chat -p "$(printf 'a\377')"
refuses 3 'not UTF-8 at byte 1' "a message that is not UTF-8"
weir run demo.weir --system x -p y
refuses 2 'without --chat' "--system alone"
weir run demo.weir --chat-template x -p y
refuses 2 'without --chat' "--chat-template alone"
weir run demo.weir --chat --ids prompt
refuses 2 'wants text' "--chat with ids"
tap_done
