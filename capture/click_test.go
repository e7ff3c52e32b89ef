package capture_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/capture"
)

// texts lists all that Fit looks after.
func texts(c *capture.Click) (values, names []*string) {
	values = []*string{
		&c.Campaign, &c.Source, &c.Destination, &c.Host, &c.Path, &c.UserAgent, &c.Address, &c.URL, &c.Referer,
	}
	for _, list := range [][]capture.Param{c.Subs, c.Kept} {
		for i := range list {
			values = append(values, &list[i].Value)
			names = append(names, &list[i].Name)
		}
	}
	return values, names
}

func totalSize(list []*string) (n int) {
	for _, s := range list {
		n += len(*s)
	}
	return n
}

func TestFit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "ü", "日", "\xff\xfe", "👍"}), rapid.String())
		long := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(text.Draw(t, "text"), rapid.SampledFrom([]int{1, 1, 1, 40, 700, 3000}).Draw(t, "times"))
		})
		param := rapid.Custom(func(t *rapid.T) capture.Param {
			return capture.Param{Name: long.Draw(t, "name"), Value: long.Draw(t, "value")}
		})
		params := rapid.SliceOfN(param, 0, rapid.SampledFrom([]int{2, 80}).Draw(t, "params"))
		c := &capture.Click{
			Campaign: long.Draw(t, "campaign"), Source: long.Draw(t, "source"), URL: long.Draw(t, "url"),
			Host: long.Draw(t, "host"), UserAgent: long.Draw(t, "agent"), Subs: params.Draw(t, "subs"), Kept: params.Draw(t, "kept"),
		}
		before := *c
		before.Subs, before.Kept = slices.Clone(c.Subs), slices.Clone(c.Kept)
		c.Fit()

		values, names := texts(c)
		if n := totalSize(values) + totalSize(names); n > capture.MaxClick {
			t.Fatalf("the click has %d bytes", n)
		}
		if len(c.Subs) > capture.MaxParams || len(c.Kept) > capture.MaxParams {
			t.Fatalf("the click has %d and %d parameters", len(c.Subs), len(c.Kept))
		}
		for _, s := range append(values, names...) {
			if len(*s) > capture.MaxValue || !utf8.ValidString(*s) {
				t.Fatalf("%d bytes, valid %t: %.40q", len(*s), utf8.ValidString(*s), *s)
			}
		}
		for _, s := range names {
			if len(*s) > capture.MaxName {
				t.Fatalf("a name has %d bytes", len(*s))
			}
		}
		checkCut(t, &before, c)
		once := *c
		once.Subs, once.Kept = slices.Clone(c.Subs), slices.Clone(c.Kept)
		if c.Fit(); !sameClick(c, &once) {
			t.Fatal("a click that fits is changed")
		}
	})
}

// checkCut wants FlagCut if and only if something was cut, and only whole runes
// at the end of something cut.
func checkCut(t *rapid.T, before, after *capture.Click) {
	cut := len(before.Subs) > len(after.Subs) || len(before.Kept) > len(after.Kept)
	before.Subs, before.Kept = before.Subs[:len(after.Subs)], before.Kept[:len(after.Kept)]
	old, oldNames := texts(before)
	now, nowNames := texts(after)
	old, now = append(old, oldNames...), append(now, nowNames...)
	for i := range old {
		whole := strings.ToValidUTF8(*old[i], "\uFFFD")
		if !strings.HasPrefix(whole, *now[i]) {
			t.Fatalf("%.40q became %.40q", whole, *now[i])
		}
		cut = cut || whole != *now[i]
	}
	if flagged := after.Flags&capture.FlagCut != 0; flagged != cut {
		t.Fatalf("something was cut: %t, the click says so: %t", cut, flagged)
	}
}

func TestFitKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", capture.MaxValue)
	c := &capture.Click{
		Campaign: "acme", Source: "news", Destination: "https://a.example/",
		Subs: []capture.Param{{Name: "sub1", Value: big}}, Kept: []capture.Param{{Name: "gclid", Value: big}},
		Path: big, URL: big, Referer: big,
	}
	c.Fit()
	if c.Sub("sub1") != big || c.Kept[0].Value != big || c.Referer != "" && len(c.Referer) == len(big) || c.Flags != capture.FlagCut {
		t.Errorf("the least important was not cut first: %d %d %d %d, %v",
			len(c.Sub("sub1")), len(c.Kept[0].Value), len(c.URL), len(c.Referer), c.Flags.Names())
	}
	exact := &capture.Click{Campaign: big, Source: big, Destination: big, URL: big}
	if exact.Fit(); exact.Flags != 0 || exact.URL != big {
		t.Error("a click of exactly 8 KiB was cut")
	}
}

func TestCutString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ToValidUTF8(rapid.String().Draw(t, "s"), "?")
		limit := rapid.IntRange(0, len(s)+2).Draw(t, "limit")
		got := capture.CutString(s, limit)
		if len(got) > limit || !strings.HasPrefix(s, got) || !utf8.ValidString(got) || len(got) < min(len(s), limit-utf8.UTFMax+1) {
			t.Fatalf("%q cut at %d is %q", s, limit, got)
		}
	})
}

