#!/usr/bin/env bash
# Checks what README.md and docs/*.md say as far as a machine can (make doc-check):
#
#   tests/tools/doc_check.sh LIBRARY OP_MANUAL [LINK FLAGS...]    with BIN (the programs), CC, RUN in the environment
#
#   code        ```c blocks compile without a warning; those with a main are linked and run.  A block that
#               includes internal headers sees ops.def with the TLV_OP lines of its page added.
#   micro.c     compiles as it says and prints checked numbers
#   links       relative links lead to files, and to the heading that they name
#   names       `names_with_underscores` (TLV_OK, tlvi_gemm, mark_live), `tlv_struct.field`s, `tlv-program`s and
#               `learn-program`s exist
#   files       `folder/file.c` exists; "`name` (`folder/file.c`)" and "(`name` in `folder/file.c`)": name is there
#   commands    in code and `in text`: the options of tlv-programs are in their --help, `make target VAR=x` has such
#               a target and variable; an `--option` alone is some program's
#   made pages  ops.md is what OP_MANUAL prints, reference.md what the programs' --help says, api/ what the headers
#               say; every external function of LIBRARY is there, with a comment
#
# Each block, and each kind of check on each page, is one test; ends with "N passed, N failed, 0 skipped".
set -u
shopt -s lastpipe                      # a pipe's last command counts in this shell

