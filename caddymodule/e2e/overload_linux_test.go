package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/storetest/baddisk"
)

// Clicks that are large fill batches and the queue sooner: a slow disk is at its limit with few enough
// of them for any machine.
const (
	largeClick = 7 << 10 // bytes
	// queueBound is what the queue of clicks takes at most, whatever waits.
	queueBound = 32 << 20
)

// longStress says whether tests of stress are to take as long as people have asked for, or as CI has time for.
func longStress() bool { return os.Getenv("CAPTURE_BENCH") == "full" }

// TestOverload sends twice what a slow disk takes, and then more until there is no room left. Redirects
// go on, some postbacks are booked however many clicks wait, the others get 503, and once the disk is
// itself again all are booked, and each click is there once that the server does not say it has given up.
func TestOverload(t *testing.T) {
	baddisk.Require(t, "strace")
	s := startServer(t, stressBuild(1))
	l := newStressLoad(s)
	defer l.conns.close()
	l.start(stressRates{clicks: 200, postbacks: 20, controls: 50})
	time.Sleep(time.Second)
	l.stop()
	l.settle(t)
	l.enough = true

	heal := s.inject(t, "fdatasync,msync:delay_enter=500000")
	l.padding = padding(largeClick)
	takes := l.capacity(t)
	length := 6 * time.Second
	if longStress() {
		length = time.Minute
	}
	before := l.booked()
	var spans [][2]time.Duration
	for _, times := range []float64{2, 4} {
		begin := time.Since(l.begin)
		rates := stressRates{clicks: times * takes, postbacks: takes, controls: 50}
		peak := l.overload(t, rates, func(h stressHealth) bool {
			// Twice is for as long as that, and then as long as it takes to fill the queue.
			return time.Since(l.begin)-begin < length && (times == 2 || h.Lost == 0)
		})
		t.Logf("a disk that takes %.0f clicks of %d KiB a second was sent %g times as many for %v: "+
			"%d clicks and %d postbacks waited at most, %d clicks were given up", takes, largeClick>>10, times,
			(time.Since(l.begin) - begin).Round(time.Second), peak.Queue.Clicks, peak.Queue.Postbacks, peak.Lost)
		spans = append(spans, [2]time.Duration{begin, time.Since(l.begin)})
	}
	l.sent.Wait()
	for _, span := range spans {
		l.tell(t, span[0], span[1])
	}
	l.tellRefused(t)
	if l.refused == 0 {
		t.Error("no postback was told to come again")
	}
	if l.booked() == before {
		t.Error("no postback was booked: the clicks had the disk to themselves")
	}
	heal()
	l.settle(t)
	l.sendAgain(t)
	l.verify(t)
	s.check()
	s.stop()
}

// booked counts the postbacks that were answered with 200.
func (l *stressLoad) booked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sales {
		if s.booked {
			n++
		}
	}
	return n
}

// padding are sub-IDs of so many bytes together.
func padding(bytes int) string {
	const most = 2 << 10 // that are kept of one
	var b strings.Builder
	for n := 3; bytes > 0; n++ {
		fmt.Fprintf(&b, "&sub%d=%s", n, strings.Repeat("x", min(most, bytes)))
		bytes -= most
	}
	return b.String()
}

// capacity says how many clicks a second the disk takes when there are always more.
func (l *stressLoad) capacity(t *testing.T) float64 {
	t.Helper()
	l.start(stressRates{clicks: 800})
	defer l.halt()
	time.Sleep(1500 * time.Millisecond) // until batches are full
	look := func() series {
		m, err := parseMetrics(l.s.api("/metrics").body)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const size, took = "caddy_capture_commit_batch_size_sum", "caddy_capture_commit_duration_seconds_sum"
	before := look()
	time.Sleep(1500 * time.Millisecond)
	after := look()
	takes := (after[size] - before[size]) / (after[took] - before[took])
	if !(takes > 0) {
		t.Fatal("nothing was committed: the disk takes nothing at all")
	}
	return takes
}

// overload sends so much for as long as more wants it, and returns the most that waited.
func (l *stressLoad) overload(t *testing.T, rates stressRates, more func(stressHealth) bool) (peak stressHealth) {
	t.Helper()
	l.start(rates)
	defer l.halt()
	for going := true; going; time.Sleep(100 * time.Millisecond) {
		h := l.s.stressHealth(t)
		peak.Queue.Clicks = max(peak.Queue.Clicks, h.Queue.Clicks)
		peak.Queue.Postbacks = max(peak.Queue.Postbacks, h.Queue.Postbacks)
		peak.Lost = h.Lost
		going = more(h)
	}
	if most := queueBound / largeClick; peak.Queue.Clicks > most {
		t.Errorf("%d clicks waited, %d is what there is room for", peak.Queue.Clicks, most)
	}
	return peak
}

// tell prints what redirects took that were due in a span.
func (l *stressLoad) tell(t *testing.T, from, to time.Duration) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range []struct {
		name    string
		timings []timing
		limit   time.Duration
	}{{"clicks", l.clicks, stressLimit}, {"redir", l.controls, stressSlack}, {"postbacks", l.posts, stressLimit}} {
		s := summed(dueIn(k.timings, from, to), k.limit)
		t.Logf("%d %s: p50 %.1f ms, p99 %.1f ms, max %.1f ms; %d were answered later than %v, %d of them than that after they were sent",
			s.requests, k.name, s.p50, s.p99, s.max, s.slow, k.limit, s.stalled)
	}
}

// tellRefused prints what became of postbacks so far.
func (l *stressLoad) tellRefused(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d of %d postbacks were told to come again", l.refused, len(l.posts))
}
