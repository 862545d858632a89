# shellcheck shell=bash
# xz -T4: liblzma's threaded encoder, which waits with deadlines on CLOCK_MONOTONIC.
needs xz xz-utils || return 1
mb=$(pick 12 64)
input "text$mb" "$mb"
step -k text.xz "xz -T4 -1 compress ${mb} MB" xz -T4 -1 --block-size=1MiB -c "$IN/text$mb"
step "xz -T4 decompress" xz -d -T4 -c "$IN/text.xz"
step "xz -T4 integrity check" xz -t -T4 "$IN/text.xz"
