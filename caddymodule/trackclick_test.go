package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// tracker is a provisioned handler over a store in memory.
type tracker struct {
	*TrackClick
	t      testing.TB
	engine *memstore.Engine
	codec  *clickid.Codec
	logs   *observer.ObservedLogs

	mu sync.Mutex
	n  int // clicks committed
}

func newTracker(t testing.TB, h *TrackClick) *tracker {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	tr := &tracker{TrackClick: h, t: t, engine: memstore.New(), logs: logs}
	tr.engine.SetHooks(memstore.Hooks{After: func(b *capture.Batch) error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for _, block := range b.Blocks {
			tr.n += len(block.Clicks)
		}
		return nil
	}})
	if err := h.provision(testApp(t, tr.engine, zap.New(core))); err != nil {
		t.Fatal(err)
	}
	lease, err := h.app.acquire()
	if err != nil {
		t.Fatal(err)
	}
	tr.codec = lease.codec()
	if h.MaxWait == caddy.Duration(defaultMaxWait) {
		h.MaxWait = caddy.Duration(10 * time.Second) // the machine may be busy
	}
	return tr
}

func testApp(t testing.TB, engine capture.Engine, logger *zap.Logger) *App {
	app := &App{engine: engine, rules: new(capture.Rules), logger: logger, storeLog: newCurrentLogger(logger)}
	t.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return app
}

// prepared makes a request one that Caddy's server has prepared.
func prepared(r *http.Request) (*http.Request, *caddy.Replacer) {
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, nil, nil)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "203.0.113.77")
	return r, repl
}

func (tr *tracker) serve(r *http.Request, next caddyhttp.HandlerFunc) (*httptest.ResponseRecorder, error) {
	if next == nil {
		next = func(http.ResponseWriter, *http.Request) error {
			tr.t.Error("the next handler was called")
			return nil
		}
	}
	w := httptest.NewRecorder()
	r, _ = prepared(r)
	return w, tr.ServeHTTP(w, r, next)
}

// replaced is how a handler sees a placeholder.
func replaced(r *http.Request, text string) string {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceKnown(text, "")
}

var idPattern = regexp.MustCompile(`[0-9a-v]{26}`)

// idIn finds the click ID in a URL.
func (tr *tracker) idIn(location string) clickid.Ref {
	tr.t.Helper()
	ref, err := tr.codec.Decode(idPattern.FindString(location))
	if err != nil {
		tr.t.Fatalf("%q: %v", location, err)
	}
	return ref
}

func (tr *tracker) click(ref clickid.Ref) *capture.Click {
	tr.t.Helper()
	lease, err := tr.app.acquire()
	if err != nil {
		tr.t.Fatal(err)
	}
	c, err := lease.ledger.Click(context.Background(), ref)
	if err != nil {
		tr.t.Fatalf("%+v: %v", ref, err)
	}
	return c
}

func (tr *tracker) clicks() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.n
}

func to(urls ...string) (list []Destination) {
	for _, u := range urls {
		list = append(list, Destination{URL: u})
	}
	return list
}

const acme = "https://acme.example/offer?aff_sub={click_id}"

