#!/bin/bash
# SPDX-License-Identifier: MIT
# pipeline, choose, chat_server: queues and channels at work.
. "$(dirname "$0")/lib.sh"

for program in pipeline choose chat_server; do
    run 0 "$bin/$program" --help
    matches out "usage: $program.*"
    empty err
    run 2 "$bin/$program" --nonsense
    run 2 "$bin/$program" more
    run 2 "$bin/$program" -q -1
done

echo "* pipeline"
run 0 "$bin/pipeline"
empty err
has out '200 numbers, the sum of their squares is 2686700'
has out 'at most 8 waited for a worker'
took_at_least 100 # 200 of 2 ms, by 4 workers
took_at_most 2000
run 0 "$bin/pipeline" -n 1000 -q 1 -w 500 -m 1
has out '1000 numbers, the sum of their squares is 333833500'
run 0 "$bin/pipeline" -n 1 -m 0
has out '1 numbers, the sum of their squares is 1'

echo "* choose"
run 0 "$bin/choose" -n 5 -i 10 -t $((1000 * scale))
empty err
[ "$(grep -c '^fast: ' "$tmp/out")" -eq 5 ] || fail "not 5 of the fast"
[ "$(grep '^slow: ' "$tmp/out" | tail -1)" = "slow: 5" ] || fail "not the last"
has out 'all came: 5 and 5 numbers'
run 0 "$bin/choose" -n 1000000 -i 1 -q 50
matches out 'told to quit: [0-9]+ and [0-9]+ numbers'
took_at_least 50
run 0 "$bin/choose" -n 5 -i 2000 -t 20
has out 'nothing came: 0 and 0 numbers'
took_at_most 1000
run 0 "$bin/choose" -n 0
has out 'all came: 0 and 0 numbers'

# A line from a descriptor, within a time that is no hurry.
expect_line() {
    local line
    read -r -t $((10 * scale)) line <&"$1" || fail "no line, but '$2' wanted"
    [ "$line" = "$2" ] || fail "'$line', not '$2'"
}

echo "* chat_server: each line to all others"
start chat "$bin/chat_server" -q 50 -t 60
port=$(line_of chat 'listening on .* port [0-9]+' | grep -o '[0-9]*$')
run 1 "$bin/chat_server" -p "$port"
matches err ".* port $port: Address already in use"
exec 3<>"/dev/tcp/127.0.0.1/$port"
# Two that know of each other have been accepted.
exec 4<>"/dev/tcp/127.0.0.1/$port"
for ((i = 0; i < 100 * scale; i++)); do
    echo "hello" >&3
    read -r -t 0.1 line <&4 && break
done
[ "$line" = "1: hello" ] || fail "'$line'"
echo "nice to meet you" >&4
expect_line 3 "2: nice to meet you"
exec 5<>"/dev/tcp/127.0.0.1/$port"
for ((i = 0; i < 100 * scale; i++)); do
    echo "me too" >&5
    read -r -t 0.1 line <&3 && break
done
[ "$line" = "3: me too" ] || fail "'$line'"
printf 'two\nlines, and ' >&3
echo "three" >&3
for line in "1: two" "1: lines, and three"; do
    expect_line 5 "$line"
done

echo "* chat_server: a slow client is dropped, and holds up nobody"
python3 - "$port" <<'PYTHON' || fail "the talkers"
import socket, sys
port = int(sys.argv[1])
talker = socket.create_connection(("127.0.0.1", port))
listener = socket.create_connection(("127.0.0.1", port))
listener.settimeout(30)
line = b"x" * 900 + b"\n"
# 3, 4 and 5 of the script do not read.
heard = b""
listener.settimeout(0.1)
while not heard:  # until it has been accepted
    talker.sendall(b"hello\n")
    try:
        heard = listener.recv(65536)
    except TimeoutError:
        pass
listener.settimeout(60)
while heard.count(b"x\n") < 1:
    talker.sendall(b"x\n")
    heard += listener.recv(65536)
heard = b""
for i in range(30000):
    talker.sendall(line)
    while b"xx\n" not in heard:
        heard += listener.recv(65536)
    heard = heard[heard.index(b"xx\n") + 3:]
talker.close()
listener.close()
PYTHON
line_of chat 'client 1 is too slow'
line_of chat 'client 2 is too slow'
line_of chat 'client 3 is too slow'
exec 3<&- 3>&- 4<&- 4>&- 5<&- 5>&-

echo "* chat_server: SIGTERM; what is queued is still sent"
kill -TERM "$pid"
wait "$pid" || fail "the server failed"
line_of chat 'terminated: 5 clients served, 3 of them too slow'
start last "$bin/chat_server" -q 100000
port=$(line_of last 'listening on .* port [0-9]+' | grep -o '[0-9]*$')
timeout 100 python3 - "$port" "$pid" >"$tmp/out" <<'PYTHON'
import os, signal, socket, sys
port, pid = map(int, sys.argv[1:])
N = 10000

def connect():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(60)
    s.connect(("127.0.0.1", port))
    return s, s.makefile("rb")

(slow, slow_file), (fast, fast_file) = connect(), connect()
talker, _ = connect()
fast.sendall(b"here\n")  # who hears it has been accepted
slow_file.readline()
line = b"x" * 900 + b"\n"
for i in range(N):
    talker.sendall(line)
    fast_file.readline()
os.kill(pid, signal.SIGTERM)
heard = sum(1 for _ in slow_file)  # until the server closes it
print(f"{heard} of {N}")
PYTHON
has out '10000 of 10000'
wait "$pid" || fail "the server failed"
line_of last 'terminated: 3 clients served, 0 of them too slow'
run 0 "$bin/chat_server" -t 0.05
has out 'time is over: 0 clients served, 0 of them too slow'
echo ok
