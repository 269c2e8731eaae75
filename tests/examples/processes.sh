#!/bin/bash
# SPDX-License-Identifier: MIT
# processes: commands at once, their limit, the table.
. "$(dirname "$0")/lib.sh"

echo "* usage"
run 0 "$bin/processes" --help
matches out "usage: processes.*"
empty err
run 2 "$bin/processes"
run 2 "$bin/processes" -j 0 true
run 2 "$bin/processes" -t nan true

echo "* how they end"
run 1 "$bin/processes" "echo hello" "exit 3" 'kill -TERM $$' \
    "echo to stderr >&2"
empty err
has out hello
has out "to stderr"
matches out 'exit 0 +[0-9.]+ +6  echo hello'
matches out 'exit 3 +[0-9.]+ +0  exit 3'
matches out 'signal 15 +[0-9.]+ +0  kill -TERM \$\$'
run 0 "$bin/processes" -q "echo hello" true
! grep -qx hello "$tmp/out" || fail "-q printed"

echo "* several at once"
run 0 "$bin/processes" -j 8 "sleep 0.4" "sleep 0.4" "sleep 0.4" "sleep 0.4"
took_at_least 400
took_at_most 1500
run 0 "$bin/processes" -j 1 "sleep 0.2" "sleep 0.2" "sleep 0.2"
took_at_least 600

echo "* the limit, also for what a shell leaves behind"
run 1 "$bin/processes" -t 0.3 "echo before; sleep 60 & sleep 60" "echo quick"
took_at_least 300
took_at_most 5000
has out before
matches out 'timeout +0\.[0-9]+ +7  echo before; .*'
matches out 'exit 0 .* echo quick'

echo "* an interrupt"
start interrupted "$bin/processes" -j 1 "sleep 60" "echo never"
sleep 0.5
kill -INT "$pid"
status=0
wait "$pid" || status=$?
[ "$status" -eq 1 ] || fail "it ended with $status, not 1"
grep -Eqx 'killed +.*sleep 60' "$tmp/interrupted" || fail "no table"
! grep -q never "$tmp/interrupted" || fail "it went on"
echo ok
