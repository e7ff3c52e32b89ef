package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/network"
)

// nowhere is an admin API that is not asked.
const nowhere = "127.0.0.1:1"

func TestNetworksCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"networks", []string{"NAME", "everflow", "your postback URL", "hmac stripe"}},
		{"networks --format csv", []string{"name,title,kind,sends,", "\nstripe,Stripe,checkout,"}},
		{"networks stripe", []string{"click ID goes in", "client_reference_id", "hmac stripe; the secret:", "minor unit", "grade", "checked"}},
		{"networks HasOffers", []string{"TUNE", "macro payout", "{payout}"}},
		{"networks digistore24-ipn", []string{"answer", "OK"}},
		{"networks rewardful", []string{"nothing but 200 will do"}},
		{"networks cake --format csv", []string{"field,value\n", "offer link,\"s2={click_id}, or in s1,"}},
	} {
		out, side, err := runCommand(nowhere, splitArgs(tt.args)...)
		if err != nil {
			t.Errorf("%s: %v %s", tt.args, err, side)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", tt.args, want, out)
			}
		}
	}
	out, _, err := runCommand(nowhere, "networks", "--format", "json")
	var all []network.Network
	if err != nil || json.Unmarshal([]byte(out), &all) != nil || len(all) != len(network.All()) {
		t.Errorf("%v: %d networks", err, len(all))
	}
	if _, _, err := runCommand(nowhere, "networks", "stirpe"); err == nil || !strings.Contains(err.Error(), "did you mean stripe") {
		t.Errorf("got %v", err)
	}
}

func TestURLCommand(t *testing.T) {
	t.Parallel()
	const base = "https://shop.example/pb"
	for _, tt := range []struct {
		name, args string
		want       []string
		fails      bool
	}{
		{
			"token", "url --network everflow --base " + base + " --token abc&d",
			[]string{
				base + "?click_id={sub1}&txid={transaction_id}&payout={payout_amount}&currency={offer_currency}&event={event_name}&token=abc%26d\n",
				"\n    sub1={click_id}\n", "\n    postback /pb {\n    \tnetwork everflow\n",
			}, false,
		},
		{"masked", "url --network everflow --base " + base + " --mask", []string{"&token=***\n"}, false},
		{"masked of ours", "url --network everflow --base " + base + " --mask --token abcdefgh", []string{"&token=***\n"}, false},
		{"offer link", "url --network cake --base " + base + " --link https://o.example/?a=1", []string{"https://o.example/?a=1&s2={click_id}\n"}, false},
		{"currency", "url --network cake --base " + base + " --currency eur", []string{"currency=EUR", "\tcurrency EUR\n"}, false},
		{"webhook", "url --network stripe --base " + base, []string{"Register this URL with Stripe:\n    " + base + "\n", "secret {env.STRIPE_WEBHOOK_SECRET}"}, false},
		{"base", "url --network stripe --base shop", []string{`our postback URL is "shop"`}, true},
		{"nothing wrong", "url --network tune --base " + base + " --check " + base +
			"?click_id={aff_click_id}&txid={transaction_id}&payout={payout}&currency={currency}&event={goal_id}", []string{"Nothing is wrong"}, false},
		{
			"all wrong", "url --network everflow --mask --base " + base + "?token=secret-token --check http://shop.example/pb?click_id=#s2#&payout={payout_amount}",
			[]string{"error: address: ", "error: parameter click_id: ", "\nAs it should be:\n    " + base + "?"}, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, _, err := runCommand(nowhere, splitArgs(tt.args)...)
			if (err != nil) != tt.fails {
				t.Errorf("%v\n%s", err, out)
			}
			if err != nil {
				out += err.Error()
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, secret := range []string{"secret-token", "abcdefgh"} {
				if strings.Contains(out, secret) {
					t.Errorf("%q shows in\n%s", secret, out)
				}
			}
		})
	}
}

// A token that nobody named is made, and different each time.
func TestURLCommandToken(t *testing.T) {
	t.Parallel()
	made := func() (a urlAnswer) {
		out, _, err := runCommand(nowhere, "url", "--network", "tune", "--base", "https://shop.example/pb", "--format", "json")
		if err != nil || json.Unmarshal([]byte(out), &a) != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return a
	}
	a, b := made(), made()
	if !a.Made || len(a.Token) < 20 || a.Token == b.Token || !strings.HasSuffix(a.URL, "&token="+a.Token) {
		t.Errorf("got %+v and %+v", a, b)
	}
	out, _, err := runCommand(nowhere, "url", "--network", "tune", "--base", "https://shop.example/pb", "--check", "", "--format", "json")
	var checked urlCheckAnswer
	if err == nil || json.Unmarshal([]byte(out), &checked) != nil || len(checked.Findings) == 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
