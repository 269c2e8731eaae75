#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch against a real nginx: 1,000 documents of 10 KB, 100 at once; then 20
# that take a second each.
. "$(dirname "$0")/lib.sh"
fetch=$bin/fetch

find_nginx || exit 77
mkdir "$tmp/www"

# 1,000 different ones.
python3 - "$tmp/www" <<'PYTHON'
import pathlib
import random
import sys

for i in range(1000):
    data = random.Random(i).randbytes(10240)
    (pathlib.Path(sys.argv[1]) / f"{i}.bin").write_bytes(data)
PYTHON

# A slow document: the first 9 KB at once, the rest a second later.
answers() {
    site=http://127.0.0.1:$port
    "$fetch" -q -t 5 "$site/0.bin"
}
start_nginx "" "location /slow/ { alias $tmp/www/; limit_rate 9k; }" answers

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
