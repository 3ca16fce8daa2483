#!/usr/bin/env bash
# Makes the Python environments that the golden scripts run in.  Goldens are checked in: only who changes a
# script needs this (make goldens calls it).  The library and its tests never use Python.
#
#   tests/goldens/env.sh              make both environments
#   tests/goldens/env.sh debian       the distribution's PyTorch 1.13 and torchvision 0.14
#   tests/goldens/env.sh torch2       a current PyTorch, without torchvision
#   tests/goldens/env.sh --python debian|torch2     print its interpreter, install nothing
#
# Environments live outside the project, in $TLV_ENVS (default: the user's cache folder).  Already made ones
# are left alone.
set -eu

envs=${TLV_ENVS:-${XDG_CACHE_HOME:-$HOME/.cache}/tlvision-envs}

python_of() {
    case $1 in
    debian) echo /usr/bin/python3 ;;
    torch2) echo "$envs/torch2/bin/python" ;;
    *)      echo "env.sh: unknown environment '$1' (debian, torch2)" >&2; return 2 ;;
    esac
}

ready() { "$(python_of "$1")" -c "$2" >/dev/null 2>&1; }

make_debian() {
    ready debian 'import torch, torchvision' && return
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends python3-torch python3-torchvision >/dev/null
}

make_torch2() {
    ready torch2 'import torch, numpy; assert torch.__version__.startswith("2.13.0")' && return
    mkdir -p "$envs"
    # The plain interpreter of the distribution may lack ensurepip; any Python 3.10 or newer will do.
    python3 -m venv "$envs/torch2"
    "$envs/torch2/bin/pip" install -q torch==2.13.0 numpy
}

case ${1:-both} in
--python) python_of "${2:-debian}" ;;
debian)   make_debian ;;
torch2)   make_torch2 ;;
both)     make_debian; make_torch2 ;;
*)        python_of "$1" ;;      # says what is wrong
esac
