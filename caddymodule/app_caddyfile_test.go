package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func TestGlobalOption(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"empty": {`capture`, `{}`},
		"full": {`capture {
			store badger /var/lib/caddy/capture
			click_id_key {env.NEW} {env.OLD}
			retain {
				clicks 30d
				journal 1d12h
				conversions forever
			}
			rates /etc/caddy/rates.csv
			window 14d
			visitor_address none
			campaign acme {
				window 36h
				payout 12.50 USD
				dedup event
			}
			campaign plain
		}`, `{
			"store": {"engine": "badger", "directory": "/var/lib/caddy/capture"},
			"click_id_keys": ["{env.NEW}", "{env.OLD}"],
			"retain": {"clicks": 2592000000000000, "journal": 129600000000000, "conversions": -1},
			"rates_file": "/etc/caddy/rates.csv",
			"window": 1209600000000000,
			"visitor_address": "none",
			"campaigns": {
				"acme": {"window": 129600000000000, "payout": "12.50", "currency": "USD", "dedup": "event"},
				"plain": {}
			}
		}`},
		"store by default":      {"capture {\n store badger\n}", `{"store": {"engine": "badger"}}`},
		"minus one is for ever": {"capture {\n retain {\n clicks -1\n}\n}", `{"retain": {"clicks": -1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseGlobalOption(caddyfile.NewTestDispenser(tt.in), nil)
			if err != nil {
				t.Fatal(err)
			}
			wantJSON(t, got.(httpcaddyfile.App).Value, []byte(tt.want))
			// What the adapter writes, the app reads back.
			if err := json.Unmarshal(got.(httpcaddyfile.App).Value, new(App)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGlobalOptionErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"capture now":                                            "wrong argument count",
		"capture {\n rate x.csv\n}":                              `unknown option "rate" of capture; allowed are store, click_id_key, retain, rates, window, visitor_address and campaign`,
		"capture {\n rates\n}":                                   "wrong argument count",
		"capture {\n rates a b\n}":                               "wrong argument count",
		"capture {\n rates \"\"\n}":                              "the name of the file is empty",
		"capture {\n rates a\n rates b\n}":                       "rates is given twice",
		"capture {\n store\n}":                                   "wrong argument count",
		"capture {\n store redis\n}":                             `store is "redis"; allowed is badger`,
		"capture {\n store badger a b\n}":                        `after "b": it is written store badger [<directory>]`,
		"capture {\n store badger \"\"\n}":                       "directory is empty",
		"capture {\n store badger {\n sync\n}\n}":                `no options, not "sync"`,
		"capture {\n window 1d\n window 2d\n}":                   "window is given twice",
		"capture {\n store badger\n store badger x\n}":           "store is given twice",
		"capture {\n click_id_key\n}":                            "wrong argument count",
		"capture {\n click_id_key a\n click_id_key b\n}":         "click_id_key is given twice",
		"capture {\n window soon\n}":                             `window is "soon"; allowed is a duration above zero like 30d or 36h`,
		"capture {\n window forever\n}":                          `window is "forever"`,
		"capture {\n window 0s\n}":                               `window is "0s"`,
		"capture {\n window -1d\n}":                              `window is "-1d"`,
		"capture {\n window 1d 2d\n}":                            `after "1d": it is written window <duration>`,
		"capture {\n retain 1d\n}":                               "wrong argument count",
		"capture {\n retain {\n logs 1d\n}\n}":                   `unknown option "logs" of retain; allowed are clicks, journal and conversions`,
		"capture {\n retain {\n clicks never\n}\n}":              `clicks is "never"; allowed is a duration above zero like 30d or 36h, or forever`,
		"capture {\n retain {\n clicks 1d\n clicks 2d\n}\n}":     "clicks is given twice",
		"capture {\n visitor_address hashed\n}":                  `visitor_address is "hashed"; allowed are full, truncated and none`,
		"capture {\n campaign\n}":                                "wrong argument count",
		"capture {\n campaign \"\"\n}":                           "name is empty",
		"capture {\n campaign a b\n}":                            "wrong argument count",
		"capture {\n campaign a\n campaign a\n}":                 `campaign "a" is given twice`,
		"capture {\n campaign a {\n cap 1\n}\n}":                 `unknown option "cap" of campaign; allowed are window, payout and dedup`,
		"capture {\n campaign a {\n payout 1\n}\n}":              "wrong argument count",
		"capture {\n campaign a {\n payout 1,50 USD\n}\n}":       `payout is "1,50 USD"; allowed are an amount like 12.50 and a currency like USD`,
		"capture {\n campaign a {\n payout 1 DOLLAR\n}\n}":       `payout is "1 DOLLAR"`,
		"capture {\n campaign a {\n dedup order\n}\n}":           `unknown dedup "order": use txid, event or click`,
		"capture {\n campaign a {\n dedup txid\n dedup id\n}\n}": "dedup is given twice",
	} {
		_, err := parseGlobalOption(caddyfile.NewTestDispenser(in), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %q in it", in, err, want)
			continue
		}
		if !strings.Contains(err.Error(), "Testfile:") || strings.Count(err.Error(), "Testfile:") > 1 {
			t.Errorf("%q: the error should name the place once: %v", in, err)
		}
	}
}

func TestSecondGlobalOption(t *testing.T) {
	t.Parallel()
	_, err := adapt("{\n capture\n capture\n}\nexample.com {\n postback\n}")
	if err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("got %v", err)
	}
}
