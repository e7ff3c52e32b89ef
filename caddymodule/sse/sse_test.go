package sse

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

var errShown = errors.New("cannot be shown")

// show leaves out odd numbers and cannot show 8.
func show(n int) (Event, bool, error) {
	if n == 8 {
		return Event{}, false, errShown
	}
	return Event{Name: "number", ID: string(rune('0' + n)), Data: map[string]int{"n": n}}, n%2 == 0, nil
}

func stream(w http.ResponseWriter) *Stream {
	return &Stream{
		W: w, Heartbeat: 15 * time.Second, WriteLimit: time.Minute, Greeting: ": hello",
		Stored: []Event{{Name: "number", ID: "a", Data: "first\nsecond"}},
	}
}

const begun = ": hello\n\nevent: number\nid: a\ndata: \"first\\nsecond\"\n\n"

func TestFollow(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	live := make(chan int, 3)
	live <- 2
	live <- 3
	live <- 4
	close(live)
	if err := Follow(t.Context(), stream(w), live, show); err != nil {
		t.Error(err)
	}
	want := begun + "event: number\nid: 2\ndata: {\"n\":2}\n\nevent: number\nid: 4\ndata: {\"n\":4}\n\n"
	if got := w.Body.String(); got != want || !w.Flushed {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEnds runs on a fake clock.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(cancel func(), done chan<- struct{}, live chan<- int)
		want error
	}{
		"the client goes": {func(cancel func(), _ chan<- struct{}, _ chan<- int) { cancel() }, nil},
		"it is ended":     {func(_ func(), done chan<- struct{}, _ chan<- int) { close(done) }, nil},
		"an error":        {func(_ func(), _ chan<- struct{}, live chan<- int) { live <- 8 }, errShown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := httptest.NewRecorder()
				s := stream(w)
				done := make(chan struct{})
				s.Done = done
				live, result := make(chan int), make(chan error)
				go func() { result <- Follow(ctx, s, live, show) }()
				time.Sleep(2*s.Heartbeat + time.Second)
				tc.end(cancel, done, live)
				if err := <-result; !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if want := begun + ": still here\n\n: still here\n\n"; w.Body.String() != want {
					t.Errorf("got %q", w.Body)
				}
			})
		})
	}
}

// broken takes so many writes and then none.
type broken struct {
	http.ResponseWriter
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, http.ErrHandlerTimeout
	}
	return b.ResponseWriter.Write(p)
}

func (b *broken) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func TestClientIsGone(t *testing.T) {
	t.Parallel()
	for left := range 3 {
		live := make(chan int, 1)
		live <- 2
		w := &broken{httptest.NewRecorder(), left}
		if err := Follow(t.Context(), stream(w), live, show); !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("after %d writes: %v", left, err)
		}
	}
	s := stream(httptest.NewRecorder())
	s.Stored[0].Data = func() {}
	if err := Follow(t.Context(), s, make(chan int), show); err == nil {
		t.Error("what is no JSON was sent")
	}
}
