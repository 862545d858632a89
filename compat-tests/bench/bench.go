// bench.go - the Go twin of bench.c: the same measurements with Go's own means.
//
//	bench NAME [ARGUMENT]
//
// Goroutines for threads, channels for semaphores, sync.Cond and sync.Mutex. Prints lines
// "name value unit" like bench.c; see there for how each is measured.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	samples    = 5
	calibrate  = 30 * time.Millisecond
	batch      = 1000
	hotThreads = 8
	hogs       = 4
)

func measure(name string, loop func(n int), opsPerN float64) {
	n := 1
	for ; ; n *= 2 {
		start := time.Now()
		loop(n)
		if time.Since(start) >= calibrate {
			break
		}
	}
	all := make([]float64, samples)
	for i := range all {
		start := time.Now()
		loop(n)
		all[i] = float64(time.Since(start).Nanoseconds()) / float64(n) / opsPerN
	}
	sort.Float64s(all)
	fmt.Printf("%s %.2f ns\n", name, all[samples/2])
}

func loopCreateJoin(n int) {
	done := make(chan struct{})
	for i := 0; i < n; i++ {
		go func() { done <- struct{}{} }()
		<-done
	}
}

func loopCreateBatch(n int) {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(batch)
		for k := 0; k < batch; k++ {
			go wg.Done()
		}
		wg.Wait()
	}
}

func loopYield(n int) {
	var wg sync.WaitGroup
	wg.Add(2)
	for i := 0; i < 2; i++ {
		go func() {
			for k := 0; k < n; k++ {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func loopSem(n int) {
	ping, pong := make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		for i := 0; i < n; i++ {
			<-ping
			pong <- struct{}{}
		}
	}()
	for i := 0; i < n; i++ {
		ping <- struct{}{}
		<-pong
	}
}

func loopLocked(n int) {
	ping, pong := make(chan struct{}, 1), make(chan struct{}, 1)
	runtime.LockOSThread()
	go func() {
		runtime.LockOSThread()
		for i := 0; i < n; i++ {
			<-ping
			pong <- struct{}{}
		}
	}()
	for i := 0; i < n; i++ {
		ping <- struct{}{}
		<-pong
	}
	runtime.UnlockOSThread()
}

func loopCond(n int) {
	var m sync.Mutex
	cond := sync.NewCond(&m)
	turn := 0
	side := func(me int) {
		m.Lock()
		for i := 0; i < n; i++ {
			for turn != me {
				cond.Wait()
			}
			turn = 1 - me
			cond.Signal()
		}
		m.Unlock()
	}
	done := make(chan struct{})
	go func() {
		side(1)
		close(done)
	}()
	side(0)
	<-done
}

var lock sync.Mutex

func loopMutex(n int) {
	for i := 0; i < n; i++ {
		lock.Lock()
		lock.Unlock()
	}
}

func benchMutex() {
	measure("mutex_before", loopMutex, 1)
	loopCreateJoin(1)
	measure("mutex_after", loopMutex, 1)
}

func loopHot(n int) {
	var wg sync.WaitGroup
	counter := 0
	wg.Add(hotThreads)
	for i := 0; i < hotThreads; i++ {
		go func() {
			for k := 0; k < n; k++ {
				lock.Lock()
				counter++
				lock.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func fieldKB(file, name string) float64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if part := strings.Fields(s.Text()); len(part) > 1 && part[0] == name {
			kb, _ := strconv.ParseFloat(part[1], 64)
			return kb
		}
	}
	return 0
}

func benchParked(n int) {
	gates := make([]chan struct{}, n)
	for i := range gates {
		gates[i] = make(chan struct{}, 1)
	}
	var parked int64
	var wg sync.WaitGroup
	all := make(chan struct{})
	runtime.GC()
	rss := fieldKB("/proc/self/smaps_rollup", "Rss:")
	available := fieldKB("/proc/meminfo", "MemAvailable:")
	start := time.Now()
	wg.Add(n)
	for i := 0; i < n; i++ {
		go func(gate chan struct{}) {
			if atomic.AddInt64(&parked, 1) == int64(n) {
				close(all)
			}
			<-gate
			wg.Done()
		}(gates[i])
	}
	<-all
	fmt.Printf("parked_create %.2f ns\n",
		float64(time.Since(start).Nanoseconds())/float64(n))
	time.Sleep(200 * time.Millisecond)
	fmt.Printf("parked_rss %.2f KB\n",
		(fieldKB("/proc/self/smaps_rollup", "Rss:")-rss)/float64(n))
	fmt.Printf("parked_all %.2f KB\n",
		(available-fieldKB("/proc/meminfo", "MemAvailable:"))/float64(n))
	start = time.Now()
	for _, gate := range gates {
		gate <- struct{}{}
	}
	wg.Wait()
	fmt.Printf("parked_join %.2f ns\n",
		float64(time.Since(start).Nanoseconds())/float64(n))
	fmt.Printf("parked_live %d threads\n", n)
}

func benchSleeper() {
	var stop int32
	const naps = 400
	late := make([]float64, naps)
	for i := 0; i < hogs; i++ {
		go func() {
			x := uint64(1)
			for atomic.LoadInt32(&stop) == 0 {
				x = x*6364136223846793005 + 1
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		for i := range late {
			start := time.Now()
			time.Sleep(time.Millisecond)
			late[i] = float64((time.Since(start) - time.Millisecond).Nanoseconds()) / 1e3
		}
		close(done)
	}()
	<-done
	atomic.StoreInt32(&stop, 1)
	sort.Float64s(late)
	fmt.Printf("sleeper_p50 %.1f us\nsleeper_p99 %.1f us\n", late[naps/2], late[naps*99/100])
}

func main() {
	name, arg := "", 10000
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if len(os.Args) > 2 {
		arg, _ = strconv.Atoi(os.Args[2])
	}
	time.AfterFunc(300*time.Second, func() { os.Exit(1) })
	switch name {
	case "create_join":
		measure(name, loopCreateJoin, 1)
	case "create_batch":
		measure(name, loopCreateBatch, batch)
	case "yield":
		measure(name, loopYield, 2)
	case "sem":
		measure(name, loopSem, 1)
	case "locked":
		measure(name, loopLocked, 1)
	case "cond":
		measure(name, loopCond, 1)
	case "mutex":
		benchMutex()
	case "hot":
		measure(name, loopHot, hotThreads)
	case "parked":
		benchParked(arg)
	case "sleeper":
		benchSleeper()
	default:
		fmt.Fprintln(os.Stderr, "usage: bench create_join|create_batch|yield|sem|cond|mutex|"+
			"hot|parked [N]|sleeper")
		os.Exit(2)
	}
}
