package spool

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

func badgerQueue(dir string) func(context.Context) (Queue, error) {
	return func(ctx context.Context) (Queue, error) {
		q, err := badgerstore.New(dir, zap.NewNop()).OpenQueue(ctx)
		if err != nil {
			return nil, err
		}
		return q, nil
	}
}

// The queue on disk keeps batches of all sizes, over a restart.
func TestBadgerQueue(t *testing.T) {
	t.Parallel()
	open := badgerQueue(t.TempDir())
	q, err := open(background)
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{1, 512 << 10, 900 << 10, 0, 7}
	for i, size := range sizes {
		if err := q.Append(uint64(i+5), []byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := q.Append(99, nil, make([]byte, 2<<20)); !errors.Is(err, capture.ErrTooLarge) {
		t.Errorf("what is too large gives %v", err)
	}
	if err := q.SaveState([]byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := q.Remove(5); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if q, err = open(background); err != nil {
		t.Fatal(err)
	}
	defer q.Close() //nolint:errcheck // the test is over
	if state, err := q.State(); err != nil || string(bytes.TrimSpace(state)) != `{"a":1}` {
		t.Errorf("the state is %q, %v", state, err)
	}
	next := uint64(6)
	if err := q.Heads(func(key uint64, head []byte, size int64) error {
		i := int(key - 5)
		if key != next || head[0] != byte(i) || size != int64(sizes[i]) {
			t.Errorf("batch %d has the head %v and %d bytes", key, head, size)
		}
		next++
		return nil
	}); err != nil || next != 10 {
		t.Errorf("the list ends before %d: %v", next, err)
	}
	for i := 1; i < len(sizes); i++ {
		head, data, err := q.Read(uint64(i + 5))
		if err != nil || head[0] != byte(i) || !bytes.Equal(data, bytes.Repeat([]byte{byte(i)}, sizes[i])) {
			t.Errorf("batch %d is %d bytes, %v", i, len(data), err)
		}
	}
	if _, _, err := q.Read(5); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("what was removed gives %v", err)
	}
}

// Away, stopped, started while away, and back, with the queue on disk.
func TestBadgerSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.e.OpenQueue = badgerQueue(t.TempDir())
	r.open()
	r.commit(r.next())
	r.shared.SetHooks(memstore.Hooks{
		Before: func(*capture.Batch) error { return capture.ErrUnknown },
		Open:   func() error { return capture.ErrUnavailable },
	})
	for range 3 {
		for range 20 {
			r.commit(r.next())
		}
		if err := r.s.Close(r.block); err != nil {
			t.Fatal(err)
		}
		r.open()
	}
	st := r.s.Status()
	if st.Spool.Clicks != 60 || st.Spool.Postbacks != 60 || st.Spool.Bytes == 0 || time.Since(st.Spool.Oldest) < time.Hour || st.Free == 0 {
		t.Errorf("the status is %+v, %+v", st, st.Spool)
	}
	r.shared.SetHooks(memstore.Hooks{})
	r.exactly()
	if len(r.later) != 60 {
		t.Errorf("told of %d postbacks", len(r.later))
	}
	if err := r.s.Close(r.block); err != nil {
		t.Fatal(err)
	}
	r.open()
	defer r.s.Close(0) //nolint:errcheck // the test is over
	r.commit(r.next())
	r.exactly()
}
