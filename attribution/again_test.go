package attribution

import "testing"

// TestAddAgain: what is read again under a mended configuration counts as it is
// read now, and only once.
func TestAddAgain(t *testing.T) {
	t.Parallel()
	deadline := at(0) // nothing is booked, so everything waits
	for name, c := range map[string]struct {
		said    []Claim
		now     Claim
		status  Status
		payout  int
		entries int
		seen    int
	}{
		"the same": {[]Claim{claim(Approved, 5, 1)}, claim(Approved, 5, 1), Approved, 5, 1, 1},
		"something else": {
			[]Claim{claim(Approved, 5, 1), claim(Rejected, 5, 2)}, claim(Reversed, 6, 2), Reversed, 6, 2, 2},
		"what another says": {
			[]Claim{claim(Approved, 5, 1), claim(Rejected, 5, 2)}, claim(Approved, 5, 2), Approved, 5, 1, 2},
		"what another said before it was news": {
			[]Claim{claim(Approved, 5, 1), claim(Rejected, 5, 2), claim(Pending, 5, 3)}, claim(Approved, 5, 3), Approved, 5, 3, 3},
		"a message with an ID": {
			[]Claim{claim(Rejected, 5, 1).keyed("m")}, claim(Approved, 5, 1).keyed("m"), Approved, 5, 1, 1},
		"the ID of another": {
			[]Claim{claim(Approved, 5, 1).keyed("m"), claim(Rejected, 5, 2)}, claim(Rejected, 5, 2).keyed("m"), Approved, 5, 1, 2},
		"a refund that was not made": {
			[]Claim{claim(Approved, 5, 1), claim(Rejected, 2, 2).refund("a"), claim(Approved, 2, 3).refund("a")},
			claim(Rejected, 2, 3).refund("a"), Approved, 5, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h History
			for _, said := range c.said {
				h.Add(said, deadline)
			}
			for range 2 {
				h.AddAgain(c.now, deadline)
			}
			if s := h.State(deadline); s.Status != c.status || !s.Payout.Equal(usd(c.payout)) {
				t.Errorf("it comes to %v %v, want %v %d", s.Status, s.Payout, c.status, c.payout)
			}
			seen := 0
			for _, e := range h {
				seen += e.Seen
			}
			if len(h) != c.entries || seen != c.seen {
				t.Errorf("%d entries seen %d times, want %d and %d: %+v", len(h), seen, c.entries, c.seen, h)
			}
		})
	}
}
