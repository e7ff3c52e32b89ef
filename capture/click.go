package capture

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Limits on what is kept of a click. Ad platforms' click IDs run to 350
// characters and more, so a value gets 2 KiB; the whole click 8 KiB, so that a
// flood of long query strings costs a known amount of disk.
const (
	MaxValue = 2 << 10
	MaxClick = 8 << 10
	// MaxParams bounds the number of sub-IDs and of kept parameters, each.
	MaxParams = 64
	// maxName bounds the name of a parameter.
	maxName = 128
)

// ClickFlags say what is special about a click.
type ClickFlags uint8

const (
	// FlagBot marks a visitor whose user agent is that of a known bot.
	FlagBot ClickFlags = 1 << iota
	// FlagPrefetch marks a browser that fetched ahead of its user.
	FlagPrefetch
	// FlagEarly marks a request in TLS early data (0-RTT), which somebody
	// could have replayed.
	FlagEarly
	// FlagTest marks what `caddy capture test` made: it never counts.
	FlagTest
	// FlagCut marks a click of which something was too long to be kept whole.
	FlagCut
	// FlagErased marks a click whose visitor was erased.
	FlagErased
	// FlagMacro marks a click of which a value is a macro that the traffic
	// source did not replace.
	FlagMacro
)

// flagNames are in the order of the bits.
var flagNames = [...]string{"bot", "prefetch", "early_data", "test", "cut", "erased", "unresolved_macro"}

// Names lists the flags that are set, for people and for JSON.
func (f ClickFlags) Names() []string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Counted tells whether the click is one of a person and so counts as a click
// in reports. What is not counted still attributes its conversions.
func (f ClickFlags) Counted() bool { return f&(FlagBot|FlagPrefetch|FlagTest) == 0 }

// Param is one named value of a click.
type Param struct {
	Name  string `json:"name" cbor:"1,keyasint"`
	Value string `json:"value" cbor:"2,keyasint"`
}

// Click is one visit to a tracked route with everything known about it then.
// A click does not change once it is recorded, until its visitor is erased.
type Click struct {
	// Ref is the click's place in its store; its ID is the enciphered form.
	Ref clickid.Ref
	// Key is the tag of the key that signed the ID.
	Key   uint16
	Time  time.Time
	Flags ClickFlags

	// Campaign, Source, Destination and Subs are the dimensions of reports.
	// Destination is the `to` as configured or, with `inject`, the address of
	// the redirect without its query.
	Campaign    string
	Source      string
	Destination string
	Subs        []Param
	// Kept are further query parameters: utm_*, ad platforms' click IDs, and
	// those that the route's `keep` names.
	Kept []Param

	// URL is where the visitor was sent, with {click_id} in the place of the
	// ID; empty if that is the same as Destination.
	URL string
	// Cost is what the visit cost the owner; no currency means no cost known.
	Cost attribution.Money

	Host      string
	Path      string
	UserAgent string
	Referer   string
	// Address is the visitor's, already truncated or left out as configured.
	Address string
}

// Sub returns the sub-ID of that name, or "".
func (c *Click) Sub(name string) string { return find(c.Subs, name) }

func find(params []Param, name string) string {
	for i := range params {
		if params[i].Name == name {
			return params[i].Value
		}
	}
	return ""
}

// Macro returns the first value of the click that is a macro which the traffic
// source did not replace, and the parameter or sub-ID that has it.
func (c *Click) Macro() (name, value string) {
	eachMacro(c.Source, c.Subs, c.Kept, func(n, v string) bool {
		name, value = n, v
		return false
	})
	return name, value
}

// MarkMacros sets [FlagMacro] if a value of the click is an unresolved macro.
// The value stays: the visit is a real one, and a row of a report that bears
// the macro's name says what is wrong better than an empty one. It allocates
// nothing where there is nothing like a macro.
func (c *Click) MarkMacros() {
	if name, _ := c.Macro(); name != "" {
		c.Flags |= FlagMacro
	}
}

// Notes say in sentences what is wrong with the click's values, for its owner.
func (c *Click) Notes() []string { return macroNotes(c.Flags, c.Source, c.Subs, c.Kept) }

// Dims returns the click's dimensions for a report.
func (c *Click) Dims() attribution.Dims {
	return attribution.Dims{Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Sub: c.Sub}
}

// Counts returns what the click adds to a report.
func (c *Click) Counts() attribution.Counts {
	var n attribution.Counts
	switch {
	case c.Flags&FlagTest != 0:
	case c.Flags.Counted():
		n.Clicks = 1
		n.Cost.Add(c.Cost)
	default:
		n.BotClicks = 1
	}
	return n
}

// Fit makes the click fit its limits: values are made valid UTF-8 and cut at
// [MaxValue], and what goes beyond [MaxClick] in all is cut or left out, least
// important first. A click that lost something carries [FlagCut].
func (c *Click) Fit() {
	cut := false
	if len(c.Subs) > MaxParams {
		c.Subs, cut = c.Subs[:MaxParams], true
	}
	if len(c.Kept) > MaxParams {
		c.Kept, cut = c.Kept[:MaxParams], true
	}
	room := MaxClick
	fit := func(s *string, limit int) {
		v := strings.ToValidUTF8(*s, "\uFFFD")
		limit = min(limit, room)
		if len(v) > limit {
			v, cut = cutString(v, limit), true
		}
		room -= len(v)
		*s = v
	}
	fit(&c.Campaign, MaxValue)
	fit(&c.Source, MaxValue)
	fit(&c.Destination, MaxValue)
	for i := range c.Subs {
		fit(&c.Subs[i].Name, maxName)
		fit(&c.Subs[i].Value, MaxValue)
	}
	for i := range c.Kept {
		fit(&c.Kept[i].Name, maxName)
		fit(&c.Kept[i].Value, MaxValue)
	}
	fit(&c.Host, 255)
	fit(&c.Path, MaxValue)
	fit(&c.UserAgent, 512)
	fit(&c.Address, 64)
	fit(&c.URL, MaxValue)
	fit(&c.Referer, MaxValue)
	if cut {
		c.Flags |= FlagCut
	}
}

// cutString cuts valid UTF-8 to at most limit bytes without splitting a rune.
func cutString(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
