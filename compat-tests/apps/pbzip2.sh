# shellcheck shell=bash
# pbzip2: a producer, consumers and a file writer around one bounded queue; and a
# thread in sigwait that pthread_kill ends.
needs pbzip2 pbzip2 || return 1
mb=$(pick 12 64)
input "text$mb" "$mb"
step -t 60 -k text.bz2 "pbzip2 -p4 compress ${mb} MB" pbzip2 -p4 -c "$IN/text$mb"
step -t 60 "pbzip2 -p8 decompress" pbzip2 -d -p8 -c "$IN/text.bz2"
