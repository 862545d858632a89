#!/bin/sh
# java_jstack.sh DIRECTORY - looks at a running JVM with jstack: attach, thread dump, and
# SIGQUIT's dump; then ends it with SIGTERM, so that the shutdown hooks run.
java -Xmx256m -cp "$1" JavaThreads 1 sleep > out.txt 2>&1 &
jvm=$!
while kill -0 $jvm 2> /dev/null && ! grep -q '^done' out.txt; do sleep 0.2; done
for _ in 1 2 3; do
    timeout 30 jstack $jvm > dump 2>&1
    echo "jstack $? main: $(grep -c '^"main"' dump) sleeping: $(grep -c 'Thread.sleep' dump)"
done
kill -QUIT $jvm
sleep 1
echo "dump: $(grep -c '^Full thread dump' out.txt)"
kill -TERM $jvm
wait $jvm
echo "ended with $?"
grep -v '^20' out.txt | sed '/^Full thread/,$d'
