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
exec 4<>"/dev/tcp/127.0.0.1/$port" 5<>"/dev/tcp/127.0.0.1/$port"
for listener in 4 5; do
    printf 'GET /events HTTP/1.0\r\n\r\n' >&$listener
    read -r -t 10 line <&$listener
    [ "$line" = $'HTTP/1.1 200 OK\r' ] || fail "got '$line'"
    while read -r -t 10 line <&$listener && [ "$line" != : ]; do
        : # the first comment follows the head
    done
done
talk "$port" "POST /send ${last}Content-Length: 9\r\n\r\nfirst\none"
answered 'sent to 2'
for listener in 4 5; do
    got=
    while read -r -t 10 line <&$listener; do
        case $line in
        '' | :) [ -z "$got" ] || break ;;
        *) got="$got$line|" ;;
        esac
    done
    [ "$got" = 'event: message|data: first|data: one|' ] || fail "got '$got'"
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
