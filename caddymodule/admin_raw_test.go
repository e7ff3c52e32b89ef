package caddymodule

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/capture"
)

func TestShowRaw(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]capture.Raw{
		"empty": {},
		"text": {
			Method: "POST", Host: "käse.example", URI: "/p?x=%FF\ufffd", ContentType: "text/plain", UserAgent: "ä", Body: []byte("ö"),
		},
		"bytes": {
			Method: "POST", Host: "k\xe4se.example", URI: "/p?x=%FF\xff\xe2\x82", ContentType: "\x80", UserAgent: "a\xc3", Body: []byte{0, 0xff},
		},
	} {
		data, err := json.Marshal(showRaw(raw))
		if err != nil || !utf8.Valid(data) {
			t.Fatalf("%s: %q, %v", name, data, err)
		}
		var a rawAnswer
		if err := json.Unmarshal(data, &a); err != nil {
			t.Fatal(err)
		}
		// Whoever reads it can tell what arrived.
		exact := func(text string, bytes []byte) string {
			if bytes != nil {
				return string(bytes)
			}
			return text
		}
		got := capture.Raw{
			Method: a.Method, Host: exact(a.Host, a.HostBase64), URI: exact(a.URI, a.URIBase64),
			ContentType: exact(a.ContentType, a.ContentTypeBase64), UserAgent: exact(a.UserAgent, a.UserAgentBase64),
		}
		if body := exact(a.Body, a.BodyBase64); body != "" {
			got.Body = []byte(body)
		}
		if got.Method != raw.Method || got.Host != raw.Host || got.URI != raw.URI || got.ContentType != raw.ContentType ||
			got.UserAgent != raw.UserAgent || string(got.Body) != string(raw.Body) {
			t.Errorf("%s: %+v is shown as %s", name, raw, data)
		}
	}
	a := showRaw(capture.Raw{URI: "/p?x=%FF\xff\xe2\x82"})
	if a.URI != "/p?x=%FF%FF%E2%82" || string(a.URIBase64) != "/p?x=%FF\xff\xe2\x82" {
		t.Errorf("the address is shown as %q and %q", a.URI, a.URIBase64)
	}
	if a := showRaw(capture.Raw{URI: "/p?x=%FF"}); a.URI != "/p?x=%FF" || a.URIBase64 != nil {
		t.Errorf("the address is shown as %q and %q", a.URI, a.URIBase64)
	}
}

// TestAdminJournalBytes: what is no text comes out as it came in, without the
// secrets, in the journal and in exports.
func TestAdminJournalBytes(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	query := "click_id=" + id + "&txid=caf\xe9&payout=1&currency=USD&token=very-secret-token"
	req, _ := http.NewRequest(http.MethodGet, s.url("/secret"), nil)
	req.URL.RawQuery = query
	req.Header.Set("User-Agent", "sender \xff")
	s.do(req)
	want := "/secret?" + strings.Replace(query, "very-secret-token", "REDACTED", 1)
	check := func(what, uri, exact, agent, exactAgent string) {
		t.Helper()
		if uri != strings.Replace(want, "\xe9", "%E9", 1) || exact != want || agent != "sender %FF" || exactAgent != "sender \xff" {
			t.Errorf("%s: %q %q %q %q", what, uri, exact, agent, exactAgent)
		}
	}
	var list journalAnswer
	adminGet(t, srv, "/capture/journal", &list)
	if len(list.Entries) != 1 || list.Entries[0].Outcome != capture.Recorded || list.Entries[0].TxID != `caf\xE9` {
		t.Fatalf("the journal is %+v", list)
	}
	raw := list.Entries[0].Raw
	check("journal", raw.URI, string(raw.URIBase64), raw.UserAgent, string(raw.UserAgentBase64))

	_, _, body := adminDo(t, srv, http.MethodGet, "/capture/export/journal?format=jsonl")
	if !utf8.ValidString(body) {
		t.Errorf("the export is not UTF-8: %q", body)
	}
	raw = jsonLines[entryAnswer](t, body)[0].Raw
	check("JSON lines", raw.URI, string(raw.URIBase64), raw.UserAgent, string(raw.UserAgentBase64))

	_, _, body = adminDo(t, srv, http.MethodGet, "/capture/export/journal")
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(rows) != 2 || !utf8.ValidString(body) {
		t.Fatalf("%v: %q", err, body)
	}
	row := make(map[string]string)
	for i, name := range rows[0] {
		row[name] = rows[1][i]
	}
	decode := func(cell string) string {
		b, err := base64.StdEncoding.DecodeString(cell)
		if err != nil {
			t.Errorf("%q: %v", cell, err)
		}
		return string(b)
	}
	check("CSV", row["uri"], decode(row["uri_base64"]), row["user_agent"], decode(row["user_agent_base64"]))
	if row["host_base64"] != "" || row["content_type_base64"] != "" || row["body_base64"] != "" {
		t.Errorf("bytes where text would do: %v", row)
	}
}

// TestReplayOfBytes: what arrived is read again as it was.
func TestReplayOfBytes(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	site := func(statuses string) {
		s.load(option, "track_click /go/* https://acme.example/offer?aff_sub={click_id}\n postback /postback {\n"+statuses+"\n}")
	}
	site("")
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	req, _ := http.NewRequest(http.MethodGet, s.url("/postback"), nil)
	req.URL.RawQuery = "click_id=" + id + "&txid=caf\xe9%E9&status=pag\xe9"
	s.do(req)
	site("statuses {\n approved pag\uFFFD\n}")
	_, body := adminPost(t, srv, "/capture/journal/replay", "", nil)
	if !strings.Contains(body, `"outcome":"recorded"`) {
		t.Errorf("the replay says %s", body)
	}
	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions", &list)
	if len(list.Conversions) != 1 || list.Conversions[0].TxID != `caf\xE9\xE9` {
		t.Errorf("booked is %+v", list)
	}
}

// TestAdminEraseOfQueued: a click that is not on disk yet is neither unknown
// nor erased.
func TestAdminEraseOfQueued(t *testing.T) {
	s, place := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	s.hasten()
	place.hook(func(*capture.Batch) error { return capture.ErrNoSpace })
	id := s.visit("/go/acme?sub1=somebody")
	status, _, body := adminDo(t, srv, http.MethodDelete, "/capture/clicks/"+id)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "try again") {
		t.Errorf("%d %s", status, body)
	}
	place.hook(nil)
	for start := time.Now(); status == http.StatusServiceUnavailable && time.Since(start) < time.Minute; {
		time.Sleep(50 * time.Millisecond)
		status, _, body = adminDo(t, srv, http.MethodDelete, "/capture/clicks/"+id)
	}
	if status != http.StatusOK || !strings.Contains(body, `"click":true`) {
		t.Errorf("%d %s", status, body)
	}
}
