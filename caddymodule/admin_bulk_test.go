package caddymodule

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// adminPost sends a body and returns the answer.
func adminPost(t testing.TB, srv *httptest.Server, path, contentType string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// jsonLines decodes an answer of JSON lines.
func jsonLines[T any](t testing.TB, text string) (list []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		list = append(list, v)
	}
	return list
}

func TestAdminImport(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	text := "click_id,txid,payout,currency,event,status\n" +
		id + ",a,10.00,USD,sale,approved\n" +
		"nonsense,b,1,USD,sale,approved\n" +
		"\n" +
		id + ",c,2.50,USD,sale,pending\n" +
		id + ",c\n" +
		id + ",d,x,USD,sale,\n"
	type line struct {
		importLine
		importSummary
	}
	for round, want := range []string{"recorded", "duplicate"} {
		status, body := adminPost(t, srv, "/capture/conversions", "text/csv; charset=utf-8", strings.NewReader(text))
		lines := jsonLines[line](t, body)
		if status != 200 || len(lines) != 6 {
			t.Fatalf("%d %s", status, body)
		}
		for i, n := range []int{2, 3, 5, 6, 7} {
			failed := n != 2 && n != 5
			if l := lines[i]; l.Line != n || (l.Error != "") != failed || (string(l.Outcome) == want) == failed ||
				(l.ConversionID == "") != failed {
				t.Errorf("round %d: line %d: %+v", round, n, l)
			}
		}
		if sum := lines[5].Summary; sum == nil || sum.Failed != 3 || sum.Recorded+sum.Duplicate != 2 {
			t.Errorf("round %d: %s", round, body)
		}
		if n := reported(t); n != 2 {
			t.Errorf("round %d: %d conversions", round, n)
		}
	}
	// A correction names the conversion; it comes as JSON.
	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions", &list)
	var first string
	for _, c := range list.Conversions {
		if c.TxID == "a" {
			first = c.ID
		}
	}
	for _, media := range []string{"application/x-ndjson", "application/jsonl", "application/json"} {
		status, body := adminPost(t, srv, "/capture/conversions", media,
			strings.NewReader(`{"conversion_id":"`+first+`","status":"reversed"}`))
		lines := jsonLines[line](t, body)
		if status != 200 || len(lines) != 2 || lines[0].ConversionID != first || lines[0].Line != 1 {
			t.Errorf("%s: %d %s", media, status, body)
		}
	}
	adminGet(t, srv, "/capture/conversions?status=reversed", &list)
	if len(list.Conversions) != 1 || list.Conversions[0].ID != first {
		t.Errorf("reversed: %+v", list)
	}
	for _, tc := range []struct {
		media, body, want string
		status            int
	}{
		{"", "", "send CSV as text/csv", 415},
		{"text/plain", "", "Content-Type is", 415},
		{"text/csv", "click_id,colour\nx,y\n", "unknown column", 400},
	} {
		if status, body := adminPost(t, srv, "/capture/conversions", tc.media, strings.NewReader(tc.body)); status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%q: %d %s", tc.media, status, body)
		}
	}
}