func TestRedirect(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme)})
	r := request("/go/acme?utm_source=mail&source=&sub2=b&sub1=a&sub1=z&gclid=g&utm_medium=m&other=o")
	r.Header.Set("User-Agent", firefox)
	r.Header.Set("Referer", "https://blog.example/")
	before := time.Now().Add(-time.Second)
	w, err := tr.serve(r, nil)
	if err != nil || w.Code != 302 || w.Body.Len() != 0 {
		t.Fatalf("status %d, body %q, error %v", w.Code, w.Body, err)
	}
	location := w.Header().Get("Location")
	if got := idPattern.ReplaceAllString(location, "ID"); got != "https://acme.example/offer?aff_sub=ID" {
		t.Errorf("Location %q", location)
	}
	w.Header().Del("Location")
	if want := (http.Header{"Cache-Control": {"no-store"}}); !reflect.DeepEqual(w.Header(), want) {
		t.Errorf("header %v", w.Header())
	}
	ref := tr.idIn(location)
	c := tr.click(ref)
	if c.Time.Before(before) || c.Time.After(time.Now()) || ref.Time().Unix() != c.Time.Unix() {
		t.Errorf("the click's time is %v", c.Time)
	}
	want := capture.Click{
		Ref: ref, Key: c.Key, Time: c.Time, Campaign: "acme", Source: "mail", Destination: acme,
		Subs: []capture.Param{{Name: "sub1", Value: "a"}, {Name: "sub2", Value: "b"}},
		Kept: []capture.Param{
			{Name: "utm_source", Value: "mail"}, {Name: "gclid", Value: "g"}, {Name: "utm_medium", Value: "m"},
		},
		Host: "shop.example", Path: "/go/acme", UserAgent: firefox, Referer: "https://blog.example/", Address: "203.0.113.0",
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", *c, want)
	}
}

func TestRedirectWithEverything(t *testing.T) {
	t.Parallel()
	all := []string{}
	tr := newTracker(t, &TrackClick{
		To:       to("https://acme.example/{sub.placement}?c={campaign}&s={click_id}&x={query.x}"),
		Campaign: "spring {query.season}", Source: "{campaign}/{query.src}",
		Subs: []SubID{
			{"placement", "{query.pl}"}, {"sub1", "mine"}, {"sub3", "{query.none}"}, {"from", "{source}"},
		},
		Keep: []string{"coupon"}, Pass: &all, Cost: "{query.cost}", CostCurrency: "{query.cur}", Status: 307,
	})
	w, err := tr.serve(request("/x?season=a%26b&src=web&pl=top&sub1=theirs&sub3=c&sub9=d&coupon=X&cost=0%2C12&cur=eur&s=evil&x=1"), nil)
	if err != nil || w.Code != 307 {
		t.Fatalf("status %d, error %v", w.Code, err)
	}
	location := w.Header().Get("Location")
	const want = "https://acme.example/top?c=spring%20a%26b&s=ID&x=1&season=a%26b&src=web&pl=top&" +
		"sub1=theirs&sub3=c&sub9=d&coupon=X&cost=0%2C12&cur=eur"
	if got := idPattern.ReplaceAllString(location, "ID"); got != want {
		t.Errorf("Location\n%s, want\n%s", got, want)
	}
	c := tr.click(tr.idIn(location))
	if c.Campaign != "spring a&b" || c.Source != "spring a&b/web" || c.Cost.String() != "0.12 EUR" ||
		c.URL != strings.Replace(want, "ID", idMark, 1) || c.Destination != tr.To[0].URL {
		t.Errorf("the click is %+v", c)
	}
	if want := []capture.Param{
		{Name: "sub9", Value: "d"}, {Name: "placement", Value: "top"}, {Name: "sub1", Value: "mine"},
		{Name: "from", Value: "spring a&b/web"},
	}; !reflect.DeepEqual(c.Subs, want) {
		t.Errorf("subs %v, want %v", c.Subs, want)
	}
	if want := []capture.Param{{Name: "coupon", Value: "X"}}; !reflect.DeepEqual(c.Kept, want) {
		t.Errorf("kept %v, want %v", c.Kept, want)
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cost, currency, query, want string }{
		{"0.12", "EUR", "", "0.12 EUR"},
		{"0.12", "", "", "0.12 USD"},
		{"0.12 GBP", "EUR", "", "0.12 GBP"},
		{"{query.c}", "", "c=1.5", "1.50 USD"},
		{"{query.c}", "EUR", "c=1.5", "1.50 EUR"},
		{"{query.c}", "EUR", "c=1.5+JPY", "1.5 JPY"},
		{"{query.c}", "EUR", "", ""},
		{"{query.c}", "EUR", "c=free", ""},
		{"{query.c}", "EUR", "c=-1", ""},
		{"{query.c}", "EUR", "c=1e9", ""},
		{"{query.c}", "{query.d}", "c=1&d=moon", ""},
		{"1", "{query.d}", "d=CHF", "1.00 CHF"},
	} {
		tr := newTracker(t, &TrackClick{To: to(acme), Cost: tc.cost, CostCurrency: tc.currency})
		w, err := tr.serve(request("/go/acme?"+tc.query), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if c := tr.click(tr.idIn(w.Header().Get("Location"))); c.Cost.Currency != "" {
			got = c.Cost.String()
		}
		if got != tc.want {
			t.Errorf("%q, %q, %q: %q, want %q", tc.cost, tc.currency, tc.query, got, tc.want)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme), Status: 303})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"} {
		r := request("/go/acme")
		r.Method = method
		w, err := tr.serve(r, nil)
		var answer caddyhttp.HandlerError
		if !errors.As(err, &answer) || answer.StatusCode != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: header %v, error %v", method, w.Header(), err)
		}
	}
	r := request("/go/acme")
	r.Method = http.MethodHead
	w, err := tr.serve(r, nil)
	if err != nil || w.Code != 303 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD: status %d, header %v, error %v", w.Code, w.Header(), err)
	}
	if ref := tr.idIn(w.Header().Get("Location")); ref.Slot != clickid.Unrecorded {
		t.Errorf("HEAD took the place %+v", ref)
	}
	if n := tr.clicks(); n != 0 {
		t.Errorf("%d clicks", n)
	}
}

