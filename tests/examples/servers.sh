#!/bin/bash
# SPDX-License-Identifier: MIT
# proxy and udp_echo.
. "$(dirname "$0")/lib.sh"
proxy=$bin/proxy
udp=$bin/udp_echo

for program in proxy udp_echo; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    run 2 "$bin/$program" --nonsense
    run 2 "$bin/$program" one
    run 2 "$bin/$program" one two three
done
run 2 "$proxy" -p 65536 127.0.0.1 1
run 2 "$proxy" -c 0 127.0.0.1 1
run 2 "$udp" -t 0

port_of() {
    line_of "$1" 'listening on .* port [0-9]+' | grep -o '[0-9]*$'
}

echo "* proxy: many connections, in front of the echo server"
start server "$bin/echo_server" -t 120
server=$(port_of server)
start proxy "$proxy" 127.0.0.1 "$server"
proxy_pid=$pid
port=$(port_of proxy)
run 0 "$bin/echo_client" -n 200 -m 20 127.0.0.1 "$port"
has out '200 connections, 0 failed, 4000 of 4000 messages echoed'
run 0 "$bin/echo_client" -n 5 -m 5 -s 65536 127.0.0.1 "$port"
has out '5 connections, 0 failed, 25 of 25 messages echoed'

echo "* proxy: the end of one direction is passed on alone"
run 0 python3 -c '
import socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
def answer():
    c, _ = server.accept()
    data = b""
    while part := c.recv(65536):
        data += part
    c.sendall(b"%d after your end" % len(data))
    c.close()
import subprocess
proxy = subprocess.Popen([sys.argv[1], "-n", "1", "127.0.0.1",
    str(server.getsockname()[1])], stdout=subprocess.PIPE, text=True)
port = int(proxy.stdout.readline().split()[-1])
threading.Thread(target=answer).start()
c = socket.create_connection(("127.0.0.1", port))
c.sendall(b"x" * 1000000)
c.shutdown(socket.SHUT_WR)
data = b""
while part := c.recv(65536):
    data += part
print(data.decode())
print(proxy.stdout.read(), end="")
sys.exit(proxy.wait())
' "$proxy"
has out '1000000 after your end'
has out 'enough: 1 connections, 0 failed, 1000000 bytes there, 22 back'

echo "* proxy: an idle connection, and a taken port"
start idle "$proxy" -i 0.2 -n 1 127.0.0.1 "$server"
idle_pid=$pid
exec 3<>"/dev/tcp/127.0.0.1/$(port_of idle)"
status=0
read -r -t $((5 * scale)) line <&3 || status=$?
[ $status -eq 1 ] || fail "idle, and not closed: $status" # over 128: time-out
exec 3<&- 3>&-
wait "$idle_pid" || fail "the proxy failed"
line_of idle 'enough: 1 connections, 1 failed, 0 bytes there, 0 back'
run 1 "$proxy" -p "$port" 127.0.0.1 "$server"
has err "127.0.0.1 port $port: Address already in use"

echo "* proxy: SIGTERM ends it after its connections"
exec 3<>"/dev/tcp/127.0.0.1/$port"
echo "before the end" >&3
read -r -t $((5 * scale)) line <&3
[ "$line" = "before the end" ] || fail "got '$line'"
kill -TERM "$proxy_pid"
sleep 0.2
echo "last words" >&3
read -r -t $((5 * scale)) line <&3
[ "$line" = "last words" ] || fail "got '$line'"
exec 3<&- 3>&-
wait "$proxy_pid" || fail "the proxy failed"
line_of proxy 'terminated: 206 connections, 0 failed, .* back'

echo "* proxy: nobody there"
start nobody "$proxy" -n 1 127.0.0.1 "$port"
nobody_pid=$pid
run 1 "$bin/echo_client" -n 1 127.0.0.1 "$(port_of nobody)"
wait "$nobody_pid" || fail "the proxy failed"
line_of nobody.err '127.0.0.1 port [0-9]+: Connection refused'
line_of nobody 'enough: 1 connections, 1 failed, 0 bytes there, 0 back'

echo "* udp_echo"
start udp "$udp"
udp_pid=$pid
port=$(port_of udp)
run 0 "$udp" -n 1000 127.0.0.1 "$port"
has out '1000 of 1000 answered'
run 1 "$udp" -p "$port"
matches err ".* port $port: Address already in use"
kill -INT "$udp_pid"
wait "$udp_pid" || fail "the server failed"
line_of udp '1000 datagrams sent back'
run 1 "$udp" -t 0.05 127.0.0.1 "$port"
matches err 'datagram 1: .*'
has out '0 of 10 answered'
start few "$udp" -n 3
few_pid=$pid
run 0 "$udp" -n 3 127.0.0.1 "$(port_of few)"
wait "$few_pid" || fail "the server failed"
line_of few '3 datagrams sent back'
echo ok
