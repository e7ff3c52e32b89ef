package capture

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestCheckParameter(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"click_id", "a.b.0", "a b", "custom[click_id]", "items[0][price]", "a.*.b", "*", "*.id", "a.*", "[name=click_id].value",
		"a[name=click_id].value", "a.b[name=click id].c.*.d", "a[x=1][y=2].z", "a[name=b.c].v", "landing_site?click_id",
		"a[n=w?x].url?y", "note_attributes[name=landing].value?click_id", "header:X-Topic", "HEADER:x-topic", "header:Referer?click_id",
		"a*b", "é.ü", "a..b",
	} {
		if err := CheckParameter(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"": "1 to 256 bytes", " a": "blanks", "\xff": "1 to 256", strings.Repeat("x", 257): "1 to 256",
		"?click_id": "both sides of ?", "x?": "both sides of ?", "header:": "a header's name", "header:a b": "a header's name",
		"header:Authorization": "holds secrets", "header:cookie?x": "holds secrets",
		"a[name=].v": "like a[name=click_id].value", "a[=x].v": "write it like", "a[name=x": "write it like", "a[name=x]v": "write it like",
		"a.*.": "write it like", "a..*": "write it like", ".*": "write it like", "a[0].*": "write it like", "a.[name=x]": "write it like",
		strings.Repeat("*.", 32) + "a": "at most 32 steps",
	} {
		err := CheckParameter(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "parameter name ") {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

// Every way to write a parameter finds the value there, and nothing else.
func TestReceiveParameterForms(t *testing.T) {
	t.Parallel()
	const order = `{
		"a": {"b": ["x0", "x1"], "n": 1.50, "yes": true, "none": null},
		"lines": [{"sku": "", "deep": [{"v": "d0"}]}, {"sku": "s1"}, {"sku": "s2", "deep": [{"v": "d1"}]}],
		"meta": [{"value": "v1", "key": "k1"}, {"key": "k2", "value": "v2"}, {"key": "k2", "value": "again"}, {"key": {"key": "k3"}, "value": "v3"}],
		"sets": [{"kind": "p", "rows": [{"value": "p1", "n": "1"}, {"n": "2", "value": "p2"}]}, {"rows": [{"n": "2", "value": "q2"}], "kind": "q"}],
		"grid": [[{"v": "g00"}, {"v": "g01"}], [{"v": "g10"}]],
		"landing": "https://shop.example/?utm_source=x&Ref=r%201&ref=r2#top?ref=no",
		"relative": "/p?ref=+r3+&empty=", "plain": "ref=no", "fragment": "/#/?ref=r4",
		"Folded": {"List": [{"NAME": "N", "Value": "f"}]},
		"numbers": [{"id": 7, "v": "seven"}]
	}`
	for _, c := range []struct{ name, want string }{
		{"a.b.1", "x1"}, {"A.B.1", "x1"}, {"a.b.2", ""}, {"a.n", "1.50"}, {"a.yes", "true"}, {"a.none", ""}, {"a.b", ""},
		{"a.b.*", "x0"}, {"lines.*.sku", "s1"}, {"lines.*.deep.*.v", "d0"}, {"lines.*.deep.0.v", "d0"}, {"lines.2.deep.*.v", "d1"},
		{"a.*.0", ""}, {"lines.*", ""}, {"meta[key=k1].value", "v1"}, {"meta[key=k2].value", "v2"}, {"meta[key=K2].value", ""},
		{"meta[key=k2][value=again].value", "again"}, {"meta[value=v2][key=k2].key", "k2"}, {"meta[key=k1][value=v2].value", ""},
		{"meta[key=k3].value", ""}, {"meta[key=k1]", ""}, {"meta[key=k1].key", "k1"}, {"meta[nokey=k1].value", ""},
		{"sets[kind=p].rows[n=2].value", "p2"}, {"sets[kind=q].rows[n=2].value", "q2"}, {"sets[kind=q].rows[n=1].value", ""},
		{"sets[kind=q].rows.*.value", "q2"}, {"sets.*.rows[n=2].value", "p2"}, {"grid.*.*.v", "g00"}, {"grid.1.*.v", "g10"},
		{"grid.*[v=g10].v", "g10"}, {"numbers[id=7].v", "seven"},
		{"landing?ref", "r2"}, {"landing?Ref", "r 1"}, {"landing?REF", "r 1"}, {"landing?utm_source", "x"}, {"landing?none", ""},
		{"relative?ref", "r3"}, {"relative?empty", ""}, {"plain?ref", ""}, {"fragment?ref", "r4"},
		{"folded.list[name=N].value", "f"}, {"FOLDED.*", ""}, {"header:x-topic", "orders/paid"}, {"header:X-Link?ref", "h"}, {"header:X-None", ""},
	} {
		rt := compiled(t, Route{Fields: map[Field][]string{FieldMessageID: {c.name}}})
		r := postRequest("application/json", order)
		r.URL.RawQuery, r.RequestURI = "click_id="+genuineID, "/postback?click_id="+genuineID
		r.Header.Set("X-Topic", "orders/paid")
		r.Header.Set("X-Link", "/?ref=h")
		p := accepted(t, rt, r)
		if p.Claim.Key != c.want || p.Problem != "" {
			t.Errorf("%s: got %q, want %q (%s)", c.name, p.Claim.Key, c.want, p.ProblemDetail)
		}
		// From quarantine it reads the same.
		again := rt.Reread(&Entry{Authentic: "token", Raw: p.Raw}, newArrival())
		if again.Claim.Key != c.want {
			t.Errorf("%s: read again it is %q, want %q", c.name, again.Claim.Key, c.want)
		}
	}
	// In a query and in a form the same names work, as far as there are no documents.
	rt := compiled(t, Route{Fields: map[Field][]string{FieldTxID: {"a.*.b", "custom[tx]"}, FieldEvent: {"landing?goal"}}})
	for name, r := range map[string]*http.Request{
		"query": getRequest("click_id=CLICK&custom[tx]=t1&landing=%2F%3Fgoal%3Dlead%26x%3D1"),
		"form":  postRequest("", "click_id=CLICK&custom%5Btx%5D=t1&landing=/%3Fgoal=lead"),
	} {
		if p := accepted(t, rt, r); p.Claim.TxID != "t1" || p.Claim.Event != "lead" {
			t.Errorf("%s: got %+v", name, p.Claim)
		}
	}
}

// Only the headers that a route names are kept, in a bounded form.
func TestReceiveKeepsHeaders(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Fields: map[Field][]string{FieldEvent: {"header:X-Topic", "header:x-other?e"}}})
	r := getRequest("click_id=CLICK")
	r.Header.Set("X-Topic", " a\xff"+strings.Repeat("x", 5000))
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Cookie", "a=b")
	p := accepted(t, rt, r)
	if kept := p.Raw.Headers; len(kept) != 1 || len(kept["X-Topic"]) > 1024 || !strings.HasPrefix(kept["X-Topic"], " a\uFFFDx") {
		t.Errorf("kept %q", kept)
	}
	if p.Claim.Event != "a\uFFFD"+strings.Repeat("x", 128-4) {
		t.Errorf("got %q", p.Claim.Event)
	}
	if p := accepted(t, compiled(t, Route{}), r); p.Raw.Headers != nil {
		t.Errorf("without a parameter it kept %q", p.Raw.Headers)
	}
}

// However many parameters are wanted, a document is read once, and what it
// can make us do is bounded by its values.
func TestJSONValuesAreBounded(t *testing.T) {
	t.Parallel()
	most := func(n int) []byte { return []byte("[" + strings.Repeat("[],", n-1) + "{}]") }
	var w jsonWalk
	if err := w.walk(most(maxJSONValues - 1)); err != nil || w.values != maxJSONValues {
		t.Errorf("got %v after %d values", err, w.values)
	}
	for name, doc := range map[string][]byte{
		"arrays": most(512 << 10 / 3), "objects": []byte("[" + strings.Repeat(`{"a":1},`, 60000) + "1]"),
		"numbers": []byte("[" + strings.Repeat("1,", 250000) + "1]"),
	} {
		leaves := 0
		w := jsonWalk{leaf: func(_, _ []byte) { leaves++ }}
		if err := w.walk(doc); err == nil || !strings.Contains(err.Error(), "more than 32768 values") ||
			w.values != maxJSONValues+1 || leaves > maxJSONValues {
			t.Errorf("%s: got %v after %d values, %d leaves", name, err, w.values, leaves)
		}
	}
	if _, rej := received(t, compiled(t, Route{MaxBody: 512 << 10}), postRequest("", string(most(512<<10/3))), newArrival()); rej == nil ||
		rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, "32768 values") {
		t.Errorf("got %v", rej)
	}
}

