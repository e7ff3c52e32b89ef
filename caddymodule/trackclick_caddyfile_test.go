package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTrackClickCaddyfile(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{
		"track_click https://a.example/?s={click_id}": `{"to":[{"url":"https://a.example/?s={click_id}"}]}`,
		`track_click https://a.example/ {
			pass
		}`: `{"to":[{"url":"https://a.example/"}],"pass":[]}`,
		`track_click {
			to https://a.example/ 3
			to https://b.example/
			campaign shoes
			source {query.src}
			sub placement {query.pl}
			sub sub1 x
			keep coupon voucher
			pass coupon
			cost {query.cost} EUR
			status 307
			max_wait 20ms
		}`: `{"to":[{"url":"https://a.example/","weight":3},{"url":"https://b.example/"}],"campaign":"shoes",` +
			`"source":"{query.src}","subs":[{"name":"placement","value":"{query.pl}"},{"name":"sub1","value":"x"}],` +
			`"keep":["coupon","voucher"],"pass":["coupon"],"cost":"{query.cost}","cost_currency":"EUR",` +
			`"status":307,"max_wait":20000000}`,
		`track_click {
			inject aff_sub
			cost 0.12
		}`: `{"inject":"aff_sub","cost":"0.12"}`,
		`track_click https://a.example/ {
			to https://b.example/ 2
		}`: `{"to":[{"url":"https://a.example/"},{"url":"https://b.example/","weight":2}]}`,
	} {
		h := new(TrackClick)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err != nil {
			t.Errorf("%s: %v", input, err)
			continue
		}
		got, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		wantJSON(t, got, []byte(want))
	}
}

func TestTrackClickCaddyfileErrors(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"":                                      "no destination",
		"to":                                    "wrong argument count",
		"to /a 1 2":                             "wrong argument count",
		"to /a 0":                               `weight of to is "0"; allowed are whole numbers from 1 to 1000`,
		"to /a 1001":                            "from 1 to 1000",
		"to /a 1.5":                             "from 1 to 1000",
		"to /a often":                           "from 1 to 1000",
		"inject":                                "wrong argument count",
		"inject a b":                            "wrong argument count",
		"inject a\ninject b":                    "inject is given twice",
		"inject a\nto /b":                       "both a destination and inject",
		"campaign":                              `after "campaign": it is written campaign <name>`,
		"campaign a\ncampaign b":                "campaign is given twice",
		"source":                                "wrong argument count",
		"sub a":                                 "wrong argument count",
		"sub a b c":                             "wrong argument count",
		"sub A b":                               `the name of sub is "A"`,
		"sub " + strings.Repeat("a", 65) + " b": "1 to 64 characters",
		"sub a b\nsub a c":                      "sub a is given twice",
		"keep":                                  "wrong argument count",
		"pass a\npass b":                        "pass is given twice",
		"cost":                                  "wrong argument count",
		"cost 1 EUR x":                          `after "x": it is written cost <amount> [<currency>]`,
		"status 301":                            "permanent: browsers would cache it",
		"status 308":                            "permanent: browsers would cache it",
		"status permanent":                      "permanent: browsers would cache it",
		"status 200":                            "allowed are 302, 303 and 307",
		"status":                                "wrong argument count",
		"max_wait soon":                         "max_wait",
		"max_wait 0":                            "max_wait",
		"max_wait":                              "wrong argument count",
		"tO /a":                                 `unknown option "tO" of track_click; allowed are to, inject, campaign, source, sub, keep, pass, cost, status and max_wait`,
	} {
		err := new(TrackClick).UnmarshalCaddyfile(caddyfile.NewTestDispenser("track_click {\n" + block + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v; want %q", block, err, want)
		}
	}
	for input, want := range map[string]string{
		"track_click":       "a first argument that begins with / is the matcher",
		"track_click /a /b": "wrong argument count",
		"track_click https://a.example {\ninject x\n}": "both a destination and inject",
	} {
		err := new(TrackClick).UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v; want %q", input, err, want)
		}
	}
}

// The adapter writes placeholders out and orders the directive.
func TestTrackClickAdapts(t *testing.T) {
	t.Parallel()
	cfg, err := adapt("http://localhost {\n\tredir /go/* /x\n\ttrack_click /go/* https://a.example/{query.x}?s={click_id}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	text := string(cfg)
	if !strings.Contains(text, `https://a.example/{http.request.uri.query.x}?s={click_id}`) {
		t.Error(text)
	}
	if i, j := strings.Index(text, `"track_click"`), strings.Index(text, `"static_response"`); i < 0 || i > j {
		t.Errorf("track_click does not come before redir: %s", text)
	}
}
