#!/usr/bin/env bash
# Checks what the design promises about the shape of the library (make layering):
#
#   tests/tools/layering.sh LIBRARY                 (of a plain build: no sanitizer)
#
#   includes    no #include points upward: tensor <- autograd <- nn <- optim <- transfer; data on tensor alone
#   memory      malloc and its family stand in tensor/sysmem.c only
#   silence     nothing prints, exits, aborts or asserts; no function with hidden state (rand, strtok, ...)
#   globals     no object has a writable variable, static locals included
#   names       every external symbol begins with tlv_ or tlvi_
#   libm        kernels call no f32 function of libm
#   files       file names are unique in the tree
#
# Each check is one test; ends with "N passed, N failed, 0 skipped".
set -u
shopt -s lastpipe                      # a pipe's last command counts in this shell

lib=$1
nm=${NM:-nm}
folders="tensor autograd nn optim data transfer"
passed=0 failed=0

sources() {                            # of the library, as far as it exists
    for d in $folders; do
        [ -d "$d" ] && find "$d" -name '*.[ch]' -o -path "$d/*" -name '*.inc' -o -path "$d/*" -name '*.def'
    done | sort
}

# $1: what is checked; standard input: what offends, a line each.
verdict() {
    local bad
    bad=$(cat)
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED layering: $1"
        printf '%s\n' "$bad" | head -n 20 | sed 's/^/    /'
    fi
}

# file:line:code of every source, comments and strings taken out, line numbers kept.
code_of() {
    awk '
    FNR == 1 { inside = 0 }
    {
        s = $0; out = ""
        while (length(s)) {
            if (inside) {
                i = index(s, "*/"); if (!i) break
                s = substr(s, i + 2); inside = 0
            } else if (match(s, /^"([^"\\]|\\.)*"/) || match(s, /^\047([^\047\\]|\\.)*\047/)) {
                out = out "\"\""; s = substr(s, RLENGTH + 1)
            } else if (substr(s, 1, 2) == "//") break
            else if (substr(s, 1, 2) == "/*") { inside = 1; s = substr(s, 3) }
            else { out = out substr(s, 1, 1); s = substr(s, 2) }
        }
        if (out ~ /[^ \t]/) print FILENAME ":" FNR ":" out
    }' "$@"
}

# Which folders a folder may include from.
allowed() {
    case $1 in
    tensor)   echo "tensor" ;;
    autograd) echo "tensor autograd" ;;
    nn)       echo "tensor autograd nn" ;;
    optim)    echo "tensor autograd nn optim" ;;
    data)     echo "tensor data" ;;
    transfer) echo "$folders" ;;
    esac
}

upward() {
    for d in $folders; do
        [ -d "$d" ] || continue
        # Paths are written from the root of the tree; "name.h" alone and "../x" are looked at as well.
        grep -rnE '^[ \t]*#[ \t]*include[ \t]*"' --include='*.[ch]' --include='*.inc' --include='*.def' "$d" |
            awk -F'"' -v ok="$(allowed "$d")" '
            BEGIN { n = split(ok, a, " "); for (i = 1; i <= n; i++) may[a[i]] = 1 }
            { path = $2
              if (path ~ /\.\.\//) { print $0 "   (write it from the root)"; next }
              top = path; if (!sub(/\/.*/, "", top)) top = ""
              if (path == "tlvision.h" || (top != "" && !(top in may))) print $0 }'
    done
}

# Undefined symbols: "member symbol", a line each; members have their source's name.
undefined() {
    "$nm" -A -u "$lib" 2>/dev/null |
        awk '{ sub(/@.*/, "", $NF); split($1, part, ":"); print part[2], $NF }'
}

alloc='malloc|calloc|realloc|free|aligned_alloc|posix_memalign|memalign|valloc|strdup|strndup|asprintf|vasprintf'
loud='printf|puts|putchar|vprintf|perror|exit|_Exit|_exit|quick_exit|abort|atexit|assert|__assert_fail|raise|signal|system'
stateful='rand|srand|random|srandom|drand48|strtok|localtime|gmtime|asctime|ctime|setlocale|getopt|setenv|putenv'

code=$(sources | while read -r f; do code_of "$f"; done)
undef=$(undefined)
[ -n "$code" ] || { echo "layering: no sources"; exit 1; }
[ -n "$undef" ] || { echo "layering: no symbols in $lib"; exit 1; }

upward | verdict "an include points upward"

printf '%s\n' "$code" | grep -v '^tensor/sysmem\.c:' |
    grep -E "(^|[^_[:alnum:].>])($alloc)[[:space:]]*\\(" | verdict "memory outside tensor/sysmem.c"
printf '%s\n' "$undef" | grep -v '^sysmem\.o ' | grep -E " ($alloc)\$" |
    verdict "an object other than sysmem.o refers to malloc and kin"

printf '%s\n' "$code" |
    grep -E "(^|[^_[:alnum:].>])($loud|$stateful)[[:space:]]*\\(|[^_[:alnum:]](stdout|stderr|stdin)([^_[:alnum:]]|\$)" |
    verdict "the library prints, ends the program or calls a function with hidden state"
printf '%s\n' "$undef" | grep -E " ($loud|$stateful|stdout|stderr|stdin|__printf_chk|__vprintf_chk)\$" |
    verdict "an object refers to a function that prints, ends the program or has hidden state"

# Constant tables of pointers are relocated (.data.rel.ro) and read-only when the program runs.
objdump -t "$lib" 2>/dev/null |
    awk '/:     file format/ { file = $1 } / O /{ sec = ""
         for (i = 1; i <= NF; i++) if ($i ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*|COMMON)/) sec = $i
         if (sec != "" && sec !~ /^\.data\.rel\.ro/) print file, sec, $NF }' |
    verdict "a writable variable at file scope or a static local"

"$nm" -g --defined-only "$lib" 2>/dev/null | awk 'NF == 3 && $3 !~ /^tlvi?_/ { print $3 }' |
    verdict "an external symbol without the prefix tlv_ or tlvi_"

kernels=$(cd tensor/kernels && printf '%s\n' *.c | sed 's/\.c$//' | paste -sd '|')
printf '%s\n' "$undef" |
    grep -E "^($kernels)\.o (exp|exp2|expm1|log|log2|log10|log1p|pow|sin|cos|tan|sinh|cosh|tanh|erf|erfc|cbrt|atan|atan2|hypot|fmod)f\$" |
    verdict "a kernel calls an f32 function of libm"

{ git ls-files -co --exclude-standard 2>/dev/null || find . -type f -not -path './build/*'; } |
    grep -E '\.(c|h|inc|def|sh|py)$' | sed 's,.*/,,' | sort | uniq -d | verdict "two files of one name"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