func TestClickFlags(t *testing.T) {
	t.Parallel()
	for flags, counted := range map[capture.ClickFlags]bool{
		0: true, capture.FlagBot: false, capture.FlagPrefetch: false, capture.FlagTest: false,
		capture.FlagEarly: true, capture.FlagCut: true, capture.FlagEarly | capture.FlagCut: true, capture.FlagBot | capture.FlagCut: false,
	} {
		if flags.Counted() != counted {
			t.Errorf("%v counts: %t", flags.Names(), !counted)
		}
	}
	all := capture.FlagBot | capture.FlagPrefetch | capture.FlagEarly | capture.FlagTest | capture.FlagCut
	if got := all.Names(); !slices.Equal(got, []string{"bot", "prefetch", "early_data", "test", "cut"}) {
		t.Errorf("the flags are %v", got)
	}
	if got := capture.ClickFlags(0).Names(); len(got) != 0 {
		t.Errorf("no flags are %v", got)
	}
}

func TestAddressMode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ addr, full, truncated string }{
		{"192.0.2.77", "192.0.2.77", "192.0.2.0"},
		{"::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0"},
		{"2001:db8:1:2:3::4", "2001:db8:1:2:3::4", "2001:db8:1::"},
		{"fe80::1%eth0", "fe80::1", "fe80::"},
		{"::1", "::1", "::"},
		{"127.0.0.1", "127.0.0.1", "127.0.0.0"},
		{"0.0.0.0", "0.0.0.0", "0.0.0.0"},
	} {
		addr := netip.MustParseAddr(c.addr)
		for mode, want := range map[capture.AddressMode]string{
			capture.AddressFull: c.full, capture.AddressTruncated: c.truncated, capture.AddressNone: "",
		} {
			if got := mode.Keep(addr); got != want {
				t.Errorf("mode %d keeps %q of %s, want %q", mode, got, c.addr, want)
			}
		}
	}
	for _, mode := range []capture.AddressMode{capture.AddressFull, capture.AddressTruncated, capture.AddressNone} {
		if got := mode.Keep(netip.Addr{}); got != "" {
			t.Errorf("mode %d keeps %q of no address", mode, got)
		}
	}
	for text, want := range map[string]capture.AddressMode{
		"": capture.AddressTruncated, "truncated": capture.AddressTruncated, "full": capture.AddressFull, "none": capture.AddressNone,
	} {
		if got, err := capture.ParseAddressMode(text); err != nil || got != want {
			t.Errorf("%q is mode %d, %v", text, got, err)
		}
	}
	if _, err := capture.ParseAddressMode("half"); err == nil {
		t.Error("half is a mode")
	}
}

// A click whose traffic source left a macro in is kept as it is and flagged.
func TestMarkMacros(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		click       capture.Click
		name, value string
		notes       int
	}{
		{capture.Click{Source: "{placement}"}, "source", "{placement}", 1},
		{capture.Click{Source: "a", Subs: []capture.Param{{Name: "sub1", Value: "x"}, {Name: "sub2", Value: "[[[x]]]"}}}, "sub2", "[[[x]]]", 1},
		{capture.Click{
			Source: "__PLACEMENT__", Kept: []capture.Param{{Name: "utm_source", Value: "__PLACEMENT__"}, {Name: "gclid", Value: "%7Bgclid%7D"}},
		}, "source", "__PLACEMENT__", 2},
		{capture.Click{Campaign: "{x}", Source: "Newsletter 3", Subs: []capture.Param{{Name: "sub1", Value: "100%"}}}, "", "", 0},
	} {
		c := tc.click
		c.MarkMacros()
		name, value := c.Macro()
		flagged := slices.Contains(c.Flags.Names(), "unresolved_macro")
		if name != tc.name || value != tc.value || len(c.Notes()) != tc.notes || flagged != (tc.name != "") || !c.Flags.Counted() || c.Source != tc.click.Source {
			t.Errorf("%+v: macro %q in %q, flags %v, notes %q", tc.click, value, name, c.Flags.Names(), c.Notes())
		}
	}
	many := capture.Click{}
	for i := range 50 {
		many.Subs = append(many.Subs, capture.Param{Name: "s", Value: "{" + strings.Repeat("x", i+1) + "}"})
	}
	many.MarkMacros()
	if n := len(many.Notes()); n == 0 || n > 5 {
		t.Errorf("%d notes", n)
	}
}

func TestMarkMacrosCostsNothing(t *testing.T) {
	c := capture.Click{
		Source: "newsletter", Subs: []capture.Param{{Name: "sub1", Value: "abc-1"}, {Name: "sub2", Value: "x_y"}},
		Kept: []capture.Param{{Name: "utm_campaign", Value: "spring sale"}, {Name: "gclid", Value: strings.Repeat("Cj0KCQ_-", 40)}},
	}
	if n := testing.AllocsPerRun(100, c.MarkMacros); n != 0 || c.Flags != 0 {
		t.Errorf("%v allocations, flags %v; want none", n, c.Flags.Names())
	}
}
