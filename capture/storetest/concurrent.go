package storetest

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// testWholeBatches reads while batches of a fixed shape are committed: three
// clicks, one of them converted, and one entry in quarantine.
func testWholeBatches(t *testing.T, p *place) {
	const batches = 60
	var committed atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	whole := attribution.Query{From: noon, To: noon.Add(30 * day)}
	scan := attribution.Query{From: noon.Add(time.Millisecond), To: noon.Add(30 * day)}
	check := func(what string, n, per, atLeast int64) {
		if n%per != 0 || n/per < atLeast {
			t.Errorf("%s: %d, while %d batches of %d were committed", what, n, atLeast, per)
		}
	}
	readers := []func(){
		func() { p.checkReport(t, whole, &committed) },
		func() { p.checkReport(t, scan, &committed) },
		func() {
			least, n := committed.Load(), int64(0)
			must(t, p.store.Journal(background, capture.JournalQuery{}, func(*capture.Entry) bool { n++; return true }))
			check("journal", n, 2, least)
		},
		func() {
			least, n := committed.Load(), int64(0)
			must(t, p.store.Conversions(background, capture.ConversionQuery{}, func(*capture.Conversion) bool { n++; return true }))
			check("conversions", n, 1, least)
		},
		func() {
			least := committed.Load()
			check("quarantine", p.store.Status().Quarantine[capture.BadPayout], 1, least)
		},
	}
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	for _, read := range readers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					read()
				}
			}
		})
	}
	for range batches {
		b, posts := p.shaped()
		p.commit(b, posts[0], posts[1])
		committed.Add(1)
		p.find(b.Clicks[2])
	}
	end()
}

func (p *place) shaped() (*capture.Block, [2]*capture.Postback) {
	clicks := []*capture.Click{p.click(), p.click(), p.click()}
	b := p.block(clicks...)
	return b, [2]*capture.Postback{p.post(clicks[0], sale), p.post(clicks[1], sale, problem(capture.BadPayout))}
}

func (p *place) checkReport(t *testing.T, q attribution.Query, committed *atomic.Int64) {
	least := committed.Load()
	r, err := p.store.Report(background, q)
	must(t, err)
	if c := r.Total; c.Clicks != 3*c.Conversions || c.Conversions != c.Approved || c.Conversions < least {
		t.Errorf("a report shows part of a batch: %d clicks, %d conversions, after %d batches", c.Clicks, c.Conversions, least)
	}
}