func TestFlaggedClicks(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme), Campaign: "flagged"})
	for _, tc := range []struct {
		header, value, kind string
		want                capture.ClickFlags
	}{
		{"User-Agent", "Googlebot/2.1", "bot", capture.FlagBot},
		{"Sec-Purpose", "prefetch;prerender", "prefetch", capture.FlagPrefetch},
		{"User-Agent", "curl/8.14.1", "counted", 0},
		{"Referer", strings.Repeat("r", 5000), "counted", capture.FlagCut},
	} {
		before := testutil.ToFloat64(clicksTotal.WithLabelValues("flagged", tc.kind))
		r := request("/go/acme")
		r.Header.Set(tc.header, tc.value)
		w, err := tr.serve(r, nil)
		if err != nil || w.Code != 302 {
			t.Fatalf("status %d, error %v", w.Code, err)
		}
		if c := tr.click(tr.idIn(w.Header().Get("Location"))); c.Flags != tc.want {
			t.Errorf("%.80s: flags %v", tc.value, c.Flags.Names())
		}
		if n := testutil.ToFloat64(clicksTotal.WithLabelValues("flagged", tc.kind)) - before; n != 1 {
			t.Errorf("%.80s: counted %v times as %s", tc.value, n, tc.kind)
		}
	}
}

// A visitor whose traffic source left a macro in the link is redirected like
// any other; the click says so, and the log says it once.
func TestMacrosOfTrafficSources(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme), Campaign: "macros"})
	counted := func() float64 { return testutil.ToFloat64(clicksTotal.WithLabelValues("macros", "unresolved_macro")) }
	before := counted()
	visit := func(query, agent string) *capture.Click {
		t.Helper()
		r := request("/go/acme?" + query)
		r.Header.Set("User-Agent", agent)
		w, err := tr.serve(r, nil)
		if err != nil || w.Code != 302 {
			t.Fatalf("%s: status %d, error %v", query, w.Code, err)
		}
		return tr.click(tr.idIn(w.Header().Get("Location")))
	}
	const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	for range 3 {
		for query, source := range map[string]string{
			"source={placement}": "{placement}", "utm_source=__PLACEMENT__": "__PLACEMENT__", "source=%7Bplacement%7D": "{placement}",
			"source=%campaign%": "%campaign%",
		} {
			if c := visit(query, browser); c.Flags != capture.FlagMacro || c.Source != source {
				t.Errorf("%s: source %q, flags %v", query, c.Source, c.Flags.Names())
			}
		}
	}
	if c := visit("source=b&sub1=[[[x]]]", browser); c.Flags != capture.FlagMacro || c.Sub("sub1") != "[[[x]]]" {
		t.Errorf("sub1 is %q, flags %v", c.Sub("sub1"), c.Flags.Names())
	}
	if c := visit("source=a+b&sub1=100%25", browser); c.Flags != 0 {
		t.Errorf("flags %v", c.Flags.Names())
	}
	visit("source={other}", "Googlebot/2.1")
	if n := counted() - before; n != 13 {
		t.Errorf("%v clicks counted, want 13", n)
	}
	lines := tr.logs.FilterMessageSnippet("did not replace its macro").All()
	seen := make(map[string]int)
	for _, line := range lines {
		seen[fmt.Sprint(line.ContextMap()["parameter"], " ", line.ContextMap()["macro"])]++
	}
	want := map[string]int{"source {placement}": 1, "source __PLACEMENT__": 1, "source %campaign%": 1, "sub1 [[[x]]]": 1}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("logged %v, want %v", seen, want)
	}
}

