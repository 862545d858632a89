# shellcheck shell=bash
# sort --parallel=8: threads created and joined in a tree, mutex and condition per node.
needs sort coreutils || return 1
mb=$(pick 24 96)
input "text$mb" "$mb"
step "sort --parallel=8 ${mb} MB" sort --parallel=8 -S 512M "$IN/text$mb"
step "sort -u --parallel=8, small buffer" sort -u --parallel=8 -S 4M -T . "$IN/text$mb"
step "sort --parallel=8 numbers" sh -c 'seq 1 400000 | sort --parallel=8 -S 256M -rn'
