// JavaThreads.java - the JVM's threads: collectors, compilers, parallel streams, monitors,
// parking, interrupts, sockets, deep recursion (its stack guard pages, caught as an error).
//
//   java JavaThreads LAPS [sleep]      with "sleep" it then waits to be looked at by jstack

import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

public class JavaThreads {
    static long counter;
    static Object[] keep = new Object[64];

    static synchronized void increment() {
        counter++;
    }

    static int depth(int n) {
        return 1 + depth(n + 1);
    }

    static void garbage(int laps) throws Exception {
        List<Thread> all = new ArrayList<>();
        AtomicLong sum = new AtomicLong();
        for (int t = 0; t < 8; t++) {
            int me = t;
            Thread th = new Thread(() -> {
                for (int i = 0; i < laps * 1000; i++) {
                    byte[] b = new byte[100 + i % 5000];
                    b[i % 100] = (byte) i;
                    keep[(me * 8 + i) % 64] = b;
                    if (i % 100 == 0)
                        increment();
                    sum.addAndGet(b[i % 100]);
                }
            });
            all.add(th);
            th.start();
        }
        for (Thread th : all)
            th.join();
        System.out.println("garbage " + sum + " counter " + counter);
    }

    static void streams(int laps) {
        long s = 0;
        for (int i = 0; i < laps; i++) {
            s += LongStream.range(0, 200_000).parallel().map(x -> x * x % 7).sum();
            s += IntStream.range(0, 50_000).parallel().mapToObj(Integer::toString).sorted()
                .limit(100).mapToLong(Long::parseLong).sum();
        }
        System.out.println("streams " + s);
    }

    static void overflow() throws Exception {
        int[] caught = new int[1];
        Thread th = new Thread(null, () -> {
            for (int i = 0; i < 10; i++) {
                try {
                    depth(0);
                } catch (StackOverflowError e) {
                    caught[0]++;
                }
            }
        }, "deep", 1 << 20);
        th.start();
        th.join();
        try {
            Object o = null;
            o.hashCode();
        } catch (NullPointerException e) {
            caught[0]++;
        }
        System.out.println("caught " + caught[0]);
    }

    static void sockets() throws Exception {
        ServerSocket server = new ServerSocket(0);
        ExecutorService pool = Executors.newCachedThreadPool();
        List<Future<Integer>> answers = new ArrayList<>();
        pool.submit(() -> {
            while (true) {
                Socket s = server.accept();
                pool.submit(() -> {
                    int b;
                    while ((b = s.getInputStream().read()) >= 0)
                        s.getOutputStream().write(b + 1);
                    s.close();
                    return null;
                });
            }
        });
        for (int i = 0; i < 30; i++)
            answers.add(pool.submit(() -> {
                int sum = 0;
                try (Socket s = new Socket("127.0.0.1", server.getLocalPort())) {
                    for (int k = 0; k < 50; k++) {
                        s.getOutputStream().write(k);
                        sum += s.getInputStream().read();
                    }
                }
                return sum;
            }));
        int sum = 0;
        for (Future<Integer> f : answers)
            sum += f.get();
        System.out.println("sockets " + sum);
        server.close();
        pool.shutdown();
        System.out.println("ended " + pool.awaitTermination(20, TimeUnit.SECONDS));
    }

    static void waits() throws Exception {
        SynchronousQueue<Integer> q = new SynchronousQueue<>();
        CountDownLatch ready = new CountDownLatch(1);
        Thread sleeper = new Thread(() -> {
            ready.countDown();
            try {
                Thread.sleep(100_000);
            } catch (InterruptedException e) {
                LockSupport.parkNanos(1_000_000);
                System.out.println("interrupted");
            }
        });
        Thread producer = new Thread(() -> {
            try {
                for (int i = 0; i < 2000; i++)
                    q.put(i);
            } catch (InterruptedException e) {
                System.out.println("unexpected");
            }
        });
        sleeper.start();
        producer.start();
        long sum = 0;
        for (int i = 0; i < 2000; i++)
            sum += q.take();
        ready.await();
        sleeper.interrupt();
        sleeper.join();
        System.out.println("handed over " + sum);
    }

    public static void main(String[] args) throws Exception {
        int laps = Integer.parseInt(args[0]);
        garbage(laps);
        streams(laps);
        overflow();
        sockets();
        waits();
        System.gc();
        System.out.println("done");
        if (args.length > 1)
            Thread.sleep(60_000);
    }
}
