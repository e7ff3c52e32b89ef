package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// A reload keeps the store open, whatever else it changes.
func TestReloadKeepsStore(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	before := goroutines()
	for i := range 30 {
		s.load(option, fmt.Sprintf("postback /pb\npostback /pb%d", i))
		if res, body := s.get("/pb?click_id=" + id); res.StatusCode != 200 {
			t.Fatalf("reload %d: got %d %s", i, res.StatusCode, body)
		}
	}
	place.want(t, 1, 0)
	if refs, ok := ledgers.References(place.Key()); !ok || refs != 1 {
		t.Errorf("%d references", refs)
	}
	eventually(t, "the goroutines of 30 reloads are gone", func() bool { return goroutines() <= before+3 })
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	place.want(t, 1, 1)
}

func TestReloadToOtherStore(t *testing.T) {
	s := newSite(t)
	option, first := memoryOption(t)
	s.load(option, "postback /pb")
	old := runningApp(t)
	s.load("capture {\n store memory "+newPlace(t, "_other")+"\n}", "postback /pb")
	first.want(t, 1, 1)
	// A request of the old configuration may still be under way: its store
	// is not opened again, its click gets a valid ID all the same.
	held, err := old.acquire()
	if err != nil {
		t.Fatal(err)
	}
	c := &capture.Click{Time: time.Now()}
	if got := held.ledger.Wait(held.ledger.Record(c), time.Second); got != capture.SavedNever {
		t.Errorf("the click was saved: %v", got)
	}
	if ref, err := held.codec().Decode(held.codec().Encode(c.Ref)); err != nil || ref != c.Ref {
		t.Errorf("got %v, %v", ref, err)
	}
	if _, err := held.ledger.Reader(); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	first.want(t, 1, 1)
	s.load(option, "postback /pb")
	first.want(t, 2, 1)
}

// A request that is being served while its store moves away is told to come
// again, and nothing crashes.
func TestRequestOutlivesItsStore(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	p := handler(t, &Postback{AllowHTTP: true})
	held, err := p.app.acquire()
	if err != nil {
		t.Fatal(err)
	}
	s.load("capture {\n store memory "+newPlace(t, "_other")+"\n}", "postback /pb")
	r := httptest.NewRequest(http.MethodGet, "/pb?click_id="+id, nil)
	w := httptest.NewRecorder()
	if err := p.ServeHTTP(w, r, nil); err != nil || w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %s, %v", w.Code, w.Body, err)
	}
	// One that had its lease before.
	err = held.ledger.Book(t.Context(), &capture.Postback{Rules: p.app.rules})
	if !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// What a reload would change must not happen when it is refused, in whatever
// phase.
func TestRejectedReload(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	app := runningApp(t)
	occupied := httptest.NewServer(http.NotFoundHandler())
	defer occupied.Close()
	broken := memoryAt(newPlace(t, "_broken"))
	broken.SetHooks(memstore.Hooks{Open: func() error { return errors.New("no such disk") }})
	for name, tt := range map[string]struct{ option, directives, want string }{
		"bad syntax":                 {option, "postback {\n nil\n}", "unknown option"},
		"app does not provision":     {strings.TrimSuffix(option, "}") + "click_id_key short\n}", "postback /pb", "at least 16"},
		"handler does not provision": {option, "postback /pb {\n token {env.NO_SUCH_VARIABLE}\n}", "NO_SUCH_VARIABLE"},
		"other handler does not":     {option, "postback /pb\n@bad path_regexp (\nrespond @bad x", "missing closing )"},
		"app does not start":         {"capture {\n store memory " + t.Name() + "_broken\n}", "postback /pb", "no such disk"},
		"server does not start": {option, "postback /pb\n}\nhttp://" + strings.TrimPrefix(occupied.URL, "http://") +
			" {\n bind 127.0.0.1", "address already in use"},
	} {
		for range 5 { // apps start in random order
			err := s.tryLoad(tt.option, tt.directives)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v; want %q in it", name, err, tt.want)
			}
			if res, body := s.get("/pb?click_id=" + id); res.StatusCode != 200 {
				t.Errorf("%s: got %d %s", name, res.StatusCode, body)
			}
		}
	}
	if runningApp(t) != app {
		t.Error("another configuration runs")
	}
	place.want(t, 1, 0)
	broken.want(t, 0, 0)
	if refs, _ := ledgers.References(place.Key()); refs != 1 {
		t.Errorf("%d references", refs)
	}
	s.load(option, "postback /pb")
	place.want(t, 1, 0)
}

