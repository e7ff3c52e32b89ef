package dashboard

import (
	"bytes"
	"encoding/csv"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// payloads are what somebody may put into a parameter to have it run.
var payloads = []string{
	`"><script>pwn()</script><img src=x onerror=pwn()>`,
	`'-pwn()-'`,
	`javascript:pwn()//`,
	`</script><script>pwn()</script>`,
	"\u2028<!--pwn()//]]>",
	`<svg/onload=pwn()>`,
}

// TestInjection tries each payload in every field that a visitor or a sender
// chooses, and looks at all pages.
func TestInjection(t *testing.T) {
	t.Parallel()
	for _, payload := range payloads {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.route.Name = "/postback" // the owner's
			paths := plant(f, payload)
			shown := 0
			for _, path := range paths {
				body := f.page(path)
				checkMarkup(t, path, body)
				checkEscaped(t, path, body)
				if strings.Contains(html.UnescapeString(body), payload) || strings.Contains(body, `\u003cscript\u003epwn`) {
					shown++
				}
			}
			if shown < 5 {
				t.Errorf("%q is shown on %d pages only: does the test still reach them?", payload, shown)
			}
			checkStream(t, f, payload)
			checkFile(t, f)
		})
	}
}

// plant records a click and postbacks with the payload everywhere.
func plant(f *fixture, payload string) (paths []string) {
	id := f.click(capture.Click{
		Time: noon.Add(-time.Hour), Campaign: payload, Source: payload, Destination: payload, URL: payload,
		Subs: []capture.Param{{Name: payload, Value: payload}, {Name: "x", Value: payload}},
		Kept: []capture.Param{{Name: payload, Value: payload}}, Host: payload, Path: payload, UserAgent: payload, Referer: payload,
		Address: payload,
	})
	f.click(capture.Click{Time: noon.Add(-time.Hour), Campaign: "=cmd|' /C calc'!A0", Source: "@x"})
	q := url.QueryEscape(payload)
	res := f.postback(noon.Add(-time.Minute), "click_id="+id+"&txid="+q+"&event="+q+"&"+q+"="+q, func(r *http.Request) {
		r.Method = http.MethodPost
		body := "note=" + q + "&raw=" + payload
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; x="+strings.Map(noQuote, payload))
		r.Header.Set("User-Agent", payload)
		r.Host = payload
	})
	if res.Conversion == nil {
		f.t.Fatalf("got %+v", res)
	}
	f.postback(noon.Add(-time.Second), "click_id="+q+"&txid="+q+"&status="+q+"&payout="+q, func(r *http.Request) {
		r.Method = http.MethodPost
		body := payload + "\x00\xff"
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("User-Agent", payload)
	})
	f.postback(noon.Add(-time.Second), "click_id="+id+"&status="+q)
	return []string{
		"/", "/journal", "/quarantine", "/clicks/" + id, "/conversions/" + res.Conversion.ID.String(),
		"/report?by=campaign,source,destination,event", "/report?by=day,campaign", "/report?by=sub.x,day&campaign=" + q,
		"/report?by=source&destination=" + q + "&event=" + q + "&sub.x=" + q, "/report?by=" + url.QueryEscape("sub."+strings.ReplaceAll(payload, ",", "")),
		"/journal?route=" + q + "&campaign=" + q, "/quarantine?route=" + q + "&campaign=" + q,
	}
}

func noQuote(r rune) rune {
	if r == '"' || r > 0x7e {
		return -1
	}
	return r
}

var anchorPattern = regexp.MustCompile(`(?:href|src|action)="\s*(?:javascript|data|vbscript):`)

// checkEscaped wants nothing of the payload to be markup or script.
func checkEscaped(t *testing.T, path, body string) {
	t.Helper()
	lower := strings.ToLower(body)
	for _, bad := range []string{"<script>pwn", "<img", "<svg/onload", "<!--", "<svg onload"} {
		if strings.Contains(lower, bad) {
			t.Errorf("%s: %s got through", path, bad)
		}
	}
	if m := anchorPattern.FindString(lower); m != "" {
		t.Errorf("%s: got %s", path, m)
	}
	for _, m := range chartPattern.FindAllStringSubmatch(body, -1) {
		if strings.ContainsAny(m[1], "<>\u2028\u2029") {
			t.Errorf("%s: the chart's data could end its element: %s", path, m[1])
		}
	}
	if strings.Count(lower, "<script") != strings.Count(lower, "</script") {
		t.Errorf("%s: scripts do not end as they should", path)
	}
}

// checkStream wants each event on one line, whatever is in it.
func checkStream(t *testing.T, f *fixture, payload string) {
	t.Helper()
	c := &call{h: f.pages, loc: time.UTC, base: "./", r: httptest.NewRequest(http.MethodGet, "/live", nil)}
	over := make(chan *capture.Entry)
	close(over)
	reader, err := f.Reader()
	if err != nil {
		t.Fatal(err)
	}
	err = reader.Journal(t.Context(), capture.JournalQuery{}, func(e *capture.Entry) bool {
		var w bufferedWriter
		c.w = &w
		if err := f.pages.stream(c, []*capture.Entry{e}, over, 0); err != nil {
			t.Error(err)
		}
		_, event, _ := strings.Cut(strings.TrimSuffix(w.String(), "\n\n"), "\n\n")
		lines := strings.Split(event, "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[2], "data: {") || strings.ContainsAny(lines[2], "<>\u2028") {
			t.Errorf("%q: got %q", payload, w.String())
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

type bufferedWriter struct{ bytes.Buffer }

func (*bufferedWriter) Header() http.Header { return http.Header{} }
func (*bufferedWriter) WriteHeader(int)     {}
func (*bufferedWriter) Flush()              {}

// checkFile wants no cell of a CSV file to be a formula.
func checkFile(t *testing.T, f *fixture) {
	t.Helper()
	body := f.get("/report.csv?by=campaign,source,destination,event,sub.x").Body.String()
	records, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	quoted := false
	for _, record := range records {
		for _, cell := range record {
			quoted = quoted || strings.HasPrefix(cell, "'=cmd")
			if cell != "" && strings.ContainsAny(cell[:1], "=+@\t\r") {
				t.Errorf("the cell %q is a formula", cell)
			}
		}
	}
	if !quoted {
		t.Errorf("the formula is not in the file: %s", body)
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/postback":     "/postback",
		"a b":           "'a b'",
		"$(reboot)":     "'$(reboot)'",
		"it's":          `'it'\''s'`,
		"--dry":         "'--dry'",
		"a\nb\x1b[2Jc":  "'ab[2Jc'",
		"":              "''",
		"`id`;rm -rf /": "'`id`;rm -rf /'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f := newFixture(t)
	f.tell()
	body := f.page("/quarantine?from=2026-11-01&tz=Europe/Berlin&reason=unresolved_macro&route=/postback")
	if want := "caddy capture replay --reason unresolved_macro --route /postback --from 2026-10-31T23:00:00Z"; !strings.Contains(body, want+"</code>") {
		t.Errorf("%s is missing", want)
	}
}
