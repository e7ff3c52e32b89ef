package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const injectSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /app/* {
		inject clickref
		campaign app
	}
	track_click /out/* {
		inject clickref
	}
	redir /out/books https://books.example/?partner=42
	redir /out/tea https://tea.example/?clickref=theirs 307
	respond /out/nothing "no redirect" 200
	reverse_proxy $UPSTREAM {
		header_up X-Click-ID {http.capture.click_id}
		header_up X-Campaign {http.capture.campaign}
		header_up X-Source {http.capture.source}
	}
}
`

// An application redirects /app/<status>?to=<location> and remembers what it was handed.
type application struct {
	mu   sync.Mutex
	last http.Header
}

func (p *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.last = r.Header.Clone()
	p.mu.Unlock()
	status, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/app/"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("X-App", "yes")
	if to := r.URL.Query().Get("to"); to != "" {
		w.Header()["Location"] = []string{to}
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s says %d", r.Method, status)
}

func (p *application) header(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Get(name)
}

// In want stands ID for the click ID.
var injections = []struct {
	status   int
	location string
	want     string
}{
	{301, "https://shop.example/item", "https://shop.example/item?clickref=ID"},
	{302, "https://shop.example/item?a=b", "https://shop.example/item?a=b&clickref=ID"},
	{303, "/landing", "/landing?clickref=ID"},
	{307, "/landing?x=1&y=2", "/landing?x=1&y=2&clickref=ID"},
	{302, "landing", "landing?clickref=ID"},
	{302, "//cdn.example/x", "//cdn.example/x?clickref=ID"},
	{302, "https://shop.example/item?clickref=old&a=b", "https://shop.example/item?a=b&clickref=ID"},
	{302, "https://shop.example/item?a=b#top", "https://shop.example/item?a=b&clickref=ID#top"},
	{308, "https://shop.example/a%2Fb?q=%C3%A9+1", "https://shop.example/a%2Fb?q=%C3%A9+1&clickref=ID"},
}

func TestInject(t *testing.T) {
	app := new(application)
	s := startServer(t, injectSite, "$UPSTREAM", upstream(t, app.ServeHTTP))
	t.Run("redir", func(t *testing.T) { injectRedir(t, s) })
	t.Run("application", func(t *testing.T) { injectApplication(t, s, app) })
	t.Run("untouched", func(t *testing.T) { injectUntouched(t, s, app) })
	t.Run("report", func(t *testing.T) {
		eventually(t, waitForClicks, func() error { return s.hasClicks(int64(len(injections)) + 2) })
		row := func(clicks int) string {
			return fmt.Sprintf("clicks %d bots 0 conversions 0 (pending 0 approved 0 rejected 0 reversed 0) revenue [] cost []", clicks)
		}
		expectRows(t, "campaign", s.report("by=campaign").Rows, map[string]string{
			"app": row(len(injections)), "books": row(1), "tea": row(1),
		})
	})
}

func injectRedir(t *testing.T, s *server) {
	a := s.get("/out/books?source=blog")
	id := a.parameter("clickref")
	if a.status != 302 || !clickIDs.MatchString(id) || a.parameter("partner") != "42" {
		t.Fatalf("status %d, Location %q", a.status, a.header.Get("Location"))
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", a.header.Get("Cache-Control"))
	}
	eventually(t, waitForClicks, func() error {
		if a := s.api("/capture/clicks/" + id); !containsAll(a.body, "https://books.example/?partner=42", "blog") {
			return fmt.Errorf("click: status %d %s", a.status, a.body)
		}
		return nil
	})
	tea := s.get("/out/tea")
	if id := tea.parameter("clickref"); tea.status != 307 || !clickIDs.MatchString(id) {
		t.Errorf("status %d, Location %q", tea.status, tea.header.Get("Location"))
	}
}

func injectApplication(t *testing.T, s *server, app *application) {
	for _, c := range injections {
		a := s.get(fmt.Sprintf("/app/%d?source=list&to=%s", c.status, url.QueryEscape(c.location)))
		id := a.parameter("clickref")
		if a.status != c.status || !clickIDs.MatchString(id) || !sameURL(a.header.Get("Location"), strings.Replace(c.want, "ID", id, 1)) {
			t.Errorf("%d to %s:\n got %d to %s\nwant %s", c.status, c.location, a.status, a.header.Get("Location"), c.want)
		}
		if app.header("X-Click-ID") != id || app.header("X-Campaign") != "app" || app.header("X-Source") != "list" {
			t.Errorf("the application was handed click ID %q, campaign %q, source %q, want %q, app, list",
				app.header("X-Click-ID"), app.header("X-Campaign"), app.header("X-Source"), id)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-App") != "yes" || a.body == "" {
			t.Errorf("%d to %s: headers %v, body %q", c.status, c.location, a.header, a.body)
		}
	}
}

// sameURL compares two URLs, their query parameters in any order.
func sameURL(a, b string) bool {
	u, err := url.Parse(a)
	v, err2 := url.Parse(b)
	if err != nil || err2 != nil {
		return false
	}
	query := u.Query().Encode() == v.Query().Encode()
	u.RawQuery, v.RawQuery = "", ""
	return query && u.String() == v.String()
}

func injectUntouched(t *testing.T, s *server, app *application) {
	if a := s.get("/out/nothing"); a.status != 200 || a.body != "no redirect" || a.header.Get("Location") != "" {
		t.Errorf("respond: status %d %q", a.status, a.body)
	}
	for _, status := range []int{200, 404, 304, 500} {
		a := s.get(fmt.Sprintf("/app/%d", status))
		if a.status != status || a.header.Get("X-App") != "yes" || (status != 304 && a.body != fmt.Sprintf("GET says %d", status)) {
			t.Errorf("status %d: got %d %q %v", status, a.status, a.body, a.header)
		}
		if got := a.header.Get("Cache-Control"); got != "" {
			t.Errorf("status %d: Cache-Control %q", status, got)
		}
		if id := app.header("X-Click-ID"); !clickIDs.MatchString(id) {
			t.Errorf("status %d: the application was handed click ID %q", status, id)
		}
	}
	if a := s.get("/app/201?to=/made"); a.status != 201 || a.header.Get("Location") != "/made" {
		t.Errorf("201: got %d to %q", a.status, a.header.Get("Location"))
	}
	if a := s.do("POST", "/app/200", "name=value", "Content-Type: application/x-www-form-urlencoded"); a.status != 200 || a.body != "POST says 200" {
		t.Errorf("POST: status %d %q", a.status, a.body)
	}
	if a := s.do("POST", "/app/303?to=/thanks", "name=value"); a.status != 303 || a.header.Get("Location") != "/thanks" {
		t.Errorf("POST: status %d to %q", a.status, a.header.Get("Location"))
	}
	if a := s.get("/elsewhere"); a.status != 404 || clickIDs.MatchString(app.header("X-Click-ID")) {
		t.Errorf("outside: status %d, click ID %q", a.status, app.header("X-Click-ID"))
	}
}
