# shellcheck shell=bash
# zstd -T4: a thread pool, and asynchronous reading and writing in newer versions.
needs zstd zstd || return 1
mb=$(pick 32 256)
input "text$mb" "$mb"
step -k text.zst "zstd -T4 -3 compress ${mb} MB" zstd -q -T4 -3 -c "$IN/text$mb"
step "zstd -T4 --rsyncable -9 compress" zstd -q -T4 -9 --rsyncable -c "$IN/text$mb"
step "zstd decompress" zstd -q -d -c "$IN/text.zst"
