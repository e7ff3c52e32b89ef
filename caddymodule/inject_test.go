package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestSetParameter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ location, want string }{
		{"https://a.example", "https://a.example?sub=ID"},
		{"https://a.example/x?", "https://a.example/x?sub=ID"},
		{"https://a.example/x?a=1", "https://a.example/x?a=1&sub=ID"},
		{"https://a.example/x?a=1&", "https://a.example/x?a=1&sub=ID"},
		{"https://a.example/x#f?g=1", "https://a.example/x?sub=ID#f?g=1"},
		{"https://a.example/x?sub=old#f", "https://a.example/x?sub=ID#f"},
		{"https://a.example/x?a=%zz&sub&b=;&sub=2&sub=3&c", "https://a.example/x?a=%zz&sub=ID&b=;&c"},
		{"https://a.example/x?%73ub=old&a", "https://a.example/x?%73ub=ID&a"},
		{"https://a.example/x?&a&&b", "https://a.example/x?&a&&b&sub=ID"},
		{"https://a.example/x?sub2=1&xsub=2", "https://a.example/x?sub2=1&xsub=2&sub=ID"},
		{"https://a.example/x?u=https://b.example/?sub=1", "https://a.example/x?u=https://b.example/?sub=1&sub=ID"},
		{"/relative", "/relative?sub=ID"},
		{"relative?x", "relative?x&sub=ID"},
		{"?sub=", "?sub=ID"},
		{"#f", "?sub=ID#f"},
	} {
		if got := setParameter(tc.location, "sub", "ID"); got != tc.want {
			t.Errorf("%q:\n got %s\nwant %s", tc.location, got, tc.want)
		}
	}
	if got, want := setParameter("/x?a[b]=1", "a%5Bb%5D", "ID"), "/x?a[b]=ID"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWithoutQuery(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"https://a.example/x?y#z":      "https://a.example/x",
		"https://a.example#z?y":        "https://a.example",
		"https://u:p@a.example/x@y":    "https://a.example/x@y",
		"//u@a.example":                "//a.example",
		"/x/y?z":                       "/x/y",
		"/x?u=https://u:p@a.example/x": "/x",
		"":                             "",
	} {
		if got := withoutQuery(location); got != want {
			t.Errorf("%q: got %q, want %q", location, got, want)
		}
	}
}

func FuzzInjectParam(f *testing.F) {
	for _, s := range []string{"https://a.example/?sub=1&sub=2#f", "/x?a=%zz&SUB=1", "?", "#", "//h?sub", "x?%73ub;=1&=&sub+=2"} {
		f.Add(s, "sub")
		f.Add(s, "a[b]")
	}
	f.Fuzz(func(t *testing.T, location, name string) {
		if !isParameterName(name) || strings.ContainsAny(name, ";%+") {
			return
		}
		before, err := url.Parse(location)
		if err != nil {
			return
		}
		got := setParameter(location, string(appendEncoded(nil, name, asValue)), "0id")
		after, err := url.Parse(got)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", location, got, err)
		}
		if ids := after.Query()[name]; len(ids) != 1 || ids[0] != "0id" {
			t.Errorf("%q becomes %q, with %q", location, got, ids)
		}
		if after.Host != before.Host || after.Path != before.Path || after.Fragment != before.Fragment {
			t.Errorf("%q becomes %q", location, got)
		}
	})
}

// answering is a handler that plays the rest of the site.
func answering(status int, location string) caddyhttp.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.WriteHeader(status)
		return nil
	}
}

