#!/usr/bin/env bash
# Checks that each public header stands alone in C11 and in C++11, with every warning an error, and that
# programs in C and C++ link as the README says (make header-check).
#
#   tests/tools/header_check.sh LIBRARY [LINK FLAGS...]       with CC and CXX in the environment
#
# Each header and language is one test; ends with "N passed, N failed, N skipped".
set -u

lib=$1
shift
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# $1: what is tested; the rest: the command.
try() {
    local what=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED header-check: $what"
        head -n 20 "$tmp/log" | sed 's/^/    /'
    fi
}

# shellcheck disable=SC2206  # CC and CXX may hold several words
c=(${CC:-cc} -std=c11 -pedantic -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror -I.)
# shellcheck disable=SC2206
cxx=(${CXX:-c++} -std=c++11 -pedantic -Wall -Wextra -Wshadow -Werror -I.)
has_cxx=1
command -v "${cxx[0]}" >/dev/null || has_cxx=0

for h in tlvision.h tensor/tensor.h autograd/autograd.h nn/nn.h optim/optim.h data/data.h transfer/transfer.h; do
    [ -f "$h" ] || continue
    # Included twice: the guard is part of it.  A file of its own name, so that -Wunused sees a header.
    printf '#include "%s"\n#include "%s"\ntypedef tlv_ctx *used;\n' "$h" "$h" >"$tmp/one.c"
    cp "$tmp/one.c" "$tmp/one.cc"
    try "$h in C11" "${c[@]}" -fsyntax-only "$tmp/one.c"
    if [ "$has_cxx" -eq 1 ]; then
        try "$h in C++11" "${cxx[@]}" -fsyntax-only "$tmp/one.cc"
    else
        skipped=$((skipped + 1))
        echo "skipped $h in C++11: no ${cxx[0]}"
    fi
done

cat >"$tmp/user.c" <<'TXT'
#include "tensor/tensor.h"
int main(void)
{
    tlv_ctx *c = tlv_ctx_open(0);
    int ok = c && tlv_error(c) == TLV_OK && tlv_numel(tlv_zeros(c, TLV_F32, tlv_shape2(2, 3))) == 6;
    tlv_ctx_close(c);
    return !ok;
}
TXT
cp "$tmp/user.c" "$tmp/user.cc"
try "a user's program in C builds" "${c[@]}" "$tmp/user.c" "$lib" -lm "$@" -o "$tmp/user"
try "a user's program in C runs" "$tmp/user"
if [ "$has_cxx" -eq 1 ]; then
    try "a user's program in C++ builds" "${cxx[@]}" "$tmp/user.cc" "$lib" -lm "$@" -o "$tmp/userxx"
    try "a user's program in C++ runs" "$tmp/userxx"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
