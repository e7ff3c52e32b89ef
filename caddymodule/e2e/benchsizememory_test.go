package e2e

import (
	"fmt"
	"os"
	"time"
)

// memoryUse is what a process has of the machine's memory: its own, and what it has mapped of files,
// which the system takes back when it needs it.
type memoryUse struct{ own, files int64 }

func (m memoryUse) String() string { return fmt.Sprintf("%d + %d", m.own>>20, m.files>>20) }

func (m *memoryUse) raise(to memoryUse) {
	m.own, m.files = max(m.own, to.own), max(m.files, to.files)
}

func memoryOfProcess(pid int) (m memoryUse, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	if m.own, err = procField(string(text), "RssAnon"); err != nil {
		return m, err
	}
	m.files, err = procField(string(text), "RssFile")
	return m, err
}

// A memoryWatch looks at a process's memory ten times a second.
type memoryWatch struct {
	end  chan struct{}
	most chan memoryUse
}

func watchMemory(pid int) *memoryWatch {
	w := &memoryWatch{make(chan struct{}), make(chan memoryUse)}
	go func() {
		var most memoryUse
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := memoryOfProcess(pid); err == nil { // which may have ended
				most.raise(m)
			}
			select {
			case <-w.end:
				w.most <- most
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// stop returns the most there was.
func (w *memoryWatch) stop() memoryUse {
	close(w.end)
	return <-w.most
}
