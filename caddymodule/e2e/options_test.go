package e2e

import (
	"strings"
	"testing"
)

// A brokenOption is a Caddyfile with one thing wrong: options of "capture", or directives of a
// site. The message must hold all the words: the directive, what is wrong, and what is allowed.
type brokenOption struct {
	option, site string
	words        []string
}

var brokenOptions = []brokenOption{
	{option: "stores badger here", words: []string{"capture", "stores", "store", "click_id_key"}},
	{option: "store", words: []string{"store"}},
	{option: "store mysql", words: []string{"store", "mysql", "badger"}},
	{option: "store badger one two", words: []string{"badger", "two"}},
	{option: "click_id_key", words: []string{"click_id_key"}},
	{option: "window banana", words: []string{"window", "banana"}},
	{option: "window -1d", words: []string{"window", "-1d"}},
	{option: "visitor_address half", words: []string{"visitor_address", "half", "full", "truncated", "none"}},
	{option: "retain {\n sessions 1d\n}", words: []string{"retain", "sessions", "clicks", "journal", "conversions"}},
	{option: "retain {\n clicks soon\n}", words: []string{"clicks", "soon"}},
	{option: "campaign", words: []string{"campaign"}},
	{option: "campaign acme {\n dedup sometimes\n}", words: []string{"dedup", "sometimes", "txid", "click", "event"}},
	{option: "campaign acme {\n colour red\n}", words: []string{"campaign", "colour", "window", "payout", "dedup"}},
	{option: "campaign acme {\n payout ten USD\n}", words: []string{"payout", "ten"}},
	{option: "campaign acme {\n payout 10 DOLLARS\n}", words: []string{"payout", "DOLLARS"}},
	{option: "campaign acme {\n payout 10\n}", words: []string{"payout"}},

	{site: "track_click /go", words: []string{"track_click", "to", "inject"}},
	{site: "track_click /go https://a.example {\n inject sub\n}", words: []string{"track_click", "inject"}},
	{site: "track_click /go https://a.example https://b.example", words: []string{"track_click", "https://b.example"}},
	{site: "track_click /go https://a.example {\n colour red\n}", words: []string{"track_click", "colour", "inject", "campaign", "source", "max_wait"}},
	{site: "track_click /go https://a.example {\n status 301\n}", words: []string{"track_click", "status", "301", "302", "303", "307"}},
	{site: "track_click /go https://a.example {\n status found\n}", words: []string{"status", "found", "302"}},
	{site: "track_click /go https://a.example {\n max_wait banana\n}", words: []string{"max_wait", "banana"}},
	{site: "track_click /go https://a.example {\n cost lots\n}", words: []string{"cost", "lots"}},
	{site: "track_click /go https://a.example {\n cost 1 PENNIES\n}", words: []string{"cost", "PENNIES"}},
	{site: "track_click /go https://a.example {\n sub creative\n}", words: []string{"sub", "creative"}},
	{site: "track_click /go {\n to https://a.example heavy\n}", words: []string{"to", "heavy"}},
	{site: "track_click /go {\n to https://a.example 0\n}", words: []string{"to", "0"}},
	{site: "track_click /go https://{query.host}/", words: []string{"track_click", "host"}},
	{site: "track_click /go {query.url}", words: []string{"track_click", "url"}},
	{site: "track_click /go https://{source}.example/", words: []string{"track_click", "{source}"}},
	{site: "track_click /go {\n inject\n}", words: []string{"inject"}},

	{site: "postback /pb {\n colour red\n}", words: []string{"postback", "colour", "fields", "statuses", "token", "quarantine_status"}},
	{site: "postback /pb other", words: []string{"postback", "other"}},
	{site: "postback /pb {\n fields {\n  clickid cid\n }\n}", words: []string{"fields", "clickid", "click_id", "txid", "payout"}},
	{site: "postback /pb {\n fields {\n  click_id\n }\n}", words: []string{"postback", "click_id"}},
	{site: "postback /pb {\n statuses {\n  maybe m\n }\n}", words: []string{"statuses", "maybe", "approved", "pending", "rejected", "reversed"}},
	{site: "postback /pb {\n statuses {\n  approved ok\n  rejected OK\n }\n}", words: []string{"status", "OK", "approved", "rejected"}},
	{site: "postback /pb {\n quarantine_status 500\n}", words: []string{"quarantine_status", "500", "200", "202", "422"}},
	{site: "postback /pb {\n payout ten USD\n}", words: []string{"payout", "ten"}},
	{site: "postback /pb {\n payout 10\n}", words: []string{"payout"}},
	{site: "postback /pb {\n currency EURO\n}", words: []string{"currency", "EURO"}},
	{site: "postback /pb {\n allow everybody\n}", words: []string{"allow", "everybody"}},
	{site: "postback /pb {\n allow 10.0.0.0/99\n}", words: []string{"allow", "10.0.0.0/99"}},
	{site: "postback /pb {\n allow_http yes\n}", words: []string{"allow_http", "yes"}},
	{site: "postback /pb {\n answer fine\n}", words: []string{"answer", "fine"}},
	{site: "postback /pb {\n max_body lots\n}", words: []string{"max_body", "lots"}},
	{site: "postback /pb {\n token\n}", words: []string{"token"}},
	{site: "postback /pb {\n event\n}", words: []string{"event"}},
}

func TestBrokenOptions(t *testing.T) {
	t.Parallel()
	for _, c := range brokenOptions {
		t.Run(strings.Join(strings.Fields(c.option+c.site), " "), func(t *testing.T) {
			caddyfile := "{\n\tadmin $ADMIN\n}\n"
			if c.option != "" {
				caddyfile = "{\n\tadmin $ADMIN\n\tcapture {\n\t\t" + c.option + "\n\t}\n}\n"
			}
			s := newServer(t, caddyfile+"http://127.0.0.1:$PORT {\n\t"+c.site+"\n}\n")
			r := s.caddy("adapt", "--config", s.caddyfile(), "--adapter", "caddyfile")
			if r.code == 0 { // what JSON has in common with the Caddyfile is found later
				r = s.caddy("validate", "--config", s.caddyfile(), "--adapter", "caddyfile")
			}
			if r.code == 0 {
				t.Fatalf("accepted")
			}
			said := strings.Split(strings.TrimSpace(r.stderr), "\n")
			last := strings.ReplaceAll(said[len(said)-1], s.dir, "")
			for _, word := range append(c.words, ":") {
				if !strings.Contains(last, word) {
					t.Errorf("%q is not in: %s", word, last)
				}
			}
		})
	}
}
