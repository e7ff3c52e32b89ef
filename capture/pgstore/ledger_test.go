package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestLedgersThroughCuts: two ledgers on one store, whose connections are cut in
// the middle of commits again and again. Each click is recorded on one and
// converted on the other; nothing is lost or doubled.
func TestLedgersThroughCuts(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	first := fresh(t)
	first.DSN = p.dsn()
	var ledgers [2]*capture.Ledger
	for i, e := range []*Engine{first, another(t, first)} {
		l, err := capture.OpenLedger(t.Context(), e, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ledgers[i] = l
	}
	const visitors, cuts = 6, 8
	stop := make(chan struct{})
	var cutting, wg sync.WaitGroup
	cutting.Go(func() {
		for i := int32(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(400 * time.Millisecond): // longer than a ledger pauses, or it would never get on
				if p.cut.Load() >= cuts { // those under way have to get to their end
					return
				}
				p.mode.Store(cutsBefore + i%2)
			}
		}
	})
	var clicks, booked, again atomic.Int64
	begin := time.Now()
	for v := range visitors {
		wg.Go(func() {
			for i := 0; p.cut.Load() < cuts; i++ {
				clicks.Add(1)
				c := &capture.Click{Time: time.Now(), Campaign: "acme", Source: fmt.Sprint(v)}
				if saved := ledgers[i%2].Wait(ledgers[i%2].Record(c), time.Minute); saved == capture.SavedNever {
					t.Errorf("a click was lost")
					return
				}
				for {
					post := sale(c, "1")
					post.Time = time.Now()
					err := ledgers[(i+1)%2].Book(t.Context(), post)
					if err == nil && post.Result.Outcome != capture.Quarantined {
						booked.Add(1)
						break
					}
					// It came before its click, or is to come again.
					if again.Add(1); err != nil && !errors.Is(err, capture.ErrUnavailable) {
						t.Errorf("booking: %v", err)
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	cutting.Wait()
	p.mode.Store(passes)
	for _, l := range ledgers {
		if err := l.Close(); err != nil && !errors.Is(err, capture.ErrUnavailable) {
			t.Error(err)
		}
	}
	direct := another(t, first)
	direct.DSN = fresh(t).DSN
	n := open(t, direct)
	r, err := n.s.Report(context.Background(), attribution.Query{From: begin.Add(-time.Hour), To: time.Now().Add(time.Hour)})
	n.must(err)
	want := clicks.Load()
	if r.Total.Clicks != want || r.Total.Conversions != want || booked.Load() != want {
		t.Errorf("%d were booked, and the report counts %+v, want %d", booked.Load(), r.Total, want)
	}
	t.Logf("%d clicks, %d cuts, %d times again", want, p.cut.Load(), again.Load())
	n.healthy()
}
