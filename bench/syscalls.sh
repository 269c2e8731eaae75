#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: bench/syscalls.sh [BUILD_DIR [CONNECTIONS]]
#
# System calls of the echo servers, by strace: slow, but anybody may. Needs the
# program built: meson test --benchmark echo.
build=${1:-build/release}
connections=${2:-64}
echo=$build/bench/bench_echo
tmp=$(mktemp -d) || exit 1
trap 'rm -r "$tmp"' EXIT

for server in raw gev; do
    # Without -f: the server is one process, and has no threads.
    : >"$tmp/$server"
    strace -c -o "$tmp/count" "$echo" -s "$server" >"$tmp/$server" &
    until read -r port pid <"$tmp/$server"; do
        kill -0 $! || exit 1
        sleep 0.1
    done
    [ "$pid" ] || exit 1
    requests=$("$echo" -p "$port" -c "$connections" -k 20000) || exit 1
    # strace writes its table when what it runs has ended.
    kill "$pid"
    wait
    echo "$server, $connections connections: system calls a request"
    echo "$requests" | cut -d ' ' -f 2 | cat - "$tmp/count" | awk '
        NR == 1 { n = $1 }
        $1 ~ /^[0-9.]+$/ && NF > 3 && $4 >= n / 1000 {
            printf "  %-12s %.3f\n", $NF == "total" ? "all" : $NF, $4 / n
        }'
done
