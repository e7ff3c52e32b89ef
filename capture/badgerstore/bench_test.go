package badgerstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// benchCommit measures commits, with the sync and, as the CPU alone, without
// writing at all.
func benchCommit(b *testing.B, batch func(w *writer, i int) *capture.Batch) {
	for _, dry := range []bool{false, true} {
		name := "synced"
		if dry {
			name = "no write"
		}
		b.Run(name, func(b *testing.B) {
			s := openStore(b, newEngine(b))
			w := newWriter(b, s)
			w.clicks(manyClicks(64)...)
			if dry {
				s.commitAt = func(*badger.Txn, uint64) error { return nil }
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Commit(ctx, batch(w, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func manyClicks(n int) (clicks []*capture.Click) {
	for i := range n {
		clicks = append(clicks, click(day.Add(time.Duration(i)*time.Millisecond), fmt.Sprint("c", i%4)))
	}
	return clicks
}

func BenchmarkCommit1Click(b *testing.B) {
	clicks := manyClicks(1)
	benchCommit(b, func(w *writer, _ int) *capture.Batch {
		return w.batch([]*capture.Block{w.block(clicks...)}, nil)
	})
}

func BenchmarkCommit64Clicks(b *testing.B) {
	clicks := manyClicks(64)
	benchCommit(b, func(w *writer, _ int) *capture.Batch {
		return w.batch([]*capture.Block{w.block(clicks...)}, nil)
	})
}

func BenchmarkCommit64Postbacks(b *testing.B) {
	benchCommit(b, func(w *writer, i int) *capture.Batch {
		clicks := manyClicks(64)
		w.block(clicks...) // for their Refs; they are read ahead, so never written
		var posts []*capture.Postback
		for j, c := range clicks {
			p := postback(c, txid(i*64+j), day.Add(time.Hour))
			p.Click = c
			posts = append(posts, p)
		}
		return w.batch(nil, posts)
	})
}

// BenchmarkCommit64PostbacksBeside has 10,000 others that wait in quarantine.
func BenchmarkCommit64PostbacksBeside(b *testing.B) {
	s := openStore(b, newEngine(b))
	w := newWriter(b, s)
	w.clicks(manyClicks(64)...)
	for i := range 100 {
		var waits []*capture.Postback
		for j := range 100 {
			waits = append(waits, nobody(fmt.Sprint(i*100+j), day))
		}
		w.commit(nil, waits)
	}
	s.commitAt = func(*badger.Txn, uint64) error { return nil }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		clicks := manyClicks(64)
		w.block(clicks...)
		var posts []*capture.Postback
		for j, c := range clicks {
			p := postback(c, txid(i*64+j), day.Add(time.Hour))
			p.Click = c
			posts = append(posts, p)
		}
		if err := s.Commit(ctx, w.batch(nil, posts)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClick looks clicks up: in full blocks, in blocks of their own, and in
// records of merged blocks, of one click each and as many as fit.
func BenchmarkClick(b *testing.B) {
	for _, kind := range []struct {
		name     string
		perBlock int
		merged   bool
	}{
		{"full blocks", capture.BlockClicks, false}, {"single", 1, false},
		{"merged", 1, true}, {"merged, 4 each", capture.MergedClicks / groupBlocks, true},
	} {
		b.Run(kind.name, func(b *testing.B) {
			s := openStore(b, newEngine(b))
			w := newWriter(b, s)
			var all []*capture.Click
			for range 100 {
				var blocks []*capture.Block
				clicks := manyClicks(640)
				all = append(all, clicks...)
				for ; len(clicks) > 0; clicks = clicks[kind.perBlock:] {
					blocks = append(blocks, w.block(clicks[:kind.perBlock]...))
				}
				w.commit(blocks, nil)
			}
			if kind.merged {
				if err := s.mergeAll(); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.flush(ctx); err != nil {
				b.Fatal(err)
			}
			for name, look := range map[string]func(context.Context, clickid.Ref) (*capture.Click, error){
				"whole": s.Click, "to book": s.ClickToBook,
			} {
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						if _, err := look(ctx, all[i*7919%len(all)].Ref); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// BenchmarkReport reports 200,000 clicks of 30 days in 20 campaigns.
func BenchmarkReport(b *testing.B) {
	s := openStore(b, newEngine(b))
	w := newWriter(b, s)
	const n = 200_000
	var clicks []*capture.Click
	for i := range n {
		clicks = append(clicks, click(day.Add(time.Duration(i)*(30*24*time.Hour/n)), fmt.Sprint("campaign-", i%20)))
		if len(clicks) == 640 || i == n-1 {
			w.clicks(clicks...)
			clicks = nil
		}
	}
	if err := s.flush(ctx); err != nil {
		b.Fatal(err)
	}
	q := attribution.Query{By: []string{"campaign", "day"}, From: day, To: day.Add(31 * 24 * time.Hour)}
	for _, way := range []struct {
		name string
		read func(txn *transaction, to *attribution.Builder) error
	}{
		{"cells", func(txn *transaction, to *attribution.Builder) error { return s.reportCells(ctx, txn, q, to) }},
		{"records", func(txn *transaction, to *attribution.Builder) error { return s.reportRecords(ctx, txn, q, to) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				to := attribution.NewBuilder(q)
				err := s.view(ctx, func(txn *transaction) error { return way.read(txn, to) })
				if err != nil {
					b.Fatal(err)
				}
				if got := to.Report().Total.Clicks; got != n {
					b.Fatalf("%d clicks are counted", got)
				}
			}
		})
	}
}
