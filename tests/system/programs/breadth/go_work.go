// Goroutines, a server and its clients, children, a signal, collections, preemption, a fault that becomes a panic.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func each(count int, run func(int)) {
	var group sync.WaitGroup
	for i := 0; i < count; i++ {
		group.Add(1)
		go func(i int) { defer group.Done(); run(i) }(i)
	}
	group.Wait()
}

func main() {
	var lock sync.Mutex
	total := 0
	each(2000, func(i int) {
		block := make([]byte, 4096)
		block[0] = byte(i)
		sum := sha256.Sum256(block)
		lock.Lock()
		total += int(sum[0])
		lock.Unlock()
		runtime.Gosched()
	})
	fmt.Println(total)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hi ", r.URL.Path) }))
	each(100, func(i int) {
		answer, err := http.Get(fmt.Sprint(server.URL, "/", i))
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(body) != fmt.Sprint("hi /", i) {
			fmt.Println("bad", string(body))
		}
	})
	server.Close()
	for i := 0; i < 5; i++ {
		said, err := exec.Command("sh", "-c", "echo $0", "child").Output()
		fmt.Print(string(said), err, "\n")
	}
	fmt.Println(exec.Command("false").Run())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	var kept [][]byte
	for i := 0; i < 200; i++ {
		kept = append(kept, make([]byte, 1<<18))
		if i%50 == 0 {
			kept = nil
			runtime.GC()
		}
	}
	fmt.Println(len(kept))
	go func() {
		for {
		}
	}()
	time.Sleep(100 * time.Millisecond)
	runtime.GC() // stops the endless loop by a signal first
	defer func() { fmt.Println("recovered", recover()); os.Exit(4) }()
	var nowhere *int
	*nowhere = 1
}