func TestInject(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, method string
		status       int
		location     string
		want         string // with ID in the place of the ID
		recorded     bool
	}{
		{"temporary", "GET", 302, "https://u@acme.example/x?aff=0&y=1#f", "https://u@acme.example/x?aff=ID&y=1#f", true},
		{"permanent", "GET", 301, "https://acme.example/", "https://acme.example/?aff=ID", true},
		{"permanent", "GET", 308, "/local", "/local?aff=ID", true},
		{"see other", "GET", 303, "local", "local?aff=ID", true},
		{"307", "GET", 307, "//acme.example", "//acme.example?aff=ID", true},
		{"head", "HEAD", 302, "https://acme.example/", "https://acme.example/?aff=ID", false},
		{"post", "POST", 302, "https://acme.example/", "https://acme.example/", false},
		{"no redirect", "GET", 200, "", "", false},
		{"created", "GET", 201, "/thing", "/thing", false},
		{"not modified", "GET", 304, "/thing", "/thing", false},
		{"no location", "GET", 302, "", "", false},
	} {
		tracker := newTracker(t, &TrackClick{Inject: "aff"})
		r := request("/out/books?source=mail&gclid=g")
		r.Method = tc.method
		w, err := tracker.serve(r, answering(tc.status, tc.location))
		if err != nil || w.Code != tc.status {
			t.Errorf("%s: status %d, error %v", tc.name, w.Code, err)
		}
		got := w.Header().Get("Location")
		injected := strings.Contains(tc.want, "ID")
		cache := "max-age=60"
		if injected {
			cache = "no-store"
			ref := tracker.idIn(got)
			if tc.recorded == (ref.Slot == 255) {
				t.Errorf("%s: recorded is %t, the ID says %+v", tc.name, tc.recorded, ref)
			}
			if tc.recorded {
				c := tracker.click(ref)
				if c.Destination != withoutQuery(tc.location) || c.Campaign != "books" || c.Source != "mail" ||
					c.URL != strings.Replace(tc.want, "ID", idMark, 1) || len(c.Kept) != 1 {
					t.Errorf("%s: the click is %+v", tc.name, c)
				}
			}
			got = idPattern.ReplaceAllString(got, "ID")
		}
		if got != tc.want || w.Header().Get("Cache-Control") != cache {
			t.Errorf("%s: Location %q, want %q; Cache-Control %q", tc.name, got, tc.want, w.Header().Get("Cache-Control"))
		}
		if n := tracker.clicks(); n > 0 != tc.recorded {
			t.Errorf("%s: %d clicks", tc.name, n)
		}
	}
}

// What the upstream is handed before it answers is the ID that is recorded.
func TestInjectPlaceholders(t *testing.T) {
	t.Parallel()
	tracker := newTracker(t, &TrackClick{Inject: "aff", Campaign: "books", Source: "{query.s}"})
	var ids, others []string
	next := func(answer caddyhttp.HandlerFunc) caddyhttp.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) error {
			ids = append(ids, replaced(r, "{http.capture.click_id}"), replaced(r, "{http.capture.click_id}"))
			others = append(others, replaced(r, "{http.capture.campaign}|{http.capture.source}|{http.capture.none}"))
			// As a rewrite would.
			r.URL.Path, r.URL.RawQuery, r.Method = "/rewritten", "s=other", http.MethodPut
			return answer(w, r)
		}
	}
	w, err := tracker.serve(request("/out/x?s=mail"), next(answering(302, "https://acme.example/")))
	if err != nil {
		t.Fatal(err)
	}
	ref := tracker.idIn(w.Header().Get("Location"))
	if got := tracker.codec.Encode(ref); ids[0] != got || ids[1] != got {
		t.Errorf("the upstream was handed %q, the redirect has %q", ids, got)
	}
	if c := tracker.click(ref); c.Campaign != "books" || c.Source != "mail" || c.Path != "/out/x" {
		t.Errorf("the click is %+v", c)
	}
	if _, err := tracker.serve(request("/out/x?s=mail"), next(answering(200, ""))); err != nil {
		t.Fatal(err)
	}
	if _, err := tracker.codec.Decode(ids[2]); err != nil || tracker.clicks() != 1 {
		t.Errorf("without a redirect, the upstream was handed %q (%v) and there are %d clicks", ids[2], err, tracker.clicks())
	}
	post := request("/out/x")
	post.Method = http.MethodPost
	if _, err := tracker.serve(post, next(answering(200, ""))); err != nil {
		t.Fatal(err)
	}
	if ids[4] != "" || others[0] != "books|mail|{http.capture.none}" || others[2] != "||{http.capture.none}" {
		t.Errorf("placeholders: %q, %q", ids[4:], others)
	}
}

