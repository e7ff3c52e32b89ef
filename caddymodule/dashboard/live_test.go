package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// follower reads a live stream.
type follower struct {
	t    *testing.T
	res  *http.Response
	scan *bufio.Scanner
}

func follow(t *testing.T, server *httptest.Server, path, last string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	f := &follower{t: t, res: res, scan: bufio.NewScanner(res.Body)}
	if res.StatusCode == http.StatusOK && f.line() != "retry: 3000" {
		t.Error("the stream begins with something else")
	}
	return f
}

// line returns the next line that is not empty, or "" at the end.
func (f *follower) line() string {
	for f.scan.Scan() {
		if f.scan.Text() != "" {
			return f.scan.Text()
		}
	}
	return ""
}

// entry reads one event.
func (f *follower) entry() liveEntry {
	f.t.Helper()
	var e liveEntry
	if got := f.line(); got != "event: entry" {
		f.t.Fatalf("got %q", got)
	}
	id := strings.TrimPrefix(f.line(), "id: ")
	if err := json.Unmarshal([]byte(strings.TrimPrefix(f.line(), "data: ")), &e); err != nil {
		f.t.Fatal(err)
	}
	if id != strconv.FormatUint(e.Seq, 10) {
		f.t.Errorf("the event has the ID %s, its entry is %d", id, e.Seq)
	}
	return e
}

func TestLive(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	server := httptest.NewServer(f.pages)
	t.Cleanup(server.Close)
	one := follow(t, server, "/live?tz=Asia/Tokyo", "")
	hd := one.res.Header
	if one.res.StatusCode != http.StatusOK || hd.Get("Content-Type") != "text/event-stream" || hd.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v", one.res.StatusCode, hd)
	}
	res := f.postback(noon, "click_id="+s.acme+"&txid=order-9&payout=1&currency=USD")
	f.postback(noon, "click_id="+s.acme+"&txid=order-9&payout=1&currency=USD") // a repeat is no news
	f.postback(noon, "click_id="+s.acme+"&txid=order-9&payout=2&currency=USD")
	f.postback(noon, "click_id="+s.acme+"&txid=order-10&status=odd")
	e := one.entry()
	if want := "conversions/" + res.Conversion.ID.String() + "?tz=Asia%2FTokyo"; e.Outcome != "recorded" || e.Payout != "1.00 USD" ||
		e.Path != want || e.Clock != "21:07:30" || e.Campaign != "acme" || e.Words != "New conversion" ||
		e.Status != "approved" || e.Said != "" {
		t.Errorf("got %+v", e)
	}
	first := e.Seq
	if e = one.entry(); e.Outcome != "updated" || e.Payout != "2.00 USD" {
		t.Errorf("got %+v", e)
	}
	if e = one.entry(); e.Outcome != "quarantined" || e.Detail != reasonWords(capture.UnmappedStatus) ||
		!strings.HasPrefix(e.Path, "journal?entry=") {
		t.Errorf("got %+v", e)
	}
	// What waits must not look like something booked.
	f.postback(noon, "click_id="+s.acme+"&txid=order-11&status=approved&payout=a-lot")
	if e = one.entry(); e.Outcome != "quarantined" || e.Status != "" || e.Said != "approved" {
		t.Errorf("got %+v", e)
	}

	// Who comes again gets what was missed, and by the page's own number, too.
	for _, again := range []*follower{
		follow(t, server, "/live", strconv.FormatUint(first, 10)), follow(t, server, "/live?after="+strconv.FormatUint(first, 10), ""),
	} {
		if got := again.entry(); got.Outcome != "updated" {
			t.Errorf("got %+v", got)
		}
		if got := again.entry(); got.Outcome != "quarantined" {
			t.Errorf("got %+v", got)
		}
	}

	// Closing ends all streams, also those that come later.
	f.pages.Close()
	if got := one.line(); got != "" {
		t.Errorf("got %q", got)
	}
	if got := follow(t, server, "/live", "").line(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestLiveIsBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pages.followers.Store(maxFollowers - 1)
	server := httptest.NewServer(f.pages)
	t.Cleanup(server.Close)
	follow(t, server, "/live", "")
	if got := follow(t, server, "/live", ""); got.res.StatusCode != http.StatusServiceUnavailable || got.res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many got %d", got.res.StatusCode)
	}
	f.pages.Close()
	for end := time.Now().Add(10 * time.Second); f.pages.followers.Load() != maxFollowers-1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are counted", f.pages.followers.Load())
		}
	}
}

// TestHeartbeat runs on a fake clock.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := New(nil)
		w := httptest.NewRecorder()
		ctx, cancel := context.WithCancel(t.Context())
		c := &call{h: h, w: w, r: httptest.NewRequest(http.MethodGet, "/live", nil).WithContext(ctx), loc: time.UTC}
		done := make(chan error)
		go func() { done <- h.stream(c, nil, make(chan *capture.Entry), 0) }()
		time.Sleep(3*heartbeat + time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Count(w.Body.String(), ": still here\n\n"); got != 3 {
			t.Errorf("got %q", w.Body)
		}
	})
}

func TestLiveHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.get("/live", func(r *http.Request) { r.Method = http.MethodHead })
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("got %d, %d bytes", w.Code, w.Body.Len())
	}
}
