package capture

import "sync"

// feedBuffer is how many entries a slow follower may lag behind.
const feedBuffer = 256

// feed hands new journal entries to those who follow the journal.
type feed struct {
	mu     sync.Mutex
	subs   map[chan *Entry]struct{}
	closed bool
}

func (f *feed) subscribe() (<-chan *Entry, func()) {
	ch := make(chan *Entry, feedBuffer)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(ch)
		return ch, func() {}
	}
	if f.subs == nil {
		f.subs = make(map[chan *Entry]struct{})
	}
	f.subs[ch] = struct{}{}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}

func (f *feed) publish(batch []*queuedPostback) {
	if len(batch) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		for _, p := range batch {
			e := p.Result.Entry
			if e == nil || e.Seq != p.Seq {
				continue // booked again, in vain: its entry is an old one
			}
			select {
			case ch <- e:
			default: // too slow: it misses this one
			}
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for ch := range f.subs {
		close(ch)
		delete(f.subs, ch)
	}
}
