package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// adaptedPostbacks returns the postback handlers of an adapted site, in the
// order of their routes.
func adaptedPostbacks(t *testing.T, directives string) []Postback {
	t.Helper()
	cfg, err := adapt("http://localhost {\n" + directives + "\n}")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct{ Routes []caddyhttp.Route }
			}
		}
	}
	if err := json.Unmarshal(cfg, &c); err != nil {
		t.Fatal(err)
	}
	var found []Postback
	var walk func(routes []caddyhttp.Route)
	walk = func(routes []caddyhttp.Route) {
		for _, rt := range routes {
			for _, raw := range rt.HandlersRaw {
				var h struct {
					Handler string
					Routes  []caddyhttp.Route
					Postback
				}
				if err := json.Unmarshal(raw, &h); err != nil {
					t.Fatal(err)
				}
				if h.Handler == "postback" {
					found = append(found, h.Postback)
				}
				walk(h.Routes)
			}
		}
	}
	for _, srv := range c.Apps.HTTP.Servers {
		walk(srv.Routes)
	}
	return found
}

func TestPostbackDirective(t *testing.T) {
	t.Parallel()
	d := caddyfile.NewTestDispenser(`postback {
		campaign acme
		fields {
			click_id aff_sub sid
			payout commission
		}
		statuses {
			approved ok paid
			reversed refund
		}
		event sale
		payout 12.50 USD
		currency eur
		token {env.A} {env.B}
		token {file./run/c}
		allow 192.0.2.0/24 2001:db8::1
		allow private_ranges {env.SENDERS}
		allow_http
		answer 200 "OK, thanks"
		quarantine_status 422
		max_body 128KiB
	}`)
	var p Postback
	if err := p.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, got, []byte(`{
		"campaign": "acme",
		"fields": {"click_id": ["aff_sub", "sid"], "payout": ["commission"]},
		"statuses": {"approved": ["ok", "paid"], "reversed": ["refund"]},
		"event": "sale",
		"payout": "12.50",
		"payout_currency": "USD",
		"currency": "eur",
		"tokens": ["{env.A}", "{env.B}", "{file./run/c}"],
		"allow": ["192.0.2.0/24", "2001:db8::1", "private_ranges", "{env.SENDERS}"],
		"allow_http": true,
		"answer": {"status": 200, "body": "OK, thanks"},
		"quarantine_status": 422,
		"max_body": 131072
	}`))
}

func TestPostbackRouteNames(t *testing.T) {
	t.Parallel()
	for directives, want := range map[string]string{
		"postback":                            "",
		"postback *":                          "",
		"postback {\n allow_http\n}":          "",
		"postback /postback":                  "/postback",
		"postback /pb/* {\n allow_http\n}":    "/pb/*",
		"@tune path /a /b\n postback @tune":   "tune",
		"handle_path /pb {\n postback\n}":     "",
		"route /pb {\n postback /pb/sale\n}":  "/pb/sale",
		"@x header X-Y z\npostback @x {\n}\n": "x",
	} {
		found := adaptedPostbacks(t, directives)
		if len(found) != 1 || found[0].Name != want {
			t.Errorf("%q: got %+v; want the name %q", directives, found, want)
		}
	}
}

// A directive that comes late in the order would be swallowed by handle or
// try_files.
func TestPostbackOrder(t *testing.T) {
	t.Parallel()
	cfg, err := adapt("http://localhost {\n try_files {path} /index.html\n redir /old /new\n handle {\n respond x\n}\n postback /pb\n}")
	if err != nil {
		t.Fatal(err)
	}
	text := string(cfg)
	own := strings.Index(text, `"postback"`)
	for _, later := range []string{`/index.html`, `/new`, `"static_response","body":"x"`} {
		at := strings.Index(text, later)
		if later[0] == '"' {
			at = strings.Index(text, `"body":"x"`)
		}
		if own < 0 || at < own {
			t.Errorf("postback stands at %d, %s at %d", own, later, at)
		}
	}
}

func TestPostbackDirectiveErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"postback now":                                              `no argument "now", only a matcher`,
		"postback {\n networks tune\n}":                             `unknown option "networks" of postback; allowed are network, campaign, fields, statuses, event, payout, currency, token, allow, verify, allow_http, answer, quarantine_status and max_body`,
		"postback {\n campaign\n}":                                  "wrong argument count",
		"postback {\n campaign a b\n}":                              "wrong argument count",
		"postback {\n campaign \"\"\n}":                             "campaign is empty",
		"postback {\n campaign a\n campaign b\n}":                   "campaign is given twice",
		"postback {\n fields a\n}":                                  "wrong argument count",
		"postback {\n fields\n}":                                    "fields is empty; allowed are click_id, txid, payout, currency, event, status, time and message_id",
		"postback {\n fields {\n clickid a\n}\n}":                   `unknown option "clickid" of fields; allowed are click_id, txid`,
		"postback {\n fields {\n txid\n}\n}":                        `after "txid": it is written txid <word> ...`,
		"postback {\n fields {\n txid \"\"\n}\n}":                   "txid in fields has an empty word",
		"postback {\n fields {\n txid a\n txid b\n}\n}":             "txid is given twice in fields",
		"postback {\n statuses {\n paid ok\n}\n}":                   `unknown option "paid" of statuses; allowed are approved, pending, rejected and reversed`,
		"postback {\n statuses {\n approved ok\n rejected OK\n}\n}": "cannot mean both approved and rejected",
		"postback {\n event\n}":                                     "wrong argument count",
		"postback {\n payout 12.50\n}":                              `after "12.50": it is written payout <amount> <currency>`,
		"postback {\n payout much USD\n}":                           `payout is "much USD"; allowed are`,
		"postback {\n currency dollars\n}":                          `unknown currency "dollars"`,
		"postback {\n token\n}":                                     "wrong argument count",
		"postback {\n token \"\"\n}":                                "an argument is empty",
		"postback {\n allow\n}":                                     "wrong argument count",
		"postback {\n allow example.com\n}":                         `allow "example.com" is no address; allowed are addresses like 192.0.2.7, ranges`,
		"postback {\n allow 192.0.2.0/33\n}":                        `allow "192.0.2.0/33" is no address`,
		"postback {\n allow fe80::1%eth0\n}":                        "is no address",
		"postback {\n allow_http yes\n}":                            "wrong argument count",
		"postback {\n allow_http\n allow_http\n}":                   "allow_http is given twice",
		"postback {\n answer\n}":                                    "wrong argument count",
		"postback {\n answer OK\n}":                                 `answer has the status "OK"; allowed are 200 to 299`,
		"postback {\n answer 0\n}":                                  `answer has the status "0"`,
		"postback {\n answer 200 all fine\n}":                       "answer has 3 arguments",
		"postback {\n answer 302\n}":                                "answer has the status 302; allowed are 200 to 299",
		"postback {\n answer 204 OK\n}":                             "has no body",
		"postback {\n quarantine_status accepted\n}":                `quarantine_status is "accepted"; allowed are 200, 202 and 422`,
		"postback {\n quarantine_status 400\n}":                     "quarantine_status is 400; allowed are 200, 202 and 422",
		"postback {\n max_body lots\n}":                             `max_body is "lots"; allowed are sizes like 64KiB, up to 512KiB`,
		"postback {\n max_body 2MiB\n}":                             `max_body is "2MiB"`,
		"postback {\n max_body 0\n}":                                "max_body is 0 bytes",
	} {
		err := new(Postback).UnmarshalCaddyfile(caddyfile.NewTestDispenser(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %q in it", in, err, want)
			continue
		}
		if strings.Count(err.Error(), "Testfile:") != 1 {
			t.Errorf("%q: the error should name the place once: %v", in, err)
		}
	}
}

func TestPostbackMatcherErrors(t *testing.T) {
	t.Parallel()
	for directives, want := range map[string]string{
		"postback @nowhere":      "unrecognized matcher name",
		"postback postback":      `no argument "postback"`,
		"postback /a /b":         `no argument "/b"`,
		"postback /a {\n nil\n}": `parsing caddyfile tokens for 'postback': unknown option "nil"`,
	} {
		_, err := adapt("http://localhost {\n" + directives + "\n}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %q in it", directives, err, want)
		}
	}
}
