#!/bin/bash
# SPDX-License-Identifier: MIT
# threadpool: what it prints, and that the hub goes on meanwhile.
. "$(dirname "$0")/lib.sh"

run 0 "$bin/threadpool" --help
matches out "usage: threadpool.*"
empty err
for bad in --nonsense nonsense '-t 0' '-t 65' '-n 1' '-n x'; do
    # shellcheck disable=SC2086
    run 2 "$bin/threadpool" $bad
    empty out
done

run 0 "$bin/threadpool" -t 2 -n 500000 -o "$tmp/count"
empty err
has out '41538 primes below 500000'
matches out '2 threads took [0-9.]+ s; the hub ticked [1-9][0-9]* times'
cat "$tmp/out"
[ "$(cat "$tmp/count")" = 41538 ] || fail "what it saved"

run 0 "$bin/threadpool" -t 1 -n 10
has out '4 primes below 10'

run 1 "$bin/threadpool" -n 10 -o "$tmp/none/count"
matches err 'threadpool: No such file or directory'
run 1 "$bin/threadpool" -n 10 -o /dev/full
matches err 'threadpool: No space left on device'
echo ok
