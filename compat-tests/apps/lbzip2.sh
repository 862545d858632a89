# shellcheck shell=bash
# lbzip2 and plzip: workers that pass blocks on in order.
needs lbzip2 lbzip2 || return 1
needs plzip plzip || return 1
mb=$(pick 4 32)
input "text$mb" "$mb"
step -k text.lbz2 "lbzip2 -n 6 compress" lbzip2 -n 6 -c "$IN/text$mb"
step "lbzip2 -n 6 decompress" lbzip2 -n 6 -dc "$IN/text.lbz2"
step -k text.lz "plzip -n 6 compress" plzip -n 6 -0 -B 512KiB -c "$IN/text$mb"
step "plzip -n 6 decompress" plzip -n 6 -dc "$IN/text.lz"