// Answers come while lines are still being sent, and longer than Caddy's
// admin endpoint gives a request to arrive.
func TestAdminImportStreams(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServerReading(t, adminAPI{}, time.Second)
	id := s.visit("/go/acme")
	body, feed := io.Pipe()
	go func() {
		_, _ = io.WriteString(feed, "click_id,txid\n")
		for i := range 300 {
			_, _ = fmt.Fprintf(feed, "%s,t%d\n", id, i)
		}
		time.Sleep(1500 * time.Millisecond)
		_, _ = fmt.Fprintf(feed, "%s,last\n", id)
		_ = feed.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/capture/conversions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/csv")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := bufio.NewReader(resp.Body)
	if first, err := answer.ReadString('\n'); err != nil || !strings.HasPrefix(first, `{"line":2,"outcome":"recorded"`) {
		t.Errorf("%v: %s", err, first)
	}
	rest, err := io.ReadAll(answer)
	if err != nil || !strings.HasSuffix(string(rest), `{"summary":{"recorded":301,"updated":0,"duplicate":0,"quarantined":0,"failed":0}}`+"\n") {
		t.Errorf("%v: ...%s", err, rest[max(0, len(rest)-200):])
	}
}

func TestAdminReplay(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	clicks := "track_click /go/* https://acme.example/offer?aff_sub={click_id}\n"
	s.load(option, clicks+"postback /postback {\n token very-secret-token\n}\n postback /gone {\n token very-secret-token\n}")
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?token=very-secret-token&click_id=" + id + "&txid=1&status=paid&payout=5&currency=USD")
	s.get("/postback?token=very-secret-token&click_id=" + id + "&txid=2&payout=5")
	s.get("/gone?token=very-secret-token&click_id=" + id + "&txid=3&status=paid")
	s.get("/postback?token=very-secret-token&click_id=%7Bclick%7D&txid=4")
	s.load(option, clicks+"postback /postback {\n token very-secret-token\n statuses {\n approved paid\n}\n}")

	type line struct {
		replayLine
		Summary *tally `json:"summary"`
		DryRun  bool   `json:"dry_run"`
	}
	check := func(query, want string) []line {
		t.Helper()
		status, body := adminPost(t, srv, "/capture/journal/replay"+query, "", nil)
		lines := jsonLines[line](t, body)
		if status != 200 || len(lines) == 0 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		last := lines[len(lines)-1]
		if last.Summary == nil || last.Summary.String() != want || last.DryRun != strings.Contains(query, "dry_run=1") {
			t.Errorf("%s: %s", query, body)
		}
		return lines[:len(lines)-1]
	}
	lines := check("?dry_run=1", "1 recorded, 0 updated, 0 duplicate, 2 quarantined, 1 failed")
	if len(lines) != 4 || lines[0].Was != capture.UnmappedStatus || lines[0].Outcome != capture.Recorded || lines[0].Done != 1 ||
		lines[0].Total != 4 || lines[1].Reason != capture.BadCurrency || lines[2].Error == "" ||
		!strings.Contains(lines[2].Error, `no postback route named "/gone" in the running configuration`) {
		t.Errorf("%+v", lines)
	}
	if n := reported(t); n != 0 {
		t.Errorf("a dry run booked %d", n)
	}
	check("?reason=bad_currency", "0 recorded, 0 updated, 0 duplicate, 1 quarantined, 0 failed")
	check("?route=/gone", "0 recorded, 0 updated, 0 duplicate, 0 quarantined, 1 failed")
	check("?campaign=other", "0 recorded, 0 updated, 0 duplicate, 0 quarantined, 0 failed")
	check("?to=2020-01-01", "0 recorded, 0 updated, 0 duplicate, 0 quarantined, 0 failed")
	check("", "1 recorded, 0 updated, 0 duplicate, 2 quarantined, 1 failed")
	check("", "0 recorded, 0 updated, 0 duplicate, 2 quarantined, 1 failed")
	if n := reported(t); n != 1 {
		t.Errorf("%d conversions", n)
	}
	for _, query := range []string{"?outcome=recorded", "?reason=x", "?dry_run=yes"} {
		if status, body := adminPost(t, srv, "/capture/journal/replay"+query, "", nil); status != 400 {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

// Of several routes of one name, the one is taken that the request reaches.
func TestReplayChoosesRoute(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	route := func(currency string) string {
		return "postback @x {\n token very-secret-token\n" + currency + "\n}\n"
	}
	sites := func(a, b string) string {
		return "track_click /go/* https://acme.example/offer?aff_sub={click_id}\n" +
			"@a path /a\n handle @a {\n @x path /a\n" + route(a) + "}\n" +
			"@b path /b\n handle @b {\n @x path /b\n" + route(b) + "}\n"
	}
	s.load(option, sites("", ""))
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/a?token=very-secret-token&click_id=" + id + "&txid=a&payout=1")
	s.get("/b?token=very-secret-token&click_id=" + id + "&txid=b&payout=1")
	s.load(option, sites("currency EUR", "currency USD"))
	if status, body := adminPost(t, srv, "/capture/journal/replay", "", nil); status != 200 || !strings.Contains(body, `"recorded":2`) {
		t.Fatalf("%d %s", status, body)
	}
	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions", &list)
	for _, c := range list.Conversions {
		if want := map[string]string{"a": "EUR", "b": "USD"}[c.TxID]; c.Currency != want {
			t.Errorf("%s is in %s", c.TxID, c.Currency)
		}
	}
	// Where the request reaches none of them, nothing is guessed.
	r := rereader{app: runningApp(t)}
	entry := &capture.Entry{Route: "x", Raw: capture.Raw{Method: "GET", Host: "elsewhere.example", URI: "/c?x=1"}}
	for name := range r.app.postbacks {
		entry.Route = name
	}
	if _, err := r.route(entry); err == nil || !strings.Contains(err.Error(), "not clear") {
		t.Errorf("got %v", err)
	}
}

// What an import left in quarantine is booked again, too.
func TestReplayImport(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	clicks := "track_click /go/* https://acme.example/offer?aff_sub={click_id}\n postback /postback"
	short := strings.Replace(option, "capture {", "capture {\n window 1h", 1)
	s.load(short, clicks)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	late := time.Now().Add(90 * time.Minute).UTC().Format(time.RFC3339)
	_, body := adminPost(t, srv, "/capture/conversions", "text/csv",
		strings.NewReader("txid,time,click_id\nx,"+late+","+id+"\n"))
	_, body2 := adminPost(t, srv, "/capture/conversions", "application/x-ndjson",
		strings.NewReader(`{"click_id":"`+id+`","txid":"y","time":"`+late+`"}`))
	if !strings.Contains(body, "outside_window") || !strings.Contains(body2, "outside_window") {
		t.Fatalf("%s%s", body, body2)
	}
	s.load(option, clicks)
	if _, body := adminPost(t, srv, "/capture/journal/replay", "", nil); !strings.Contains(body, `"recorded":2`) {
		t.Errorf("%s", body)
	}
	// The line is known again.
	if _, body := adminPost(t, srv, "/capture/conversions", "text/csv",
		strings.NewReader("txid,time,click_id\nx,"+late+","+id+"\n")); !strings.Contains(body, `"duplicate":1`) {
		t.Errorf("%s", body)
	}
}

func TestAdminExport(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme?source=%3D1%2B1&sub1=top&coupon=X")
	other := s.visit("/go/other")
	s.get("/postback?click_id=" + id + "&txid=1&payout=12.5&currency=USD")
	s.get("/postback?click_id=" + other + "&txid=2")
	s.get("/secret?token=very-secret-token&click_id=x")

	rows := func(path string, n int) []map[string]string {
		t.Helper()
		status, header, body := adminDo(t, srv, http.MethodGet, "/capture/export/"+path)
		if status != 200 || header.Get("Content-Type") != "text/csv; charset=utf-8" || strings.Contains(body, "very-secret") {
			t.Fatalf("%s: %d %v %s", path, status, header, body)
		}
		records, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil || len(records) != n+1 {
			t.Fatalf("%s: %v, %d records in %s", path, err, len(records), body)
		}
		var list []map[string]string
		for _, record := range records[1:] {
			row := make(map[string]string)
			for i, name := range records[0] {
				row[name] = record[i]
			}
			list = append(list, row)
		}
		return list
	}
	if c := rows("clicks", 2)[0]; c["id"] != id || c["source"] != "'=1+1" || c["subs"] != `{"sub1":"top"}` || c["kept"] != `{"coupon":"X"}` ||
		c["cost"] != "0.12" || c["currency"] != "EUR" || c["user_agent"] != testUserAgent ||
		c["url"] != "https://acme.example/offer?aff_sub="+id {
		t.Errorf("click: %v", c)
	}
	// Both may be of the same millisecond.
	both := rows("conversions", 2)
	if both[0]["click_id"] == id {
		slices.Reverse(both)
	}
	if c := both[1]; c["click_id"] != id || c["payout"] != "12.50" || c["subs"] != `{"sub1":"top"}` || c["event"] != "conversion" {
		t.Errorf("conversion: %v", c)
	}
	if e := rows("journal", 3)[0]; e["reason"] != "invalid_click_id" || e["uri"] != "/secret?token=REDACTED&click_id=x" || e["click_id"] != "" {
		t.Errorf("entry: %v", e)
	}
	rows("clicks?campaign=acme", 1)
	rows("conversions?campaign=other&from=1h&format=csv", 1)
	rows("journal?to=2020-01-01", 0)
	rows("clicks?to=2020-01-01", 0)

	_, header, body := adminDo(t, srv, http.MethodGet, "/capture/export/conversions?format=jsonl&campaign=acme")
	list := jsonLines[conversionAnswer](t, body)
	if header.Get("Content-Type") != "application/x-ndjson" || len(list) != 1 || list[0].ClickID != id || len(list[0].History) != 1 || list[0].Subs["sub1"] != "top" {
		t.Errorf("%v %s", header, body)
	}
	_, _, body = adminDo(t, srv, http.MethodGet, "/capture/export/clicks?format=jsonl")
	if clicks := jsonLines[clickFields](t, body); len(clicks) != 2 || clicks[0].Kept["coupon"] != "X" || strings.Contains(body, "conversions") {
		t.Errorf("%s", body)
	}
	_, _, body = adminDo(t, srv, http.MethodGet, "/capture/export/journal?format=jsonl")
	if entries := jsonLines[entryAnswer](t, body); len(entries) != 3 || entries[2].ClickID != id {
		t.Errorf("%s", body)
	}
	status, header, body := adminDo(t, srv, http.MethodHead, "/capture/export/clicks")
	if status != 200 || body != "" || header.Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Errorf("HEAD: %d %v %q", status, header, body)
	}
	for path, want := range map[string]int{"sums": 404, "clicks?format=xml": 400, "clicks?source=x": 400, "journal?from=x": 400} {
		if status, _, body := adminDo(t, srv, http.MethodGet, "/capture/export/"+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// An answer that breaks off is never taken for a whole one.
func TestLongAnswerFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	answer := func(contentType string, begun bool) (*http.Response, string, error) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := (&adminCall{w: w, r: r}).long(contentType)
			if _, err := io.WriteString(a, "some text\n"); err != nil {
				t.Error(err)
			}
			if begun {
				if err := a.flush(); err != nil {
					t.Error(err)
				}
			}
			if err := a.end(broken); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}))
		defer srv.Close()
		resp, err := client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp, string(body), err
	}
	if resp, body, err := answer(typeCSV, false); err != nil || resp.StatusCode != 500 || body != "the disk is gone\n" {
		t.Errorf("before it began: %d %q %v", resp.StatusCode, body, err)
	}
	if resp, _, err := answer(typeBinary, true); !errors.Is(err, io.ErrUnexpectedEOF) || resp.StatusCode != 200 {
		t.Errorf("in the middle: %d %v", resp.StatusCode, err)
	}
	if _, body, err := answer(typeJSONLines, true); err != nil || body != "some text\n{\"error\":\"the disk is gone\"}\n" {
		t.Errorf("in the middle of lines: %q %v", body, err)
	}
}

// A client that takes nothing is cut off: the store could not close.
func TestLongAnswerStalls(t *testing.T) {
	defer func(d time.Duration) { stallLimit = d }(stallLimit)
	stallLimit = 100 * time.Millisecond
	done := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := (&adminCall{w: w, r: r}).long(typeBinary)
		block := make([]byte, 1<<20)
		for {
			if _, err := a.Write(block); err != nil {
				done <- err
				panic(http.ErrAbortHandler)
			}
		}
	}))
	defer srv.Close()
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

