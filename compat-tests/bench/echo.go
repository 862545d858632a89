// echo.go - the Go twin of echo.c: one goroutine per connection on both sides, and a process
// for each side.
//
//	echo CONNECTIONS [SECONDS]
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const size = 16
const ahead = 500

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

func die(what string, err error) {
	fmt.Fprintln(os.Stderr, "echo:", what, err)
	os.Exit(1)
}

func cpuSeconds() float64 {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}

// The process "echo serve" says its address, and what it has done for each line it is sent.
func server() {
	var accepted int64
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		die("listen", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			atomic.AddInt64(&accepted, 1)
			go serve(c)
		}
	}()
	fmt.Println(l.Addr().String())
	for {
		var line string
		if _, err := fmt.Scanln(&line); err != nil {
			return
		}
		fmt.Println(atomic.LoadInt64(&accepted), cpuSeconds())
	}
}

func main() {
	n, seconds := 500, 2.0
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		lim.Cur = lim.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		server()
		return
	}
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	if len(os.Args) > 2 {
		seconds, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	child := exec.Command(os.Args[0], "serve")
	to, _ := child.StdinPipe()
	from, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		die("server", err)
	}
	var address string
	fmt.Fscanln(from, &address)
	report := func() (accepted int64, cpu float64) {
		fmt.Fprintln(to, "?")
		fmt.Fscanln(from, &accepted, &cpu)
		return
	}
	var messages, connected, stop int64
	gate := make(chan bool) // shut until all are connected
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		for done := int64(0); i%ahead == 0 && done < int64(i); {
			time.Sleep(time.Millisecond)
			done, _ = report()
		}
		go func(i int) {
			defer wg.Done()
			c, err := net.Dial("tcp4", address)
			if err != nil {
				die("dial", err)
			}
			atomic.AddInt64(&connected, 1)
			<-gate
			out, in := bytes.Repeat([]byte{byte(i)}, size), make([]byte, size)
			for atomic.LoadInt64(&stop) == 0 {
				c.Write(out)
				if _, err := io.ReadFull(c, in); err != nil || !bytes.Equal(in, out) {
					die("wrong answer", err)
				}
				atomic.AddInt64(&messages, 1)
			}
			c.Close()
		}(i)
	}
	accepted, theirs := report()
	for atomic.LoadInt64(&connected) < int64(n) || accepted < int64(n) {
		time.Sleep(10 * time.Millisecond)
		accepted, theirs = report()
	}
	close(gate)
	time.Sleep(time.Second)
	_, theirs = report()
	before, start, cpu := atomic.LoadInt64(&messages), time.Now(), cpuSeconds()+theirs
	time.Sleep(time.Duration(seconds * 1e9))
	done := float64(atomic.LoadInt64(&messages) - before)
	took := time.Since(start).Seconds()
	_, theirs = report()
	cpu = cpuSeconds() + theirs - cpu
	atomic.StoreInt64(&stop, 1)
	wg.Wait()
	to.Close()
	child.Wait()
	fmt.Printf("echo %.0f ns\necho_cpu %.0f ns\n", 1e9*took/done, 1e9*cpu/done)
}
