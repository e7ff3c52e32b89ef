package capture

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// A repaired query gives every parameter that was given plainly the same value
// as before, and is not repaired a second time without end.
func FuzzRepairQuery(f *testing.F) {
	for _, s := range []string{
		"click_id=1&payout=5", "x=1?click_id=2", "?click_id=1", "a&amp;payout=1&amp;amp;cur=2", "click_id=1;payout=2;x=3", "click_id%3D1%26payout%3D2",
		"click_id%253D1%2526payout%253D2", "payout=5%26click_id%3D1", "r=https://a/?payout=1", "?a=?b=?payout=1", ";;;?=;=", "%3D%3D%26", "%", "%2", "%25",
		"payout%3D&x", "payout=1?payout=2?click_id=3", strings.Repeat("?payout=1", 80), "amp;=1", "amp;payout=", "x=1%26payout=2;cur=3?click_id=4",
	} {
		f.Add(s)
	}
	rt := &Route{}
	if err := rt.Compile(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		plain := rt.match.found()
		plain.collectForm(query, fromQuery)
		fixed, notes := repairQuery(query, rt.lookup(plain))
		if len(notes) == 0 {
			if fixed != query {
				t.Fatalf("%q became %q without a note", query, fixed)
			}
			return
		}
		for _, n := range notes {
			if n == "" || !utf8.ValidString(n) || len(n) > 400 {
				t.Errorf("%q: note %q", query, n)
			}
		}
		if len(fixed) > 2*len(query)+maxPairs {
			t.Errorf("%d bytes became %d", len(query), len(fixed))
		}
		again := rt.match.found()
		again.collectForm(fixed, fromQuery)
		better := false
		for s := range slotCount {
			before, after := plain.first(rt.fields[s]), again.first(rt.fields[s])
			switch {
			case before == "" && after != "":
				better = true
			case before != "" && !strings.HasPrefix(plainPrefix(before), plainPrefix(after)):
				t.Errorf("%q became %q: %s was %q and is %q", query, fixed, Fields[s], before, after)
			}
		}
		if token := again.first(rt.token); !better && (token == "" || plain.first(rt.token) != "") {
			t.Errorf("%q became %q and nothing new was found", query, fixed)
		}
	})
}

// plainPrefix makes a value comparable to what was cut off it.
func plainPrefix(s string) string {
	return strings.Join(strings.Fields(decodePercent(decodePercent(s))), "")
}

// Whatever stands around it, only an ID that this site made is ever found, and
// a value without one gets a sentence.
func FuzzRepairClickID(f *testing.F) {
	for _, s := range []string{
		`"CLICK"`, "CLICK}", "{{CLICK", "%2522CLICK", "CLICKCLICK", "CLICK,OTHER", "\ufeffCLICK\u200b", "click_id=CLICK?x=1", "", " ", "{x}", "null", "a\x00b",
		"%", "%25%25", "\xff\xfeCLICK", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "…", "\"\"", "12345", "IwAR0k2x9QmVdK1rZJt3yXcBq8nL5wTgUe", "é", "_", "=",
	} {
		f.Add(s)
	}
	rt := &Route{Tokens: [][]byte{[]byte("s")}}
	if err := rt.Compile(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(fill(value), "OTHER", otherID)
		p := accepted(t, rt, getRequest("token=s&click_id="+url.QueryEscape(value)))
		if p.HasRef && p.Ref != senderRef && senderCodec.Encode(p.Ref) != otherID {
			t.Errorf("%q names %+v", value, p.Ref)
		}
		for _, n := range p.Notes {
			if !utf8.ValidString(n) || len(n) > 400 || !p.HasRef {
				t.Errorf("%q: note %q", value, n)
			}
		}
		for _, field := range []Field{FieldPayout, FieldTime} {
			for _, plain := range plainer(field, value) {
				if plain == "" || plain != strings.TrimSpace(plain) {
					t.Errorf("%q made plainer is %q", value, plain)
				}
			}
		}
	})
}
