package caddymodule

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// runCommand runs `caddy capture ...` against an admin API.
func runCommand(address string, args ...string) (stdout, stderr string, err error) {
	return execute(append([]string{"capture"}, append(args, "--address", strings.TrimPrefix(address, "http://"))...))
}

// completeCommand completes `caddy capture ...` as the scripts for shells do.
func completeCommand(args ...string) (stdout, stderr string, err error) {
	return execute(append([]string{cobra.ShellCompRequestCmd, "capture"}, args...))
}

func execute(args []string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "capture"}
	setupCommand(cmd)
	root.AddCommand(cmd)
	var out, side bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&side)
	root.SetArgs(args)
	err = root.Execute()
	return out.String(), side.String(), err
}

func TestCommands(t *testing.T) {
	s, place := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme?source=%3Dnews")
	s.get("/postback?click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale")
	s.get("/secret?click_id={aff_sub}&token=very-secret-token")

	for _, tc := range []struct {
		args string
		want []string
	}{
		{"report", []string{"From 20", "CAMPAIGN  CLICKS", "REVENUE USD  COST EUR", "acme           1", "total"}},
		{"report --by source --format csv", []string{"source,clicks,", ",revenue_USD,cost_EUR,rate,profit_EUR,profit_USD,epc_USD\n", "'=news,1,0,1,0,1,0,0,12.50,0.12,100.00,-0.12,12.50,12.5000\n"}},
		{"report --sort=-epc --limit 1 --format json", []string{`{"from":"20`, `"rows":[{"campaign":"acme","clicks":1`}},
		{"report --by=", []string{"SUM    CLICKS", "total       1"}},
		{"report --by= --format csv", []string{"clicks,bot_clicks,", "\n1,0,1,"}},
		{"report --format json --from 1d", []string{`{"from":"20`, `"revenue":{"USD":"12.50"}`}},
		{"conversions", []string{"CAMPAIGN  SOURCE  EVENT  TXID  STATUS    PAYOUT  CURRENCY", "acme      =news   sale   t1    approved   12.50  USD       " + id}},
		{"conversions --status approved --format csv --limit 1", []string{"time,campaign,source,event,txid,status,payout,currency,click_id\n", ",acme,'=news,sale,t1,approved,12.50,USD," + id}},
		{"conversions --format json", []string{`{"conversions":[{"id":`, `"history":[{`}},
		{"journal", []string{"unresolved_macro", "recorded", "SEQ  TIME"}},
		{"journal --open --outcome quarantined --format csv", []string{"seq,time,route,outcome,reason,", "/secret,quarantined,unresolved_macro,"}},
		{"journal --format json", []string{`"token=REDACTED`[6:], `{"entries":[`}},
		{"click " + id, []string{"id           " + id, "campaign     acme", "source       =news", "cost EUR     0.12", "CAMPAIGN", "sale"}},
		{"click " + id + " --format csv", []string{"field,value\n", "source,'=news\n", "conversions,1\n"}},
		{"click " + id + " --format json", []string{`{"id":"` + id + `"`}},
		{"health", []string{"state              ok", "quarantine unresolved_macro 1", "version"}},
		{"health --format json", []string{`{"state":"ok"`}},
		{"health --format csv", []string{"state,ok\n"}},
		{"version", []string{Version() + "\n"}},
	} {
		out, side, err := runCommand(srv.URL, splitArgs(tc.args)...)
		if err != nil {
			t.Errorf("%s: %v", tc.args, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s%s", tc.args, want, out, side)
			}
		}
	}
	_, side, err := runCommand(srv.URL, "journal", "--limit", "1")
	if err != nil || !strings.Contains(side, "there is more: add --after 2") {
		t.Errorf("%v: %s", err, side)
	}
	out, side, err := runCommand(srv.URL, "conversions", "--to", "2020-01-01")
	if err != nil || out != "" || side != "no conversions\n" {
		t.Errorf("%v: %q %q", err, out, side)
	}
	s.hasten()
	place.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrNoSpace }})
	s.get("/go/acme")
	eventually(t, "health fails", func() bool {
		out, _, err := runCommand(srv.URL, "health")
		return err != nil && strings.Contains(err.Error(), "the store is degraded: ") && strings.Contains(out, "state              degraded")
	})
	place.SetHooks(memstore.Hooks{})
}

