package capture

import "sync"

// feedBuffer is how many entries a slow follower may lag behind.
const feedBuffer = 256

// feed hands new journal entries to those who follow the journal.
type feed struct {
	mu     sync.Mutex
	subs   map[chan *Entry]struct{}
	closed bool
	// seen are the numbers of what was sent lately, where the journal is looked
	// at as well; else nil.
	seen map[uint64]struct{}
	wake chan struct{} // tells that somebody follows
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
	select {
	case f.wake <- struct{}{}:
	default: // nobody looks, or has been told
	}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}

// newEntry tells whether a postback that is on disk made a journal entry. The
// entry of one that was booked again, in vain, is an old one.
func (q *queuedPostback) newEntry() bool { return q.Result.Entry != nil && q.Result.Entry.Seq == q.Seq }

func (f *feed) publish(batch []*queuedPostback) {
	if len(batch) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range batch {
		if p.newEntry() {
			f.send(p.Result.Entry)
		}
	}
}

// send sends an entry to all. The lock is held.
func (f *feed) send(e *Entry) {
	if f.seen != nil {
		if _, sent := f.seen[e.Seq]; sent {
			return
		}
		f.seen[e.Seq] = struct{}{}
	}
	for ch := range f.subs {
		select {
		case ch <- e:
		default: // too slow: it misses this one
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