// The tracker stands in as many places as parameters differ there, and in none
// in the rest of a document, so its work is bounded by the configuration.
func TestPathTrackerPlaces(t *testing.T) {
	t.Parallel()
	var m matcher
	for i := range 50 {
		for _, form := range []string{"a.*.b.*.v%d", "a[k=%d].v"} {
			if _, err := m.add(fmt.Sprintf(form, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := m.found()
	tr := newPathTracker(f)
	for _, step := range []struct {
		key     string
		element bool
		want    int
	}{{"a", false, 1}, {"0", true, 51}, {"b", false, 1}, {"3", true, 1}, {"other", false, 0}, {"v7", false, 0}} {
		tr.enter(step.key, step.element)
		if got := len(tr.at) - tr.marks[len(tr.marks)-1]; got != step.want {
			t.Errorf("%s: it stands in %d places, want %d", step.key, got, step.want)
		}
	}
	for range 6 {
		tr.leave()
	}
	if len(tr.at) != 1 || len(tr.marks) != 1 {
		t.Errorf("it came back to %d places on %d levels", len(tr.at), len(tr.marks))
	}
}

func FuzzURLParam(f *testing.F) {
	for _, s := range []string{"/?a=1", "https://x.example/p?b=2&a=%31#?a=3", "?a", "?a=&A=x", "?a=+&a=y", "?%61=1", "a=1", "?a=%zz", "?a=1?a=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := urlParam(s, "a")
		if got != strings.TrimSpace(got) {
			t.Errorf("%q: got %q", s, got)
		}
		u, err := url.Parse(s)
		if err != nil || strings.ContainsAny(s, "%+;#") {
			return
		}
		if want := strings.TrimSpace(u.Query().Get("a")); want != "" && want != got {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	})
}