// splitArgs splits at blanks.
func splitArgs(s string) []string { return strings.Fields(s) }

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/capture/report":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"from is \"x\", which is no time"}` + "\n"))
		case "/capture/conversions":
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html>"))
		case "/capture/clicks/a%2Fb", "/capture/clicks/a/b":
			_, _ = w.Write([]byte(`{"id":`))
		case "/capture/health":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"error":"finding the app: x"}`))
		case "/capture/test":
			_, _ = w.Write([]byte(`{"step":"store","ok":true,"text":"fine"}` + "\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	for _, tc := range []struct{ address, args, want string }{
		{srv.URL, "report --from x", `from is "x", which is no time`},
		{srv.URL, "conversions", "Caddy answered 502 Bad Gateway: <html>"},
		{srv.URL, "journal", "built without Capture"},
		{srv.URL, "journal --follow", "built without Capture"},
		{srv.URL, "click a/b", "reading Caddy's answer"},
		{srv.URL, "health", "finding the app: x"},
		{srv.URL, "test", "the test was cut short"},
		{srv.URL, "click", "accepts 1 arg(s)"},
		{srv.URL, "report now", "unknown command"},
		{srv.URL, "reprot", `unknown command "reprot"`},
		{srv.URL, "report --format xml", `--format is "xml": use table or csv or json`},
		{srv.URL, "test --format csv", "use table or json"},
		{nobody, "report", "Is Caddy running?"},
		{nobody, "health", "--address"},
		{nobody, "test", "Is Caddy running?"},
	} {
		if _, _, err := runCommand(tc.address, splitArgs(tc.args)...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q in it", tc.args, err, tc.want)
		}
	}
}

func TestFollowCommand(t *testing.T) {
	t.Parallel()
	entry, err := json.Marshal(entryAnswer{
		Seq: 7, Time: timestamp{time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}, Route: "/postback", Outcome: "recorded",
		Campaign: "=acme", claimAnswer: claimAnswer{Event: "sale", TxID: "t\x1b1", Status: "approved", Payout: "1.00", Currency: "USD"},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" || r.URL.Query().Get("limit") != "10" || r.URL.Query().Get("route") != "/x" {
			t.Errorf("asked with %v %v", r.URL, r.Header)
		}
		_, _ = w.Write([]byte(": hello\n\nevent: journal\r\nid: 7\r\ndata: " + string(entry) + "\r\n\r\n: still here\n\n"))
	}))
	defer srv.Close()
	for format, want := range map[string]string{
		"table": "   SEQ  TIME                  ROUTE             OUTCOME          REASON            CAMPAIGN          EVENT         STATUS        PAYOUT  CURRENCY  TXID               DETAIL\n" +
			"     7  2026-11-22T09:00:00Z  /postback         recorded                           =acme             sale          approved        1.00  USD       t\\x1b1\n",
		"csv": "seq,time,route,outcome,reason,campaign,event,status,payout,currency,txid,detail\n" +
			"7,2026-11-22T09:00:00Z,/postback,recorded,,'=acme,sale,approved,1.00,USD,t\x1b1,\n",
		"json": string(entry) + "\n",
	} {
		out, _, err := runCommand(srv.URL, "journal", "--follow", "--route", "/x", "--format", format)
		if err == nil || !strings.Contains(err.Error(), "ended the stream") {
			t.Errorf("%s: %v", format, err)
		}
		if out != want {
			t.Errorf("%s: got\n%s\nwant\n%s", format, out, want)
		}
	}
}

