# SPDX-License-Identifier: Apache-2.0
# Who may include whom: downward only.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

# FILE LINE NAME for every include; NAME keeps its quotes or angles.
includes() {
    c_files | xargs grep -HnE '^[[:space:]]*#[[:space:]]*include' |
        sed -E 's/^([^:]*):([0-9]*):[^<"]*([<"][^>"]*[>"]).*/\1 \2 \3/'
}

# The house from the bottom up.  Rooms of one level do not know each other.
# weir.h is the floor under all of them; the tests stand outside.
layers() {
    awk '
    BEGIN {
        level["src/weir.h"] = 0
        level["src/base"] = 1
        level["kernels"] = 2
        level["offload"] = 3
        level["src/model"] = 4
        level["src/text"] = 4
        level["src/engine"] = 5
        level["src/serve"] = 6
        level["tools"] = 7
    }
    function room(path,    parts, n) {
        if (path == "src/weir.h")
            return path
        n = split(path, parts, "/")
        if (parts[1] == "src" && n > 2)
            return parts[1] "/" parts[2]
        return parts[1]
    }
    function exists(path,    line, found) {
        if (!(path in known)) {
            found = (getline line < path) >= 0
            close(path)
            known[path] = found
        }
        return known[path]
    }
    function resolve(from, name,    folder) {
        folder = from
        sub(/[^\/]*$/, "", folder)
        if (exists(folder name))
            return folder name
        if (exists(name))
            return name
        if (exists("src/" name))
            return "src/" name
        return ""
    }
    $3 ~ /^"/ && room($1) != "tests" && room($1) != "demo" {
        name = substr($3, 2, length($3) - 2)
        path = resolve($1, name)
        from = room($1)
        to = room(path)
        if (path == "")
            print $1 ":" $2 ": there is no " name
        else if (path ~ /(^|\/)\.\.\//)
            print $1 ":" $2 ": includes " name "; say it without .."
        else if (!(from in level))
            print $1 ":" $2 ": " from " is no room of the house"
        else if (!(to in level))
            print $1 ":" $2 ": includes " path ", which is in no room"
        else if (from != to && level[to] >= level[from])
            print $1 ":" $2 ": " from " must not include " path
    }'
}

# only_in HEADERS WHERE: the headers appear only in files that match WHERE.
only_in() {
    awk -v headers="^[<\"]($1)" -v where="$2" '
    $3 ~ headers && $1 !~ where {
        print $1 ":" $2 ": includes " $3
    }'
}

# Arithmetic has no use for the system.
kernels_pure() {
    awk '
    $1 ~ /^kernels\// && $1 !~ /^kernels\/cuda\// &&
    $3 ~ /^<(stdio|stdlib|unistd|fcntl|pthread|errno|time|sys\/.*)\.h>/ {
        print $1 ":" $2 ": includes " $3
    }'
}

list=$(includes)
[ -n "$list" ]
tap_ok $? "there are includes to read"
no_lines "includes go downward only" "$(printf '%s\n' "$list" | layers)"
no_lines "io_uring is known to offload only" "$(
    printf '%s\n' "$list" | only_in liburing '^(offload|tests)/'
)"
no_lines "CUDA is known to kernels/cuda only" "$(
    printf '%s\n' "$list" |
        only_in '(cuda|cublas|nvml)[A-Za-z_]*\.h' '^kernels/cuda/'
)"
no_lines "kernels do not call the system" "$(
    printf '%s\n' "$list" | kernels_pure
)"
tap_done