func TestAdminErase(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme?sub1=somebody@example.com")
	s.get("/postback?click_id=" + id + "&txid=1&payout=1&currency=USD&mail=somebody@example.com")
	status, _, body := adminDo(t, srv, http.MethodDelete, "/capture/clicks/"+strings.ToUpper(id))
	var a eraseAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || !a.Erased.Click || a.Erased.Conversions != 1 || a.Erased.Entries != 1 {
		t.Fatalf("%d %v %s", status, err, body)
	}
	for _, path := range []string{"/capture/clicks/" + id, "/capture/journal", "/capture/conversions", "/capture/export/clicks"} {
		if _, _, body := adminDo(t, srv, http.MethodGet, path); strings.Contains(body, "somebody") || strings.Contains(body, testUserAgent) {
			t.Errorf("%s: %s", path, body)
		}
	}
	var report attribution.Report
	adminGet(t, srv, "/capture/report", &report)
	if report.Total.Clicks != 1 || report.Total.Revenue["USD"].String() != "1" {
		t.Errorf("the sums changed: %+v", report)
	}
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := held.codec().Decode(id)
	if err != nil {
		t.Fatal(err)
	}
	ref.Block += 1000
	for path, want := range map[string]int{
		"/capture/clicks/" + held.codec().Encode(ref): 404, "/capture/clicks/abc": 400, "/capture/clicks/" + id + "?x=1": 400,
	} {
		if status, _, body := adminDo(t, srv, http.MethodDelete, path); status != want || !strings.Contains(body, "error") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestAdminBackupAndCheck(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=1&payout=1&currency=USD")
	status, header, body := adminDo(t, srv, http.MethodGet, "/capture/backup")
	if status != 200 || header.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(header.Get("Content-Disposition"), `attachment; filename="capture-20`) {
		t.Errorf("%d %v", status, header)
	}
	if _, err := capture.VerifyBackup(strings.NewReader(body)); err != nil {
		t.Error(err)
	}
	if status, _, body := adminDo(t, srv, http.MethodHead, "/capture/backup"); status != 200 || body != "" {
		t.Errorf("HEAD: %d %q", status, body)
	}
	if status, _, body := adminDo(t, srv, http.MethodGet, "/capture/backup?since=1"); status != 400 {
		t.Errorf("%d %s", status, body)
	}
	_, _, body = adminDo(t, srv, http.MethodGet, "/capture/check")
	lines := jsonLines[checkLine](t, body)
	if r := lines[len(lines)-1].Result; r == nil || r.Wrong != 0 || r.Problems == nil || r.Clicks != 1 || r.Conversions != 1 || r.Entries != 1 {
		t.Errorf("%s", body)
	}
}
