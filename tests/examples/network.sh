#!/bin/bash
# SPDX-License-Identifier: MIT
# resolve, dns_bench and portscan.
. "$(dirname "$0")/lib.sh"
resolve=$bin/resolve
dns_bench=$bin/dns_bench
portscan=$bin/portscan

for program in resolve dns_bench portscan; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    run 2 "$bin/$program" --nonsense
done

# Names of our own, and name servers of our own that are refused or silent:
# nothing here asks the world.
start ports python3 -c 'import socket, time
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
refused = socket.socket()
refused.bind(("127.0.0.1", 0))
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in listening + [refused, silent]], flush=True)
time.sleep(120)'
read -r open1 open2 open3 closed silent <<<"$(line_of ports '[0-9 ]+')"
cat >"$tmp/hosts" <<'EOF'
192.0.2.1 one.example
192.0.2.2 two.example two
2001:db8::2 two.example
EOF
for ((i = 0; i < 500; i++)); do
    echo "198.51.100.$((i % 250)) host$i.example"
done >>"$tmp/hosts"
export GEV_DNS_HOSTS=$tmp/hosts
export GEV_DNS_SERVERS=127.0.0.1:$closed

echo "* resolve: names as arguments"
run 1 "$resolve" one.example two.example 192.0.2.9 ::1 none.example
has out 'one.example -> 192.0.2.1'
grep -E '^two.example -> ' "$tmp/out" | grep -F 192.0.2.2 |
    grep -qF 2001:db8::2 || fail "two.example"
has out '192.0.2.9 -> 192.0.2.9'
has out '::1 -> ::1'
matches out 'none.example: .+'
matches err '4 found, 1 failed in [0-9.]+ s'

echo "* resolve: names from standard input, in pieces, without a last line end"
printf 'one.example\n\n  two.example \r\n\thost7.example' >"$tmp/names"
{
    printf 'one.exa'
    sleep 0.3
    printf 'mple\n\n  two.example \r\n\thost7.example'
} | timeout 60 "$resolve" >"$tmp/out" 2>"$tmp/err" || fail "from a pipe"
has out 'one.example -> 192.0.2.1'
matches out 'two.example -> .*'
has out 'host7.example -> 198.51.100.7'
matches err '3 found, 0 failed in .*'
timeout 60 "$resolve" <"$tmp/names" >"$tmp/out" 2>"$tmp/err" ||
    fail "from a file"
matches err '3 found, 0 failed in .*'
run 0 "$resolve" </dev/null
matches err '0 found, 0 failed in .*'
status=0
{
    printf 'x%.0s' {1..5000}
    printf '\none.example\n'
} | timeout 60 "$resolve" >"$tmp/out" 2>"$tmp/err" || status=$?
[ $status -eq 1 ] || fail "a long line: $status"
has out 'one.example -> 192.0.2.1'
matches out 'x{40}\.\.\.: not a name'
matches err '1 found, 1 failed in .*'

echo "* resolve: many"
printf 'host%d.example\n' {0..499} >"$tmp/names"
timeout 60 "$resolve" -c 20 <"$tmp/names" >"$tmp/out" 2>"$tmp/err" ||
    fail "many names"
[ "$(wc -l <"$tmp/out")" -eq 500 ] || fail "not 500 lines"
has out 'host499.example -> 198.51.100.249'
matches err '500 found, 0 failed in .*'

echo "* resolve: a silent name server"
export GEV_DNS_SERVERS=127.0.0.1:$silent
run 1 "$resolve" -t 0.3 a.example b.example c.example one.example
took_at_most 3000
has out 'one.example -> 192.0.2.1'
has out 'a.example: Connection timed out'
matches err '1 found, 3 failed in .*'

echo "* dns_bench: its own name server"
run 0 "$dns_bench" -n 3000 -c 300
empty err
matches out '3000 look-ups, 300 at once, server 127.0.0.1:[0-9]+ \(its own\)'
matches out '3000 answered, 0 failed in [0-9.]+ s: [0-9]+ look-ups a second'
matches out 'ms: p50 [0-9.]+, p90 [0-9.]+, p99 [0-9.]+, max [0-9.]+'
cat "$tmp/out"
run 0 "$dns_bench" -6 -n 200
matches out '200 answered, 0 failed in .*'
run 0 "$dns_bench" -n 100 -c 50 -d 0.2
matches out 'ms: p50 [0-9]{3,}\..*'
took_at_least 400 # two rounds ...
took_at_most 3000 # ... and not a hundred

echo "* dns_bench: names from a file"
printf 'a.test A\nno.invalid.\n\n  b.test\tAAAA\r\none.example' >"$tmp/names"
run 1 "$dns_bench" -f "$tmp/names"
matches out '3 answered, 1 failed in .*'
has out 'failed: 1: Name or service not known'
run 1 "$dns_bench" -f "$tmp/names" -n 400
matches out '300 answered, 100 failed in .*'
run 1 "$dns_bench" -f "$tmp/none"
has err "$tmp/none: No such file or directory"
run 1 "$dns_bench" -f /dev/null
has err '/dev/null: no names'

echo "* dns_bench: other name servers"
run 1 "$dns_bench" -s "127.0.0.1:$silent" -n 20 -c 20 -t 0.3
has out 'failed: 20: Connection timed out'
took_at_most 3000
run 1 "$dns_bench" -s "127.0.0.1:$closed" -n 20
has out 'failed: 20: Temporary failure in name resolution'
run 2 "$dns_bench" -s nonsense
has err "dns_bench: -s: 'nonsense' is no address of a server"
for bad in '-c 0' '-n 0' '-n 1.5' '-t 0' '-d -1' name; do
    # shellcheck disable=SC2086
    run 2 "$dns_bench" $bad
    empty out
done

echo "* dns_bench: Ctrl-C"
start bench "$dns_bench" -d 0.1 -n 1000000
line_of bench '1000000 look-ups, .*' >/dev/null
sleep 0.5
kill -INT "$pid"
wait "$pid" || fail "dns_bench failed"
matches bench '[1-9][0-9]* answered, 0 failed in .*'

echo "* portscan"
export GEV_DNS_SERVERS=127.0.0.1:$closed
run 0 "$portscan" 127.0.0.1 "$open1,$open2,$closed,$open3"
empty err
for port in "$open1" "$open2" "$open3"; do
    matches out "$port open.*"
done
matches out '127.0.0.1: 4 ports, 3 open, 1 closed, 0 silent, in [0-9.]+ s'
low=$((open1 > 500 ? open1 - 500 : 1))
high=$((low + 1000 > 65535 ? 65535 : low + 1000))
run 0 "$portscan" -c 500 127.0.0.1 "$low-$high"
matches out "$open1 open.*"
matches out "127.0.0.1: $((high - low + 1)) ports, .*, 0 silent, in .*"
took_at_most 10000
run 1 "$portscan" none.example 80 -t 0.1
matches err 'none.example: .+'
for bad in 0 65536 80- -80 80-79 '80,,81' ',' x 1-2-3 '1 2' +1 \
    99999999999999999999; do
    run 2 "$portscan" 127.0.0.1 -- "$bad"
done
run 2 "$portscan"
run 2 "$portscan" 127.0.0.1 1 2
run 2 "$portscan" -c 0 127.0.0.1
echo ok
