package capture

import (
	"net/url"
	"strings"
	"testing"
)

// macros are those of facts/networks.md and their like.
var macros = []string{
	"{x}", "{aff_sub}", "{{x}}", "{{ click_id }}", "[x]", "[CommissionAmount]", "[[x]]", "[[[subid]]]", "[=x=]",
	"#s2#", "##CLICK_ID##", "#{a.b}", "${visit_id}", "%x%", "%adid%", "%%CLICKID%%", "<x>", "<click id>", "{a.b}",
	"{p:x}", "!!!clickRef!!!", "__X__", "__CLICKID__", "xxnamexx", "xxsub2xx", "(S_X)", "(S_SUB_ID2)", "REPLACE",
	"REPLACE_ME", "REPLACEME", "{$data1}", "{url(sid)}", "{f3f2504e-4F89-41D3-9A0C-0305E82C330x}", "{f3f2504ex4F89-41D3-9A0C-0305E82C3301}", "{trans_id}", "order-{id}", "{a}-{b}", "{сумма}", "{}", "{{}}", "[]",
	"{{click_id | upper}}", " {x} ", "{*x*}",
}

func TestIsMacro(t *testing.T) {
	t.Parallel()
	for _, v := range macros {
		for _, form := range []string{v, url.QueryEscape(v), url.PathEscape(v), url.QueryEscape(url.QueryEscape(v))} {
			if !isMacro(form) {
				t.Errorf("%q is not taken for a macro", form)
			}
		}
		if got := unescapeValue(v); !isMacro(got) {
			t.Errorf("%q unescaped is %q and not taken for a macro", v, got)
		}
	}
	for _, v := range []string{
		"", " ", "sale", "12.50", "-5", "USD", "0123456789abcdefghijklmnop", "#1001", "#1001#", "[1]", "{1}", "100%",
		"%41%", "50%-100%", "{3F2504E0-4F89-41D3-9A0C-0305E82C3301}", "{f3f2504e-4F89-41D3-9A0C-0305E82C3301}", `{"a":1}`, "(refund)", "(A1)", "(S X)", "x", "xx",
		"xxxx", "xx1xx", "xx9k2j3xx", "replace", "REPLACEMENT", "REPLACED", "!!!", "__", "____", "<", "<>x", "{", "{x", "x}",
		"a [b] c", "a <b> c", "a_b__c", "2006-01-02T15:04:05Z", "{" + strings.Repeat("x", 65) + "}", "[Spring] sale",
	} {
		if isMacro(v) {
			t.Errorf("%q is taken for a macro", v)
		}
	}
}

// A long value must not cost more than its length.
func TestIsMacroLong(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"{", "{a", "{a ", "%7B", "[", "%", "%25", "{{a}", "x"} {
		isMacro(strings.Repeat(v, 1<<20/len(v)))
	}
}
