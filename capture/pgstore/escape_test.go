package pgstore

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "acme", "käse\x00/", "\x1a", "\x1a0", "\x1ax00", "\xff", "a\xc3", "\x1a\x00\x1a", "\uFFFD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if !utf8.ValidString(e) || strings.Contains(e, "\x00") {
			t.Errorf("%q was escaped as %q, which is no text", s, e)
		}
		if got := unescape(e); got != s {
			t.Errorf("%q was escaped as %q, and that is %q", s, e, got)
		}
		if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\x1a") && e != s {
			t.Errorf("%q became %q without need", s, e)
		}
		unescape(s) // whatever it is
	})
}
