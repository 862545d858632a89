"""python_threads.py - N threads that all live at once, in plain Python.

Each thread waits at a barrier until all are there, works with a lock, a condition, a
queue, thread-local data and a short sleep, and leaves a number; the sum is known
beforehand. The output is the same on every run.
"""
import queue
import sys
import threading
import time

N = int(sys.argv[1]) if len(sys.argv) > 1 else 2000

barrier = threading.Barrier(N + 1)
lock = threading.Lock()
turn = threading.Condition()
local = threading.local()
results = queue.Queue()
counter = 0
generation = 0


def worker(i):
    global counter
    local.value = i
    barrier.wait()
    for _ in range(5):
        with lock:
            counter += 1
    time.sleep(0.001 * (i % 10))
    with turn:
        while generation == 0:
            turn.wait()
    assert local.value == i, "thread-local data was mixed up"
    results.put((i, sum(range(i % 100))))


threads = [threading.Thread(target=worker, args=(i,)) for i in range(N)]
for t in threads:
    t.start()
barrier.wait()
print("live threads:", threading.active_count() - 1)
with turn:
    generation = 1
    turn.notify_all()
for t in threads:
    t.join(60)
    assert not t.is_alive(), "a thread did not end"
got = sorted(results.get_nowait() for _ in range(N))
assert [i for i, _ in got] == list(range(N)), "results are missing"
assert all(s == sum(range(i % 100)) for i, s in got), "wrong results"
assert counter == 5 * N, "the lock lost updates"
print("counter:", counter, "sum:", sum(s for _, s in got))
