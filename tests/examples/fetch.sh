#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch: every kind of answer, good and bad; time-outs, signals, saved files.
. "$(dirname "$0")/lib.sh"
fetch=$bin/fetch

start server python3 "$here/server.py"
read -r port refused port6 <<<"$(line_of server '[0-9]+ [0-9]+ [0-9]+')"
site=http://127.0.0.1:$port

echo "* usage"
run 0 "$fetch" --help
matches out 'usage: fetch .*'
run 0 "$fetch" -h
for bad in -x '-t 0' '-t x' '-t nan' '-c 0' '-c 1x' '-n 0' '-n 9999999' '-t'; do
    # shellcheck disable=SC2086
    run 2 "$fetch" $bad "$site/length"
    empty out
done

echo "* its own server"
run 0 "$fetch"
[ "$(grep -c '^Starting http://127' "$tmp/out")" -eq 12 ] || fail "12 starts"
matches out '12 done, 0 failed, 506000 bytes in [0-9.]+ s'
matches out 'The single times add up to [0-9.]+ s: [0-9.]+ at once on average.'
matches out 'http://127.*/chunked/1000/.*: 1000 bytes: All greenlets, .*'
empty err
took_at_least 1000
took_at_most 4000

echo "* good answers"
good='length empty close empty-close no-content old no-reason case bare-lf more
    same-lengths interim chunked trailer trickle control large'
# shellcheck disable=SC2046,SC2059,SC2086
run 0 "$fetch" $(printf "$site/%s\n" $good)
empty err
has out "Starting $site/length"
has out "$site/length: 11 bytes: hello world"
has out "$site/empty: 0 bytes: "
has out "$site/close: 13 bytes: until the end"
has out "$site/empty-close: 0 bytes: "
has out "$site/no-content: 0 bytes: "
has out "$site/old: 5 bytes: older"
has out "$site/no-reason: 2 bytes: ok"
has out "$site/case: 3 bytes: abc"
has out "$site/bare-lf: 4 bytes: bare"
has out "$site/more: 4 bytes: four"
has out "$site/same-lengths: 2 bytes: 22"
has out "$site/interim: 3 bytes: 103"
has out "$site/chunked: 11 bytes: hello world"
has out "$site/trailer: 10 bytes: 0123456789"
has out "$site/trickle: 3 bytes: abc"
ten=0123456789
has out "$site/large: 3000000 bytes: $ten$ten$ten$ten$ten"
xs=$(printf 'x%.0s' {1..39})
has out "$site/control: 60 bytes: \\x1b[31m\\\\\\t\\r\\n\\x00\\xff$xs"
matches out '17 done, 0 failed, 3000131 bytes in .*'

echo "* what it asks for"
run 0 "$fetch" "$site/echo?request#fragment"
matches out ".*: GET /echo\?request HTTP/1.1\\\\r\\\\nHost: 127.0.0.1:$port.*"
run 0 "$fetch" -o "$tmp/req" "$site/echo?request"
tr -d '\r' <"$tmp/req/echo_request" >"$tmp/request"
grep -qx "Host: 127.0.0.1:$port" "$tmp/request" || fail "no Host"
grep -qx "Connection: close" "$tmp/request" || fail "no Connection"
run 0 "$fetch" "http://127.0.0.1:$port" "HTTP://127.0.0.1:$port?q"
has out "http://127.0.0.1:$port: 1 bytes: /"
has out "HTTP://127.0.0.1:$port?q: 3 bytes: /?q"
if [ "$port6" -ne 0 ]; then
    run 0 "$fetch" "http://[::1]:$port6/echo?request"
    matches out ".*: GET /.*\\\\r\\\\nHost: \[::1\]:$port6\\\\r\\\\n.*"
fi