func must(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// everything calls all that a closed store refuses.
func (p *place) everything(c *capture.Click, id attribution.ConversionID) map[string]error {
	s := p.store
	errs := make(map[string]error)
	_, errs["Click"] = s.Click(background, c.Ref)
	_, errs["ClickToBook"] = s.ClickToBook(background, c.Ref)
	_, errs["ClickConversions"] = s.ClickConversions(background, c.Ref)
	_, errs["Conversion"] = s.Conversion(background, id)
	errs["Conversions"] = s.Conversions(background, capture.ConversionQuery{}, func(*capture.Conversion) bool { return true })
	errs["Journal"] = s.Journal(background, capture.JournalQuery{}, func(*capture.Entry) bool { return true })
	_, errs["Report"] = s.Report(background, attribution.Query{From: noon, To: noon.Add(day)})
	_, errs["Report by scan"] = s.Report(background, attribution.Query{By: []string{"sub.x"}, From: noon, To: noon.Add(day)})
	_, errs["Sweep"] = s.Sweep(background, noon, rules.Retain)
	_, errs["Entry"] = s.Entry(background, 1)
	errs["Clicks"] = s.Clicks(background, capture.ClickQuery{}, func(*capture.Click) bool { return true })
	errs["Try"] = s.Try(background, &capture.Batch{Postbacks: []*capture.Postback{
		{Time: noon, Rules: rules, Ref: c.Ref, HasRef: true, Claim: sale},
	}}, new(capture.Trial))
	errs["Backup"] = s.Backup(background, io.Discard)
	_, errs["Check"] = s.Check(background, nil)
	return errs
}

func testClosed(t *testing.T, p *place) {
	c := p.click()
	b := p.post(c, sale)
	p.commit(p.block(c))
	id := p.book(p.post(c, b.Claim)).Conversion.ID
	for what, err := range p.everything(c, id) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.closeAt(p.next)
	closed := p.everything(c, id)
	_, closed["Erase"] = p.store.Erase(background, c.Ref)
	for what, err := range closed {
		if !errors.Is(err, capture.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
	if err := p.store.Commit(background, p.batchOf(p.block(p.click()))); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("Commit after Close: %v, want ErrClosed", err)
	}
	p.store.Status()
	p.store.Position()
	if err := p.store.Close(p.next); err != nil && !errors.Is(err, capture.ErrClosed) {
		t.Errorf("Close after Close: %v", err)
	}
	p.open()
	p.find(c)
}

// testCloseDuringReads closes the store under readers of all kinds. Each of
// them gets its answer or ErrClosed.
func testCloseDuringReads(t *testing.T, p *place) {
	p.history(rand.New(rand.NewPCG(3, 4)))
	c := p.click()
	p.commit(p.block(c))
	id := p.book(p.post(c, sale)).Conversion.ID

	// One reader is in the middle of a listing when Close begins.
	inside, begun := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		err := p.store.Journal(background, capture.JournalQuery{}, func(*capture.Entry) bool {
			if first {
				close(inside)
				<-begun
				first = false
			}
			return true
		})
		if err != nil && !errors.Is(err, capture.ErrClosed) {
			t.Errorf("Journal during Close: %v", err)
		}
	})
	for range 3 {
		wg.Go(func() {
			for closed := false; !closed; {
				for what, err := range p.everything(c, id) {
					switch {
					case errors.Is(err, capture.ErrClosed):
						closed = true
					case err != nil:
						t.Errorf("%s during Close: %v", what, err)
						return
					}
				}
			}
		})
	}
	<-inside
	wg.Go(func() {
		close(begun)
		must(t, p.store.Close(p.next))
	})
	wg.Wait()
	p.open()
	p.find(c)
}

// testLargestBatch commits batches as large as a ledger makes them. A store
// may say that one is too large; its halves then have to do.
func testLargestBatch(t *testing.T, p *place) {
	var clicks []any
	var all []*capture.Click
	random := rand.NewChaCha8([32]byte{1})
	for range 2048 / capture.BlockClicks {
		var list []*capture.Click
		for range capture.BlockClicks {
			data := make([]byte, 256) // 512 bytes of hex: a mebibyte in all
			_, _ = random.Read(data)
			list = append(list, p.click(func(c *capture.Click) {
				c.Kept = []capture.Param{{Name: "gclid", Value: name("%x", data)}}
			}))
		}
		clicks = append(clicks, p.block(list...))
		all = append(all, list...)
	}
	p.commitParts(clicks)
	var posts []any
	for _, c := range all {
		posts = append(posts, p.post(c, sale, func(b *capture.Postback) { b.Raw.Body = make([]byte, 512) }))
	}
	p.commitParts(posts)
	// 16 bodies of the largest size that routes take.
	var large []any
	for i := range 16 {
		data := make([]byte, 64<<10)
		_, _ = random.Read(data)
		large = append(large, p.post(all[i], sale, func(b *capture.Postback) { b.Raw.Body = data }))
	}
	p.commitParts(large)
	p.reopen()
	got := p.counts()
	if got.Clicks != 2048 || got.Conversions != 2048 || len(p.journal(capture.JournalQuery{})) != 2048+16 {
		t.Errorf("the report counts %+v", got)
	}
	p.find(all[0])
	p.find(all[2047])
}

// commitParts commits halves where the whole is too large.
func (p *place) commitParts(parts []any) {
	p.t.Helper()
	b := p.batchOf(parts...)
	err := p.store.Commit(background, b)
	if errors.Is(err, capture.ErrTooLarge) && len(parts) > 1 {
		p.commitParts(parts[:len(parts)/2])
		p.commitParts(parts[len(parts)/2:])
		return
	}
	p.must(err)
	p.done(b)
}
