/* mono_threads.cs - parallel queries, tasks, a bounded queue, monitors, collections, timers.
 *
 *   mono_threads LAPS */
using System;
using System.Collections.Concurrent;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

class MonoThreads
{
    static int laps;

    static int Work(int k)
    {
        int s = k;
        for (int i = 0; i < laps; i++)
            s = (int)((s * 31L + i) % 1000003);
        return s;
    }

    static Thread[] Start(int n, Action<int> body)
    {
        var threads = Enumerable.Range(0, n).Select(k => new Thread(() => body(k))).ToArray();
        foreach (var t in threads)
            t.Start();
        return threads;
    }

    static void Join(Thread[] threads)
    {
        foreach (var t in threads)
            t.Join();
    }

    static void Queue()
    {
        long sum = 0;
        var queue = new BlockingCollection<int>(10);
        var consumers = Start(8, k => {
            foreach (var x in queue.GetConsumingEnumerable())
                Interlocked.Add(ref sum, x);
        });
        for (int i = 0; i < 2000; i++)
            queue.Add(i);
        queue.CompleteAdding();
        Join(consumers);
        Console.WriteLine("queue {0}", sum);
    }

    static void Turns()
    {
        var o = new object();
        int turn = 0;
        Join(Start(4, k => {
            for (int i = 0; i < 100; i++)
                lock (o) {
                    while (turn % 4 != k)
                        Monitor.Wait(o);
                    turn++;
                    Monitor.PulseAll(o);
                }
        }));
        Console.WriteLine("turns {0}", turn);
    }

    static void Collect()
    {
        bool stop = false;
        var makers = Start(4, k => {
            while (!Volatile.Read(ref stop))
                GC.KeepAlive(new byte[1000]);
        });
        for (int i = 0; i < 5; i++)
            GC.Collect();
        Volatile.Write(ref stop, true);
        Join(makers);
        Console.WriteLine("collected");
    }

    static void Interrupt()
    {
        var sleeper = Start(1, k => {
            try {
                Thread.Sleep(100000);
            } catch (ThreadInterruptedException) {
                Console.WriteLine("interrupted");
            }
        });
        Thread.Sleep(20);
        sleeper[0].Interrupt();
        Join(sleeper);
    }

    static void Main(string[] args)
    {
        laps = int.Parse(args[0]);
        Console.WriteLine("query {0}", Enumerable.Range(0, 64).AsParallel()
            .WithDegreeOfParallelism(8).Select(Work).Sum());
        var tasks = Enumerable.Range(0, 32).Select(k => Task.Run(() => Work(k))).ToArray();
        Task.WaitAll(tasks);
        Console.WriteLine("tasks {0}", tasks.Sum(t => t.Result));
        Queue();
        Turns();
        Collect();
        Interrupt();
        int fired = 0;
        using (new Timer(_ => Interlocked.Increment(ref fired), null, 0, 5))
            while (Volatile.Read(ref fired) < 10)
                Thread.Sleep(5);
        Console.WriteLine("timer");
    }
}
