# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# What the scripts share that run the examples: the first argument is the
# directory of the programs, and the servers they start end with them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "${1:?the directory of the programs}" && pwd)
scale=${GEV_TEST_SCALE:-1}
tmp=$(mktemp -d)
started=() # process ids

clean_up() {
    local pid
    for pid in ${started[@]+"${started[@]}"}; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$tmp"
}
trap clean_up EXIT

fail() {
    echo "FAILED: $*" >&2
    local file
    for file in "$tmp"/out "$tmp"/err; do
        [ ! -f "$file" ] || sed "s|^|$(basename "$file"): |" "$file" >&2
    done
    exit 1
}

# run STATUS COMMAND...: runs it, with its output in $tmp/out and $tmp/err, and
# the time it took, in ms, in $took. Nothing may run for more than 60 s.
run() {
    local wanted=$1 status=0 begin end
    shift
    begin=$(date +%s%N)
    timeout -k 5 $((60 * scale)) "$@" >"$tmp/out" 2>"$tmp/err" </dev/null ||
        status=$?
    end=$(date +%s%N)
    took=$(((end - begin) / 1000000))
    [ "$status" -eq "$wanted" ] || fail "'$*' ended with $status, not $wanted"
}

# took_at_most MS: and it had GEV_TEST_SCALE times that.
took_at_most() {
    [ "$took" -le $(($1 * scale)) ] || fail "it took $took ms, not $1"
}

took_at_least() {
    [ "$took" -ge "$1" ] || fail "it took only $took ms, not $1"
}

# has out|err TEXT: a whole line of the output is this.
has() {
    grep -Fqx -- "$2" "$tmp/$1" || fail "no line '$2' in $1"
}

# matches out|err REGEX: a whole line of the output matches.
matches() {
    grep -Eqx -- "$2" "$tmp/$1" || fail "no line like '$2' in $1"
}

empty() {
    [ ! -s "$tmp/$1" ] || fail "$1 is not empty"
}

# start NAME COMMAND...: in the background, with its output in $tmp/NAME; its id
# is in $pid.
start() {
    local name=$1
    shift
    "$@" >"$tmp/$name" 2>"$tmp/$name.err" </dev/null &
    pid=$!
    started+=("$pid")
}

# line_of NAME REGEX: waits until the output of what was started has a line that
# matches, and prints it.
line_of() {
    local i
    for ((i = 0; i < 200 * scale; i++)); do
        grep -Ex -m 1 -- "$2" "$tmp/$1" 2>/dev/null && return
        sleep 0.05
    done
    cat "$tmp/$1" "$tmp/$1.err" >&2
    fail "$1 did not say '$2'"
}
