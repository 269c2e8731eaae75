#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: llhttp_names.sh FILE...
#
# Prints a header that gives all of llhttp's names in those files our prefix, so
# that programs may have an llhttp of their own beside libgev-http.a.
set -eu
echo '/* Made by llhttp_names.sh. */'
grep -Eoh '\bllhttp_[A-Za-z0-9_]+' "$@" | sort -u | sed 's/.*/#define & gev__&/'
