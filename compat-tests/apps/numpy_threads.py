# numpy_threads.py - products of matrices from several threads, before and after fork.
#
#   python3 numpy_threads.py SIDE

import os
import sys
import threading

import numpy as np

side = int(sys.argv[1])
a = (np.arange(side * side, dtype=np.float64) % 97).reshape(side, side)
sums = [0.0] * 6


def work(k):
    for _ in range(3):
        sums[k] += float((a @ (a + k)).sum())


threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("threads", sums)
print("rank", np.linalg.matrix_rank(np.eye(side)))
sys.stdout.flush()
if os.fork() == 0:
    print("child", float((a @ a).sum()), flush=True)
    os._exit(0)
os.wait()
print("parent", float((a @ a).sum()))