func TestFollowConversionsCommand(t *testing.T) {
	t.Parallel()
	conversion, err := json.Marshal(conversionAnswer{
		ID: "c1", ClickID: "2g8l1c0v9k4t5r6o7n3mabcde4", Time: timestamp{time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}, Campaign: "=acme",
		claimAnswer: claimAnswer{Event: "sale", TxID: "t1", Status: "approved", Payout: "1.00", Currency: "USD"},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/capture/conversions" || r.Header.Get("Accept") != "text/event-stream" || r.URL.Query().Get("limit") != "3" {
			t.Errorf("asked with %v %v", r.URL, r.Header)
		}
		_, _ = w.Write([]byte("event: conversion\nid: c1\ndata: " + string(conversion) + "\n\n"))
	}))
	defer srv.Close()
	for format, want := range map[string]string{
		"table": "TIME                  CAMPAIGN          SOURCE            EVENT         TXID               STATUS      PAYOUT  CURRENCY  CLICK ID\n" +
			"2026-11-22T09:00:00Z  =acme                               sale          t1                 approved      1.00  USD       2g8l1c0v9k4t5r6o7n3mabcde4\n",
		"csv": "time,campaign,source,event,txid,status,payout,currency,click_id\n" +
			"2026-11-22T09:00:00Z,'=acme,,sale,t1,approved,1.00,USD,2g8l1c0v9k4t5r6o7n3mabcde4\n",
		"json": string(conversion) + "\n",
	} {
		out, _, err := runCommand(srv.URL, "conversions", "--follow", "--limit", "3", "--format", format)
		if err == nil || !strings.Contains(err.Error(), "following the conversions: Caddy has ended the stream") {
			t.Errorf("%s: %v", format, err)
		}
		if out != want {
			t.Errorf("%s: got\n%s\nwant\n%s", format, out, want)
		}
	}
}

// TestZones wants the times of tables and CSV in the zone of --tz, those that are
// followed too; JSON stays as it came.
func TestZones(t *testing.T) {
	t.Parallel()
	at := timestamp{time.Date(2026, 7, 22, 22, 30, 0, 0, time.UTC)}
	conversion := conversionAnswer{ID: "c1", Time: at, ClickTime: at, claimAnswer: claimAnswer{Event: "sale", Status: "approved"}}
	data := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer string
		switch follows := r.Header.Get("Accept") == "text/event-stream"; {
		case strings.HasPrefix(r.URL.Path, "/capture/clicks/"):
			if r.URL.RawQuery != "" {
				t.Errorf("asked with %v", r.URL)
			}
			answer = data(clickAnswer{clickFields: clickFields{ID: "x", Time: at}, Conversions: []conversionAnswer{conversion}})
		case r.URL.Path == "/capture/report":
			answer = data(attribution.Report{From: at.Time, To: at.Time})
		case r.URL.Path == "/capture/journal" && follows:
			answer = "data: " + data(entryAnswer{Seq: 1, Time: at}) + "\n\n"
		case r.URL.Path == "/capture/journal":
			answer = data(journalAnswer{Entries: []entryAnswer{{Seq: 1, Time: at}}})
		case follows:
			answer = "data: " + data(conversion) + "\n\n"
		default:
			answer = data(conversionsAnswer{Conversions: []conversionAnswer{conversion}})
		}
		_, _ = w.Write([]byte(answer))
	}))
	defer srv.Close()
	times := regexp.MustCompile(`2026-07-2\d\S{9}(Z|[+-]\d\d:\d\d)`)
	for _, command := range []string{"conversions", "conversions --follow", "journal", "journal -f", "click x", "report"} {
		for args, want := range map[string]string{
			"":                                     "2026-07-22T22:30:00Z",
			" --tz UTC":                            "2026-07-22T22:30:00Z",
			" --tz Europe/Berlin":                  "2026-07-23T00:30:00+02:00",
			" --tz America/New_York --format csv":  "2026-07-22T18:30:00-04:00",
			" --tz America/New_York --format json": "2026-07-22T22:30:00Z",
			" --color always --tz Australia/Adelaide": "2026-07-23T08:00:00+09:30",
		} {
			out, _, err := runCommand(srv.URL, splitArgs(command+args)...)
			if err != nil && !strings.Contains(err.Error(), "ended the stream") {
				t.Errorf("%s%s: %v", command, args, err)
			}
			found := times.FindAllString(out, -1)
			if len(found) == 0 && !(command == "report" && strings.Contains(args, "csv")) {
				t.Errorf("%s%s shows no time:\n%s", command, args, out)
			}
			for _, got := range found {
				if got != want {
					t.Errorf("%s%s shows %s, want %s", command, args, got, want)
				}
			}
			titles, row, _ := strings.Cut(out, "\n")
			if command == "conversions --follow" && strings.HasSuffix(args, "Berlin") &&
				strings.Index(titles, "STATUS") != strings.Index(row, "approved") {
				t.Errorf("%s%s is not aligned:\n%s", command, args, out)
			}
		}
		if _, _, err := runCommand(srv.URL, splitArgs(command+" --tz Middle/Earth")...); err == nil || !strings.Contains(err.Error(), `"Middle/Earth", which is no time zone`) {
			t.Errorf("%s: got %v", command, err)
		}
	}
}

