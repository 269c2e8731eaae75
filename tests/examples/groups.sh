#!/bin/bash
# SPDX-License-Identifier: MIT
# fail_fast, pool_crawler: what they print.
. "$(dirname "$0")/lib.sh"

for program in fail_fast pool_crawler; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    empty err
    run 2 "$bin/$program" --nonsense
    empty out
done
run 2 "$bin/fail_fast" nonsense
run 2 "$bin/pool_crawler" http://127.0.0.1/ http://127.0.0.1/
for bad in '-n 0' '-n x' '-f -1' '-d 0'; do
    # shellcheck disable=SC2086
    run 2 "$bin/fail_fast" $bad
done
for bad in '-c 0' '-n 0' '-t 0' '-t nan'; do
    # shellcheck disable=SC2086
    run 2 "$bin/pool_crawler" $bad
done

echo "* fail_fast"
run 1 "$bin/fail_fast"
empty err
diff - <(head -n 7 "$tmp/out") <<'EOT' || fail "the order of the tasks"
task 1 is done
task 2 is done
task 3 fails
task 4 is cancelled
task 5 is cancelled
task 6 is cancelled
failed: Input/output error
EOT
matches out '2 done, 1 failed, 3 cancelled in [0-9.]+ s'
took_at_least 300
run 0 "$bin/fail_fast" -f 0 -d 10
matches out '6 done, 0 failed, 0 cancelled in [0-9.]+ s'
run 1 "$bin/fail_fast" -f 1 -n 1000 -d 20
matches out '0 done, 1 failed, 999 cancelled in [0-9.]+ s'
took_at_most 5000

echo "* pool_crawler: its own server"
run 0 "$bin/pool_crawler"
empty err
[ "$(grep -c ': [0-9]* links$' "$tmp/out")" -eq 60 ] || fail "60 pages"
matches out '  0 http://127\.0\.0\.1:[0-9]+/site/60/20/0: 4 links'
matches out '  5 http://127\.0\.0\.1:[0-9]+/site/60/20/59: 2 links'
matches out '  4 http://127\.0\.0\.1:[0-9]+/missing/7: HTTP 404 Not Found'
matches out 'broken: http://.*/missing/47 \(HTTP 404 Not Found\), on .*/47'
[ "$(grep -c ^broken "$tmp/out")" -eq 3 ] || fail "3 broken links"
matches out '60 pages, 3 failed, 182 links, 60 of them elsewhere, .*'
has out 'At most 10 pages at once.'
run 0 "$bin/pool_crawler" -q -c 1
matches out '60 pages, 3 failed, .*'
has out 'At most 1 pages at once.'
[ "$(grep -c links "$tmp/out")" -eq 1 ] || fail "-q is not quiet"
took_at_least 1200
run 0 "$bin/pool_crawler" -q -n 10 -c 1000
matches out '10 pages, 0 failed, .*'
matches out '[1-9][0-9]* more pages were left out\.'

echo "* pool_crawler: another server"
start server python3 "$here/server.py"
read -r port refused _ <<<"$(line_of server '[0-9]+ [0-9]+ [0-9]+')"
run 0 "$bin/pool_crawler" "http://127.0.0.1:$port/length#top"
matches out "  0 http://127.0.0.1:$port/length: 0 links"
matches out '1 pages, 0 failed, 0 links, 0 of them elsewhere, 11 bytes in .*'
run 1 "$bin/pool_crawler" "http://127.0.0.1:$refused/"
matches out '.*: connecting: Connection refused'
matches out '0 pages, 1 failed, .*'
run 1 "$bin/pool_crawler" -t 0.3 "http://127.0.0.1:$port/silent"
matches out '.*/silent: timed out'
took_at_least 300
run 1 "$bin/pool_crawler" ftp://example.org/
matches err '.*ftp:// is not supported, only http:// and https:// are'
run 1 timeout --foreground --preserve-status -s INT 0.5 \
    "$bin/pool_crawler" "http://127.0.0.1:$port/silent"
matches out '0 pages, 1 failed, .*'
echo ok