lib=$1 manual=$2
: "${BIN:=build/bin}"
shift 2
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# shellcheck disable=SC2206  # CC may hold several words
cc=(${CC:-cc} -std=c11 -Wall -Wextra -Wshadow -Wno-unused-function -Wno-missing-field-initializers -Werror)
pages=(README.md docs/*.md docs/results/*.md)
api=(docs/api/*.md)
folders="tensor autograd nn optim data examples tests tlvision.h"
[ -d transfer ] && folders="$folders transfer"

# $1: what is checked; standard input: what offends, a line each.
verdict() {
    local bad
    bad=$(cat)
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED doc-check: $1"
        printf '%s\n' "$bad" | head -n 20 | sed 's/^/    /'
    fi
}

# $1: what is tested; the rest: a command, which says nothing that counts when it succeeds.
try() {
    local what=$1
    shift
    "$@" >"$tmp/log" 2>&1 && : >"$tmp/log" || echo "(status $?)" >>"$tmp/log"
    verdict "$what" <"$tmp/log"
}

# ---- code ------------------------------------------------------------------------------------------------

# Writes block k of page $1 to $tmp/k.c, as long as there are blocks; lines keep their numbers.
extract() {
    awk -v out="$tmp/block" -v page="$1" '
        /^```c$/ { k++; file = out k ".c"; printf "#line %d \"%s\"\n", FNR + 1, page > file; next }
        /^```/   { file = ""; next }
        file != "" { print > file }' "$1"
}

# Fragments: functions stand at file scope; statements, where that does not compile, in a function.
fragment() {
    { printf '#include "tlvision.h"\n#include <math.h>\n#include <stdio.h>\n#include <string.h>\n'
      cat "$1"; } >"$tmp/whole.c"
    "${cc[@]}" -I. -fsyntax-only "$tmp/whole.c" && return
    { printf '#include "tlvision.h"\n#include <math.h>\n#include <stdio.h>\n#include <string.h>\n'
      printf 'void fragment(tlv_ctx *c);\nvoid fragment(tlv_ctx *c)\n{\n'; cat "$1"; echo '}'; } >"$tmp/body.c"
    "${cc[@]}" -I. -fsyntax-only "$tmp/body.c" 2>/dev/null
}

# Code of the library: $2 is the page, whose indented TLV_OP lines join a copy of ops.def.
library_code() {
    mkdir -p "$tmp/shadow/autograd"
    { cat autograd/ops.def; grep -E '^    TLV_OP\(' "$2"; } >"$tmp/shadow/autograd/ops.def"
    "${cc[@]}" -I"$tmp/shadow" -I. -fsyntax-only "$1"
}

program() {
    "${cc[@]}" -I. "$1" "$lib" -lm "${@:2}" -o "$tmp/program" || return 1
    # shellcheck disable=SC2086  # RUN may hold several words or none
    ${RUN:-} "$tmp/program"
}

blocks=0
for page in "${pages[@]}"; do
    rm -f "$tmp"/block*.c
    extract "$page"
    for b in "$tmp"/block*.c; do
        [ -f "$b" ] || continue
        blocks=$((blocks + 1))
        what="$page, code at line $(sed -nE '1s/#line ([0-9]+).*/\1/p' "$b")"
        if grep -qE '^int main\(' "$b"; then try "$what" program "$b" "$@"
        elif grep -qE '^#include "(autograd|tensor|nn|optim|data)/' "$b"; then try "$what" library_code "$b" "$page"
        else try "$what" fragment "$b"
        fi
    done
done
[ "$blocks" -gt 0 ] || { echo "doc-check: no code in ${pages[*]}"; exit 1; }

micro() {
    "${cc[@]}" docs/micro/micro.c -lm -o "$tmp/micro" || return 1
    # shellcheck disable=SC2086
    ${RUN:-} "$tmp/micro"
}
try "docs/micro/micro.c" micro

# ---- links, names, files ------------------------------------------------------------------------------------

# What stands in `backticks` outside of code blocks, a line each.
spans() { awk '/^```/ { code = !code; next } !code' "$1" | grep -oE '`[^`]+`' | tr -d '`' | sort -u; }

dead_links() {
    grep -oE '\]\([^)#]+' "$1" | sed 's/^](//' | grep -vE '^[a-z]+://' | sort -u | while read -r link; do
        [ -e "$(dirname "$1")/$link" ] || echo "$link"
    done
}

# Names that a page makes up: those of the ops whose lines it shows.
invented() { sed -nE 's/^    TLV_OP\( *([A-Z0-9_]+).*/\1/p' "$1" | tr '[:upper:]' '[:lower:]' | paste -sd '|'; }

missing_names() {
    local own
    own=$(invented "$1")
    spans "$1" | sed -E 's/[( ].*//; s/^(tlv_[a-z0-9_]+)\.([a-z0-9_]+)$/\1\n@\2/' |
        grep -E '^([A-Za-z0-9]+_[A-Za-z0-9_]*[A-Za-z0-9]|tlv-[a-z]+|learn-[0-9a-z_]+|@[a-z0-9_]+)$' |
        grep -viE "(^|_)(${own:-none})\$" | grep -v '_ID$' | sort -u | while read -r name; do
        case $name in
        tlv-*) [ -f "examples/${name#tlv-}.c" ] ;;
        @*) cat ./*/*.h | grep -qw -e "${name#@}" ;;
        learn-*) [ -f "examples/learn/${name#learn-}.c" ] ;;
        # shellcheck disable=SC2086  # the list is meant to be split
        *) grep -rqw --include='*.[ch]' --include='*.inc' --include='*.def' -e "$name" $folders ||
               [ -f "tests/$name.c" ] || grep -qw -e "$name" Makefile ;;
        esac || echo "$name"
    done
}

missing_files() {
    local own
    own=$(invented "$1")
    spans "$1" | grep -E '^[a-z0-9_./-]+(/|/[a-z0-9_.]+\.(c|h|inc|def|sh|md|py))$' |
        grep -vE "(/|_)(${own:-none})\." | while read -r path; do
        [ -e "$path" ] || [ -e "docs/$path" ] || echo "$path"
    done
}

# "`name` (`file`)" and "`name` in `file`", also across a line's end.
misplaced_names() {
    tr '\n' ' ' <"$1" | grep -oE '`[A-Za-z_0-9]+`( \(| in )`[a-z0-9_./]+\.(c|h|inc|def)`' | tr -d '`(' |
        while read -r name file; do
            file=${file#in }
            [ -f "$file" ] && grep -qw -e "$name" "$file" || echo "$name is not in $file"
        done
}

# ---- headings ------------------------------------------------------------------------------------------------

# "page#heading" of each heading, as GitHub names them: the second of a name is name-1.
headings() {
    awk '/^```/ { code = !code; next }
        FNR == 1 { split("", seen); code = 0 }
        !code && /^#+ / {
            sub(/^#+ /, "")
            name = tolower($0)
            gsub(/[^a-z0-9_ -]/, "", name)
            gsub(/ /, "-", name)
            n = seen[name]++
            print FILENAME "#" (n ? name "-" n : name)
        }' "$@"
}

# Links of page $1 to headings, as "page#heading" from the root of the tree.
heading_links() {
    awk '/^```/ { code = !code; next } !code' "$1" | grep -oE '\]\([^)]*#[^)]+\)' | sed 's/^](//; s/)$//' |
        grep -vE '^[a-z]+://' | sort -u | awk -v page="$1" '{
            file = substr($0, 1, index($0, "#") - 1)
            dir = page
            if (!sub(/\/[^\/]*$/, "/", dir)) dir = ""
            path = file == "" ? page : dir file
            while (sub(/[^\/]+\/\.\.\//, "", path)) { }
            print path "#" substr($0, index($0, "#") + 1)
        }'
}

# ---- commands ------------------------------------------------------------------------------------------------

mkdir "$tmp/help"
for p in "$BIN"/tlv-*; do
    # shellcheck disable=SC2086
    ${RUN:-} "$p" --help | grep -oE '^  --[a-z0-9-]+' | tr -d ' ' >"$tmp/help/${p##*/}"
