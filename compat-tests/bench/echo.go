// echo.go - the Go twin of echo.c: one goroutine per connection on both sides.
//
//	echo CONNECTIONS [SECONDS]
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const size = 16

func serve(c net.Conn) {
	buf := make([]byte, size)
	for {
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		if _, err = c.Write(buf[:n]); err != nil {
			break
		}
	}
	c.Close()
}

func cpuSeconds() float64 {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}

func main() {
	n, seconds := 500, 2.0
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	if len(os.Args) > 2 {
		seconds, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		lim.Cur = lim.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	var messages, connected, stop int64
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		go func(i int) {
			defer wg.Done()
			c, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			atomic.AddInt64(&connected, 1)
			out, in := bytes.Repeat([]byte{byte(i)}, size), make([]byte, size)
			for atomic.LoadInt64(&stop) == 0 {
				c.Write(out)
				if _, err := io.ReadFull(c, in); err != nil || !bytes.Equal(in, out) {
					fmt.Fprintln(os.Stderr, "echo: wrong answer", err)
					os.Exit(1)
				}
				atomic.AddInt64(&messages, 1)
			}
			c.Close()
		}(i)
	}
	for atomic.LoadInt64(&connected) < int64(n) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	before, start, cpu := atomic.LoadInt64(&messages), time.Now(), cpuSeconds()
	time.Sleep(time.Duration(seconds * 1e9))
	done := float64(atomic.LoadInt64(&messages) - before)
	took := time.Since(start).Seconds()
	cpu = cpuSeconds() - cpu
	atomic.StoreInt64(&stop, 1)
	wg.Wait()
	fmt.Printf("echo %.0f ns\necho_cpu %.0f ns\n", 1e9*took/done, 1e9*cpu/done)
}
