#!/bin/sh
# gdb_attach.sh PROGRAM TIMES - attaches gdb to the program several times, looks at its
# threads, calls a function in it, detaches; the program has to go on each time.
# gdb itself runs natively.
preload=${LD_PRELOAD-}
unset LD_PRELOAD
env ${preload:+LD_PRELOAD="$preload"} "$1" ready > program.out 2>&1 &
pid=$!
while [ ! -f ready ] && kill -0 $pid 2> /dev/null; do sleep 0.05; done
for i in $(seq 1 "$2"); do
    timeout 60 gdb -q -batch -nx -p $pid -ex 'info threads' -ex 'thread apply all bt 3' \
        -ex 'print (int)getpid() > 1' -ex 'tbreak play' -ex delete -ex detach > "gdb.$i" 2>&1
    echo "gdb $? threads: $(grep -q '^\* 1 ' "gdb.$i" && echo listed)" \
        "$(grep -o '^.1 = .*' "gdb.$i")" \
        "$(grep -q 'Inferior 1 .* detached' "gdb.$i" && echo detached)"
    kill -0 $pid && echo "goes on"
    sleep 0.1
done
rm -f ready
wait $pid
echo "program: $? $(cat program.out)"