echo "* bad answers"
declare -A bad=(
    [short]='the body is cut short: 40 bytes, 60 to come'
    [short-chunk]='the body is cut short: 5 bytes, 5 to come'
    [no-last-chunk]="connection closed before a chunk's size"
    [no-trailer-end]='connection closed before the trailer'
    [bad-chunk]='bad chunk size'
    [signed-chunk]='bad chunk size'
    [empty-chunk-size]='bad chunk size'
    [wrong-chunk]='a chunk is longer than it says'
    [huge-chunk]="a chunk's size is too large"
    [long-extension]="a chunk's size is longer than 16384 bytes"
    [long-trailer]='the trailer is longer than 16384 bytes'
    [long-header]='the header is longer than 16384 bytes'
    [many-headers]='the header is longer than 16384 bytes'
    [endless]='the answer is not HTTP'
    [not-http]='the answer is not HTTP'
    [http2]='not HTTP/1.1: HTTP/2.0 200 OK'
    [bad-status]='bad status line'
    [nothing]='connection closed before the status line'
    [half-head]='connection closed in the header'
    [reset]='receiving after 40 bytes: Connection reset by peer'
    [bad-length]='bad Content-Length'
    [empty-length]='bad Content-Length'
    [huge-length]='bad Content-Length'
    [two-lengths]='two different Content-Lengths'
    [both]='both Content-Length and Transfer-Encoding'
    [coding]='unknown Transfer-Encoding: gzip, chunked'
    [no-colon]='bad header line: what is this'
    [space-colon]='bad header line: Content-Length : 5'
    [folded]='bad header line:  folded'
    [zero]='a zero byte in the header'
    [interims]='only interim answers'
    [404]='HTTP 404 Not Found'
    [500]='HTTP 500 \x1b[31mOh'
    [moved]='HTTP 301 Moved Permanently, to /new: redirections are not followed'
)
paths=("${!bad[@]}")
run 1 "$fetch" -o "$tmp/bad" "$site/length" "${paths[@]/#/$site/}"
for path in "${paths[@]}"; do
    has err "$site/$path: failed: ${bad[$path]}"
done
has out "$site/length: 11 bytes: hello world"
matches out "1 done, ${#bad[@]} failed, [0-9]+ bytes in .*"
has out '  3 x bad Content-Length'
has out '  1 x HTTP 404 Not Found'
[ "$(ls -A "$tmp/bad")" = length ] || fail "left: $(ls -A "$tmp/bad")"

