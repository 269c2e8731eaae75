#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch_curl: answers, retries, time-outs, the report as JSON, signals; then
# https from a real nginx with a test CA: 2,000 documents, 100 at once.
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

echo "* a signal"
start stopped "$fetch" -r 0 "$site/slow" "$site/slow" -c 1
sleep 0.3
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" -eq 143 ] || fail "it ended with $status, not by SIGTERM"
grep -q 'failed: interrupted' "$tmp/stopped.err" || fail "not interrupted"
grep -q '0 done, 2 failed' "$tmp/stopped" || fail "no summary"

nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || {
    echo "no nginx here: https skipped"
    exit 0
}
mkdir -p "$tmp/prefix" "$tmp/www"
chmod 755 "$tmp"
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

# nginx cannot tell which free port it got, so we find one; it may be taken in
# between, and then we try another.
for attempt in 1 2 3 4 5; do
    port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
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
    server {
        listen 127.0.0.1:$port ssl http2 backlog=1024;
        server_name localhost;
        ssl_certificate $tmp/site.pem;
        ssl_certificate_key $tmp/site.key;
        root $tmp/www;
    }
}
CONF
    start nginx "$nginx" -e stderr -p "$tmp/prefix" -c "$tmp/prefix/nginx.conf"
    site=https://localhost:$port
    for ((i = 0; i < 100 * scale; i++)); do
        "$fetch" -q -r 0 --cacert "$tmp/ca.pem" "$site/1.bin" \
            >/dev/null 2>&1 && break 2
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    [ $attempt -lt 5 ] || {
        cat "$tmp/nginx.err" >&2
        fail "nginx does not start"
    }
done

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

echo "* what is not there is not tried again"
run 1 "$fetch" --cacert "$tmp/ca.pem" "$site/none"
matches err "$site/none: failed: HTTP 404"
echo ok
