#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch_curl: answers, retries, time-outs, the report as JSON, saved files, the
# bar, signals; then https from a real nginx with a test CA: 2,000 documents, 100
# at once.
. "$(dirname "$0")/lib.sh"
fetch=$bin/fetch_curl

start server python3 "$here/server.py"
read -r port refused _ <<<"$(line_of server '[0-9]+ [0-9]+ [0-9]+')"
site=http://127.0.0.1:$port

echo "* usage"
run 0 "$fetch" --help
matches out 'usage: fetch_curl .*'
for bad in -x '-t 0' '-c 0' '-r 21' '-n 0' '--jason' ''; do
    # shellcheck disable=SC2086
    run 2 "$fetch" $bad
    empty out
done

echo "* good answers"
# shellcheck disable=SC2046,SC2059
run 0 "$fetch" $(printf "$site/%s\n" length chunked close large)
empty err
matches out "$site/length: 200, 11 bytes in [0-9.]+ s"
matches out "$site/large: 200, 3000000 bytes in [0-9.]+ s"
matches out '4 done, 0 failed, 3000035 bytes in [0-9.]+ s'

echo "* bad ones"
run 1 "$fetch" -r 0 "$site/moved" "http://127.0.0.1:$refused/" nosuch://x \
    "$site/nothing"
matches err "http://127.0.0.1:$refused/: failed: .*[Cc]onnect.*"
matches err 'nosuch://x: failed: .*[Pp]rotocol.*'
matches err "$site/nothing: failed: Empty reply.*"
matches out '[01] done, [34] failed, .*'

echo "* retries, with breaks in between"
run 1 "$fetch" -r 2 "$site/nothing"
matches err "$site/nothing: failed: .*, 3 attempts"
took_at_least 225

echo "* time-outs"
run 1 "$fetch" -r 0 -t 0.2 "$site/slow"
matches err "$site/slow: failed: timed out after 0.2 s"
took_at_most 900

echo "* JSON"
run 1 "$fetch" --json -r 0 -o "$tmp/json" "$site/length" \
    "http://127.0.0.1:$refused/"
empty err
python3 - "$tmp/out" <<'PYTHON'
import json
import sys

report = json.load(open(sys.argv[1]))
good, bad = report["documents"]
assert good["ok"] and good["status"] == 200 and good["bytes"] == 11, good
assert good["file"] == "length" and good["attempts"] == 1, good
assert not bad["ok"] and bad["status"] == 0 and bad["error"], bad
assert (report["done"], report["failed"]) == (1, 1), report
PYTHON
[ "$(cat "$tmp/json/length")" = "hello world" ] || fail "json/length"

# Any bytes are a valid report, and UTF-8 stays what it is.
odd=("$site/quote\"backslash\\" "$site/höhe/€/🙂" $'http://x/\xff\xc3'
    $'http://x/\xed\xa0\x80\x01\x7f' '' "$site/length")
run 1 "$fetch" --json -r 0 "${odd[@]}"
python3 - "$tmp/out" "$site" <<'PYTHON'
import json
import sys

site = sys.argv[2]
report = json.load(open(sys.argv[1], encoding="utf-8"))
urls = [document["url"] for document in report["documents"]]
assert urls == [
    site + '/quote"backslash\\', site + "/höhe/€/🙂", "http://x/\ufffd\ufffd",
    "http://x/\ufffd\ufffd\ufffd\x01\x7f", "", site + "/length"], urls
PYTHON
run 1 "$fetch" -r 0 $'http://x/\e[31m'
matches err 'http://x/\\x1b\[31m: failed: .*'

echo "* URLs from files"
printf '%s\r\n\n# a remark\n%s' "$site/length" "$site/chunked" >"$tmp/list"
run 0 "$fetch" -i "$tmp/list" "$site/close"
matches out '3 done, 0 failed, 35 bytes in .*'
status=0
"$fetch" -i - <"$tmp/list" >"$tmp/out" 2>"$tmp/err" || status=$?
[ "$status" -eq 0 ] || fail "-i - ended with $status"
matches out '2 done, 0 failed, 22 bytes in .*'
run 2 "$fetch" -i /dev/null
matches err '.*: no URL'
run 1 "$fetch" -i "$tmp/none" "$site/length"
matches err '.*/none: No such file or directory'
run 1 "$fetch" -i "$tmp" "$site/length"
matches err '.*: Is a directory'

echo "* saved files"
run 0 "$fetch" -n 3 -o "$tmp/same" "$site/length" "$site/x/../length"
[ "$(find "$tmp/same" -type f | wc -l)" -eq 6 ] || fail "$(ls -A "$tmp/same")"
for name in length length.{1..5}; do
    [ "$(cat "$tmp/same/$name")" = "hello world" ] || fail "$name"
