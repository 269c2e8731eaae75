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

# free_port: one that is free at the moment.
free_port() {
    python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# find_nginx: fails if there is none.
find_nginx() {
    nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || {
        echo "no nginx here: skipped"
        return 1
    }
}

# start_nginx LISTEN SERVER TRY...: one that serves $tmp/www at $port, with more
# words after its listen and more lines in its server block. It is there when
# TRY succeeds. It cannot tell which free port it got, so we find one; it may be
# taken in between, and then we try another.
start_nginx() {
    local listen=$1 server=$2 attempt i
    shift 2
    mkdir -p "$tmp/prefix" "$tmp/www"
    chmod 755 "$tmp"
    for attempt in 1 2 3 4 5; do
        port=$(free_port)
        cat >"$tmp/prefix/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $tmp/prefix/pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $tmp/prefix/t1;
    proxy_temp_path $tmp/prefix/t2;
    fastcgi_temp_path $tmp/prefix/t3;
    uwsgi_temp_path $tmp/prefix/t4;
    scgi_temp_path $tmp/prefix/t5;
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:$port $listen backlog=1024;
        root $tmp/www;
        $server
    }
}
CONF
        start nginx "$nginx" -e stderr -p "$tmp/prefix" \
            -c "$tmp/prefix/nginx.conf"
        for ((i = 0; i < 100 * scale; i++)); do
            "$@" >/dev/null 2>&1 && return
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
    done
    cat "$tmp/nginx.err" >&2
    fail "nginx does not start"
}
