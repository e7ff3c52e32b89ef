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

// newEntry tells whether a postback that is on disk made a journal entry. The
// entry of one that was booked again, in vain, is an old one.
func (q *queuedPostback) newEntry() bool { return q.Result.Entry != nil && q.Result.Entry.Seq == q.Seq }

func (f *feed) publish(batch []*queuedPostback) {
	if len(batch) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		for _, p := range batch {
			if !p.newEntry() {
				continue
			}
			select {
			case ch <- p.Result.Entry:
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