// Lines that are yet to come fit the terminal, too.
func TestFollowFits(t *testing.T) {
	t.Parallel()
	claim := claimAnswer{Event: "purchase", TxID: strings.Repeat("tx", 20), Status: "approved", Payout: "1234567.50", Currency: "USD"}
	long := strings.Repeat("東京 ", 40)
	for _, tc := range []struct {
		f     *follower
		width int
		left  string
		row   []string
	}{
		{journalFollower(time.UTC, formatTable), 0, "", journalRow(&entryAnswer{Seq: 1, Time: timestamp{testNow}, Outcome: "recorded", Detail: long}, time.UTC, formatTable)},
		{journalFollower(time.UTC, formatTable), 200, "", journalRow(&entryAnswer{Seq: 1234567, Time: timestamp{testNow}, Outcome: "quarantined", Detail: long}, time.UTC, formatTable)},
		{journalFollower(time.UTC, formatTable), 80, "currency detail event payout route status txid", journalRow(&entryAnswer{
			Seq: 1, Time: timestamp{testNow}, Outcome: "recorded", Campaign: long, claimAnswer: claim}, time.UTC, formatTable)},
		{conversionFollower(time.UTC), 200, "", conversionRow(&conversionAnswer{Time: timestamp{testNow}, Source: long, claimAnswer: claim}, time.UTC)},
		{conversionFollower(time.UTC), 80, "click id txid", conversionRow(&conversionAnswer{Time: timestamp{testNow}, Source: long, claimAnswer: claim}, time.UTC)},
	} {
		base, left := tc.f.layout(tc.width)
		if got := strings.Join(left, " "); got != tc.left {
			t.Errorf("%s in %d leaves out %q, want %q", tc.f.what, tc.width, got, tc.left)
		}
		var out bytes.Buffer
		if err := tc.f.table.writeLine(&out, tc.row, tc.f.room(base, tc.row, tc.width), rowPainter{}); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimRight(out.String(), "\n")
		switch n := textWidth(line); {
		case tc.width == 0 && !strings.Contains(line, strings.TrimSpace(long)):
			t.Errorf("without a terminal nothing is cut: %s", line)
		case tc.width > 0 && n > tc.width+2: // a payout of millions may push
			t.Errorf("%s: %d in a terminal of %d: %s", tc.f.what, n, tc.width, line)
		}
	}
}

func TestCommandHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "report", "conversions", "journal", "click", "test", "health", "replay", "import",
		"export", "erase", "backup", "restore", "migrate", "check", "version"} {
		out, _, err := runCommand("localhost:1", append(splitArgs(name), "--help")...)
		if err != nil || !strings.Contains(out, "caddy capture "+name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