echo "* bad URLs"
long=$(printf 'h%.0s' {1..300})
huge=$(printf 'h%.0s' {1..5000})
urls=(
    ftp://example.org/ 'ftp:// is not supported, only http:// and https:// are'
    example.org 'not a URL: it does not begin with http://'
    '' 'not a URL: it does not begin with http://'
    http:/x 'not a URL: it does not begin with http://'
    http:// 'no host in the URL'
    http://:80/ 'no host in the URL'
    'http://[::1/' "no ']' after the address in the URL"
    'http://[]/' 'no host in the URL'
    'http://[::1]80/' 'bad host in the URL'
    http://127.0.0.1:0/ 'bad port in the URL'
    http://127.0.0.1:65536/ 'bad port in the URL'
    http://127.0.0.1:8x/ 'bad port in the URL'
    http://127.0.0.1:-1/ 'bad port in the URL'
    http://127.0.0.1:99999999999999999999999/ 'bad port in the URL'
    http://user:pass@127.0.0.1/ 'user names in URLs are not supported'
    'http://127.0.0.1/a b'
    'the URL has a character that must be percent-encoded'
    "http://$long/" "the URL's host is too long"
    "http://127.0.0.1/$huge" 'the URL is longer than 4096 bytes'
    "http://127.0.0.1:$refused/" 'connecting: Connection refused'
)
args=()
for ((i = 0; i < ${#urls[@]}; i += 2)); do
    args+=("${urls[i]}")
done
run 1 "$fetch" "${args[@]}"
for ((i = 0; i < ${#urls[@]}; i += 2)); do
    has err "${urls[i]}: failed: ${urls[i + 1]}"
done
run 1 "$fetch" "http://127.0.0.1/"$'\n'"Evil: header"
matches err 'http://127.0.0.1/\\nEvil: header: failed: the URL has a char.*'
run 1 "$fetch" -t 20 http://no-such-host.invalid/
matches err 'http://no-such-host.invalid/: failed: connecting: .+'

echo "* time-out: the silent are given up, the others stay"
run 1 "$fetch" -t 0.5 -o "$tmp/time" "$site/silent" "$site/length" \
    "$site/stall"
took_at_least 500
took_at_most 3000
has out "$site/length: 11 bytes: hello world"
has err "$site/silent: failed: timed out after 0.5 s"
has err "$site/stall: failed: timed out after 0.5 s"
matches out '1 done, 2 failed, 51 bytes in .*'
has out '  2 x timed out after 0.5 s'
[ "$(ls -A "$tmp/time")" = length ] || fail "left: $(ls -A "$tmp/time")"

echo "* concurrency"
run 0 "$fetch" -n 20 "$site/slow"
matches out '20 done, 0 failed, 80 bytes in .*'
took_at_least 1000
took_at_most 3000
run 0 "$fetch" -q -c 2 -n 4 "$site/slow"
took_at_least 2000
! grep -q Starting "$tmp/out" || fail "-q is not quiet"
run 0 "$fetch" -q
! grep -q URL "$tmp/out" || fail "-q is not quiet without a URL"
# Those that never got a slot are not forgotten.
run 1 "$fetch" -q -t 0.3 -c 1 -n 3 "$site/silent"
has out '  3 x timed out after 0.3 s'
matches out '0 done, 3 failed, 0 bytes in .*'

echo "* signals: what is unfinished is reported and removed"
run 130 timeout --foreground --preserve-status -s INT 0.5 \
    "$fetch" -o "$tmp/int" "$site/stall" "$site/length"
has err "$site/stall: failed: interrupted"
has out "$site/length: 11 bytes: hello world"
[ "$(ls -A "$tmp/int")" = length ] || fail "left: $(ls -A "$tmp/int")"
run 143 timeout --preserve-status -s TERM 0.5 "$fetch" "$site/silent"
has err "$site/silent: failed: interrupted"

echo "* saved files"
save=$tmp/save/dir
mkdir -p "$tmp/save"
run 0 "$fetch" -o "$save" "$site/../../evil" "$site/.." "$site/a/.." \
    "$site/.hidden" "$site/%2e%2e%2fevil" "$site/x?y=../../evil" "$site/" \
    "$site/a/" "$site/a\\..\\b" "$site/$(printf 'n%.0s' {1..3000})"
[ "$(ls -A "$tmp/save")" = dir ] || fail "outside: $(ls -A "$tmp/save")"
[ "$(find "$save" -type f | wc -l)" -eq 10 ] || fail "$(ls -A "$save")"
for name in evil _. _..1 _hidden _2e_2e_2fevil index.html index.html.1 \
    a_.._b; do
    [ -f "$save/$name" ] || fail "no $name in: $(ls -A "$save")"
done
[ "$(cat "$save/evil")" = /../../evil ] || fail "content of evil"
[ -z "$(find "$save" -name '.*' -type f)" ] || fail "hidden files"
has out "$site/../../evil: saved as $save/evil"

echo keep >"$save/length"
run 0 "$fetch" -o "$save" -n 3 "$site/length"
[ "$(cat "$save/length")" = keep ] || fail "a file was overwritten"
for i in 1 2 3; do
    [ "$(cat "$save/length.$i")" = "hello world" ] || fail "length.$i"
done
run 0 "$fetch" -q -o "$save" "$site/large"
[ "$(wc -c <"$save/large")" -eq 3000000 ] || fail "size of large"
run 1 "$fetch" -o "$save/length" "$site/length"
matches err '.*/length: Not a directory'
if [ -w /dev/full ]; then
    status=0
    "$fetch" "$site/length" >/dev/full 2>"$tmp/err" || status=$?
    [ $status -eq 1 ] || fail "a full disk went unnoticed"
fi
status=0
"$fetch" "$site/length" >&- 2>"$tmp/err" || status=$?
[ $status -eq 1 ] || fail "a closed output went unnoticed"
matches err 'fetch: writing: .*'
echo ok
