package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// adminServer serves the routes of the admin API like Caddy does.
func adminServer(t testing.TB, api adminAPI) *httptest.Server {
	t.Helper()
	return adminServerReading(t, api, 10*time.Second)
}

// adminServerReading is one with another deadline for reading.
func adminServerReading(t testing.TB, api adminAPI, limit time.Duration) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for _, route := range api.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			apiErr, ok := err.(caddy.APIError) //nolint:errorlint // Caddy does not unwrap either
			if !ok {
				t.Errorf("%s %s: %v is no APIError", r.Method, r.URL, err)
			}
			w.WriteHeader(apiErr.HTTPStatus)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": apiErr.Err.Error()})
		})
	}
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ReadTimeout = limit
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func adminDo(t testing.TB, srv *httptest.Server, method, path string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// adminGet decodes an answer that must be a 200.
func adminGet(t testing.TB, srv *httptest.Server, path string, v any) {
	t.Helper()
	status, header, body := adminDo(t, srv, http.MethodGet, path)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s: %d %s %s", path, status, header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, body)
	}
}

// trackedSite runs a site with a click route and two postback routes.
func trackedSite(t testing.TB) (*site, *memoryPlace) {
	option, place := memoryOption(t)
	s := newSite(t)
	s.load(option, trackedRoutes)
	return s, place
}

const trackedRoutes = `
	track_click /go/* https://acme.example/offer?aff_sub={click_id} {
		keep coupon
		cost 0.12 EUR
		max_wait 10s
	}
	postback /postback
	postback /secret {
		token very-secret-token
	}`

// hasten lets visitors of a trackedSite wait only for a moment, for a store that
// takes nothing.
func (s *site) hasten() {
	s.t.Helper()
	s.load("capture {\n store memory "+s.t.Name()+"\n}", strings.Replace(trackedRoutes, "10s", "50ms", 1))
}

