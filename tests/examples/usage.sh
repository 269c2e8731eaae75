#!/bin/bash
# SPDX-License-Identifier: MIT
# What all examples have in common: help, what they say to bad options, and to
# a full disk; servers to a taken port and Ctrl-C.
. "$(dirname "$0")/lib.sh"

count=0
for path in "$bin"/*; do
    [ -f "$path" ] && [ -x "$path" ] || continue
    program=${path##*/}
    count=$((count + 1))
    grep -Fq "[$program.c]($program.c)" "$here/../../examples/README.md" ||
        fail "examples/README.md does not know $program"
    run 0 "$path" --help
    head -n 1 "$tmp/out" | grep -q "^usage: $program\>" || fail "$program"
    ! grep -E '.{81}' "$tmp/out" || fail "$program --help: long lines"
    empty err
    run 2 "$path" --nonsense
    empty out
    matches err '.*: unrecognized option .--nonsense.'
    has err "$path: try --help"
    if [ -w /dev/full ]; then
        status=0
        "$path" --help >/dev/full 2>"$tmp/err" || status=$?
        [ $status -eq 1 ] || fail "$program: a full disk went unnoticed"
        has err "$program: writing: No space left on device"
    fi
done
[ "$count" -ge 20 ] || fail "only $count programs"

echo "* the commands that build them by hand"
# Only as far as the compiler's front end, with the headers of this tree.
(
    cd "$here/../../examples"
    sed -n '/^    cc /,/^$/p' README.md |
        sed 's/\$(pkg-config[^)]*)//; s/^    cc /cc -fsyntax-only -I..\/include /' \
        >"$tmp/by_hand"
    [ -x "$bin/fetch_curl" ] || sed -i '/fetch_curl/d' "$tmp/by_hand"
    grep -q ' hello\.c' "$tmp/by_hand" || fail "README.md builds nothing"
    sh -e "$tmp/by_hand" || fail "a command of examples/README.md"
)

echo "* arguments where there should be none"
for program in choose dns_bench fail_fast hello pipeline sleepers switch \
    threadpool threads_vs_greenlets chat_server echo_server; do
    run 2 "$bin/$program" more
    empty out
    has err "$bin/$program: unexpected argument 'more'"
done

echo "* output that does not arrive"
if [ -w /dev/full ]; then
    for call in hello switch 'sleepers -n 10 -s 0' 'choose -n 10' \
        'pipeline -n 10' 'threadpool -n 100' 'dns_bench -n 10' \
        'processes true' 'resolve 127.0.0.1' 'portscan 127.0.0.1 1' \
        'chat_server -t 0.05' 'threads_vs_greenlets -n 5 -m 1 -d 1'; do
        status=0
        # shellcheck disable=SC2086
        "$bin"/$call >/dev/full 2>"$tmp/err" </dev/null || status=$?
        [ $status -eq 1 ] || fail "$call: a full disk went unnoticed"
        matches err "${call%% *}: writing: (No space left.*|it failed before)"
    done
fi

echo "* servers: a taken port, Ctrl-C"
for call in chat_server echo_server http_hello 'proxy 127.0.0.1 1' \
    push_server udp_echo; do
    program=${call%% *}
    [ -x "$bin/$program" ] || continue
    # shellcheck disable=SC2086
    start "$program" "$bin"/$call
    port=$(line_of "$program" 'listening on 127.0.0.1 port [0-9]+' |
        grep -o '[0-9]*$')
    # shellcheck disable=SC2086
    run 1 "$bin/$program" -p "$port" ${call#"$program"}
    has err "127.0.0.1 port $port: Address already in use"
    kill -INT "$pid"
    wait "$pid" || fail "$program failed"
    [ ! -s "$tmp/$program.err" ] || fail "$program complained"
done
echo ok
