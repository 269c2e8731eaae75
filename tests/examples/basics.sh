#!/bin/bash
# SPDX-License-Identifier: MIT
# hello, switch, sleepers, threads_vs_greenlets: what they print.
. "$(dirname "$0")/lib.sh"

run 2 "$bin/sleepers" -s 1e7
has err "sleepers: -s: '1e7' is not a number from 0 to 3600"
has err "sleepers: try --help"

echo "* hello"
run 0 "$bin/hello"
empty err
diff - "$tmp/out" <<'EOF' || fail "the order of hello and world"
hello 1
     world 1
hello 2
     world 2
hello 3
     world 3
EOF

echo "* switch"
run 0 "$bin/switch"
empty err
diff - "$tmp/out" <<'EOF' || fail "the order of the switches"
12
56
34
test1 is dead: yes, test2 is dead: no
test2 ends: Operation canceled
sent 10, sum 10
sent 20, sum 30
sent 30, sum 60
sent 40, sum 100
returned -100
a recursive tree, one step by step
caught: Interrupted system call
it caught EINTR and switched back
caught: Input/output error
it failed, and so does its parent's call: Numerical result out of range
thrown into a new one: Broken pipe, dead: yes
EOF

echo "* sleepers"
run 0 "$bin/sleepers" -n 10000 -s 0.5
matches out '10000 of 10000 greenlets slept 0.5 s each, in [0-9.]+ s altogether'
matches out '[0-9]+ ns to spawn one, [0-9.]+ KB of memory for each'
took_at_least 500
took_at_most 5000
for bad in '-n 0' '-n 1.5' '-s -1' '-s nan' '-s 1s'; do
    # shellcheck disable=SC2086
    run 2 "$bin/sleepers" $bad
done

echo "* threads_vs_greenlets"
run 0 "$bin/threads_vs_greenlets" -n 50 -m 5 -d 20
empty err
matches out '50 clients, 5 requests each, 20 ms an answer: at least 0.1 s'
matches out 'threads +0\.[1-9].*'
matches out 'greenlets +0\.[1-9].*'
cat "$tmp/out"
run 2 "$bin/threads_vs_greenlets" -n 0
echo ok
