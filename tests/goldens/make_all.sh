#!/usr/bin/env bash
# Recomputes every golden file: each make_NAME.py runs in the environment that its line "# env: NAME" asks for.
#
#   tests/goldens/make_all.sh [NAME...]         (default: all)
#
# A rerun on the same PyTorch gives the same bytes, so `git diff --stat` afterwards shows what really changed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
for script in "$here"/make_*.py; do
    name=$(basename "$script" .py)
    name=${name#make_}
    [ "$#" -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac

    env=$(sed -n 's/^# env: //p' "$script")
    "$here/env.sh" "$env"
    echo "goldens: $name ($env)"
    "$("$here/env.sh" --python "$env")" "$script"
done