done
grep -ohE -e '--[a-z][a-z0-9-]+' tests/tools/*.sh tests/tools/*.py | cat - "$tmp"/help/* | sort -u >"$tmp/options"

# Commands of page $1, a line each, without quoted words, comments and variables in front: what stands in code blocks
# (fenced or indented, over several lines with \), and `in text`, there also over the end of a line.
commands() {
    { awk '/^```/ { code = !code; next } code || /^    /' "$1" | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | sed -E 's/^ +//; s/(  *#| {3,}[^ -]).*//'
      awk '/^```/ { code = !code; next } !code && !/^    / { print }' "$1" |
          awk -v RS= '{ gsub(/\n */, " "); print }' | grep -oE '`[^`]+`' | tr -d '`'
    } | sed -E "s/\"[^\"]*\"|'[^']*'/X/g; s/(&&|;)/\n/g" |
        sed -E 's/^ *(\$ )?//; s/^([A-Z_]+=[^ ]* +)*//' | grep -E '^((build/bin/)?tlv-[a-z]+|make|--[a-z])( |$|[a-z-])'
}

wrong_commands() {
    commands "$1" | sort -u | while read -r -a words; do
        name=${words[0]##*/}
        for w in "${words[@]:1}"; do
            w=${w//[()\[\],]/}
            case $name:$w in
            tlv-*:--[a-z]*) grep -qxe "${w%%=*}" "$tmp/help/$name" 2>/dev/null || echo "$name has no ${w%%=*}" ;;
            make:-*) ;;
            make:*=*) grep -qw -e "${w%%=*}" Makefile || echo "make knows no ${w%%=*}" ;;
            make:[a-z]*) grep -qE "^$w:" Makefile || echo "make $w" ;;
            esac
        done
        case $name in
        --*) grep -qxe "$(grep -oE '^--[a-z0-9-]+' <<<"$name")" "$tmp/options" || echo "no program has $name" ;;
        esac
    done
}

headings "${pages[@]}" "${api[@]}" CHANGELOG.md >"$tmp/headings"
for page in "${api[@]}" CHANGELOG.md; do dead_links "$page" | verdict "$page: a link leads nowhere"; done
for page in "${pages[@]}" "${api[@]}" CHANGELOG.md; do
    heading_links "$page" | grep -vxFf "$tmp/headings" | verdict "$page: a link to a heading that is not there"
done

for page in "${pages[@]}"; do
    dead_links "$page" | verdict "$page: a link leads nowhere"
    wrong_commands "$page" | verdict "$page: a command that does not exist so"
    case $page in docs/ops.md | docs/reference.md) continue ;; esac         # made, not written
    missing_names "$page" | verdict "$page: a name that does not exist"
    missing_files "$page" | verdict "$page: a file that does not exist"
    misplaced_names "$page" | verdict "$page: a name is not where the page says"
done

# shellcheck disable=SC2086
${RUN:-} "$manual" | diff - docs/ops.md | verdict "docs/ops.md is old: make manual"
tests/tools/program_manual.sh "$BIN"/tlv-* | diff - docs/reference.md | verdict "docs/reference.md is old: make reference"
python3 tests/tools/api_manual.py "$tmp/api" "$lib" | verdict "a public function without a comment or a header"
diff -r "$tmp/api" docs/api | verdict "docs/api is old: make api"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
