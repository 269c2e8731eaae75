#!/bin/bash
# SPDX-License-Identifier: MIT
# http_hello and push_server, by a client that speaks in raw bytes.
. "$(dirname "$0")/lib.sh"

for program in http_hello push_server; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    run 2 "$bin/$program" --nonsense
    run 2 "$bin/$program" -p 65536
    run 2 "$bin/$program" more
done

port_of() {
    line_of "$1" 'listening on .* port [0-9]+' | grep -o '[0-9]*$'
}

# talk PORT TEXT: sends it (with printf's escapes), and what comes until the end
# of the stream to $tmp/answer, without CRs.
talk() {
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '%b' "$2" >&3
    timeout 20 cat <&3 | tr -d '\r' >"$tmp/answer"
    exec 3<&- 3>&-
}

answered() {
    grep -Fqx -- "$1" "$tmp/answer" || {
        cat "$tmp/answer" >&2
        fail "no line '$1' in the answer"
    }
}

last='HTTP/1.1\r\nHost: a\r\nConnection: close\r\n'

echo "* hello"
start hello "$bin/http_hello" -l
port=$(port_of hello)
talk "$port" "GET /hello?Bob HTTP/1.1\r\nHost: a\r\n\r\nGET / $last\r\n"
answered 'Hello, Bob!'
answered 'Hello, world!'
talk "$port" "POST /echo ${last}Content-Length: 5\r\n\r\n12345"
answered '12345'
talk "$port" "GET /nowhere $last\r\n"
answered 'HTTP/1.1 404 Not Found'
talk "$port" "GET / HTTP/1.1\r\n\r\n"
answered 'HTTP/1.1 400 Bad Request'
line_of hello 'GET /hello\?Bob 200 12 [0-9.]+' >/dev/null
line_of hello 'GET / 400 16 [0-9.]+ no Host' >/dev/null
kill -TERM "$pid"
wait "$pid" || fail "http_hello failed"

echo "* a time"
run 0 "$bin/http_hello" -t 0.2
took_at_least 200

echo "* push"
start push "$bin/push_server" -k 0.2
port=$(port_of push)
talk "$port" "GET / $last\r\n"
answered 'Content-Type: text/html'

# listen FD [HEADER]: the head, and the first comment.
listen() {
    printf 'GET /events HTTP/1.0\r\n%b\r\n' "${2:-}" >&"$1"
    read -r -t 10 line <&"$1"
    [ "$line" = $'HTTP/1.1 200 OK\r' ] || fail "got '$line'"
    while read -r -t 10 line <&"$1" && [ "$line" != : ]; do
        :
    done
}

# next_event FD: to $got, without comments and the number of its id.
next_event() {
    got=
    while read -r -t 10 line <&"$1"; do
        case $line in
        :) ;;
        '') [ -z "$got" ] || break ;;
        id:*) id=${line#id: } got="${got}id|" ;;
        *) got="$got$line|" ;;
        esac
    done
}

# wants FD EVENT: and no other, next.
wants() {
    next_event "$1"
    [ "$got" = "$2" ] || fail "$1 got '$got', not '$2'"
}

say() {
    talk "$port" "POST /send ${last}Content-Length: ${#1}\r\n\r\n$1"
}

exec 4<>"/dev/tcp/127.0.0.1/$port" 5<>"/dev/tcp/127.0.0.1/$port"
for listener in 4 5; do
    listen "$listener"
    wants "$listener" 'retry: 500|'
done
say 'first
one'
answered 'sent to 2'
for listener in 4 5; do
    wants "$listener" 'id|data: first|data: one|'
done
first=$id
exec 5<&- 5>&-

echo "* push: what somebody has missed, each once and in order"
for ((i = 2; i <= 6; i++)); do
    say "number $i"
done
exec 5<>"/dev/tcp/127.0.0.1/$port"
listen 5 "Last-Event-ID: $first\r\n"
wants 5 'retry: 500|'
for listener in 4 5; do
    for ((i = 2; i <= 6; i++)); do
        wants "$listener" "id|data: number $i|"
    done
done
[ "$id" -gt "$first" ] || fail "$id is not after $first"
exec 5<&- 5>&-
for ((i = 1; i <= 104; i++)); do
    say "more $i"
done
exec 5<>"/dev/tcp/127.0.0.1/$port"
listen 5 "Last-Event-ID: nonsense\r\n"
wants 5 'retry: 500|'
for ((i = 5; i <= 104; i++)); do
    wants 5 "id|data: more $i|" # the last 100
done
exec 5<&- 5>&-

talk "$port" "GET /send $last\r\n"
answered 'Allow: POST'
talk "$port" "POST /send ${last}Content-Length: 1001\r\n\r\n$(
    printf '%01001d' 0)"
answered 'HTTP/1.1 413 Content Too Large'
kill -TERM "$pid"
wait "$pid" || fail "push_server failed"
exec 4<&- 4>&-
echo ok