// `caddy validate` beside a running server, and without one, touches nothing.
func TestValidateTouchesNothing(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("HOME", data)
	s := newSite(t)
	dir := filepath.Join(s.dir, "store")
	for name, option := range map[string]string{
		"by default": "",
		"no options": "capture",
		"directory":  "capture {\n store badger " + dir + "\n}",
		"everything": "capture {\n store badger " + dir + "\n click_id_key 0123456789abcdef\n retain {\n clicks 1d\n}\n}",
	} {
		if err := s.validate(option, "postback /pb"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	noFiles(t, dir)
	noFiles(t, filepath.Join(data, "caddy"))
	if n := len(openLedgers()); n != 0 {
		t.Errorf("%d stores are open", n)
	}

	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	for range 3 {
		if err := s.validate(option, "postback /pb"); err != nil {
			t.Error(err)
		}
	}
	place.want(t, 1, 0)
	if res, body := s.get("/pb?click_id=" + id); res.StatusCode != 200 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

// The order in which apps start is random, so the server may serve before
// the app was started; many requests at once open the store once.
func TestRequestBeforeStart(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	app := newTestApp(t.Name())
	var wg sync.WaitGroup
	var first atomic.Pointer[lease]
	for range 8 {
		wg.Go(func() {
			l, err := app.acquire()
			if err != nil {
				t.Error(err)
			}
			if !first.CompareAndSwap(nil, l) && first.Load() != l {
				t.Error("two leases")
			}
		})
	}
	wg.Wait()
	if err := app.Start(); err != nil {
		t.Error(err)
	}
	place.want(t, 1, 0)
	for range 2 {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
		place.want(t, 1, 1)
	}
	place.want(t, 1, 1)
}

// Who cannot wait for a store that is slow to open is told so, and the store
// is opened once all the same; Cleanup waits for it.
func TestSlowOpening(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	release := make(chan struct{})
	place.SetHooks(memstore.Hooks{Open: func() error { <-release; return nil }})
	app := newTestApp(t.Name())
	for range 3 {
		start := time.Now()
		_, err := app.acquireWithin(5 * time.Millisecond)
		if !errors.Is(err, capture.ErrUnavailable) || time.Since(start) > 20*time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if l, err := app.acquire(); err != nil || l == nil {
			t.Errorf("got %v, %v", l, err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	close(release)
	wg.Wait()
	place.want(t, 1, 0)
	if l, err := app.acquireWithin(0); err != nil || l == nil {
		t.Errorf("got %v, %v", l, err)
	}
	_ = app.Cleanup()
	place.want(t, 1, 1)

	// Cleanup while it is being opened.
	second := make(chan struct{})
	place.SetHooks(memstore.Hooks{Open: func() error { <-second; return nil }})
	app = newTestApp(t.Name())
	if _, err := app.acquireWithin(0); err == nil {
		t.Error("no error")
	}
	wg.Go(func() { _ = app.Cleanup() })
	time.Sleep(20 * time.Millisecond)
	close(second)
	wg.Wait()
	place.want(t, 2, 2)
}

// An app that was cleaned up before anybody used it opens nothing any more.
func TestAcquireAfterCleanup(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	app := newTestApp(t.Name())
	_ = app.Cleanup()
	if _, err := app.acquire(); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("got %v", err)
	}
	place.want(t, 0, 0)
}

// A request that was accepted by the old configuration and gets to our
// handler after its Cleanup is served by the store that the new one keeps.
func TestRequestOutlivesItsConfiguration(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	p := handler(t, &Postback{AllowHTTP: true})
	s.load(option, "postback /pb\nheader X-Load 2")
	r := httptest.NewRequest(http.MethodGet, "/pb?click_id="+id, nil)
	w := httptest.NewRecorder()
	if err := p.ServeHTTP(w, r, nil); err != nil || w.Code != 200 {
		t.Errorf("got %d %s, %v", w.Code, w.Body, err)
	}
	place.want(t, 1, 0)
}

func TestCleanupWithoutStart(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	running := newTestApp(t.Name())
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	for _, app := range []*App{new(App), newTestApp(t.Name())} {
		for range 3 {
			if err := app.Cleanup(); err != nil {
				t.Error(err)
			}
		}
	}
	place.want(t, 1, 0)
	if err := running.Cleanup(); err != nil {
		t.Error(err)
	}
	place.want(t, 1, 1)
}

func newTestApp(store string) *App {
	log := newCurrentLogger(zap.NewNop())
	return &App{
		engine: (&memory{Name: store}).Engine(log.logger("capture.store")), storeLog: log,
		rules: new(capture.Rules), logger: zap.NewNop(),
	}
}

// Two configurations that name one store share it, also with other keys.
func TestTwoAppsOneStore(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	a, b := newTestApp(t.Name()), newTestApp(t.Name())
	b.keys = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}
	la, err := a.acquire()
	if err != nil {
		t.Fatal(err)
	}
	lb, err := b.acquire()
	if err != nil {
		t.Fatal(err)
	}
	if la.ledger != lb.ledger {
		t.Error("two ledgers of one store")
	}
	ref := la.ledger.Reserve(time.Now())
	if la.codec().Encode(ref) == lb.codec().Encode(ref) {
		t.Error("the configured key should sign")
	}
	// The store's own key goes on verifying.
	if got, err := lb.codec().Decode(la.codec().Encode(ref)); err != nil || got != ref {
		t.Errorf("got %v, %v", got, err)
	}
	_ = a.Cleanup()
	if h := lb.ledger.Health(); h.State != "ok" {
		t.Errorf("got %+v", h)
	}
	place.want(t, 1, 0)
	_ = b.Cleanup()
	place.want(t, 1, 1)
}

func TestKeysThatCannotBe(t *testing.T) {
	place := memoryAt(newPlace(t, ""))
	app := newTestApp(t.Name())
	app.keys = [][]byte{[]byte("short")}
	if err := app.Start(); err == nil {
		t.Fatal("a short key was taken")
	}
	place.want(t, 1, 1) // it is given back
}

func TestAppProvisionErrors(t *testing.T) {
	t.Setenv("SHORT_KEY", "0123456789")
	s := &site{t: t, addr: "127.0.0.1:0", dir: t.TempDir()}
	for option, want := range map[string]string{
		"capture {\n click_id_key {env.NO_SUCH_KEY}\n}":                `click_id_key 1: replacing placeholders`,
		"capture {\n click_id_key 0123456789abcdef {env.SHORT_KEY}\n}": "secret 2 of 2: has 10 bytes, at least 16",
		"capture {\n store badger {env.NO_SUCH_DIRECTORY}/x\n}":        `directory "{env.NO_SUCH_DIRECTORY}/x": replacing placeholders`,
	} {
		err := s.validate(option, "postback")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%q: got %v; want %q in it", option, err, want)
		}
	}
	for cfg, want := range map[string]string{
		`{"store":{"engine":"nil"}}`:                          "unknown module: capture.stores.nil",
		`{"visitor_address":"some"}`:                          `visitor_address is "some"`,
		`{"window":-1}`:                                       "must not be negative",
		`{"campaigns":{"a":{"window":-1}}}`:                   `campaign "a": window`,
		`{"campaigns":{"a":{"dedup":"x"}}}`:                   `campaign "a": unknown dedup "x"`,
		`{"campaigns":{"a":{"payout":"1"}}}`:                  `campaign "a": payout`,
		`{"campaigns":{"a":{"payout":"x","currency":"USD"}}}`: `campaign "a": payout`,
		`{"campaign":{"a":{}}}`:                               "unknown field",
	} {
		var c *caddy.Config
		err := json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{"capture":`+cfg+`}}`), &c)
		if err == nil {
			err = caddy.Validate(c)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q in it", cfg, err, want)
		}
	}
}

func TestAppRules(t *testing.T) {
	t.Parallel()
	day := caddy.Duration(24 * time.Hour)
	a := &App{
		Retain: &Retention{Clicks: forEver, Journal: 2 * day}, Window: day,
		Campaigns: map[string]*Campaign{"a": {Payout: "1.5", Currency: "jpy", Dedup: "click"}, "null": nil},
	}
	r, err := a.readRules()
	if err != nil {
		t.Fatal(err)
	}
	if r.Retain != (capture.Retention{Journal: 48 * time.Hour}) || r.Window != 24*time.Hour {
		t.Errorf("got %+v", r)
	}
	if c := r.Campaign("a"); c.Payout.String() != "1.5 JPY" || c.Dedup.String() != "click" || c.Window != 24*time.Hour {
		t.Errorf("got %+v", c)
	}
	for want, retain := range map[string]*Retention{
		"conversions are to be kept 1s and clicks 90d":        {Conversions: caddy.Duration(time.Second)},
		"conversions are to be kept 2d and clicks 3d":         {Conversions: 2 * day, Clicks: 3 * day},
		"conversions are to be kept 400d and clicks for ever": {Conversions: 400 * day, Clicks: forEver},
	} {
		if _, err := (&App{Retain: retain}).readRules(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q in it", err, want)
		}
	}
	for _, retain := range []*Retention{{Conversions: 2 * day, Clicks: 2 * day}, {Conversions: 90 * day}, {Conversions: forEver, Clicks: forEver}} {
		if _, err := (&App{Retain: retain}).readRules(); err != nil {
			t.Errorf("%+v: %v", retain, err)
		}
	}
	r, err = new(App).readRules()
	if err != nil || r.Retain != (capture.Retention{Clicks: 90 * 24 * time.Hour, Journal: 400 * 24 * time.Hour}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// The logger of a store that outlives its configuration moves on with the
// log's file.
func TestStoreLogMovesOn(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	files := make([]string, 3)
	for i := range files {
		files[i] = filepath.Join(s.dir, fmt.Sprintf("log%d.json", i))
		s.conf = "log {\n output file " + files[i] + "\n format json\n}"
		if i == 2 { // refused: the log stays where it was
			if err := s.tryLoad(option, "postback {\n token {env.NO_SUCH_VARIABLE}\n}"); err == nil {
				t.Fatal("no error")
			}
		} else {
			s.load(option, "postback /pb")
		}
		place.logger.Load().Info(fmt.Sprint("line ", i))
	}
	for i, want := range [][]string{{"line 0"}, {"line 1", "line 2"}, nil} {
		data, _ := os.ReadFile(files[i])
		for _, line := range []string{"line 0", "line 1", "line 2"} {
			wanted := strings.Contains(strings.Join(want, ","), line)
			if got := strings.Contains(string(data), `"logger":"capture.store","msg":"`+line); got != wanted {
				t.Errorf("file %d: %s: %v, want %v", i, line, got, wanted)
			}
		}
	}
	place.want(t, 1, 0)
}

