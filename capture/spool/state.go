package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	stateFormat = 1
	// firstKey leaves room in front: a batch that is split takes the key before
	// its own, too.
	firstKey = 1 << 32
)

// state is what is durable beside the queue.
type state struct {
	Format int `json:"format"`
	// Node and Store say whose the queue is.
	Node  uint16 `json:"node"`
	Store string `json:"store"`
	// Lease: block numbers below it may be in use.
	Lease uint64 `json:"lease"`
	// Key is that of the first batch of the queue when this was written, and
	// Number the one that it has in the shared store; 0 while it is not known.
	Key    uint64 `json:"key"`
	Number uint64 `json:"number"`
	// Splits is the key of a batch that is about to be split in two, the first of
	// which has Key. It may not have come to that.
	Splits uint64 `json:"splits,omitempty"`
}

// storeOf tells stores apart without telling their secret.
func storeOf(id capture.Identity) string {
	sum := sha256.Sum256(append([]byte("the spool of "), id.Secret...))
	return hex.EncodeToString(sum[:8])
}

// head is what is known of a batch without reading it.
type head struct {
	Clicks    int   `json:"c,omitempty"`
	Postbacks int   `json:"p,omitempty"`
	At        int64 `json:"t"` // Unix ms
	// Aside is the name of what it was set aside as, and is tried again.
	Aside string `json:"a,omitempty"`
}

func headOf(b *capture.Batch) head {
	h := head{Postbacks: len(b.Postbacks), At: b.Now.UnixMilli()}
	for _, block := range b.Blocks {
		h.Clicks += len(block.Clicks)
	}
	return h
}

// load reads what is on this machine.
func (s *Store) load(id capture.Identity) error {
	data, err := s.queue.State()
	if err != nil {
		return err
	}
	own := state{Format: stateFormat, Node: id.Epoch, Store: storeOf(id)}
	s.state = own
	if data != nil {
		if err := json.Unmarshal(data, &s.state); err != nil {
			return fmt.Errorf("%w: reading the spool's state: %w", capture.ErrDamaged, err)
		}
	}
	if s.state.Format > stateFormat {
		return fmt.Errorf("%w: the spool has format %d", capture.ErrNewerFormat, s.state.Format)
	}
	first := true
	var done []uint64
	err = s.queue.Heads(func(key uint64, raw []byte, size int64) error {
		if key < s.state.Key {
			done = append(done, key) // it was sent, but a crash undid its removal
			return nil
		}
		var h head
		if err := json.Unmarshal(raw, &h); err != nil {
			return fmt.Errorf("%w: reading the spool: %w", capture.ErrDamaged, err)
		}
		if first {
			s.first, s.nextKey, first = key, key, false
			s.oldest = time.UnixMilli(h.At)
		}
		if h.Aside != "" {
			s.again = append(s.again, h.Aside) // a crash came before it was removed
		}
		if key != s.nextKey {
			return fmt.Errorf("%w: batch %d of the spool is missing", capture.ErrDamaged, s.nextKey)
		}
		s.nextKey++
		s.count(h, size, 1)
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range done {
		if err := s.queue.Remove(key); err != nil {
			return err
		}
	}
	if s.state.Node != own.Node || s.state.Store != own.Store {
		if s.waiting() > 0 {
			return fmt.Errorf("the spool holds %d clicks and %d postbacks of another store or node: point it at a directory of its own, "+
				"or start Caddy with what it belongs to until they are sent", s.clicks, s.postbacks)
		}
		own.Key = s.state.Key // keys only grow
		s.state = own
	}
	if s.waiting() == 0 {
		s.first = max(s.state.Key+1, firstKey)
		if len(done) > 0 {
			s.first = max(s.first, done[len(done)-1]+1)
		}
		s.nextKey = s.first
	} else if s.state.Splits == s.first && s.first == s.state.Key+1 {
		s.state.Key = s.first // it was not split
	} else if s.first > s.state.Key && s.state.Number > 0 {
		s.state.Number, s.state.Key = s.state.Number+s.first-s.state.Key, s.first
	}
	return nil
}

// save makes a state durable.
func (s *Store) save(n state) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := s.queue.SaveState(data); err != nil {
		return err
	}
	s.state = n
	return nil
}

// waiting is how many batches wait.
func (s *Store) waiting() uint64 { return s.nextKey - s.first }

func (s *Store) count(h head, size int64, sign int) {
	s.clicks += sign * h.Clicks
	s.postbacks += sign * h.Postbacks
	s.bytes += int64(sign) * size
}

// adopt takes the shared store into use: it tells which batches it has. What it
// says of the numbers holds from now on.
func (s *Store) adopt(shared capture.Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pos := shared.Position()
	n := s.state
	n.Lease = max(n.Lease, pos.NextBlock)
	s.position.NextSeq = pos.NextSeq
	applied := uint64(0)
	switch {
	case s.waiting() == 0:
	case n.Number == 0:
		n.Key, n.Number = s.first, pos.NextBatch
	case pos.NextBatch >= s.number(s.nextKey)+capture.BatchJump/2:
		s.e.log().Warn("another process has written as this node: was its directory copied? what waits here is sent once more, as it is not known how much of it was",
			zap.String("store", s.key()), zap.Uint64("next_batch", pos.NextBatch), zap.Uint64("expected", s.number(s.first)))
		n.Key, n.Number = s.first, pos.NextBatch
	case pos.NextBatch < s.number(s.first):
		s.e.log().Warn("the shared store knows less than it had confirmed: was it restored, or did a replica take over that had lost some? "+
			"what waits here is sent on", zap.String("store", s.key()),
			zap.Uint64("next_batch", pos.NextBatch), zap.Uint64("expected", s.number(s.first)))
		n.Key, n.Number = s.first, pos.NextBatch
	default:
		applied = min(pos.NextBatch-s.number(s.first), s.waiting())
	}
	if n != s.state {
		if err := s.save(n); err != nil {
			return fmt.Errorf("%w: noting what the shared store has: %w", capture.ErrUnavailable, err)
		}
	}
	for range applied {
		p, err := s.read(s.first)
		if err != nil {
			return err
		}
		s.drop(p)
	}
	switch {
	case s.waiting() > 0:
		s.next = s.number(s.nextKey)
	case s.claimed && pos.NextBatch == s.next+1:
		// The committer's batch has it, or will be sent again under it, and the
		// shared store has applied it.
	default:
		s.next = pos.NextBatch
	}
	s.shared = shared
	return nil
}

// number is that of a batch of the queue in the shared store.
func (s *Store) number(key uint64) uint64 { return s.state.Number + key - s.state.Key }
