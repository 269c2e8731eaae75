#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch against a real nginx: 1,000 documents of 10 KB, 100 at once; then 20
# that take a second each.
. "$(dirname "$0")/lib.sh"
fetch=$bin/fetch

nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || {
    echo "no nginx here: skipped"
    exit 77
}
mkdir -p "$tmp/prefix" "$tmp/www"
chmod 755 "$tmp"

# 1,000 different ones.
python3 - "$tmp/www" <<'PYTHON'
import pathlib
import random
import sys

for i in range(1000):
    data = random.Random(i).randbytes(10240)
    (pathlib.Path(sys.argv[1]) / f"{i}.bin").write_bytes(data)
PYTHON

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
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:$port backlog=1024;
        root $tmp/www;
        # The first 9 KB at once, the rest a second later.
        location /slow/ { alias $tmp/www/; limit_rate 9k; }
    }
}
CONF
    start nginx "$nginx" -e stderr -p "$tmp/prefix" -c "$tmp/prefix/nginx.conf"
    site=http://127.0.0.1:$port
    for ((i = 0; i < 100 * scale; i++)); do
        "$fetch" -q -t 5 "$site/0.bin" >/dev/null 2>&1 && break 2
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    [ $attempt -lt 5 ] || {
        cat "$tmp/nginx.err" >&2
        fail "nginx does not start"
    }
done

echo "* 1,000 documents, 100 at once"
urls=()
for ((i = 0; i < 1000; i++)); do
    urls+=("$site/$i.bin")
done
run 0 "$fetch" -c 100 -o "$tmp/got" "${urls[@]}"
empty err
matches out '1000 done, 0 failed, 10240000 bytes in [0-9.]+ s'
grep -E ' done|at once' "$tmp/out"
[ "$(find "$tmp/got" -type f | wc -l)" -eq 1000 ] || fail "not 1,000 files"
for ((i = 0; i < 1000; i++)); do
    cmp "$tmp/www/$i.bin" "$tmp/got/$i.bin" || fail "$i.bin is not the same"
done

echo "* 20 documents that take a second each"
slow=("${urls[@]:0:20}")
run 0 "$fetch" -q -o "$tmp/slow" "${slow[@]/#$site/$site/slow}"
grep -E ' done|at once' "$tmp/out"
matches out '20 done, 0 failed, 204800 bytes in [0-9.]+ s'
took_at_least 1000
took_at_most 3000
for ((i = 0; i < 20; i++)); do
    cmp "$tmp/www/$i.bin" "$tmp/slow/$i.bin" || fail "$i.bin is not the same"
done
single=$(sed -En 's/.*add up to ([0-9]+).*/\1/p' "$tmp/out")
[ "$single" -ge 20 ] || fail "they took only $single s each by each"

echo "* what is not there"
run 1 "$fetch" "$site/none" "$site/1.bin"
has err "$site/none: failed: HTTP 404 Not Found"
matches out '1 done, 1 failed, 10240 bytes in .*'
echo ok
