package capture

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Stored keys must be found again by every later version.
func TestTxKeyIsFixed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, route, txid, want string }{
		{"go.example", "shop", "1001", "de232fcd1fe40668d2cac113bb24c906"},
		{"", "", "", "9d908ecfb6b256def8b49a7c504e6c88"},
	} {
		key := NewTxKey(c.host, c.route, c.txid)
		if got := hex.EncodeToString(key[:]); got != c.want {
			t.Errorf("%q %q %q: %s, want %s", c.host, c.route, c.txid, got, c.want)
		}
	}
	for _, c := range [][2]TxKey{
		{NewTxKey("h", "ab", "c"), NewTxKey("h", "a", "bc")},
		{NewTxKey("ha", "b", "c"), NewTxKey("h", "ab", "c")},
		{NewTxKey("h", "a", strings.Repeat("b", 300)), NewTxKey("h", "a", strings.Repeat("b", 301))},
	} {
		if c[0] == c[1] {
			t.Error("two transactions have one key")
		}
	}
}

// TestTxKeyIsOfOneSite: hosts between which a server tells sites apart must not
// be one, and those that it takes for one must.
func TestTxKeyIsOfOneSite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"go.example", "GO.Example", true},
		{"go.example", "go.example:8443", true},
		{"[2001:db8::1]:443", "[2001:DB8::1]", true},
		{"go.example", "go.example.", false},
		{"go.example", "a.go.example", false},
		{"go.example", "", false},
		{"go.example:80:80", "go.example", false},
		{"shop.example", "ſhop.example", false},
	} {
		if same := NewTxKey(c.a, "/woo", "1") == NewTxKey(c.b, "/woo", "1"); same != c.same {
			t.Errorf("%q and %q: the same is %v", c.a, c.b, same)
		}
	}
}

func TestIndexIsBounded(t *testing.T) {
	t.Parallel()
	var c Conversion
	c.index(NewTxKey("go.example", "shop", "0"))
	was := c
	for i := range 3 * maxTxKeys {
		for range 2 {
			c.index(NewTxKey("go.example", "shop", strconv.Itoa(i)))
		}
	}
	first, last := NewTxKey("go.example", "shop", strconv.Itoa(2*maxTxKeys)), NewTxKey("go.example", "shop", strconv.Itoa(3*maxTxKeys-1))
	if len(c.TxKeys) != maxTxKeys || c.TxKeys[0] != first || c.TxKeys[maxTxKeys-1] != last {
		t.Errorf("%d keys", len(c.TxKeys))
	}
	if len(was.TxKeys) != 1 || was.TxKeys[0] != NewTxKey("go.example", "shop", "0") {
		t.Error("a copy made before changed")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	type is struct {
		click        uint64
		event        string
		booked, paid bool
		test         bool
	}
	for name, c := range map[string]struct {
		list  []is
		event string
		want  int // -1: none
	}{
		"one":                     {list: []is{{click: 1, event: "sale", booked: true}}, event: "conversion"},
		"one that is not booked":  {list: []is{{click: 1}}},
		"a test one":              {list: []is{{click: 1, test: true, booked: true}, {click: 2}}, want: 1},
		"two clicks":              {list: []is{{click: 1, booked: true}, {click: 2, booked: true}}, want: -1},
		"two clicks, the event":   {list: []is{{1, "a", true, true, false}, {2, "b", true, true, false}}, event: "b", want: -1},
		"two clicks, none booked": {list: []is{{click: 1}, {click: 2}}, want: -1},
		"two clicks, one booked":  {list: []is{{click: 1}, {click: 2, booked: true}}, want: 1},
		"the event":               {list: []is{{1, "a", true, true, false}, {1, "b", true, false, false}}, event: "b", want: 1},
		"the payout":              {list: []is{{1, "a", true, true, false}, {1, "b", true, false, false}}},
		"two payouts":             {list: []is{{1, "a", true, true, false}, {1, "b", true, true, false}}, want: -1},
		"no payout":               {list: []is{{1, "a", true, false, false}, {1, "b", true, false, false}}, want: -1},
	} {
		var list []*Conversion
		for _, x := range c.list {
			list = append(list, &Conversion{Click: clickid.Ref{Block: x.click}, Test: x.test, State: attribution.State{
				Event: x.event, Booked: x.booked, HasPayout: x.paid,
			}})
		}
		var want *Conversion
		if c.want >= 0 {
			want = list[c.want]
		}
		for range 2 {
			if got, detail := choose(slices.Clone(list), "1", c.event); got != want || (detail == "") != (want != nil) {
				t.Errorf("%s: got %+v (%s), want %+v", name, got, detail, want)
			}
			slices.Reverse(list)
		}
	}
}

// TestReceiveTxIDs: a message that goes by its transaction has all the names that
// its parameters give, each once, and no more than are looked for.
func TestReceiveTxIDs(t *testing.T) {
	t.Parallel()
	fields := map[Field][]string{FieldTxID: {"invoice", "payment", "charge", "order", "extra"}}
	rt := Route{Kinds: []Kind{
		{Name: "refund", When: map[string][]string{"kind": {"refund"}}, ByTxID: true, Fields: fields},
		{Name: "sale", When: map[string][]string{"kind": {"sale"}}, Fields: fields},
	}}
	long := strings.Repeat("x", 2*maxTxID)
	for body, want := range map[string][]string{
		`{"kind":"refund","payment":"pi","invoice":"in"}`:                                    {"in", "pi"},
		`{"kind":"refund","payment":"pi","charge":"pi","order":7}`:                           {"pi", "7"},
		`{"kind":"refund","invoice":"in","payment":"{payment}","charge":"ch"}`:               {"in", "ch"},
		`{"kind":"refund","extra":"e","order":"o","charge":"c","payment":"p","invoice":"i"}`: {"i", "p", "c", "o"},
		`{"kind":"refund","order":"` + long + `","extra":"` + long + `y"}`:                   {shortTxID(long), shortTxID(long + "y")},
		`{"kind":"refund"}`: nil,
		`{"kind":"sale","payment":"pi","invoice":"in","click_id":"CLICK"}`: {"in"},
	} {
		route, r := told(rt, body)
		p := accepted(t, compiled(t, route), r)
		if got := p.candidates(); !slices.Equal(got, want) || p.Claim.TxID != slices.Concat(want, []string{""})[0] {
			t.Errorf("%.80s: got %q, want %q", body, got, want)
		}
	}
}