done
run 1 "$fetch" -o "$tmp/list" "$site/length"
matches err '.*/list: Not a directory'
run 1 "$fetch" -o "$tmp/none/none" "$site/length"
matches err '.*/none: No such file or directory'
run 1 bash -c "ulimit -f 1000 && trap '' XFSZ && exec '$fetch' -o '$tmp/small' \
    '$site/large' '$site/length'"
matches err "$site/large: failed: saving: File too large"
[ "$(ls -A "$tmp/small")" = length ] || fail "left: $(ls -A "$tmp/small")"
if [ -w /dev/full ]; then
    for option in -q --json; do
        status=0
        "$fetch" $option "$site/length" >/dev/full 2>"$tmp/err" || status=$?
        [ $status -eq 1 ] || fail "a full disk went unnoticed"
        matches err 'fetch_curl: writing: .*'
    done
fi

echo "* the bar, on a terminal"
python3 - "$fetch" -o "$tmp/bar" "$site/slow" "$site/length" <<'PYTHON' >/dev/null ||
import os
import pty
import sys

shown = b""


def read(fd):
    global shown
    data = os.read(fd, 1000)
    shown += data
    return b"."


sys.stdout.flush()
status = pty.spawn(sys.argv[1:], read, lambda fd: b"")
assert status == 0, status
assert b"] 1 of 2, 0 failed, 0.0 MB" in shown, shown
assert b"2 done, 0 failed" in shown, shown
PYTHON
    fail "the bar"

echo "* signals: what is unfinished is reported and removed"
start stopped "$fetch" -r 0 "$site/slow" "$site/slow" -c 1
sleep 0.3
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" -eq 143 ] || fail "it ended with $status, not by SIGTERM"
grep -q 'failed: interrupted' "$tmp/stopped.err" || fail "not interrupted"
grep -q '0 done, 2 failed' "$tmp/stopped" || fail "no summary"
run 130 timeout --foreground --preserve-status -s INT 0.5 \
    "$fetch" -r 0 -o "$tmp/int" "$site/stall" "$site/length"
has err "$site/stall: failed: interrupted"
[ "$(ls -A "$tmp/int")" = length ] || fail "left: $(ls -A "$tmp/int")"
run 130 timeout --foreground --preserve-status -s INT 0.5 \
    "$fetch" --json -r 9 "$site/stall"
python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$tmp/out" ||
    fail "not JSON"

find_nginx || exit 0
mkdir "$tmp/www"
for ((i = 0; i < 50; i++)); do
    head -c $((i * 400)) /dev/urandom >"$tmp/www/$i.bin"
done

# A CA, and a certificate of it for localhost.
(
    cd "$tmp"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj "/CN=test CA" -days 2 -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj "/CN=localhost" -keyout site.key -out site.csr
    printf 'subjectAltName=DNS:localhost\n' >site.ext
    openssl x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
        -days 2 -extfile site.ext -out site.pem
) 2>"$tmp/openssl.log" || {
    cat "$tmp/openssl.log" >&2
    fail "openssl"
}

answers() {
    site=https://localhost:$port
    "$fetch" -q -r 0 --cacert "$tmp/ca.pem" "$site/1.bin"
}
start_nginx "ssl http2" "server_name localhost;
        ssl_certificate $tmp/site.pem;
        ssl_certificate_key $tmp/site.key;
        location /moved/ { return 302 /1.bin; }
        location /round/ { return 302 /round/; }" answers

echo "* 2,000 documents by https, 100 at once"
urls=()
bytes=0
for ((i = 0; i < 50; i++)); do
    urls+=("$site/$i.bin")
    bytes=$((bytes + i * 400))
done
run 0 "$fetch" -q -n 40 -c 100 --cacert "$tmp/ca.pem" "${urls[@]}"
empty err
matches out "2000 done, 0 failed, $((40 * bytes)) bytes in [0-9.]+ s"
cat "$tmp/out"
run 0 "$fetch" -q -o "$tmp/got" --cacert "$tmp/ca.pem" "${urls[@]}"
for ((i = 0; i < 50; i++)); do
    cmp "$tmp/www/$i.bin" "$tmp/got/$i.bin" || fail "$i.bin is not the same"
done

echo "* certificates are verified"
run 1 "$fetch" -r 0 "$site/1.bin"
matches err "$site/1.bin: failed: .*certificate.*"
run 1 "$fetch" -r 0 --cacert "$tmp/ca.pem" "https://127.0.0.1:$port/1.bin"
matches err ".*failed: .*subject.*name.*"

echo "* redirects"
run 0 "$fetch" --cacert "$tmp/ca.pem" "$site/moved/"
matches out "$site/moved/: 200, 400 bytes in [0-9.]+ s, 1 redirects"
run 1 "$fetch" --cacert "$tmp/ca.pem" "$site/round/"
matches err "$site/round/: failed: .*redirects.*"

echo "* what is not there is not tried again"
run 1 "$fetch" --cacert "$tmp/ca.pem" "$site/none"
matches err "$site/none: failed: HTTP 404"
echo ok
