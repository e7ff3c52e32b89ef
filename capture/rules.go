package capture

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// Default retention: clicks as long as the longest attribution windows in
// common use, the journal for a year and a month of disputes.
const (
	DefaultRetainClicks  = 90 * 24 * time.Hour
	DefaultRetainJournal = 400 * 24 * time.Hour
)

// Retention says how long each kind of record is kept; zero means for ever. A
// conversion is kept at least as long as its click, whatever Conversions says:
// see [Retention.ConversionExpired].
type Retention struct {
	Clicks      time.Duration
	Journal     time.Duration
	Conversions time.Duration
}

// ConversionExpired tells whether a conversion is no longer kept. As long as
// postbacks about its click are booked, the conversion has to be known: what
// was booked would else be booked once more when the sender repeats it.
func (r Retention) ConversionExpired(c *Conversion, now time.Time) bool {
	return r.Conversions > 0 && now.Sub(c.State.Time) > r.Conversions &&
		r.Clicks > 0 && now.Sub(c.ClickTime) > r.Clicks
}

// Validate refuses a retention that says what cannot be.
func (r Retention) Validate() error {
	if r.Conversions > 0 && (r.Clicks == 0 || r.Conversions < r.Clicks) {
		clicks := "for ever"
		if r.Clicks > 0 {
			clicks = Days(r.Clicks)
		}
		return fmt.Errorf("conversions are to be kept %s and clicks %s: a conversion that is forgotten before its click "+
			"would be booked twice; keep conversions as long as clicks or longer", Days(r.Conversions), clicks)
	}
	return nil
}

// CampaignRules are what one campaign does differently.
type CampaignRules struct {
	// Window is the longest time from click to conversion; zero means that
	// the global one holds.
	Window time.Duration
	// Payout is what a conversion earns where its postback carries none; no
	// currency means none.
	Payout attribution.Money
	Dedup  attribution.Dedup
}

// Rules are the bookkeeping rules of one configuration. They are immutable;
// each postback carries those under which it arrived.
type Rules struct {
	Retain Retention
	// Window is the longest time from click to conversion; zero means as long
	// as clicks are kept.
	Window    time.Duration
	Campaigns map[string]CampaignRules
}

// Campaign returns the rules for one campaign with the defaults filled in.
func (r *Rules) Campaign(name string) CampaignRules {
	c := r.Campaigns[name]
	if c.Window == 0 {
		c.Window = r.Window
	}
	if c.Window == 0 {
		c.Window = r.Retain.Clicks
	}
	return c
}

// same tells whether both say the same.
func (r *Rules) same(o *Rules) bool {
	return r.Retain == o.Retain && r.Window == o.Window && maps.EqualFunc(r.Campaigns, o.Campaigns, func(a, b CampaignRules) bool {
		return a.Window == b.Window && a.Payout.Equal(b.Payout) && a.Dedup == b.Dedup
	})
}

// only returns the rules as far as a route needs them that takes clicks of one
// campaign; "" is a route that takes those of all.
func (r *Rules) only(campaign string) *Rules {
	if campaign == "" {
		return r
	}
	one := *r
	one.Campaigns = nil
	if c, ok := r.Campaigns[campaign]; ok {
		one.Campaigns = map[string]CampaignRules{campaign: c}
	}
	return &one
}

// ClickExpired tells whether a click of that time is no longer kept.
func (r *Rules) ClickExpired(click, now time.Time) bool {
	return r.Retain.Clicks > 0 && now.Sub(click) > r.Retain.Clicks
}

// AddressMode says how much of a visitor's address is kept.
type AddressMode uint8

const (
	// AddressTruncated keeps the /24 of IPv4 and the /48 of IPv6.
	AddressTruncated AddressMode = iota
	// AddressFull keeps the whole address.
	AddressFull
	// AddressNone keeps nothing.
	AddressNone
)

// ParseAddressMode reads full, truncated or none.
func ParseAddressMode(s string) (AddressMode, error) {
	switch s {
	case "", "truncated":
		return AddressTruncated, nil
	case "full":
		return AddressFull, nil
	case "none":
		return AddressNone, nil
	}
	return 0, fmt.Errorf("visitor_address is %q; allowed are full, truncated and none", s)
}

// Keep returns what is kept of an address: all, its network, or "".
func (m AddressMode) Keep(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || m == AddressNone {
		return ""
	}
	if m == AddressFull {
		return addr.String()
	}
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	// Prefix fails only for bit counts that the address does not have.
	p, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.Addr().String()
}

// Days writes a duration as people write windows and the configuration takes
// it: "30d", else as Go does.
func Days(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