// visit clicks a link and returns the click ID.
func (s *site) visit(path string) string {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url(path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", testUserAgent)
	resp, _ := s.do(req)
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || u.Query().Get("aff_sub") == "" {
		s.t.Fatalf("%s: %d %q", path, resp.StatusCode, resp.Header.Get("Location"))
	}
	return u.Query().Get("aff_sub")
}

func TestAdminClickAndConversion(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme?source=news&sub1=top&coupon=X&utm_medium=mail")
	s.get("/postback?click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale&status=pending")
	s.get("/postback?click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale")
	s.get("/postback?click_id=" + id + "&txid=t2&event=lead")

	var c struct {
		clickAnswer
		Raw map[string]any
	}
	adminGet(t, srv, "/capture/clicks/"+strings.ToUpper(id), &c)
	if c.ID != id || c.Campaign != "acme" || c.Source != "news" || c.Subs["sub1"] != "top" || c.Kept["coupon"] != "X" ||
		c.Kept["utm_medium"] != "mail" || c.URL != "https://acme.example/offer?aff_sub="+id ||
		c.Destination != "https://acme.example/offer?aff_sub={click_id}" || c.Cost["EUR"].String() != "0.12" ||
		c.Path != "/go/acme" || c.UserAgent != testUserAgent || c.Address != "127.0.0.0" || c.Flags == nil || len(c.Conversions) != 2 {
		t.Errorf("click: %+v", c)
	}

	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions?event=sale", &list)
	if len(list.Conversions) != 1 || list.Next != "" {
		t.Fatalf("conversions: %+v", list)
	}
	conv := list.Conversions[0]
	if conv.ClickID != id || conv.TxID != "t1" || conv.Status != "approved" || conv.Payout != "12.50" || conv.Currency != "USD" ||
		conv.Dedup != "txid" || conv.Campaign != "acme" || conv.Subs["sub1"] != "top" || len(conv.History) != 2 ||
		conv.History[0].Status != "pending" || conv.History[1].Status != "approved" || conv.History[0].Journal == 0 ||
		conv.History[1].Seen != 1 || conv.Test {
		t.Errorf("conversion: %+v", conv)
	}

	var report attribution.Report
	adminGet(t, srv, "/capture/report?by=source,sub.sub1&from=2d&tz=Europe/Berlin", &report)
	if len(report.Rows) != 1 || report.Total.Clicks != 1 || report.Total.Conversions != 2 || report.Rows[0].Keys[1] != "top" {
		t.Errorf("report: %+v", report)
	}
	adminGet(t, srv, "/capture/report?by=", &report)
	if len(report.By) != 0 || report.Total.Revenue["USD"].String() != "12.5" {
		t.Errorf("total: %+v", report)
	}
}

func TestAdminPages(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	for i := range 7 {
		s.get(fmt.Sprintf("/postback?click_id=%s&txid=%d&payout=1&currency=USD", id, i))
	}
	seen := make(map[string]bool)
	after, pages := "", 0
	for {
		var list conversionsAnswer
		adminGet(t, srv, "/capture/conversions?limit=3&after="+after, &list)
		for _, c := range list.Conversions {
			if seen[c.TxID] {
				t.Errorf("%s is listed twice", c.TxID)
			}
			seen[c.TxID] = true
		}
		pages++
		if after = list.Next; after == "" {
			break
		}
	}
	if len(seen) != 7 || pages != 3 {
		t.Errorf("%d conversions in %d pages", len(seen), pages)
	}
	var journal journalAnswer
	adminGet(t, srv, "/capture/journal?limit=5", &journal)
	if len(journal.Entries) != 5 || journal.Entries[0].TxID != "6" || journal.Next != journal.Entries[4].Seq {
		t.Fatalf("journal: %+v", journal)
	}
	// Large entries end a page early.
	usual := maxPageBytes
	maxPageBytes = 1
	var short journalAnswer
	adminGet(t, srv, "/capture/journal?limit=5", &short)
	maxPageBytes = usual
	if len(short.Entries) != 1 || short.Next != short.Entries[0].Seq {
		t.Errorf("a page of large entries: %+v", short)
	}
	var rest journalAnswer
	adminGet(t, srv, fmt.Sprintf("/capture/journal?limit=5&after=%d", journal.Next), &rest)
	if len(rest.Entries) != 2 || rest.Entries[1].TxID != "0" || rest.Next != 0 {
		t.Errorf("second page: %+v", rest)
	}
}

func TestAdminJournal(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=1&payout=1&currency=USD")
	s.get("/secret?click_id={aff_sub}&token=very-secret-token")
	req, _ := http.NewRequest(http.MethodPost, s.url("/secret"), strings.NewReader("click_id="+id+"&txid=\xff&status=huh"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer very-secret-token")
	s.do(req)

	_, _, text := adminDo(t, srv, http.MethodGet, "/capture/journal")
	if strings.Contains(text, "very-secret-token") {
		t.Errorf("the journal shows a token: %s", text)
	}
	var list journalAnswer
	adminGet(t, srv, "/capture/journal", &list)
	if len(list.Entries) != 3 {
		t.Fatalf("%d entries: %s", len(list.Entries), text)
	}
	form, macro, first := list.Entries[0], list.Entries[1], list.Entries[2]
	if first.Outcome != capture.Recorded || first.ClickID != id || first.ConversionID == "" || first.Campaign != "acme" ||
		first.Authentic != "click ID" || first.Sender != "127.0.0.0" || !strings.HasPrefix(first.Raw.URI, "/postback?click_id="+id) {
		t.Errorf("first: %+v", first)
	}
	if macro.Outcome != capture.Quarantined || macro.Reason != capture.UnresolvedMacro || macro.ClickID != "" ||
		macro.Authentic != "token" || !strings.Contains(macro.Raw.URI, "token=REDACTED") || macro.Detail == "" {
		t.Errorf("macro: %+v", macro)
	}
	if form.Reason != capture.UnmappedStatus || string(form.Raw.BodyBase64) != "click_id="+id+"&txid=\xff&status=huh" ||
		form.Raw.Body != "" || form.Raw.Method != http.MethodPost {
		t.Errorf("form: %+v", form)
	}
	for query, want := range map[string]int{
		"outcome=quarantined":                   2,
		"reason=unresolved_macro&open=1":        1,
		"route=" + url.QueryEscape(first.Route): 1,
		"campaign=acme":                         2,
		"from=1h":                               3,
		"to=2020-01-01":                         0,
	} {
		adminGet(t, srv, "/capture/journal?"+query, &list)
		if len(list.Entries) != want {
			t.Errorf("%s: %d entries, want %d", query, len(list.Entries), want)
		}
	}
}

func TestAdminErrors(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := held.codec().Decode(id)
	if err != nil {
		t.Fatal(err)
	}
	ref.Block += 1000
	unknown := held.codec().Encode(ref)
	flipped := "v" + id[1:]
	if id[0] == 'v' {
		flipped = "0" + id[1:]
	}
	for _, tc := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/capture/report?by=weather", 400, "unknown dimension"},
		{"GET", "/capture/report?from=2026-02-01&to=2026-01-01", 400, "not after its beginning"},
		{"GET", "/capture/report?campain=x", 400, "allowed are by, from, to, campaign, source, tz"},
		{"POST", "/capture/report", 405, "use GET or HEAD"},
		{"DELETE", "/capture/conversions", 405, "use GET"},
		{"GET", "/capture/test", 405, "use POST"},
		{"POST", "/capture/health", 405, "use GET"},
		{"GET", "/capture/clicks/abc", 400, "has 3 characters"},
		{"GET", "/capture/clicks/" + id[:25] + "!", 400, "wrong character"},
		{"GET", "/capture/clicks/" + flipped, 400, "not minted"},
		{"GET", "/capture/clicks/" + unknown, 404, "is unknown"},
		{"GET", "/capture/clicks/" + id + "?x=1", 400, "none is allowed here"},
		{"GET", "/capture/journal?limit=5000", 400, "from 1 to 1000"},
		{"GET", "/capture/nothing", 404, "/capture/report"},
		{"GET", "/capture/clicks/", 404, "/capture/clicks/<id>"},
	} {
		status, header, body := adminDo(t, srv, tc.method, tc.path)
		var e struct{ Error string }
		if json.Unmarshal([]byte(body), &e) != nil || status != tc.status || !strings.Contains(e.Error, tc.want) {
			t.Errorf("%s %s: %d %s; want %d with %q", tc.method, tc.path, status, body, tc.status, tc.want)
		}
		if (status == 405) != (header.Get("Allow") != "") {
			t.Errorf("%s %s: Allow is %q", tc.method, tc.path, header.Get("Allow"))
		}
	}
}

// After a change of the key a click is shown under the ID that travelled.
func TestAdminClickAfterKeyChange(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.load("capture {\n store memory "+t.Name()+"\n click_id_key 0123456789abcdef-new\n}",
		"track_click /go/* https://acme.example/?id={click_id}")
	var c clickAnswer
	adminGet(t, srv, "/capture/clicks/"+strings.ToUpper(id), &c)
	if c.ID != id || !strings.HasSuffix(c.URL, id) {
		t.Errorf("asked for %s, got %s and %s", id, c.ID, c.URL)
	}
}

func TestAdminClickIsGone(t *testing.T) {
	conv := &capture.Conversion{
		ClickTime: testNow, Campaign: "acme", Source: "news", Subs: []capture.Param{{Name: "a", Value: "b"}},
		State: attribution.State{Booked: true, Event: "sale", Status: attribution.Approved, Time: testNow},
	}
	var a clickAnswer
	a.fillFrom(conv)
	if !a.Gone || a.Campaign != "acme" || a.Subs["a"] != "b" || a.Kept == nil || !a.Time.Equal(testNow) {
		t.Errorf("%+v", a)
	}
}

func TestAdminWithoutApp(t *testing.T) {
	srv := adminServer(t, adminAPI{findApp: func() (*App, error) { return nil, caddy.ErrNotConfigured }})
	status, _, body := adminDo(t, srv, http.MethodGet, "/capture/health")
	if status != 404 || !strings.Contains(body, "not in use") {
		t.Errorf("%d %s", status, body)
	}
	status, _, body = adminDo(t, srv, http.MethodGet, "/capture/report")
	if status != 404 || !strings.Contains(body, "not in use") {
		t.Errorf("%d %s", status, body)
	}
	// An app that was stopped has given its store back.
	srv = adminServer(t, adminAPI{findApp: func() (*App, error) { return &App{closed: true}, nil }})
	for _, path := range []string{"/capture/report", "/capture/health"} {
		if status, _, body := adminDo(t, srv, http.MethodGet, path); status != 503 || !strings.Contains(body, "closed") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestAdminHealth(t *testing.T) {
	s, place := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	var h healthAnswer
	s.visit("/go/acme")
	adminGet(t, srv, "/capture/health", &h)
	if h.State != "ok" || h.Version == "" || h.LastCommit == nil || h.Quarantine == nil || !h.Store.Writable {
		t.Errorf("health: %+v", h)
	}
	s.hasten()
	place.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrNoSpace }})
	s.get("/go/acme")
	eventually(t, "the store is degraded", func() bool {
		status, _, body := adminDo(t, srv, http.MethodGet, "/capture/health")
		return status == 503 && json.Unmarshal([]byte(body), &h) == nil && h.State == "degraded" && h.Why != ""
	})
	place.SetHooks(memstore.Hooks{})
}

func TestAdminStream(t *testing.T) {
	defer func(d time.Duration) { heartbeat = d }(heartbeat)
	heartbeat = 1500 * time.Millisecond
	s, _ := trackedSite(t)
	srv := adminServerReading(t, adminAPI{}, time.Second)
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=old")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/capture/journal?outcome=recorded&limit=1", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewReader(resp.Body)
	next := func(prefix string) string {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %q: %v", prefix, err)
			}
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
				return rest
			}
		}
	}
	entry := func() (e entryAnswer) {
		t.Helper()
		if event := next("event: "); event != "journal" {
			t.Fatalf("event %q", event)
		}
		seq := next("id: ")
		if err := json.Unmarshal([]byte(next("data: ")), &e); err != nil || fmt.Sprint(e.Seq) != seq {
			t.Fatalf("%v: id %s, %+v", err, seq, e)
		}
		return e
	}
	if e := entry(); e.TxID != "old" {
		t.Errorf("backlog: %+v", e)
	}
	next(": still here") // well after the deadline for reading
	s.get("/postback?click_id=" + id + "&txid=old")
	s.get("/postback?click_id=" + id + "&txid=new")
	if e := entry(); e.TxID != "new" || e.ClickID != id {
		t.Errorf("live: %+v", e)
	}
	// When the ledger closes, so does the stream: Caddy waits for it at exit.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := lines.ReadString('\n'); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdminStreamOfConversions(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	acme, other := s.visit("/go/acme"), s.visit("/go/other")
	s.get("/postback?click_id=" + acme + "&txid=old")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/capture/conversions?campaign=acme&limit=1", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var seen []string
	want := []string{"old approved", "new pending", "new approved"}
	send := []func(){
		func() {
			s.get("/postback?click_id=" + other + "&txid=x")                   // of another campaign
			s.get("/postback?click_id=" + acme + "&txid=old")                  // a duplicate
			s.get("/postback?click_id=" + acme + "&txid=bad&status=no-status") // quarantined
			s.get("/postback?click_id=" + acme + "&txid=new&status=pending")
		},
		func() { s.get("/postback?click_id=" + acme + "&txid=new&status=approved") },
	}
	err = readEvents(resp.Body, func(data []byte) error {
		var c conversionAnswer
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		seen = append(seen, c.TxID+" "+c.Status)
		if i := len(seen) - 1; i < len(send) {
			send[i]()
			return nil
		}
		return io.EOF
	})
	if !errors.Is(err, io.EOF) || !slices.Equal(seen, want) {
		t.Errorf("%v: saw %q, want %q", err, seen, want)
	}
	req, _ = http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/capture/conversions?after=1.x", nil)
	req.Header.Set("Accept", "text/event-stream")
	if resp, err := http.DefaultTransport.RoundTrip(req); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%v: %d", err, resp.StatusCode)
	}
}