// A visitor who invents macros fills neither the log nor the memory.
func TestInventedMacros(t *testing.T) {
	t.Parallel()
	l := newMacroLog()
	for i := range 10 * maxMacrosSeen {
		if !l.fresh("source", fmt.Sprintf("{x%d}", i)) {
			t.Fatalf("macro %d was seen before", i)
		}
		if len(l.seen) > maxMacrosSeen {
			t.Fatalf("%d are remembered", len(l.seen))
		}
	}
	if l.fresh("source", fmt.Sprintf("{x%d}", 10*maxMacrosSeen-1)) {
		t.Error("the last one is forgotten already")
	}
}

// A huge request is cut, also in memory, and redirected.
func TestHugeRequest(t *testing.T) {
	t.Parallel()
	all := []string{}
	tr := newTracker(t, &TrackClick{To: to(acme), Pass: &all})
	w, err := tr.serve(request("/go/acme?gclid="+strings.Repeat("g", 100_000)+strings.Repeat("&utm_x=1&utm_y=2", 10_000)), nil)
	if err != nil {
		t.Fatal(err)
	}
	location := w.Header().Get("Location")
	if len(location) < 100_000 {
		t.Errorf("the Location has %d bytes", len(location))
	}
	c := tr.click(tr.idIn(location))
	if c.Flags != capture.FlagCut || len(c.Kept[0].Value) != capture.MaxValue || len(c.URL) > capture.MaxValue {
		t.Errorf("the click is %+v", c)
	}
}

func TestWeights(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: []Destination{{URL: "/a/{click_id}", Weight: 3}, {URL: "/b/{click_id}"}}})
	n := map[string]int{}
	for range 4000 {
		n[tr.choose().text]++
	}
	if a := n["/a/{click_id}"]; a < 2800 || a > 3200 || a+n["/b/{click_id}"] != 4000 {
		t.Errorf("chosen %v", n)
	}
}

func TestPlaceholdersAfterRedirect(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme)})
	w := httptest.NewRecorder()
	r, repl := prepared(request("/go/acme?source=mail"))
	if err := tr.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	got := repl.ReplaceKnown("{http.capture.click_id}|{http.capture.campaign}|{http.capture.source}|{http.capture.none}", "")
	if want := idPattern.FindString(w.Header().Get("Location")) + "|acme|mail|{http.capture.none}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The store's troubles are never the visitor's.
