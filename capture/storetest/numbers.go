package storetest

import (
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// testNumbers leaves the numbers of journal entries to the store.
func testNumbers(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	seen := make(map[uint64]bool)
	last := p.store.Position().NextSeq - 1
	unnumbered := func(n int) []*capture.Postback {
		var list []*capture.Postback
		for range n {
			claim := with(sale, func(c *attribution.Claim) { c.TxID = name("%d of %d", len(list), p.batch) })
			list = append(list, p.post(c, claim))
		}
		return list
	}
	batch := func(posts ...*capture.Postback) *capture.Batch {
		return &capture.Batch{Number: p.batch, Now: p.now, Postbacks: posts}
	}
	check := func(posts ...*capture.Postback) {
		t.Helper()
		for _, b := range posts {
			if b.Seq <= last || seen[b.Seq] {
				t.Errorf("a postback got number %d after %d", b.Seq, last)
			}
			last, seen[b.Seq] = b.Seq, true
			e := b.Result.Entry
			if e == nil || e.Seq != b.Seq || e.Claim.TxID != b.Claim.TxID {
				t.Errorf("the result of postback %d has the entry %+v", b.Seq, e)
				continue
			}
			stored, err := p.store.Entry(background, b.Seq)
			if err != nil || record(stored) != record(e) {
				t.Errorf("entry %d is %+v: %v", b.Seq, stored, err)
			}
			if h := b.Result.Conversion.History; len(h) != 1 || h[0].Seq != b.Seq {
				t.Errorf("the history of postback %d is %+v", b.Seq, h)
			}
		}
	}
	for n := range 4 {
		posts := unnumbered(3 * n)
		p.must(p.store.Commit(background, batch(posts...)))
		p.batch++
		check(posts...)
	}

	// Those that have a number keep it, and others come after them.
	posts := unnumbered(4)
	posts[1].Seq = last + 1000
	p.must(p.store.Commit(background, batch(posts[1])))
	p.batch++
	p.must(p.store.Commit(background, batch(posts[0], posts[2])))
	p.batch++
	if posts[1].Seq != last+1000 {
		t.Errorf("a number was changed to %d", posts[1].Seq)
	}
	check(posts[1], posts[0], posts[2])

	// Sent again, a batch keeps its numbers; so it does as another copy.
	again := unnumbered(2)
	p.must(p.store.Commit(background, batch(again...)))
	copied := *again[0]
	copied.Seq, copied.Result = 0, capture.Result{}
	second := *again[1]
	second.Result = capture.Result{}
	p.must(p.store.Commit(background, batch(again...)))
	p.must(p.store.Commit(background, batch(&copied, &second)))
	p.batch++
	if copied.Result.Entry == nil || copied.Result.Entry.Seq != again[0].Seq || second.Seq != again[1].Seq {
		t.Errorf("sent again, the postbacks became %+v and %+v", copied.Result.Entry, second.Result.Entry)
	}
	check(again...)
	entries := len(p.journal(capture.JournalQuery{}))
	if entries != len(seen) {
		t.Errorf("the journal has %d entries, want %d", entries, len(seen))
	}

	p.reopen()
	if next := p.store.Position().NextSeq; next <= last {
		t.Errorf("the next number is %d, and %d is used", next, last)
	}
	p.seq = p.store.Position().NextSeq
	posts = unnumbered(1)
	p.must(p.store.Commit(background, batch(posts...)))
	p.batch++
	check(posts...)
}
