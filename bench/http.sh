#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: bench/http.sh PROGRAM [-c connections] [-r rounds] [-q]
#
# gev's HTTP server (PROGRAM: bench_http_server of the build) beside nginx and
# Go's net/http, of those that are installed: the same answer, connections that
# are kept, wrk as the load.
#
# One core: the server on the first CPU (one worker, GOMAXPROCS=1), wrk on the
# second. Rounds go round all servers.
#   http.SERVER.per_cpu   requests a second of the server's CPU time
#   http.SERVER.rate      requests a second
#   http.gev.per_cpu/...  medians of the ratios within each round
#
# Two cores: gev (and nginx) with a worker a core; but the load needs CPU time
# too, so it is given the same cores as the server. First both have to do with
# one core, then both have two, with twice the connections:
#   http.SERVER.N-core.rate     requests a second, of the whole
#   http.SERVER.N-core.per_cpu  requests a second of the server's CPU time
#   http.SERVER.scaling         2-core.rate / 1-core.rate
#   http.SERVER.cpu-scaling     2 x 2-core.per_cpu / 1-core.per_cpu: what two
#                               cores would do if all of both was the server's;
#                               2 if the workers are in nobody's way. (Half of
#                               two cores' requests come from the other core,
#                               none of one's do: that much is the kernel's.)
#   http.gev.balance            share of the less busy worker's CPU time, at
#                               best 50
set -euo pipefail

program=${1:?the program bench_http_server}
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

