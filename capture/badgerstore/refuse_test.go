package badgerstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestRefusedReportEnds: when there are too many rows, what is left is not
// counted any more.
func TestRefusedReportEnds(t *testing.T) {
	t.Parallel()
	q := attribution.Query{By: []string{"sub.a"}, From: day, To: day.Add(time.Hour)}
	const pieces, each = 100, tallyMax / 16
	for name, values := range map[string]int{"too many": pieces * each, "many": attribution.MaxRows} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var counted atomic.Int64
			to := &sharedBuilder{Builder: attribution.NewBuilder(q)}
			err := inParallel(ctx, readers, pieces, &q, to, func(ctx context.Context, tl *tally) func(int) error {
				return func(piece int) error {
					for i := range each {
						tl.vals[0] = fmt.Sprint((piece*each + i) % values)
						tl.row(&names{}, period{}, func() time.Time { return day }).clicks++
					}
					counted.Add(1)
					return context.Cause(ctx) // as any scan does
				}
			})
			if values <= attribution.MaxRows {
				if err != nil || counted.Load() != pieces || to.Report().Total.Clicks != pieces*each {
					t.Errorf("%d pieces were counted: %v", counted.Load(), err)
				}
				return
			}
			mustErr(t, err, attribution.ErrTooManyRows)
			// What is in the builder, in two tallies, and in the pieces under way.
			if most := int64((attribution.MaxRows+tallyMax+2*tallyMax)/each + 2*readers); counted.Load() > most {
				t.Errorf("%d pieces were counted before the report was refused, want at most %d", counted.Load(), most)
			}
		})
	}
}

// TestRefusedReportReadsNoMore: the last block cannot be read, which a report
// that reads all of them says.
func TestRefusedReportReadsNoMore(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.noSync = true
	s := openStore(t, e)
	w := newWriter(t, s)
	// More than two full tallies, with which it is refused, another one, and a
	// piece for each reader.
	const clicks = 3*tallyMax + (readers+1)*leastBlocks*capture.BlockClicks
	subs := func(i int) []capture.Param { return []capture.Param{{Name: "a", Value: fmt.Sprint(i)}} }
	for i := 0; i < clicks; {
		var blocks []*capture.Block
		for range 30 {
			list := make([]*capture.Click, capture.BlockClicks)
			for j := range list {
				list[j] = &capture.Click{Time: day, Subs: subs(i)}
				i++
			}
			blocks = append(blocks, w.block(list...))
		}
		w.commit(blocks, nil)
	}
	s.mu.Lock()
	err := s.write(func(txn *transaction) error {
		var k keys
		return txn.Set(k.number(kindBlock, w.next.NextBlock-1), []byte{1, 2, 3})
	})
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	q := attribution.Query{By: []string{"sub.a"}, From: day, To: day.Add(time.Hour)}
	_, err = s.Report(ctx, q)
	mustErr(t, err, attribution.ErrTooManyRows)
	q.By = []string{"sub.b"}
	_, err = s.Report(ctx, q)
	mustErr(t, err, capture.ErrDamaged)
}
