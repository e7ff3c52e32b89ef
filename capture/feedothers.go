package capture

import (
	"context"
	"slices"
	"time"
)

const (
	// lookEvery is how often the journal is looked at for what other nodes book,
	// while somebody follows it.
	lookEvery = time.Second
	// lookBack is how long an entry may take to be seen after one with a higher
	// number: numbers are given out before they are written.
	lookBack = 3 * time.Second
	// maxLook is how many entries are read at a time. A follower would not keep
	// up with more.
	maxLook = 2000
)

// others looks at the journal of a shared store for entries of other nodes.
type others struct {
	tops  []top
	floor uint64 // all up to here were seen, or are no longer waited for
}

// top is the highest number that was seen by a time.
type top struct {
	at  time.Time
	seq uint64
}

// followOthers sends followers what other nodes book. Their own node's entries
// they get at once.
func (l *Ledger) followOthers(store Store) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var o *others
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.feed.wake:
		case <-tick.C:
		}
		if !l.feed.followed() {
			o = nil
			continue
		}
		first := o == nil
		if first {
			o = new(others)
		}
		entries, err := o.look(l.ctx, store, l.now())
		switch {
		case err != nil && first:
			o = nil
		case err == nil:
			l.feed.sendOthers(entries, o.floor, first)
		}
	}
}

// look returns the entries above the floor, oldest first.
func (o *others) look(ctx context.Context, r Reader, now time.Time) ([]*Entry, error) {
	var list []*Entry
	limit := maxLook
	if o.tops == nil {
		limit = feedBuffer // to know what is not new
	}
	err := r.Journal(ctx, JournalQuery{}, func(e *Entry) bool {
		if e.Seq <= o.floor {
			return false
		}
		list = append(list, e)
		return len(list) < limit
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	if o.tops == nil && len(list) == limit {
		o.floor = list[0].Seq - 1
	}
	highest := top{at: now, seq: o.floor}
	if n := len(list); n > 0 {
		highest.seq = list[n-1].Seq
	}
	o.tops = append(o.tops, highest)
	for len(o.tops) > 1 && now.Sub(o.tops[0].at) >= lookBack {
		o.floor = max(o.floor, o.tops[0].seq)
		o.tops = o.tops[1:]
	}
	return list, nil
}

// followed tells whether anybody follows.
func (f *feed) followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) == 0 {
		f.seen = nil
		return false
	}
	if f.seen == nil {
		f.seen = make(map[uint64]struct{})
	}
	return true
}

// sendOthers sends what was not sent yet. What is there at the first look is not
// new to those who follow.
func (f *feed) sendOthers(list []*Entry, floor uint64, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		return
	}
	for _, e := range list {
		if known {
			f.seen[e.Seq] = struct{}{}
		} else {
			f.send(e)
		}
	}
	for seq := range f.seen {
		if seq <= floor {
			delete(f.seen, seq)
		}
	}
}