# on CPUS COMMAND...: pinned there, if there are so many.
on() {
    local cpus=$1
    shift
    if [ "$(nproc --all)" -gt 1 ]; then
        exec taskset -c "$cpus" "$@"
    else
        exec "$@"
    fi
}

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Each start_* CPUS WORKERS sets port and pid (of the processes that do the
# work).
start_gev() {
    port=$(free_port)
    (on "$1" "$program" -p "$port" -w "$2") &
    pid=$!
    pids+=("$pid")
}

start_nginx() {
    local conf=$tmp/nginx.$2.conf
    port=$(free_port)
    cat >"$conf" <<END
daemon off;
worker_processes $2;
worker_cpu_affinity auto;
worker_rlimit_nofile 20000;
pid $tmp/nginx.$2.pid;
error_log $tmp/nginx.$2.log;
events { worker_connections 10000; }
http {
    access_log off;
    keepalive_requests 1000000000;
    server {
        listen 127.0.0.1:$port reuseport;
        location / {
            default_type text/plain;
            return 200 "Hello, world!\n";
        }
    }
}
END
    (on "$1" nginx -e "$tmp/nginx.$2.log" -c "$conf") &
    pids+=("$!")
    until pid=$(pgrep -P "${pids[-1]}" nginx) &&
        [ "$(wc -w <<<"$pid")" -eq "$2" ]; do
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
    (GOMAXPROCS=$2 on "$1" "$tmp/go") &
    pid=$!
    pids+=("$pid")
}

# start NAME KIND CPUS WORKERS: until it answers.
declare -A port_of pid_of
start() {
    local name=$1 i answer
    "start_$2" "$3" "$4"
    port_of[$name]=$port
    pid_of[$name]=$pid
    for ((i = 0; ; i++)); do
        answer=$(curl -s "http://127.0.0.1:$port/" || true)
        [ "$answer" != 'Hello, world!' ] || break
        [ $i -lt 200 ] || {
            echo "$name does not answer" >&2
            exit 1
        }
        sleep 0.05
    done
}

# Jiffies, of 10 ms.
cpu_of() {
    local one sum=0
    for one in $1; do
        # shellcheck disable=SC2046 # two numbers
        set -- $(cut -d ' ' -f 14,15 "/proc/$one/stat")
        sum=$((sum + $1 + $2))
    done
    echo $sum
}

# load NAME CPUS THREADS CONNECTIONS: "requests jiffies", of the server.
load() {
    local before n
    before=$(cpu_of "${pid_of[$1]}")
    n=$( (on "$2" wrk -t "$3" -c "$4" -d "$seconds" \
        "http://127.0.0.1:${port_of[$1]}/") | tee "$tmp/wrk" |
        awk '/requests in/ { print $1 }')
    ! grep -E 'Socket errors|Non-2xx' "$tmp/wrk" >&2 || exit 1
    echo "$n $(($(cpu_of "${pid_of[$1]}") - before))"
}

# The less busy one's share of what the threads that do something have used.
balance_of() {
    for task in /proc/"$1"/task/*/stat; do
        awk '{ print $14 + $15 }' "$task"
    done | sort -n | tail -n 2 | tr '\n' ' ' |
        awk '{ print 100 * $1 / ($1 + $2) }'
}

servers=(gev)
for other in nginx go; do
    if command -v $other >/dev/null; then
        servers+=("$other")
    else
        echo "# no $other: left out"
    fi
done
for server in "${servers[@]}"; do
    start "$server" "$server" 0 1
done
both=()
if [ "$(nproc)" -gt 1 ]; then
    for server in "${servers[@]}"; do
        [ "$server" = go ] || both+=("$server")
    done
    for server in "${both[@]}"; do
        start "$server.2" "$server" 0,1 2
    done
else
    echo "# one CPU: no scaling"
fi

# measure ROUND SERVER CASE CPUS THREADS CONNECTIONS
measure() {
    local name=$2
    [ "$3" != two ] || name=$2.2
    # shellcheck disable=SC2046 # two numbers
    set -- "$@" $(load "$name" "$4" "$5" "$6")
    [ "$1" -eq 0 ] || # the warm-up
        echo "$2 $3 $7 $8" >>"$tmp/rounds"
}

for ((round = 0; round <= rounds; round++)); do
    for server in "${servers[@]}"; do
        measure $round "$server" alone 1 1 "$connections"
    done
    for server in ${both[@]+"${both[@]}"}; do
        measure $round "$server" one 0 1 "$connections"
        measure $round "$server" two 0,1 2 $((2 * connections))
    done
done
[ ${#both[@]} -eq 0 ] || balance_of "${pid_of[gev.2]}" >"$tmp/balance"
python3 - "$tmp" "$seconds" "${servers[@]}" <<'END'
import os
import statistics
import sys

folder, seconds, servers = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
rates, per_cpus = {}, {}
for line in open(f"{folder}/rounds"):
    server, case, n, jiffies = line.split()
    key = (server, case)
    rates.setdefault(key, []).append(int(n) / seconds)
    per_cpus.setdefault(key, []).append(int(n) * 100 / max(int(jiffies), 1))


def show(name, values, unit="1/s"):
    digits = 0 if unit == "1/s" else 2
    print(f"http.{name} {statistics.median(values):.{digits}f} {unit}")


def ratios(a, b, factor=1):
    return [factor * x / y for x, y in zip(a, b)]


for server in servers:
    show(f"{server}.per_cpu", per_cpus[server, "alone"])
    show(f"{server}.rate", rates[server, "alone"])
for other in servers[1:]:
    show(f"gev.per_cpu/http.{other}.per_cpu",
         ratios(per_cpus["gev", "alone"], per_cpus[other, "alone"]), "x")
for server in servers:
    if (server, "two") not in rates:
        continue
    for case, name in (("one", "1-core"), ("two", "2-core")):
        show(f"{server}.{name}.rate", rates[server, case])
        show(f"{server}.{name}.per_cpu", per_cpus[server, case])
    show(f"{server}.scaling",
         ratios(rates[server, "two"], rates[server, "one"]), "x")
    show(f"{server}.cpu-scaling",
         ratios(per_cpus[server, "two"], per_cpus[server, "one"], 2), "x")
if os.path.exists(f"{folder}/balance"):
    show("gev.balance", [float(open(f"{folder}/balance").read())], "%")
END
