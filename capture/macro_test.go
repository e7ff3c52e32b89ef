package capture

import (
	"html"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// macros are those of facts/networks.md and their like.
var macros = []string{
	"{x}", "{aff_sub}", "{{x}}", "{{ click_id }}", "[x]", "[CommissionAmount]", "[[x]]", "[[[subid]]]", "[=x=]",
	"#s2#", "##CLICK_ID##", "#{a.b}", "${visit_id}", "%x%", "%adid%", "%%CLICKID%%", "<x>", "<click id>", "{a.b}",
	"{p:x}", "!!!clickRef!!!", "__X__", "__CLICKID__", "xxnamexx", "xxsub2xx", "(S_X)", "(S_SUB_ID2)", "REPLACE",
	"REPLACE_ME", "REPLACEME", "{$data1}", "{url(sid)}", "{f3f2504e-4F89-41D3-9A0C-0305E82C330x}", "{f3f2504ex4F89-41D3-9A0C-0305E82C3301}", "{trans_id}", "order-{id}", "{a}-{b}", "{сумма}", "{}", "{{}}", "[]",
	"{{click_id | upper}}", " {x} ", "{*x*}", "[=click id=]", "#{user.id}", "${AUCTION_ID}", "{subId1}", "{SUBID}", "#S2#", "XXNAMEXX",
	"XXsub_2XX", "replace_me", "Replace-Me", "REPLACE+THIS", "REPLACE THIS", "REPLACE_WITH_ID", "{{ campaign.name }}", `{{ click_id | default: "none" }}`,
	"*|EMAIL|*", "<%= click %>", "order-[[[id]]]", "a-[=x=]", "\"{aff_sub}\"", "'[x]'", "“#s2#”", "\u200b[x]\ufeff", "\u00a0__X__\u00a0", "\t{x}\n",
	"%campaign%", "%%campaign%%", "__CAMPAIGN_ID__", "!!!transactionId!!!", "[[[payment_status]]]", "{$a_aid}", "{src:default}",
}

func TestIsMacro(t *testing.T) {
	t.Parallel()
	for _, v := range macros {
		for _, form := range []string{v, url.QueryEscape(v), url.PathEscape(v), url.QueryEscape(url.QueryEscape(v))} {
			if !IsMacro(form) {
				t.Errorf("%q is not taken for a macro", form)
			}
		}
		if got := unescapeValue(v); !IsMacro(got) {
			t.Errorf("%q unescaped is %q and not taken for a macro", v, got)
		}
		if form := html.EscapeString(v); !IsMacro(form) || !IsMacro(url.QueryEscape(form)) {
			t.Errorf("%q is not taken for a macro", form)
		}
	}
	for _, v := range []string{
		"", " ", "sale", "12.50", "-5", "USD", "0123456789abcdefghijklmnop", "#1001", "#1001#", "[1]", "{1}", "100%",
		"%41%", "50%-100%", "{3F2504E0-4F89-41D3-9A0C-0305E82C3301}", "{f3f2504e-4F89-41D3-9A0C-0305E82C3301}", `{"a":1}`, "(refund)", "(A1)", "(S X)", "x", "xx",
		"xxxx", "xx1xx", "xx9k2j3xx", "replace", "REPLACEMENT", "REPLACED", "!!!", "__", "____", "<", "<>x", "{", "{x", "x}",
		"a [b] c", "a <b> c", "a_b__c", "2006-01-02T15:04:05Z", "{" + strings.Repeat("x", 65) + "}", "[Spring] sale",
		"xxxxx", "xxxxxxxx", "XXXXXXXX", "replace", "Replace", "replacement_part", "(not set)", "(direct)", "AT&amp;T", "a%20b", "{{3F2504E0-4F89-41D3-9A0C-0305E82C3301}}",
		"{{}", "{{12}}", "[[1]]", "a[[[1]]]b", "[[[", "[=]", "***", "*|*", "<%%>", "%%", "%", "{{" + strings.Repeat("x", 99) + "}}",
	} {
		if IsMacro(v) {
			t.Errorf("%q is taken for a macro", v)
		}
	}
}

// A long value must not cost more than its length.
func TestIsMacroLong(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"{", "{a", "{a ", "%7B", "[", "%", "%25", "{{a}", "x", "[[[", "[[[a", "{{{", "&#;", "&amp;", "xx"} {
		IsMacro(strings.Repeat(v, 1<<20/len(v)))
	}
}

