#!/bin/bash
# SPDX-License-Identifier: MIT
# tls_echo with itself, openssl and bad certificates; fetch with https://.
. "$(dirname "$0")/lib.sh"
echo_=$bin/tls_echo

# certificate NAME SUBJECT NAMES [ISSUER]: NAME.pem and NAME.key.
certificate() {
    local name=$1 subject=$2 names=$3 issuer=${4:-}
    set --
    [ -z "$names" ] || set -- -addext "subjectAltName=$names" \
        -addext basicConstraints=critical,CA:FALSE
    [ -z "$issuer" ] || set -- "$@" -CA "$tmp/$issuer.pem" \
        -CAkey "$tmp/$issuer.key"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -days 2 -subj "/CN=$subject" -keyout "$tmp/$name.key" \
        -out "$tmp/$name.pem" "$@" 2>"$tmp/openssl.err" || {
        cat "$tmp/openssl.err" >&2
        fail "openssl made no certificate"
    }
}
certificate ca ca ''
certificate good localhost DNS:localhost,IP:127.0.0.1 ca
certificate other other DNS:other.example ca
certificate self localhost DNS:localhost

# Says a line and wants it back.
talk() {
    local wanted=$1 status=0
    shift
    echo "hello" | timeout 60 "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" -eq "$wanted" ] || fail "'$*' ended with $status, not $wanted"
    [ "$wanted" -ne 0 ] || has out hello
}

echo "* usage"
run 0 "$echo_" --help
matches out 'usage: tls_echo .*'
run 2 "$echo_" --nonsense
run 2 "$echo_"
run 1 "$echo_" -s
run 1 "$echo_" -s -C "$tmp/good.pem" -K "$tmp/other.key"
matches err 'certificate: .*mismatch.*'
run 1 "$echo_" -s -C "$tmp/none.pem" -K "$tmp/none.key"
matches err 'certificate: No such file or directory.*'

echo "* talking"
start server "$echo_" -s -C "$tmp/good.pem" -K "$tmp/good.key"
server=$pid
port=$(line_of server 'listening on .* port [0-9]+' | grep -o '[0-9]*$')
talk 0 "$echo_" -a "$tmp/ca.pem" localhost "$port"
talk 0 "$echo_" -a "$tmp/ca.pem" 127.0.0.1 "$port"
talk 0 "$echo_" -i localhost "$port"
line_of server 'TLSv1.3, TLS_.*' >"$tmp/line"
talk 1 "$echo_" localhost "$port"
matches err 'localhost: The TLS certificate does not verify: .*'
head -c 2000000 /dev/urandom | base64 -w 1000 >"$tmp/much"
timeout 60 "$echo_" -a "$tmp/ca.pem" localhost "$port" <"$tmp/much" \
    >"$tmp/back" || fail "much did not come back"
cmp "$tmp/much" "$tmp/back"

echo "* another certificate"
cp "$tmp/other.pem" "$tmp/good.pem"
cp "$tmp/other.key" "$tmp/good.key"
talk 0 "$echo_" -a "$tmp/ca.pem" localhost "$port"
kill -HUP "$server"
line_of server 'reloaded' >"$tmp/line"
talk 1 "$echo_" -a "$tmp/ca.pem" localhost "$port"
matches err 'localhost: The TLS certificate is for another name: .*'
kill -TERM "$server"
wait "$server" || fail "the server failed"

echo "* client certificates"
start strict "$echo_" -s -C "$tmp/self.pem" -K "$tmp/self.key" -a "$tmp/ca.pem"
port=$(line_of strict 'listening on .* port [0-9]+' | grep -o '[0-9]*$')
talk 1 "$echo_" -a "$tmp/self.pem" localhost "$port"
matches err 'receiving: The TLS protocol failed: .*certificate required'
talk 0 "$echo_" -a "$tmp/self.pem" -C "$tmp/other.pem" -K "$tmp/other.key" \
    localhost "$port"

echo "* https"
mkdir "$tmp/root"
echo "served over TLS" >"$tmp/root/page"
certificate web localhost DNS:localhost ca
cd "$tmp/root"
start site openssl s_server -accept 127.0.0.1:0 -WWW -cert "$tmp/web.pem" \
    -key "$tmp/web.key"
cd "$here"
port=$(line_of site 'ACCEPT .*' | grep -o '[0-9]*$')
SSL_CERT_FILE=$tmp/ca.pem run 0 "$bin/fetch" "https://localhost:$port/page"
has out "https://localhost:$port/page: 16 bytes: served over TLS\\n"
run 1 "$bin/fetch" "https://localhost:$port/page"
matches err '.*: failed: connecting: The TLS certificate does not verify: .*'
SSL_CERT_FILE=$tmp/ca.pem run 1 "$bin/fetch" "https://127.0.0.1:$port/page"
matches err '.*: failed: connecting: The TLS certificate is for another.*'
echo ok
