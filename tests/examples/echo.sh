#!/bin/bash
# SPDX-License-Identifier: MIT
# echo_server and echo_client: with each other, idle, stopped, refused.
. "$(dirname "$0")/lib.sh"
server=$bin/echo_server
client=$bin/echo_client

for program in echo_server echo_client; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    run 2 "$bin/$program" --nonsense
done
run 2 "$client" 127.0.0.1
run 2 "$client" -s 65537 127.0.0.1 1
run 2 "$server" -p 65536
run 2 "$server" more

port_of() {
    line_of "$1" 'listening on .* port [0-9]+' | grep -o '[0-9]*$'
}

echo "* many connections"
start server "$server" -t 60
port=$(port_of server)
run 0 "$client" -n 200 -m 50 127.0.0.1 "$port"
empty err
has out '200 connections, 0 failed, 10000 of 10000 messages echoed'
cat "$tmp/out"
run 0 "$client" -n 5 -m 5 -s 65536 127.0.0.1 "$port"
has out '5 connections, 0 failed, 25 of 25 messages echoed'
run 0 "$client" -n 1 -m 1 -s 1 127.0.0.1 "$port"

echo "* a taken port"
run 1 "$server" -p "$port"
matches err ".* port $port: Address already in use"

echo "* SIGTERM: what has arrived is still sent back"
exec 3<>"/dev/tcp/127.0.0.1/$port"
echo "before the end" >&3
read -r -t 10 line <&3
[ "$line" = "before the end" ] || fail "got '$line'"
echo "last words" >&3
kill -TERM "$pid"
read -r -t 10 line <&3
[ "$line" = "last words" ] || fail "got '$line'"
! read -r -t 10 line <&3 || fail "more: '$line'"
exec 3<&- 3>&-
wait "$pid" || fail "the server failed"
line_of server 'terminated: 207 connections served, 2278427 bytes sent back'

echo "* nobody there"
run 1 "$client" -n 3 127.0.0.1 "$port"
matches err 'connection 1: Connection refused'
has out '3 connections, 3 failed, 0 of 300 messages echoed'

echo "* an idle connection; the end of the time"
start idle "$server" -i 0.2 -t $((2 * scale))
port=$(port_of idle)
exec 3<>"/dev/tcp/127.0.0.1/$port"
status=0
read -r -t $((2 * scale)) line <&3 || status=$?
[ $status -eq 1 ] || fail "idle, and not closed: $status" # over 128: time-out
exec 3<&- 3>&-
wait "$pid" || fail "the server failed"
line_of idle 'time is over: 1 connections served, 0 bytes sent back'

echo "* a server that does not answer"
start silent python3 -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(60)'
port=$(line_of silent '[0-9]+')
run 1 "$client" -n 2 -t 0.3 127.0.0.1 "$port"
has err 'connection 1: timed out'
took_at_least 300
took_at_most 3000
echo ok
