package spool

import (
	"strings"
	"testing"
)

// The shared store is not copied while something of it is only on this machine, be
// it waiting or set aside.
func TestNothingWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	copies := func() error {
		s, err := r.e.OpenSource(background)
		if err != nil {
			return err
		}
		return s.Close()
	}
	if err := copies(); err != nil {
		t.Fatal(err)
	}
	if err := r.queue.SetAside("refused", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := copies(); err == nil || !strings.Contains(err.Error(), "has refused") || !strings.Contains(err.Error(), r.queue.AsideDir()) {
		t.Errorf("with something set aside copying gives %v", err)
	}
	if err := r.queue.RemoveAside("refused"); err != nil {
		t.Fatal(err)
	}
	if err := r.queue.Append(firstKey, []byte("{}"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := copies(); err == nil || !strings.Contains(err.Error(), "wait to be sent") {
		t.Errorf("with something in the queue copying gives %v", err)
	}
	if err := r.queue.Remove(firstKey); err != nil {
		t.Fatal(err)
	}
	if err := copies(); err != nil {
		t.Error(err)
	}
}
