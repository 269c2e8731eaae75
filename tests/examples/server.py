#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An HTTP server that does what its script says, wrong or right, to the byte.

Prints "PORT REFUSED PORT6": where it listens, a port where nobody does, and
where it listens on ::1 (0: there is no IPv6). Ends after two minutes, or when
it is killed."""
import socket
import struct
import threading
import time

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
RESET = object()


def length(n):
    return OK + b"Content-Length: %d\r\n\r\n" % n


# Path: what to send, and numbers: seconds to wait.
ANSWERS = {
    # Good ones.
    "/length": [length(11), b"hello world"],
    "/empty": [length(0)],
    "/close": [OK + b"\r\n", b"until the end"],
    "/empty-close": [OK + b"\r\n"],
    "/no-content": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "/old": [b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n", b"older"],
    "/no-reason": [b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", b"ok"],
    "/case": [b"HTTP/1.1 200 OK\r\ncONTENT-lENGTH:\t 3 \r\n\r\n", b"abc"],
    "/bare-lf": [b"HTTP/1.1 200 OK\nContent-Length: 4\n\n", b"bare"],
    "/more": [length(4), b"four and more"],
    "/same-lengths": [OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
                      b"22"],
    "/interim": [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0.05,
                 length(3), b"103"],
    "/chunked": [CHUNKED, b"5\r\nhello\r\n", b"6;x=\"y\"\r\n world\r\n",
                 b"00\r\n\r\n"],
    "/trailer": [CHUNKED, b"A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n",
                 b"X-More: 2\r\n\r\n"],
    "/trickle": [part for byte in CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
                 for part in (bytes([byte]), 0.001)],
    "/control": [length(60), b"\x1b[31m\\\t\r\n\x00\xff" + b"x" * 50],
    "/large": [length(3000000), b"0123456789" * 300000],
    "/slow": [1.0, length(4), b"slow"],
    # Bad ones.
    "/short": [length(100), b"0" * 40],
    "/short-chunk": [CHUNKED, b"a\r\n01234"],
    "/no-last-chunk": [CHUNKED, b"a\r\n0123456789\r\n"],
    "/no-trailer-end": [CHUNKED, b"1\r\nx\r\n0\r\nX: y\r\n"],
    "/bad-chunk": [CHUNKED, b"zz\r\n0123456789\r\n0\r\n\r\n"],
    "/signed-chunk": [CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n"],
    "/empty-chunk-size": [CHUNKED, b"\r\nhello\r\n0\r\n\r\n"],
    "/wrong-chunk": [CHUNKED, b"3\r\nhello\r\n0\r\n\r\n"],
    "/huge-chunk": [CHUNKED, b"f" * 17 + b"\r\nhello"],
    "/long-extension": [CHUNKED, b"5;" + b"x" * 20000 + b"\r\nhello\r\n"],
    "/long-trailer": [CHUNKED, b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n"],
    "/long-header": [OK + b"X: " + b"y" * 20000 + b"\r\n\r\n"],
    "/many-headers": [OK + b"X: y\r\n" * 5000 + b"\r\n"],
    "/endless": [b"H" * 100000],
    "/not-http": [b"220 mail.example.org ESMTP\r\n"],
    "/http2": [b"HTTP/2.0 200 OK\r\n\r\n"],
    "/bad-status": [b"HTTP/1.1 2x0 OK\r\n\r\n"],
    "/nothing": [],
    "/half-head": [OK + b"Content-Le"],
    "/reset": [length(100), b"0" * 40, 0.05, RESET],
    "/bad-length": [OK + b"Content-Length: -5\r\n\r\n", b"hello"],
    "/empty-length": [OK + b"Content-Length: \r\n\r\n", b"hello"],
    "/huge-length": [OK + b"Content-Length: 99999999999999999999\r\n\r\n"],
    "/two-lengths": [OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n22"],
    "/both": [OK + b"Content-Length: 5\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"],
    "/coding": [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"],
    "/no-colon": [OK + b"what is this\r\n\r\n"],
    "/space-colon": [OK + b"Content-Length : 5\r\n\r\nhello"],
    "/folded": [OK + b"X: y\r\n folded\r\n\r\n"],
    "/zero": [OK + b"X: \x00\r\n\r\n"],
    "/interims": [b"HTTP/1.1 100 Continue\r\n\r\n" * 50],
    "/404": [b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"],
    "/500": [b"HTTP/1.1 500 \x1b[31mOh\r\nContent-Length: 0\r\n\r\n"],
    "/moved": [b"HTTP/1.1 301 Moved Permanently\r\nLocation: /new\r\n"
               b"Content-Length: 0\r\n\r\n"],
    # Ones that do not end.
    "/silent": [100],
    "/stall": [length(100), b"0" * 40, 100],
}


def serve(connection):
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(4096)
            if not data:
                return
            request += data
        head = request.decode("latin-1")
        path = head.split(" ")[1]
        if path == "/echo?request":  # what the client sends
            script = [length(len(request)), request]
        elif path in ANSWERS:
            script = ANSWERS[path]
        else:  # its own path, for files with many names
            script = [length(len(path)), path.encode("latin-1")]
        for step in script:
            if step is RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                      struct.pack("ii", 1, 0))
            elif isinstance(step, bytes):
                connection.sendall(step)
            else:
                time.sleep(step)
        if RESET not in script:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(1)
            while connection.recv(4096):
                pass


def try_to_serve(connection):
    try:
        serve(connection)
    except OSError:
        pass  # the client had enough


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=try_to_serve, args=(connection,),
                         daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
# Bound and not listening: refused for as long as this program runs.
refused = socket.socket()
refused.bind(("127.0.0.1", 0))
listeners = [listener]
try:
    listeners.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
    port6 = listeners[1].getsockname()[1]
except OSError:
    port6 = 0
print(listener.getsockname()[1], refused.getsockname()[1], port6, flush=True)
for each in listeners:
    threading.Thread(target=accept, args=(each,), daemon=True).start()
time.sleep(120)
