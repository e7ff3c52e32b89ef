package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

const (
	crashRounds  = 25
	crashCheck   = 25 // rounds between two checks of everything
	crashStartup = 30 * time.Second
)

// TestCrashRounds kills a busy server at random moments, again and again on one store. Every start
// must be quick, and find everything that was acknowledged, exactly once.
func TestCrashRounds(t *testing.T) {
	t.Parallel()
	rounds := crashRounds
	if text := os.Getenv("CAPTURE_CRASH_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("CAPTURE_CRASH_ROUNDS is %q: a number is wanted", text)
		}
		rounds = n
	}
	s := startServer(t, witnessSite)
	w := newWitness(s)
	var all finding
	var slowest time.Duration
	begin := time.Now()
	for n := range rounds {
		w.round(fmt.Sprintf("round%d", n))
		w.start()
		time.Sleep(time.Duration(50+rand.IntN(350)) * time.Millisecond)
		w.ending.Store(true)
		s.kill()
		w.stop(t)

		s.forgetLogs()
		start := time.Now()
		s.start()
		took := time.Since(start)
		slowest = max(slowest, took)
		if took > crashStartup {
			t.Errorf("round %d: the server took %v to start\n%s", n, took, s.logs())
		}
		all.add(w.claims().verify(t, s))
		s.verifyTotal(t, all)
		if n%crashCheck == crashCheck-1 || n == rounds-1 {
			s.check()
		}
		if t.Failed() {
			t.Fatalf("in round %d", n)
		}
	}
	t.Logf("%d rounds, %v each: %d clicks, %d conversions; the slowest start took %v",
		rounds, time.Since(begin)/time.Duration(rounds), all.clicks, all.sales, slowest)
	s.stop()
}

// forgetLogs leaves in the log what the server says from now on.
func (s *server) forgetLogs() {
	s.t.Helper()
	if err := os.Truncate(s.logFile(), 0); err != nil {
		s.t.Fatal(err)
	}
}

// check runs the command that compares the sums with the records, which must find nothing.
func (s *server) check() {
	s.t.Helper()
	if r := s.caddy("capture", "check"); r.code != 0 {
		s.t.Errorf("caddy capture check: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