func TestStoreInTrouble(t *testing.T) {
	t.Parallel()
	serve := func(tr *tracker, what string) string {
		t.Helper()
		start := time.Now()
		w, err := tr.serve(request("/go/x"), nil)
		if err != nil || w.Code != 302 || time.Since(start) > 9*time.Second {
			t.Fatalf("%s: status %d after %s, error %v", what, w.Code, time.Since(start), err)
		}
		return w.Header().Get("Location")
	}
	// The counters are the process's: each run has campaigns of its own.
	run := time.Now().Format(" 150405.000000000")
	count := func(campaign, kind string) float64 {
		return testutil.ToFloat64(clicksTotal.WithLabelValues(campaign+run, kind))
	}

	tr := newTracker(t, &TrackClick{To: to(acme), Campaign: "slow store" + run, MaxWait: caddy.Duration(5 * time.Millisecond)})
	release := make(chan struct{})
	tr.engine.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { <-release; return nil }})
	var location string
	began := time.Now()
	for range 20 {
		location = serve(tr, "slow")
	}
	if late, counted := count("slow store", "late"), count("slow store", "counted"); late != 20 || counted != 20 {
		t.Errorf("%v late of %v", late, counted)
	}
	if n := tr.logs.FilterMessageSnippet("before the click was on disk").Len(); n < 1 || n > 6+int(time.Since(began)/(10*time.Second)) {
		t.Errorf("%d lines in the log", n)
	}
	close(release)
	ref := tr.idIn(location)
	eventually(t, "the click is on disk", func() bool {
		lease, err := tr.app.acquire()
		if err != nil {
			t.Fatal(err)
		}
		_, err = lease.ledger.Click(context.Background(), ref)
		return err == nil
	})

	// The ledger of another configuration is closed under this one.
	tr = newTracker(t, &TrackClick{To: to(acme), Campaign: "closed ledger" + run})
	lease, err := tr.app.acquire()
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	tr.idIn(serve(tr, "closed ledger"))
	if lost := count("closed ledger", "lost"); lost != 1 || count("closed ledger", "counted") != 0 {
		t.Errorf("%v lost", lost)
	}

	// A request comes before the app was started, and its store cannot be opened.
	for name, keys := range map[string][][]byte{"no store": nil, "no store, own key": {[]byte("a key of our own, secret")}} {
		core, logs := observer.New(zapcore.DebugLevel)
		engine := memstore.New()
		engine.SetHooks(memstore.Hooks{Open: func() error { return capture.ErrLocked }})
		app := testApp(t, engine, zap.New(core))
		app.keys = keys
		tr := &tracker{TrackClick: &TrackClick{To: to(acme), Campaign: name + run}, t: t, codec: fallbackFor(keys)().Codec}
		if err := tr.provision(app); err != nil {
			t.Fatal(err)
		}
		if ref := tr.idIn(serve(tr, name)); ref.Slot != clickid.Unrecorded || count(name, "lost") != 1 {
			t.Errorf("%s: %+v", name, ref)
		}
		if n := logs.FilterMessageSnippet("the store cannot be used").Len(); n != 1 {
			t.Errorf("%s: %d lines in the log", name, n)
		}
	}
}

func TestConcurrentClicks(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to("https://acme.example/{query.x}?s={click_id}")})
	var wg sync.WaitGroup
	var seen sync.Map
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				x := string(rune('a'+g)) + strings.Repeat("y", i)
				w, err := tr.serve(request("/go/"+x+"?x="+x+"&gclid="+x), nil)
				if err != nil {
					t.Error(err)
					return
				}
				location := w.Header().Get("Location")
				c := tr.click(tr.idIn(location))
				if c.Campaign != x || c.Kept[0].Value != x || !strings.HasPrefix(location, "https://acme.example/"+x+"?") {
					t.Errorf("%q: %+v", location, c)
				}
				if _, twice := seen.LoadOrStore(location, true); twice {
					t.Errorf("%q twice", location)
				}
			}
		})
	}
	wg.Wait()
	if n := tr.clicks(); n != 400 {
		t.Errorf("%d clicks", n)
	}
}

