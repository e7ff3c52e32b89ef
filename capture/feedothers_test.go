package capture

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// journalReader is a journal in memory.
type journalReader struct {
	Reader
	seqs []uint64
	read int
	err  error
}

func (r *journalReader) Journal(_ context.Context, _ JournalQuery, yield func(*Entry) bool) error {
	slices.Sort(r.seqs)
	for _, seq := range slices.Backward(r.seqs) {
		r.read++
		if !yield(&Entry{Seq: seq}) {
			break
		}
	}
	return r.err
}

// What other nodes write is sent once, also where it is seen later than what has
// a higher number, and what this node wrote is not sent again.
func TestFollowOthers(t *testing.T) {
	t.Parallel()
	f := feed{wake: make(chan struct{}, 1)}
	ch, stop := f.subscribe()
	defer stop()
	if !f.followed() || len(f.wake) != 1 {
		t.Fatal("nobody follows")
	}
	r := &journalReader{}
	for seq := range uint64(1000) {
		r.seqs = append(r.seqs, seq+1)
	}
	var o others
	now := time.Unix(1e9, 0)
	look := func(known bool) {
		t.Helper()
		list, err := o.look(t.Context(), r, now)
		if err != nil {
			t.Fatal(err)
		}
		f.sendOthers(list, o.floor, known)
		now = now.Add(lookEvery)
	}
	got := func() (list []uint64) {
		for {
			select {
			case e := <-ch:
				list = append(list, e.Seq)
			default:
				return list
			}
		}
	}
	look(true)
	if list := got(); len(list) > 0 {
		t.Errorf("what was there before is sent: %v", list)
	}
	own := func(seq uint64) {
		f.publish([]*queuedPostback{{Postback: &Postback{Seq: seq, Result: Result{Entry: &Entry{Seq: seq}}}}})
	}
	own(1001)
	r.seqs = append(r.seqs, 1001, 1002, 1005)
	look(false)
	r.seqs = append(r.seqs, 1003)
	own(1006)
	look(false)
	r.seqs = append(r.seqs, 1004, 1006)
	own(1004) // it was read before it was told of, or after
	look(false)
	own(1005)
	if list := got(); !slices.Equal(list, []uint64{1001, 1002, 1005, 1006, 1003, 1004}) {
		t.Errorf("got %v", list)
	}
	for range 6 {
		look(false)
	}
	r.read = 0
	look(false)
	if r.read > 10 || len(f.seen) > 10 || len(got()) > 0 {
		t.Errorf("at rest, %d entries are read and %d remembered", r.read, len(f.seen))
	}
	r.err = errors.New("it is away")
	if _, err := o.look(t.Context(), r, now); err == nil {
		t.Error("no error")
	}
	stop()
	if f.followed() || f.seen != nil {
		t.Error("somebody follows")
	}
}
