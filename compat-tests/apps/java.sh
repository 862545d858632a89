# shellcheck shell=bash
# OpenJDK: three collectors, its compilers, parallel streams, and jstack.
needs javac default-jdk-headless || return 1
build JavaThreads.java || return 1
laps=$(pick 5 40)
for collector in G1 Parallel Serial; do
    step -t 200 "OpenJDK, $collector collector" java -Xmx256m -XX:+Use${collector}GC \
        -cp "$APPS_BIN" JavaThreads "$laps"
done
step -t 200 "OpenJDK, interpreter only" java -Xmx256m -Xint -cp "$APPS_BIN" JavaThreads 1
step -t 200 "OpenJDK, jstack and SIGQUIT" sh "$APPS_DIR/java_jstack.sh" "$APPS_BIN"
