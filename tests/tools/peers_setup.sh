#!/usr/bin/env bash
# Installs what make bench-peers compares with (Debian 12; asks apt and pip as they are configured).
#
#   tests/tools/peers_setup.sh              OpenBLAS, oneDNN, libxsmm, both PyTorches, a stub of torchvision
#   tests/tools/peers_setup.sh --stub       only the stub
#   tests/tools/peers_setup.sh --where      print the folder of the stub, install nothing
#
# The current PyTorch is that of tests/goldens/env.sh.  torchvision does not import beside it; its models do, from
# Debian's own source files, once the package around them is gone: $TLV_ENVS/peers-torchvision holds copies of them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
envs=${TLV_ENVS:-${XDG_CACHE_HOME:-$HOME/.cache}/tlvision-envs}
stub=$envs/peers-torchvision

make_stub() {
    local from
    from=$(/usr/bin/python3 -c 'import importlib.util as u; print(u.find_spec("torchvision").submodule_search_locations[0])')
    rm -rf "$stub"
    mkdir -p "$stub"/torchvision/{models,ops,transforms}
    cd "$stub/torchvision"
    cp "$from"/_internally_replaced_utils.py "$from"/_utils.py .
    for f in _api _meta _utils resnet mobilenetv2 vision_transformer; do cp "$from/models/$f.py" models/; done
    cp "$from/ops/misc.py" ops/
    echo 'from . import models' >__init__.py
    printf 'from .%s import *\n' resnet mobilenetv2 vision_transformer >models/__init__.py
    : >ops/__init__.py
    : >transforms/__init__.py
    cat >transforms/functional.py <<'PY'
class InterpolationMode:
    NEAREST, BILINEAR, BICUBIC = "nearest", "bilinear", "bicubic"
PY
    cat >transforms/_presets.py <<'PY'
from .functional import InterpolationMode


class ImageClassification:
    def __init__(self, *args, **kwargs):
        pass
PY
    cat >utils.py <<'PY'
def _log_api_usage_once(obj):
    pass


def _make_ntuple(x, n):
    return tuple(x) if hasattr(x, "__iter__") else (x,) * n
PY
}

case ${1:-all} in
--where) echo "$stub" ;;
--stub)  make_stub ;;
all)
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends python3-torch python3-torchvision libopenblas0-openmp \
        libopenblas0-pthread libopenblas-dev libdnnl-dev libxsmm-dev >/dev/null
    "$here/../goldens/env.sh" torch2
    make_stub
    ;;
*) echo "peers_setup.sh: --stub, --where, or nothing" >&2; exit 2 ;;
esac
