package capture

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func TestCompileDefaults(t *testing.T) {
	t.Parallel()
	rt := &Route{Fields: map[Field][]string{FieldTxID: {"oid"}}}
	if err := rt.Compile(); err != nil {
		t.Fatal(err)
	}
	want := DefaultFields()
	want[FieldTxID] = []string{"oid"}
	for _, f := range Fields {
		if !slices.Equal(rt.Fields[f], want[f]) {
			t.Errorf("%s: got %q, want %q", f, rt.Fields[f], want[f])
		}
	}
	if len(rt.Fields) != len(want) || rt.MaxBody != 64<<10 {
		t.Errorf("got %d fields and max_body %d", len(rt.Fields), rt.MaxBody)
	}
	if err := rt.Compile(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	usd := func(s string, c attribution.Currency) attribution.Money {
		a, err := attribution.ParseAmount(s)
		if err != nil {
			t.Fatal(err)
		}
		return attribution.Money{Amount: a, Currency: c}
	}
	for name, c := range map[string]struct {
		rt   Route
		want []string
	}{
		"field":            {Route{Fields: map[Field][]string{"tax": {"x"}}}, []string{"tax", "click_id, txid, payout, currency, event, status, time"}},
		"no names":         {Route{Fields: map[Field][]string{FieldTime: {}}}, []string{"time", "at least one"}},
		"empty name":       {Route{Fields: map[Field][]string{FieldTime: {""}}}, []string{"time", `""`, "1 to 256"}},
		"blank name":       {Route{Fields: map[Field][]string{FieldTime: {" t"}}}, []string{"time", `" t"`, "blanks"}},
		"long name":        {Route{Fields: map[Field][]string{FieldTime: {strings.Repeat("x", 257)}}}, []string{"time", "1 to 256"}},
		"token as a field": {Route{Tokens: [][]byte{[]byte("s")}, Fields: map[Field][]string{FieldTxID: {"Token"}}}, []string{"txid", `"Token"`, "choose another"}},
		"status word":      {Route{Statuses: map[string]attribution.Status{" ": attribution.Approved}}, []string{"statuses", "approved", "1 to 128"}},
		"status":           {Route{Statuses: map[string]attribution.Status{"x": 9}}, []string{`"x"`, "9", "approved, pending, rejected and reversed"}},
		"two meanings":     {Route{Statuses: map[string]attribution.Status{"X": 1, "x": 2}}, []string{`"x"`, "pending and approved"}},
		"event":            {Route{Event: " sale"}, []string{"event", `" sale"`}},
		"event macro":      {Route{Event: "{event}"}, []string{"event", "{event}", "macro"}},
		"event length":     {Route{Event: strings.Repeat("x", 129)}, []string{"event", "128"}},
		"no currency":      {Route{Payout: usd("5", "")}, []string{"payout", "5 USD"}},
		"payout currency":  {Route{Payout: usd("5", "XXX")}, []string{"payout", "XXX", "ISO 4217"}},
		"currency":         {Route{Currency: "dollar"}, []string{"currency", "dollar", "ISO 4217"}},
		"empty token":      {Route{Tokens: [][]byte{nil}}, []string{"token", "empty"}},
		"token line break": {Route{Tokens: [][]byte{[]byte("s3cret\n")}}, []string{"token", "blanks"}},
		"allow":            {Route{Allow: []netip.Prefix{{}}}, []string{"allow", "192.0.2.0/24"}},
		"allow both":       {Route{Allow: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/90")}}, []string{"allow", "/90"}},
		"max_body":         {Route{MaxBody: -1}, []string{"max_body", "-1", "524288"}},
		"big max_body":     {Route{MaxBody: 1<<20 + 1}, []string{"max_body", "1048577"}},
		"address":          {Route{Address: 7}, []string{"visitor_address", "full, truncated and none"}},
	} {
		err := c.rt.Compile()
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %q shows the secret", name, err)
		}
	}
}

func TestCompileCurrencyCase(t *testing.T) {
	t.Parallel()
	rt := &Route{Currency: "usd", Payout: attribution.Money{Currency: "eur"}}
	if err := rt.Compile(); err != nil || rt.Currency != "USD" || rt.Payout.Currency != "EUR" {
		t.Errorf("got %q, %q, %v", rt.Currency, rt.Payout.Currency, err)
	}
}