// What senders really send is never taken for a macro.
func TestRealValuesAreNoMacros(t *testing.T) {
	t.Parallel()
	text := func(expr string) *rapid.Generator[string] { return rapid.StringMatching(expr) }
	uuid := text(`[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	kinds := map[string]*rapid.Generator[string]{
		"hex":      text(`[0-9a-f]{16,64}`),
		"number":   text(`#?[0-9]{1,20}`),
		"order":    text(`[A-Z]{1,4}[-_/#]?[0-9]{3,12}([-.][0-9]{1,3})?`),
		"base64":   text(`[0-9A-Za-z+/]{5}[0-9][0-9A-Za-z+/]{14,40}={0,2}`),
		"base64u":  text(`[0-9A-Za-z]{2}[0-9][0-9A-Za-z_-]{10,80}[0-9A-Za-z]`),
		"uuid":     uuid,
		"guid":     rapid.Map(uuid, func(s string) string { return "{" + strings.ToUpper(s) + "}" }),
		"amount":   text(`[-+]?[$€£]? ?[0-9]{1,3}([,.' ][0-9]{3}){0,3}([.,][0-9]{1,4})?( ?(USD|EUR|%|€))?`),
		"percent":  text(`[0-9]{1,3}(\.[0-9])?%( off)?`),
		"time":     text(`20[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-][01][0-9]:00)?`),
		"name":     text(`\p{Lu}\p{Ll}{1,12}([ '’-]\p{Lu}\p{Ll}{1,12}){0,2}( [(][a-z ]{3,9}[)])?`),
		"source":   text(`[a-z]{2,12}([._/-][a-z0-9]{1,8}){1,3}`),
		"mail":     text(`[a-z][a-z.]{1,10}@[a-z]{2,10}\.(com|example)`),
		"url":      text(`https?://[a-z]{3,10}\.example(/[a-z0-9._~-]{1,9}){0,3}(\?[a-z]{1,5}=[a-z0-9%20+]{1,9}(&[a-z]{1,5}=[0-9]{1,5}){0,3})?(#[a-z]{1,9})?`),
		"json":     text(`\{"[a-z]{1,8}": ?("[a-z0-9]{0,9}"|[0-9]{1,5}|\[[0-9]{1,3}\])\}`),
		"sentence": text(`[A-Z][a-z]{1,9}( [a-z]{1,9}){1,6}[.!?]( \[[a-z0-9]{1,5}\] [a-z]+)?`),
		"click ID": text(`[0-9a-v]{26}`),
	}
	names := slices.Sorted(maps.Keys(kinds))
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(names).Draw(t, "kind")
		v := kinds[kind].Draw(t, "value")
		for _, form := range []string{v, url.QueryEscape(v), url.PathEscape(v), html.EscapeString(v), " " + v + " "} {
			if IsMacro(form) {
				t.Fatalf("%s: %q is taken for a macro", kind, form)
			}
		}
	})
}

func TestMacroCostsNothing(t *testing.T) {
	values := []string{"newsletter", "abc-123_x", "0123456789abcdefghijklmnop", "xx", "Spring sale", strings.Repeat("Cj0KCQ", 50), "12.50"}
	if n := testing.AllocsPerRun(100, func() {
		for _, v := range values {
			if IsMacro(v) {
				t.Fatalf("%q is taken for a macro", v)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
