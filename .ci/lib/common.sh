# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the steps in sh share; the project's root becomes the working directory.
set -eu
cd "$(dirname "$0")/../.."

# run_tests BUILD [ARGUMENT...]: meson test in build/BUILD. That no test was
# selected is a success to meson, but not here.
run_tests() {
    run_tests_build=$1
    shift
    .ci/build "$run_tests_build"
    run_tests_log=build/$run_tests_build/run_tests.log
    run_tests_status=0
    meson test -C "build/$run_tests_build" --print-errorlogs "$@" \
        >"$run_tests_log" 2>&1 || run_tests_status=$?
    cat "$run_tests_log"
    if ! grep -Eq '^Ok: +[1-9]' "$run_tests_log"; then
        echo "no test passed"
        return 1
    fi
    return "$run_tests_status"
}