func TestProvisionErrors(t *testing.T) {
	t.Parallel()
	none := []string{}
	for want, h := range map[string]*TrackClick{
		"neither to nor inject":                       {},
		"inject and to exclude each other":            {To: to(acme), Inject: "x"},
		"inject and pass exclude each other":          {Inject: "x", Pass: &none},
		"inject and status exclude each other":        {Inject: "x", Status: 307},
		`inject is "a=b"`:                             {Inject: "a=b"},
		"status 301 is permanent":                     {To: to(acme), Status: 301},
		"status 308 is permanent":                     {To: to(acme), Status: 308},
		"status is 200; allowed are 302, 303 and 307": {To: to(acme), Status: 200},
		"max_wait is -1s":                             {To: to(acme), MaxWait: caddy.Duration(-time.Second)},
		"weight is -1; allowed are 1 to 1000":         {To: []Destination{{acme, -1}}},
		"weight is 1001":                              {To: []Destination{{acme, 1001}}},
		`to "https://{query.h}/"`:                     {To: to("https://{query.h}/")},
		`there is no sub "x"`:                         {To: to("https://a.example/?{sub.x}")},
		`campaign "{source}"`:                         {To: to(acme), Campaign: "{source}"},
		`campaign "{click_id}"`:                       {To: to(acme), Campaign: "{click_id}"},
		`source "{wrong}": unknown placeholder`:       {To: to(acme), Source: "{wrong}"},
		`sub sub1 "{click_id}"`:                       {To: to(acme), Subs: []SubID{{"sub1", "{click_id}"}}},
		`sub "A"`:                                     {To: to(acme), Subs: []SubID{{"A", "x"}}},
		`sub "a" is given twice`:                      {To: to(acme), Subs: []SubID{{"a", "x"}, {"a", "y"}}},
		`keep: "a b"`:                                 {To: to(acme), Keep: []string{"a b"}},
		`pass: ""`:                                    {To: to(acme), Pass: &[]string{""}},
		"use one of the two":                          {To: to("https://a.example/?{query}"), Pass: &none},
		"but there is no cost":                        {To: to(acme), CostCurrency: "EUR"},
		`cost: reading payout "free"`:                 {To: to(acme), Cost: "free"},
		`the amount "-1" is negative`:                 {To: to(acme), Cost: "-1"},
		`unknown currency "moon"`:                     {To: to(acme), Cost: "{query.c}", CostCurrency: "moon"},
		`cost "{sub.x}"`:                              {To: to(acme), Cost: "{sub.x}"},
	} {
		err := h.provision(testApp(t, memstore.New(), zap.NewNop()))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", want, err)
		}
	}
}

func TestWarnsWithoutClickID(t *testing.T) {
	t.Parallel()
	tr := newTracker(t, &TrackClick{To: to(acme, "https://acme.example/")})
	warned := tr.logs.FilterMessageSnippet("no {click_id}").All()
	if len(warned) != 1 || warned[0].ContextMap()["to"] != "https://acme.example/" || warned[0].LoggerName != "track_click" {
		t.Errorf("warnings: %v", warned)
	}
}

// What JSON leaves out or has as null are the defaults.
func TestJSONDefaults(t *testing.T) {
	t.Parallel()
	h := new(TrackClick)
	const text = `{"to":[{"url":"/a/{click_id}","weight":0}],"pass":null,"status":null,"max_wait":null,"cost":null}`
	if err := json.Unmarshal([]byte(text), h); err != nil {
		t.Fatal(err)
	}
	if err := h.provision(testApp(t, memstore.New(), zap.NewNop())); err != nil {
		t.Fatal(err)
	}
	if h.Status != 302 || time.Duration(h.MaxWait) != 50*time.Millisecond || h.pass != nil || h.cost.known {
		t.Errorf("%+v", h)
	}
}

