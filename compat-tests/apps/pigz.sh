# shellcheck shell=bash
# pigz: mutex + condition variable ("yarn" locks), a pipeline of worker threads.
needs pigz pigz || return 1
mb=$(pick 16 128)
input "text$mb" "$mb"
step -k text.gz "pigz -p4 compress ${mb} MB" pigz -p4 -c -n "$IN/text$mb"
step -k text16.gz "pigz -p16 -b128 compress" pigz -p16 -b 128 -c -n "$IN/text$mb"
step "pigz decompress" pigz -d -c "$IN/text.gz"
step "pigz test archive" pigz -t "$IN/text16.gz"
