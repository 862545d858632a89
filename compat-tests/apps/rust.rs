// rust.rs - what a Rust program does with threads, each part checked.
//
//   rust [LAPS]
//
// std::thread, scoped threads, mpsc, Mutex/Condvar/RwLock/Barrier/Once (futexes in std),
// thread_local! with Drop, park/unpark, panics caught by join. The output does not depend
// on the schedule.

use std::cell::RefCell;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

fn threads_and_channels() {
    let (tx, rx) = mpsc::channel::<usize>();
    let all: Vec<_> = (0..16)
        .map(|i| {
            let tx = tx.clone();
            thread::spawn(move || {
                for k in 0..200 {
                    tx.send(i * 200 + k).unwrap();
                }
                i
            })
        })
        .collect();
    drop(tx);
    let sum: usize = rx.iter().sum();
    assert_eq!(sum, 3200 * 3199 / 2);
    for (i, t) in all.into_iter().enumerate() {
        assert_eq!(t.join().unwrap(), i);
    }
    let (tx, rx) = mpsc::sync_channel::<u32>(0); // a rendezvous for each message
    let t = thread::spawn(move || (0..500).for_each(|k| tx.send(k).unwrap()));
    for k in 0..500 {
        assert_eq!(rx.recv_timeout(Duration::from_secs(60)), Ok(k));
    }
    assert_eq!(rx.recv(), Err(mpsc::RecvError));
    t.join().unwrap();
}

fn scoped() {
    let data: Vec<u64> = (0..10_000).collect();
    let total = AtomicUsize::new(0);
    thread::scope(|s| {
        for chunk in data.chunks(700) {
            let total = &total;
            s.spawn(move || total.fetch_add(chunk.iter().sum::<u64>() as usize, SeqCst));
        }
    });
    assert_eq!(total.load(SeqCst), 10_000 * 9_999 / 2);
}

fn locks() {
    let pair = Arc::new((Mutex::new((0usize, 0usize)), Condvar::new()));
    let all: Vec<_> = (0..8)
        .map(|i| {
            let pair = pair.clone();
            thread::spawn(move || {
                let (m, cv) = &*pair;
                for _ in 0..100 {
                    let g = m.lock().unwrap();
                    let mut g = cv.wait_while(g, |g| g.0 % 8 != i).unwrap();
                    g.0 += 1;
                    g.1 += i;
                    cv.notify_all();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*pair.0.lock().unwrap(), (800, 2800));
    let (g, late) = pair
        .1
        .wait_timeout_while(pair.0.lock().unwrap(), Duration::from_millis(2), |_| true)
        .unwrap();
    assert!(late.timed_out());
    drop(g);

    let rw = RwLock::new((0u32, 0u32));
    let barrier = Barrier::new(8);
    let leaders = AtomicUsize::new(0);
    thread::scope(|s| {
        for i in 0..8 {
            let (rw, barrier, leaders) = (&rw, &barrier, &leaders);
            s.spawn(move || {
                for k in 0..100 {
                    if (i + k) % 5 == 0 {
                        let mut w = rw.write().unwrap();
                        w.0 += 1;
                        thread::yield_now();
                        w.1 += 1;
                    } else {
                        let r = rw.read().unwrap();
                        assert_eq!(r.0, r.1);
                    }
                    if barrier.wait().is_leader() {
                        leaders.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(leaders.load(SeqCst), 100);
    assert_eq!(*rw.read().unwrap(), (160, 160));
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Noisy(String);

impl Drop for Noisy {
    fn drop(&mut self) {
        assert!(self.0.starts_with("thread "));
        DROPPED.fetch_add(1, SeqCst);
    }
}

thread_local! {
    static NAME: RefCell<Option<Noisy>> = const { RefCell::new(None) };
    static COUNT: RefCell<usize> = const { RefCell::new(3) };
}

fn thread_locals() {
    DROPPED.store(0, SeqCst);
    let all: Vec<_> = (0..40)
        .map(|i| {
            thread::Builder::new()
                .name(format!("t{i}"))
                .stack_size(64 * 1024)
                .spawn(move || {
                    COUNT.with(|c| assert_eq!(*c.borrow(), 3));
                    NAME.with(|n| *n.borrow_mut() = Some(Noisy(format!("thread {i}"))));
                    COUNT.with(|c| *c.borrow_mut() = i);
                    for k in 0..10 {
                        thread::sleep(Duration::from_micros((i * k % 50) as u64));
                    }
                    COUNT.with(|c| assert_eq!(*c.borrow(), i));
                    assert_eq!(thread::current().name(), Some(&*format!("t{i}")));
                })
                .unwrap()
        })
        .collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(DROPPED.load(SeqCst), 40);
}

fn parking() {
    let flag = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicUsize::new(0));
    let (f, n) = (flag.clone(), turns.clone());
    let sleeper = thread::spawn(move || {
        while !f.load(SeqCst) {
            thread::park();
        }
        for k in 0..200 {
            while n.load(SeqCst) <= k {
                thread::park();
            }
        }
    });
    flag.store(true, SeqCst);
    sleeper.thread().unpark();
    for _ in 0..200 {
        turns.fetch_add(1, SeqCst);
        sleeper.thread().unpark();
    }
    sleeper.join().unwrap();
    thread::current().unpark(); // a token kept for the next park
    thread::park();
    let start = Instant::now();
    thread::park_timeout(Duration::from_millis(1));
    assert!(start.elapsed() < Duration::from_secs(60));
}

fn panics() {
    let all: Vec<_> = (0..16)
        .map(|i| {
            thread::spawn(move || {
                let _guard = Noisy(format!("thread {i}"));
                if i % 2 == 0 {
                    thread::yield_now();
                    panic!("{}", i);
                }
                i
            })
        })
        .collect();
    for (i, t) in all.into_iter().enumerate() {
        match t.join() {
            Ok(v) => assert!(i % 2 == 1 && v == i),
            Err(e) => assert_eq!(e.downcast_ref::<String>(), Some(&i.to_string())),
        }
    }
    let poisoned = Arc::new(Mutex::new(1));
    let p = poisoned.clone();
    let t = thread::spawn(move || {
        let _g = p.lock().unwrap();
        panic!("poison");
    });
    assert!(t.join().is_err() && poisoned.is_poisoned());
}

fn onces() {
    let once = Once::new();
    let cell: OnceLock<String> = OnceLock::new();
    let runs = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..12 {
            s.spawn(|| {
                once.call_once(|| {
                    thread::sleep(Duration::from_millis(1));
                    runs.fetch_add(1, SeqCst);
                });
                assert_eq!(runs.load(SeqCst), 1);
                assert_eq!(cell.get_or_init(|| "made".into()), "made");
            });
        }
    });
}

fn main() {
    let laps = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(3);
    panic::set_hook(Box::new(|info| {
        // The panics that are meant carry a number or "poison"; show only the others.
        let text = info.to_string();
        if text.contains("assert") || text.contains("unwrap") {
            eprintln!("{text}");
        }
    }));
    for _ in 0..laps {
        threads_and_channels();
        scoped();
        locks();
        thread_locals();
        parking();
        panics();
        onces();
    }
    println!("Rust: {laps} laps, everything as expected");
}