// Counters keep their values over reloads, with several handlers.
func TestMetricsOverReloads(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	directives := "postback /m1\npostback /m2\nhandle /metrics {\n metrics\n}"
	s.load(option, directives)
	id := click(t, "acme", 0)
	count := func(route string) float64 {
		return testutil.ToFloat64(postbacksTotal.WithLabelValues(route, "recorded", ""))
	}
	one, two := count("/m1"), count("/m2")
	for i := range 3 {
		s.get(fmt.Sprintf("/m1?click_id=%s&txid=a%d", id, i))
		s.get(fmt.Sprintf("/m2?click_id=%s&txid=b%d", id, i))
		s.load(option, directives+fmt.Sprintf("\nheader X-Load %d", i))
	}
	if count("/m1") != one+3 || count("/m2") != two+3 {
		t.Error("not counted over the reloads")
	}
	_, body := s.get("/metrics")
	for _, want := range []string{
		fmt.Sprintf(`caddy_capture_postbacks_total{outcome="recorded",reason="",route="/m1"} %v`, one+3),
		"caddy_capture_commit_duration_seconds_count",
		"caddy_capture_commit_batch_size_count",
		"caddy_capture_queue_length 0",
		"caddy_capture_click_to_conversion_seconds_count",
		"caddy_capture_store_bytes",
		`caddy_capture_quarantine{reason="unknown_click"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
	place.want(t, 1, 0)
}

// Requests during reloads are all served.
func TestReloadUnderLoad(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	var stop atomic.Bool
	var sent, lost atomic.Int64
	var wg sync.WaitGroup
	once := &http.Client{Timeout: client.Timeout, Transport: impatient}
	defer wg.Wait()
	defer stop.Store(true)
	for i := range 4 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				res, err := once.Get(s.url(fmt.Sprintf("/pb?click_id=%s&txid=%d-%d", id, i, n)))
				if err != nil {
					lost.Add(1) // Caddy resets a few connections at a reload
					continue
				}
				res.Body.Close()
				if res.StatusCode != 200 {
					t.Errorf("got %d", res.StatusCode)
				}
				sent.Add(1)
			}
		})
	}
	for i := range 15 {
		s.load(option, fmt.Sprintf("postback /pb\nheader X-Load %d", i))
	}
	stop.Store(true)
	wg.Wait()
	place.want(t, 1, 0)
	if n := reported(t); n < sent.Load() || n > sent.Load()+lost.Load() {
		t.Errorf("%d conversions of %d answered and %d reset requests", n, sent.Load(), lost.Load())
	}
}
