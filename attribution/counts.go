package attribution

// Counts is what clicks and conversions add up to. Its copies share the maps of
// money; see [Counts.Clone].
type Counts struct {
	Clicks      int64 `json:"clicks" cbor:"1,keyasint,omitempty"` // without bots and prefetches
	BotClicks   int64 `json:"bot_clicks" cbor:"2,keyasint,omitempty"`
	Conversions int64 `json:"conversions" cbor:"3,keyasint,omitempty"`
	Pending     int64 `json:"pending" cbor:"4,keyasint,omitempty"`
	Approved    int64 `json:"approved" cbor:"5,keyasint,omitempty"`
	Rejected    int64 `json:"rejected" cbor:"6,keyasint,omitempty"`
	Reversed    int64 `json:"reversed" cbor:"7,keyasint,omitempty"`
	// Revenue is the payout of what is approved.
	Revenue Totals `json:"revenue" cbor:"8,keyasint,omitempty"`
	Cost    Totals `json:"cost" cbor:"9,keyasint,omitempty"`
}

// Add adds o, which is neither changed nor kept.
func (c *Counts) Add(o Counts) {
	c.addNumbers(&o, 1)
	if len(o.Revenue) > 0 {
		c.Revenue.AddAll(o.Revenue)
	}
	if len(o.Cost) > 0 {
		c.Cost.AddAll(o.Cost)
	}
}

// Sub takes o away.
func (c *Counts) Sub(o Counts) {
	c.addNumbers(&o, -1)
	c.Revenue.SubAll(o.Revenue)
	c.Cost.SubAll(o.Cost)
}

func (c *Counts) addNumbers(o *Counts, sign int64) {
	c.Clicks += sign * o.Clicks
	c.BotClicks += sign * o.BotClicks
	c.Conversions += sign * o.Conversions
	c.Pending += sign * o.Pending
	c.Approved += sign * o.Approved
	c.Rejected += sign * o.Rejected
	c.Reversed += sign * o.Reversed
}

// Clone returns a copy that shares nothing with c.
func (c Counts) Clone() Counts {
	c.Revenue, c.Cost = c.Revenue.Clone(), c.Cost.Clone()
	return c
}

// IsZero reports whether there is nothing to count.
func (c Counts) IsZero() bool {
	return c.Clicks|c.BotClicks|c.Conversions|c.Pending|c.Approved|c.Rejected|c.Reversed == 0 &&
		c.Revenue.isZero() && c.Cost.isZero()
}

// Counts returns what one conversion counts: itself, its status and, if it is
// approved, its payout; nothing if it is not booked.
func (s State) Counts() Counts {
	if !s.Booked {
		return Counts{}
	}
	c := Counts{Conversions: 1}
	switch s.Status {
	case Pending:
		c.Pending = 1
	case Approved:
		c.Approved = 1
		if s.HasPayout {
			c.Revenue.Add(s.Payout)
		}
	case Rejected:
		c.Rejected = 1
	case Reversed:
		c.Reversed = 1
	}
	return c
}