// validate and the running server: the directive in a whole Caddy.
func TestTrackClickInCaddy(t *testing.T) {
	option, place := memoryOption(t)
	s := newSite(t)
	s.load(option, `track_click /go/* https://acme.example/offer?aff_sub={click_id} {
		max_wait 10s
	}
	handle_path /land/acme {
		track_click https://acme.example/land?aff_sub={click_id} {
			max_wait 10s
		}
	}`)
	place.want(t, 1, 0)
	lease, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/go/acme", "/land/acme"} {
		res, body := s.get(path)
		if res.StatusCode != 302 || body != "" || res.Header.Get("Content-Length") != "0" || res.Header["Set-Cookie"] != nil {
			t.Errorf("status %d, header %v, body %q", res.StatusCode, res.Header, body)
		}
		ref, err := lease.codec().Decode(idPattern.FindString(res.Header.Get("Location")))
		if err != nil {
			t.Fatal(err)
		}
		c, err := lease.ledger.Click(t.Context(), ref)
		if err != nil || c.Campaign != "acme" || c.Address != "127.0.0.0" {
			t.Errorf("the click is %+v, %v", c, err)
		}
	}
	req, err := http.NewRequest(http.MethodPost, s.url("/go/acme"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, _ := s.do(req); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, header %v", res.StatusCode, res.Header)
	}
	if err := s.tryLoad(option, "track_click /go https://{query.h}/"); err == nil ||
		!strings.Contains(err.Error(), "open redirect") {
		t.Errorf("error %v", err)
	}
	// The refused configuration has left the running one alone.
	if res, _ := s.get("/go/acme"); res.StatusCode != 302 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// nullWriter is a ResponseWriter that costs nothing.
type nullWriter struct{ header http.Header }

func (d *nullWriter) Header() http.Header         { return d.header }
func (d *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (d *nullWriter) WriteHeader(int)             {}

// nullEngine keeps nothing, so that a benchmark does not measure a store.
type nullEngine struct{ *memstore.Engine }

func (e nullEngine) Open(ctx context.Context) (capture.Store, error) {
	s, err := e.Engine.Open(ctx)
	return nullStore{s}, err
}

type nullStore struct{ capture.Store }

func (nullStore) Commit(context.Context, *capture.Batch) error { return nil }

// benchmarkTracker gives the handler's own cost, with that of the queue.
func benchmarkTracker(b *testing.B, h *TrackClick, target string, next caddyhttp.Handler) {
	app := testApp(b, nullEngine{memstore.New()}, zap.NewNop())
	h.MaxWait = 1
	if err := h.provision(app); err != nil {
		b.Fatal(err)
	}
	r := request(target)
	r.Header.Set("User-Agent", firefox)
	r.Header.Set("Referer", "https://blog.example/an/article")
	w := &nullWriter{make(http.Header)}
	vars := map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.77"}
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)
	b.ReportAllocs()
	for b.Loop() {
		repl := caddy.NewReplacer()
		if err := h.ServeHTTP(w, r.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl)), next); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTrackClick(b *testing.B) {
	b.Run("nothing", func(b *testing.B) { // what the benchmark itself costs
		r := request("/go/acme")
		b.ReportAllocs()
		for b.Loop() {
			repl := caddy.NewReplacer()
			_ = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
		}
	})
	b.Run("plain", func(b *testing.B) {
		benchmarkTracker(b, &TrackClick{To: to(acme)}, "/go/acme", nil)
	})
	b.Run("query", func(b *testing.B) {
		h := &TrackClick{To: to(acme)}
		benchmarkTracker(b, h, "/go/acme?source=mail&sub1=a&gclid=abcdefghijklmnopqrstuvwxyz", nil)
	})
	b.Run("rich", func(b *testing.B) {
		all := []string{}
		benchmarkTracker(b, &TrackClick{
			To:       to("https://acme.example/{query.pl}?aff_sub={click_id}&src={source}", "https://acme.example/?s={click_id}"),
			Campaign: "shoes", Subs: []SubID{{"placement", "{query.pl}"}}, Pass: &all, Cost: "0.12",
		}, "/go/acme?utm_source=mail&utm_medium=m&sub1=a&pl=top%20left&gclid=abcdefghijklmnopqrstuvwxyz0123456789", nil)
	})
	b.Run("inject", func(b *testing.B) {
		next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header()["Location"] = []string{"https://books.example/?partner=42"}
			w.WriteHeader(http.StatusFound)
			return nil
		})
		benchmarkTracker(b, &TrackClick{Inject: "aff_sub"}, "/out/books?source=mail", next)
	})
}
