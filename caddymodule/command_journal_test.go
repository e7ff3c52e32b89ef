package caddymodule

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// What a sender said of a postback that did not become a conversion, or change one, must not look
// like a conversion's status. Programs get the bare word.
func TestJournalStatus(t *testing.T) {
	t.Parallel()
	const green = "\x1b[32m"
	for outcome, booked := range map[capture.Outcome]bool{
		capture.Recorded: true, capture.Updated: true, capture.Duplicate: false, capture.Quarantined: false, capture.Ignored: false,
	} {
		entry := entryAnswer{Seq: 7, Time: timestamp{testNow}, Outcome: outcome, claimAnswer: claimAnswer{Status: "approved"}}
		shown := `"approved"`
		if booked {
			shown = green + "approved\x1b[0m"
		}
		out := journalOutput(t, entry, "--format", "table", "--color", "always")
		follows := journalOutput(t, entry, "--follow", "--format", "table", "--color", "always")
		for _, text := range []string{out, follows} {
			if !strings.Contains(text, shown) || !booked && strings.Contains(text, green) {
				t.Errorf("%s: want %q in\n%q", outcome, shown, text)
			}
		}
		for _, args := range [][]string{{"--format", "csv"}, {"--follow", "--format", "csv"}} {
			records, err := csv.NewReader(strings.NewReader(journalOutput(t, entry, args...))).ReadAll()
			if err != nil || len(records) != 2 || records[0][7] != "status" || records[1][7] != "approved" {
				t.Errorf("%s %v: %v, %q", outcome, args, err, records)
			}
		}
		if out := journalOutput(t, entry, "--format", "json"); !strings.Contains(out, `"status":"approved"`) {
			t.Errorf("%s: %s", outcome, out)
		}
		entry.Status = ""
		if row := journalRow(&entry, time.UTC, formatTable); row[7] != "" {
			t.Errorf("%s without a status shows %s", outcome, row[7])
		}
	}
}

// journalOutput is what the command prints of a journal with one entry.
func journalOutput(t *testing.T, entry entryAnswer, args ...string) string {
	t.Helper()
	data, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if r.Header.Get("Accept") == "text/event-stream" {
			b.WriteString("data: " + string(data) + "\n\n")
		} else {
			b.WriteString(`{"entries":[` + string(data) + `]}`)
		}
		_, _ = w.Write(b.Bytes())
	}))
	defer srv.Close()
	out, _, err := runCommand(srv.URL, append([]string{"journal"}, args...)...)
	if err != nil && !strings.Contains(err.Error(), "ended the stream") {
		t.Fatalf("%v: %v", args, err)
	}
	return out
}
