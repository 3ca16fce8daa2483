#!/usr/bin/env bash
# Installs the tools that .ci/run wants beside a C compiler (Debian or Ubuntu, through apt-get).
#
#   tests/tools/install.sh            install what is missing
#   tests/tools/install.sh --check    install nothing, only say what is missing
#
# Safe to run again: what is there is skipped without touching the network.  A tool that cannot be installed
# is named on the last lines and leaves the exit status at 0; the step that needs it becomes a counted
# skip in .ci/run, so the loss is seen there.
set -u

# What must be present -> the packages that bring it, one line each.  The left side is tried by have().
wants() {
    cat <<'TXT'
cmd:make                            make
cmd:gcc                             gcc libc6-dev
cmd:g++                             g++
cmd:clang                           clang
clang-rt                            libclang-rt-14-dev
symbolizer                          llvm
clang-omp                           libomp-dev
cmd:valgrind                        valgrind libc6-dbg
cmd:qemu-aarch64                    qemu-user
cmd:pngtopnm                        netpbm
python:PIL                          python3-pil
python:numpy                        python3-numpy
cmd:aarch64-linux-gnu-gcc           gcc-aarch64-linux-gnu libc6-dev-arm64-cross
TXT
}

# A probe compiles or calls the thing itself, which says more than a package list.
have() {
    case $1 in
    cmd:*)      command -v "${1#cmd:}" >/dev/null ;;
    clang-rt)   links clang -fsanitize=address ;;
    clang-omp)  links clang -fopenmp ;;
    python:*)   /usr/bin/python3 -c "import ${1#python:}" 2>/dev/null ;;
    symbolizer) command -v llvm-symbolizer >/dev/null ;;
    esac
}

links() {
    command -v "$1" >/dev/null || return 1
    echo 'int main(void) { return 0; }' | "$@" -x c - -o /dev/null 2>/dev/null
}

only_check=0
[ "${1:-}" = --check ] && only_check=1

packages=
missing=0
while read -r probe names; do
    have "$probe" && continue
    missing=$((missing + 1))
    packages="$packages $names"
done < <(wants)

[ "$missing" -eq 0 ] && { echo "tools: all there"; exit 0; }
if [ "$only_check" -eq 0 ]; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        echo "tools: installing$packages"
        # shellcheck disable=SC2086  # the list is meant to be split
        $sudo apt-get update -qq >/dev/null 2>&1
        $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1 ||
            for p in $packages; do        # one missing package must not take the others with it
                $sudo apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1
            done
    fi
fi

while read -r probe names; do
    have "$probe" || echo "tools: missing ${probe#cmd:} (packages: $names)"
done < <(wants)
exit 0