// A handler may answer in any of the ways that net/http has.
func TestInjectPassesAnswersOn(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"Write":    func(w http.ResponseWriter) { _, _ = io.WriteString(w, "body") },
		"ReadFrom": func(w http.ResponseWriter) { _, _ = io.Copy(w, io.LimitReader(strings.NewReader("body"), 4)) },
		"Flush": func(w http.ResponseWriter) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, "body")
		},
		"nothing": func(http.ResponseWriter) {},
	} {
		tracker := newTracker(t, &TrackClick{Inject: "aff"})
		w, err := tracker.serve(request("/out/x"), func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Location", "https://acme.example/")
			answer(w)
			w.WriteHeader(http.StatusFound) // too late, but for "nothing"
			return nil
		})
		wantStatus, wantClicks := 200, 0
		if name == "nothing" {
			wantStatus, wantClicks = 302, 1
		}
		if err != nil || w.Code != wantStatus || tracker.clicks() != wantClicks {
			t.Errorf("%s: status %d, %d clicks, error %v", name, w.Code, tracker.clicks(), err)
		}
	}
}

func TestInjectInformational(t *testing.T) {
	t.Parallel()
	tracker := newTracker(t, &TrackClick{Inject: "aff"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = prepared(r)
		err := tracker.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusEarlyHints)
			return answering(302, "https://acme.example/")(w, nil)
		}))
		if err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	res, err := client.Get(server.URL + "/out/x")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if c := tracker.click(tracker.idIn(res.Header.Get("Location"))); c.Destination != "https://acme.example/" {
		t.Errorf("the click is %+v", c)
	}
}

func TestInjectError(t *testing.T) {
	t.Parallel()
	tracker := newTracker(t, &TrackClick{Inject: "aff"})
	want := caddyhttp.Error(http.StatusTeapot, io.EOF)
	_, err := tracker.serve(request("/out/x"), func(http.ResponseWriter, *http.Request) error { return want })
	if err != want || tracker.clicks() != 0 { //nolint:errorlint // the very same
		t.Errorf("error %v, %d clicks", err, tracker.clicks())
	}
}

// The real handlers of Caddy, over the wire.
func TestInjectInCaddy(t *testing.T) {
	option, _ := memoryOption(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/out/early" {
			w.Header().Set("Link", "</x>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		}
		if r.URL.Path == "/out/page" {
			_, _ = io.WriteString(w, r.Header.Get("X-Click-ID"))
			return
		}
		http.Redirect(w, r, "https://acme.example/"+r.Header.Get("X-Click-ID")+"?x=1", http.StatusMovedPermanently)
	}))
	defer upstream.Close()
	s := newSite(t)
	s.load(option, `track_click /out/* {
		inject aff_sub
		max_wait 10s
	}
	redir /out/direct https://acme.example/?partner=42
	route /out/* {
		reverse_proxy `+strings.TrimPrefix(upstream.URL, "http://")+` {
			header_up X-Click-ID {http.capture.click_id}
		}
	}`)
	lease, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/out/direct", "/out/proxied", "/out/early"} {
		res, _ := s.get(path)
		u, err := url.Parse(res.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		id := u.Query().Get("aff_sub")
		ref, err := lease.codec().Decode(id)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, u, err)
		}
		c, err := lease.ledger.Click(t.Context(), ref)
		if err != nil || c.Campaign != strings.TrimPrefix(path, "/out/") || c.Address != "127.0.0.0" {
			t.Errorf("%s: the click is %+v, %v", path, c, err)
		}
		if path != "/out/direct" && u.Path != "/"+id {
			t.Errorf("%s: the upstream was handed %q, the redirect has %q", path, u.Path, id)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the header is %v", path, res.Header)
		}
	}
	if _, body := s.get("/out/page"); len(body) != 26 {
		t.Errorf("the upstream was handed %q", body)
	}
}
