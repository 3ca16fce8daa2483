#!/usr/bin/env bash
# Writes docs/reference.md to standard output, from the option tables of the programs, as --help prints them
# (make reference; make doc-check compares):
#
#   tests/tools/program_manual.sh PROGRAM...        with RUN in the environment
set -u

cat <<'END'
# Reference of the programs

Every program with every option, made from the programs' own tables of options by `make reference`: do not edit.
[programs.md](programs.md) explains what the programs do and what they leave behind.

Options stand anywhere on the line, `--name VALUE` or `--name=VALUE`; after `--` everything is an argument. Exit
status: 0; 1 with one `error:` and one `hint:` line; 2 for wrong usage; 130 after Ctrl-C. `make` leaves the programs in
`build/bin/`: the commands below want that folder in PATH, or in front.

END

for p in "$@"; do
    name=${p##*/}
    printf '%s [%s](#%s)\n' '-' "$name" "$name"
done

# --help is "NAME: what", "usage: ...", lines of an option "  --name VALUE   text" (text from column 24, on a line
# of its own where the option is long), and "example:" with a command.
for p in "$@"; do
    # shellcheck disable=SC2086  # RUN may hold several words or none
    ${RUN:-} "$p" --help | awk -v name="${p##*/}" '
        function row() {
            if (option == "") return
            gsub(/\|/, "\\|", option)
            gsub(/\|/, "\\|", text)
            printf "| `%s` | %s |\n", option, text
            option = text = ""
        }
        NR == 1 { sub(/^[^:]*: /, ""); printf "\n## %s\n\n%s%s.\n", name, toupper(substr($0, 1, 1)), substr($0, 2) }
        /^usage: / { print "\n    " substr($0, 8) "\n\n| option | meaning |\n|---|---|" }
        /^  --/ {
            row()
            option = substr($0, 3)
            if (match(option, /   */)) { text = substr(option, RSTART + RLENGTH); option = substr(option, 1, RSTART - 1) }
        }
        /^                       ./ { sub(/^ */, ""); text = $0 }
        /^example:/ { row(); print "\nExample:\n"; example = 1; next }
        example && NF { print "  " $0 }'
done
