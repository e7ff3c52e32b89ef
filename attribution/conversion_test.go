package attribution

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Status{"pending": Pending, "Approved": Approved, "REJECTED": Rejected, "reversed": Reversed} {
		if s, err := ParseStatus(in); err != nil || s != want || s.String() != strings.ToLower(in) || s.Final() != (s != Pending) {
			t.Errorf("%q: got %v, %v", in, s, err)
		}
	}
	for _, in := range []string{"", "approve", "1", " pending"} {
		if s, err := ParseStatus(in); err == nil {
			t.Errorf("%q: accepted as %v", in, s)
		}
	}
	for s := Status(0); s <= Reversed; s++ {
		var back Status
		text, err := s.MarshalText()
		if err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("%v came back as %v, %v", s, back, err)
		}
	}
	if _, err := Status(9).MarshalText(); err == nil || Status(9).Final() || Status(0).Final() {
		t.Error("a status that does not exist passes")
	}
}

func TestDedup(t *testing.T) {
	t.Parallel()
	for _, d := range []Dedup{DedupTxID, DedupEvent, DedupClick} {
		if got, err := ParseDedup(d.String()); err != nil || got != d {
			t.Errorf("%v: got %v, %v", d, got, err)
		}
	}
	if _, err := ParseDedup("none"); err == nil {
		t.Error("none: accepted")
	}
}

// Stored IDs must be found again by every later version.
func TestConversionIDIsFixed(t *testing.T) {
	t.Parallel()
	click := [16]byte{1, 2, 3}
	for _, c := range []struct {
		mode        Dedup
		event, txid string
		want        string
	}{
		{DedupTxID, "sale", "A-1", "daojn0398kgn394bmkf280fh54"},
		{DedupEvent, "sale", "A-1", "daojn07osfpcitbbi7i4hm1u7g"},
		{DedupClick, "sale", "A-1", "daojn05p2qi7qjl0aue3ddohh4"},
	} {
		if got := NewConversionID(c.mode, click, 1_790_000_000, c.event, c.txid).String(); got != c.want {
			t.Errorf("%v: got %s, want %s", c.mode, got, c.want)
		}
	}
}

func TestNewConversionID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"", "a", "ab", "b", "ba", "\x00"})
		mode := rapid.SampledFrom([]Dedup{DedupTxID, DedupEvent, DedupClick}).Draw(t, "mode")
		c1, c2 := [16]byte{rapid.Byte().Draw(t, "c1") & 1}, [16]byte{rapid.Byte().Draw(t, "c2") & 1}
		e1, e2 := word.Draw(t, "e1"), word.Draw(t, "e2")
		x1, x2 := word.Draw(t, "x1"), word.Draw(t, "x2")
		s1, s2 := rapid.Uint32Range(0, 1).Draw(t, "s1"), rapid.Uint32Range(0, 1).Draw(t, "s2")
		same := c1 == c2 && s1 == s2 && (mode == DedupClick || e1 == e2) && (mode != DedupTxID || x1 == x2)
		a, b := NewConversionID(mode, c1, s1, e1, x1), NewConversionID(mode, c2, s2, e2, x2)
		if (a == b) != same {
			t.Fatalf("%v (%v %q %q) (%v %q %q): same ID is %v", mode, c1, e1, x1, c2, e2, x2, a == b)
		}
	})
}

func FuzzParseConversionID(f *testing.F) {
	f.Add(ConversionID{}.String())
	f.Add(NewConversionID(DedupTxID, [16]byte{9}, 1, "sale", "1").String())
	f.Add(strings.Repeat("v", 26))
	f.Add(strings.Repeat("V", 25) + "S")
	f.Add(strings.Repeat("0", 25) + "\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseConversionID(s)
		if err != nil {
			return
		}
		if id.String() != strings.ToLower(s) {
			t.Fatalf("%q came back as %q", s, id)
		}
	})
}
