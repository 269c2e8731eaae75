#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: bench/http.sh PROGRAM [-c connections] [-r rounds] [-q]
#
# An HTTP server (PROGRAM: examples/http_hello of the build) beside nginx with
# one worker and Go's net/http with GOMAXPROCS=1, of those that are installed:
# the same answer, connections that are kept, wrk as the load. The servers run
# on the first CPU, wrk on the second; rounds go round all servers.
#   http.*.per_cpu   requests a second of the server's CPU time
#   http.*.rate      requests a second
# and the medians of the ratios within each round.
set -euo pipefail

program=${1:?the program http_hello}
shift
connections=64 rounds=7 seconds=2
while getopts c:r:q option; do
    case $option in
    c) connections=$OPTARG ;;
    r) rounds=$OPTARG ;;
    q) rounds=1 seconds=1 ;;
    *) exit 2 ;;
    esac
done
command -v wrk >/dev/null || {
    echo "http.sh needs wrk" >&2
    exit 77
}
tmp=$(mktemp -d)
pids=()
clean_up() {
    for pid in ${pids[@]+"${pids[@]}"}; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$tmp"
}
trap clean_up EXIT

# on CPU COMMAND...: pinned there, if there are so many.
on() {
    local cpu=$1
    shift
    if [ "$(nproc --all)" -gt 1 ]; then
        exec taskset -c "$cpu" "$@"
    else
        exec "$@"
    fi
}

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Each start_* sets port and pid (of the process that does the work).
start_gev() {
    (on 0 "$program" >"$tmp/gev") &
    pid=$!
    pids+=("$pid")
    until port=$(grep -o '[0-9]*$' "$tmp/gev"); do
        sleep 0.05
    done
}

start_nginx() {
    port=$(free_port)
    cat >"$tmp/nginx.conf" <<END
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid $tmp/nginx.pid;
error_log $tmp/nginx.log;
events { worker_connections 10000; }
http {
    access_log off;
    keepalive_requests 1000000000;
    server {
        listen 127.0.0.1:$port;
        location / {
            default_type text/plain;
            return 200 "Hello, world!\n";
        }
    }
}
END
    (on 0 nginx -e "$tmp/nginx.log" -c "$tmp/nginx.conf") &
    pids+=("$!")
    until pid=$(pgrep -P "${pids[-1]}" nginx); do
        sleep 0.05
    done
}

start_go() {
    port=$(free_port)
    cat >"$tmp/main.go" <<END
package main

import "net/http"

func main() {
        body := []byte("Hello, world!\\n")
    http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
        w.Header().Set("Content-Type", "text/plain")
        w.Write(body)
    })
    panic(http.ListenAndServe("127.0.0.1:$port", nil))
}
END
    GOCACHE=$tmp/cache go build -o "$tmp/go" "$tmp/main.go"
    (GOMAXPROCS=1 on 0 "$tmp/go") &
    pid=$!
    pids+=("$pid")
}

declare -A port_of pid_of
servers=(gev)
for other in nginx go; do
    command -v $other >/dev/null && servers+=("$other")
done
for server in "${servers[@]}"; do
    "start_$server"
    port_of[$server]=$port
    pid_of[$server]=$pid
    for ((i = 0; ; i++)); do
        answer=$(curl -s "http://127.0.0.1:$port/" || true)
        [ "$answer" != 'Hello, world!' ] || break
        [ $i -lt 200 ] || {
            echo "$server does not answer" >&2
            exit 1
        }
        sleep 0.05
    done
done

# Jiffies, of 10 ms.
cpu_of() {
    cut -d ' ' -f 14,15 "/proc/$1/stat" | tr ' ' + | bc
}

# load SERVER: "requests jiffies"; as long as it takes the CPU.
load() {
    local before n
    before=$(cpu_of "${pid_of[$1]}")
    n=$( (on 1 wrk -t 1 -c "$connections" -d "$seconds" \
        "http://127.0.0.1:${port_of[$1]}/") | tee "$tmp/wrk" |
        awk '/requests in/ { print $1 }')
    ! grep -E 'Socket errors|Non-2xx' "$tmp/wrk" >&2 || exit 1
    echo "$n $(($(cpu_of "${pid_of[$1]}") - before))"
}

for ((round = 0; round <= rounds; round++)); do
    for server in "${servers[@]}"; do
        set -- $(load "$server")
        [ $round -eq 0 ] || # the warm-up
            echo "$round $server $1 $2" >>"$tmp/rounds"
    done
done
python3 - "$tmp/rounds" "$seconds" "${servers[@]}" <<'END'
import statistics
import sys

values = {}
for line in open(sys.argv[1]):
    number, server, n, jiffies = line.split()
    values.setdefault(server, []).append((int(n), max(int(jiffies), 1)))
seconds = float(sys.argv[2])
per_cpu = {s: [n * 100 / j for n, j in v] for s, v in values.items()}
for server in sys.argv[3:]:
    rate = [n / seconds for n, _ in values[server]]
    print(f"http.{server}.per_cpu {statistics.median(per_cpu[server]):.0f} 1/s")
    print(f"http.{server}.rate {statistics.median(rate):.0f} 1/s")
for other in sys.argv[4:]:
    ratios = [a / b for a, b in zip(per_cpu["gev"], per_cpu[other])]
    print(f"http.gev.per_cpu/http.{other}.per_cpu "
          f"{statistics.median(ratios):.2f} x")
END
