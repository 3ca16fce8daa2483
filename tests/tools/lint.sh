#!/usr/bin/env bash
# Checks the house style as far as a machine can see it (make lint): files of at most 800 lines (850 tolerated),
# functions of about 60 (80 tolerated), lines of 100 columns in C and 120 elsewhere, no tabs in C, no
# trailing blanks, nothing left for later, no path of somebody's machine.
#
# Each rule is one test; ends with "N passed, N failed, 0 skipped".
set -u
shopt -s lastpipe                      # a pipe's last command counts in this shell

passed=0 failed=0
files() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
c_files() { files '*.c' '*.h' '*.inc' '*.def'; }

verdict() {
    local bad
    bad=$(cat)
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED lint: $1"
        printf '%s\n' "$bad" | head -n 20 | sed 's/^/    /'
    fi
}

[ -n "$(c_files)" ] || { echo "lint: no sources"; exit 1; }

c_files | xargs wc -l | awk '$2 != "total" && $1 > 850 { print $2 ": " $1 " lines" }' |
    verdict "a file of more than 850 lines"

# K&R: a function's body opens and closes in the first column.
c_files | grep '\.\(c\|inc\|h\)$' | while read -r f; do
    awk -v f="$f" '/^\{/ { start = FNR; head = last }
        /^\}/ && start { if (FNR - start - 1 > 80) print f ":" start ": " FNR - start - 1 " lines: " head; start = 0 }
        /^[^ \t{}]/ { last = $0 }' "$f"
done | verdict "a function of more than 80 lines"

# The .def files are tables, a row a line: they may be as wide as their rows.
c_files | grep -v '\.def$' | while read -r f; do
    awk -v f="$f" 'length($0) > 100 { print f ":" FNR ": " length($0) " columns" }' "$f"
done | verdict "a line of more than 100 columns"

c_files | xargs grep -nP '\t' /dev/null | verdict "a tab in C"
files | xargs grep -nIE '[ 	]+$' /dev/null | grep -vE '^[^:]+\.(md|txt|out)[:]' | verdict "blanks at the end of a line"
c_files | xargs grep -nE '\b(TODO|FIXME|XXX|HACK)\b' /dev/null | verdict "something left for later"
files | xargs grep -nIE '(^|[^[:alnum:]_./-])/(home|work|Users|root)/[[:alnum:]]' /dev/null |
    grep -v '^tests/tools/lint\.sh:' | verdict "a path of somebody's machine"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
