package attribution

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }

func usd(n int) Money {
	a, err := ParseAmount(fmt.Sprint(n))
	if err != nil {
		panic(err)
	}
	return Money{a, "USD"}
}

// claim builds a claim that arrives at a minute; payout < 0 means none.
func claim(status Status, payout, received int) Claim {
	c := Claim{Event: "sale", TxID: "1", Status: status, ReceivedAt: at(received), Seq: uint64(received)}
	if payout >= 0 {
		c.Payout, c.HasPayout = usd(payout), true
	}
	return c
}

func (c Claim) sent(minute int) Claim { c.SentAt = at(minute); return c }
func (c Claim) implied() Claim        { c.Implied = true; return c }
func (c Claim) tx(id string) Claim    { c.TxID = id; return c }

func (c Claim) keyed(key string) Claim { c.Key = key; return c }

// refund makes it a claim about one refund.
func (c Claim) refund(key string) Claim { c.Refund, c.Key = true, key; return c }

func TestHistoryAdd(t *testing.T) {
	t.Parallel()
	type step struct {
		claim  Claim
		want   Change
		status Status
		payout int
	}
	for name, c := range map[string]struct {
		deadline time.Time
		steps    []step
		entries  int
	}{
		"retry": {entries: 1, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Approved, 10, 2), Duplicate, Approved, 10},
		}},
		"pending never overrides": {entries: 3, steps: []step{
			{claim(Pending, 10, 1), Recorded, Pending, 10},
			{claim(Approved, 10, 2), Updated, Approved, 10},
			{claim(Pending, 10, 3), Duplicate, Approved, 10},
			{claim(Pending, 10, 9).sent(9), Duplicate, Approved, 10},
		}},
		"refund without amount keeps the payout": {entries: 2, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Reversed, -1, 2), Updated, Reversed, 10},
		}},
		"back and forth is news each time": {entries: 3, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Rejected, 10, 2), Updated, Rejected, 10},
			{claim(Approved, 10, 3), Updated, Approved, 10},
			{claim(Approved, 10, 4), Duplicate, Approved, 10},
		}},
		"newest timestamp wins": {entries: 2, steps: []step{
			{claim(Reversed, 10, 1).sent(9), Recorded, Reversed, 10},
			{claim(Approved, 20, 2).sent(3), Duplicate, Reversed, 10},
			{claim(Reversed, 10, 3).sent(9), Duplicate, Reversed, 10},
		}},
		"a sender's amount outweighs the default": {entries: 3, steps: []step{
			{claim(Approved, 5, 1).implied(), Recorded, Approved, 5},
			{claim(Approved, 7, 2), Updated, Approved, 7},
			{claim(Reversed, 5, 3).implied(), Updated, Reversed, 7},
		}},
		"another transaction alone changes nothing": {entries: 2, steps: []step{
			{claim(Approved, 5, 1), Recorded, Approved, 5},
			{claim(Approved, 5, 2).tx("2"), Duplicate, Approved, 5},
		}},
		"window": {deadline: at(5), entries: 2, steps: []step{
			{claim(Approved, 5, 6).sent(6), OutsideWindow, Approved, 5},
			{claim(Approved, 5, 7).sent(6), OutsideWindow, Approved, 5},
			{claim(Pending, 5, 8).sent(5), Recorded, Approved, 5},
			{claim(Approved, 5, 9).sent(6), Duplicate, Approved, 5},
		}},
		"an earlier arrival booked later": {deadline: at(5), entries: 2, steps: []step{
			{claim(Approved, 5, 6), OutsideWindow, Approved, 5},
			{claim(Approved, 5, 4), Recorded, Approved, 5},
		}},
		"refunds are taken off": {entries: 4, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Approved, 3, 2).refund("a"), Updated, Approved, 7},
			{claim(Approved, 3, 3).refund("a"), Duplicate, Approved, 7},
			{claim(Approved, 10, 4), Duplicate, Approved, 7},
			{claim(Approved, 3, 5).refund("b"), Updated, Approved, 4},
			{claim(Approved, 4, 6).refund("c"), Updated, Reversed, 10},
			{claim(Approved, 10, 7), Duplicate, Reversed, 10},
		}},
		"a refund corrected": {entries: 5, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Pending, 3, 2).refund("a"), Duplicate, Approved, 10},
			{claim(Approved, 4, 3).refund("a"), Updated, Approved, 6},
			{claim(Pending, 3, 4).refund("a"), Duplicate, Approved, 6},
			{claim(Reversed, 5, 5).refund("a"), Updated, Approved, 5},
			{claim(Rejected, 5, 6).refund("a"), Updated, Approved, 10},
		}},
		"more than all is refunded": {entries: 3, steps: []step{
			{claim(Pending, 10, 1), Recorded, Pending, 10},
			{claim(Approved, 12, 2).refund("a"), Updated, Reversed, 10},
			{claim(Approved, 20, 3), Updated, Approved, 8},
		}},
		"a refund of nothing": {entries: 2, steps: []step{
			{claim(Approved, 0, 1), Recorded, Approved, 0},
			{claim(Approved, 0, 2).refund("a"), Duplicate, Approved, 0},
		}},
		"a refund of what is rejected or reversed": {entries: 4, steps: []step{
			{claim(Rejected, 10, 1), Recorded, Rejected, 10},
			{claim(Approved, 10, 2).refund("a"), Duplicate, Rejected, 10},
			{claim(Reversed, 10, 3), Updated, Reversed, 10},
			{claim(Approved, 10, 4).refund("b"), Duplicate, Reversed, 10},
		}},
		"a refund of the default": {entries: 3, steps: []step{
			{claim(Approved, 10, 1).implied(), Recorded, Approved, 10},
			{claim(Approved, 4, 2).refund("a"), Updated, Approved, 6},
			{claim(Approved, 30, 3), Updated, Approved, 26},
		}},
		"a refund late": {deadline: at(5), entries: 3, steps: []step{
			{claim(Approved, 10, 1), Recorded, Approved, 10},
			{claim(Approved, 4, 9).refund("a"), Updated, Approved, 6},
			{claim(Approved, 1, 10).refund("b").sent(0), Updated, Approved, 5},
		}},
		"a refund does not bring a late sale in": {deadline: at(5), entries: 2, steps: []step{
			{claim(Approved, 10, 6), OutsideWindow, Approved, 10},
			{claim(Approved, 4, 7).refund("a").sent(2), OutsideWindow, Approved, 6},
		}},
		"a message ID is no refund's ID": {entries: 3, steps: []step{
			{claim(Approved, 4, 1).keyed("a").sent(1), Recorded, Approved, 4},
			{claim(Approved, 4, 2).refund("a").sent(1), Updated, Reversed, 4},
			{claim(Approved, 9, 3).keyed("b"), Updated, Approved, 5},
			{claim(Approved, 9, 4).keyed("a"), Duplicate, Approved, 5},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h History
			for i, s := range c.steps {
				got := h.Add(s.claim, c.deadline)
				st := h.State(c.deadline)
				if got != s.want || st.Status != s.status || !st.Payout.Equal(usd(s.payout)) {
					t.Fatalf("step %d: %v, %v %v, want %v, %v %d", i, got, st.Status, st.Payout, s.want, s.status, s.payout)
				}
			}
			if len(h) != c.entries {
				t.Errorf("%d entries, want %d: %+v", len(h), c.entries, h)
			}
		})
	}
}

func TestHistoryCountsRepeats(t *testing.T) {
	t.Parallel()
	var h History
	for _, received := range []int{3, 7, 5} {
		h.Add(claim(Approved, 1, received).sent(2), time.Time{})
	}
	if len(h) != 1 || h[0].Seen != 3 || !h[0].LastSeen.Equal(at(7)) || !h[0].ReceivedAt.Equal(at(3)) {
		t.Errorf("got %+v", h)
	}
	if s := (History)(nil).State(time.Time{}); s.Booked {
		t.Error("an empty history is booked")
	}
}

// claims draws from so few values that ties and repeats are common.
func claims(stamped bool) *rapid.Generator[Claim] {
	return rapid.Custom(func(t *rapid.T) Claim {
		c := claim(Status(rapid.IntRange(1, 4).Draw(t, "status")), rapid.IntRange(-1, 2).Draw(t, "payout"),
			rapid.IntRange(0, 9).Draw(t, "received"))
		c.Event = rapid.SampledFrom([]string{"lead", "sale"}).Draw(t, "event")
		c.TxID = rapid.SampledFrom([]string{"", "1"}).Draw(t, "txid")
		c.Implied = rapid.Bool().Draw(t, "implied")
		if rapid.IntRange(0, 2).Draw(t, "refund") == 0 {
			c = c.refund(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"))
			c.Implied = false
		}
		if rapid.Bool().Draw(t, "euro") && c.HasPayout {
			c.Payout.Currency = "EUR"
		}
		if c.HasPayout && rapid.IntRange(0, 3).Draw(t, "of the payout alone") == 0 {
			c.Status = 0
		}
		if rapid.IntRange(0, 3).Draw(t, "follows") == 0 {
			c.After = at(rapid.IntRange(0, 9).Draw(t, "after"))
		}
		if stamped || rapid.Bool().Draw(t, "stamped") {
			c = c.sent(rapid.IntRange(0, 4).Draw(t, "sent"))
			c.SentAt = c.SentAt.Add(time.Duration(rapid.IntRange(0, 999).Draw(t, "us")) * time.Microsecond)
		}
		return c
	})
}

func deadlines() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.IntRange(-1, 5), func(n int) time.Time {
		if n < 0 {
			return time.Time{}
		}
		return at(n)
	})
}

// model is the rules in the plainest form: every claim ever kept, ordered by a
// text of all that counts.
type model []Claim

func (m model) order(c Claim) string {
	t, stamped, seq, rank := m.time(c), 0, c.Seq, 0
	if !c.SentAt.IsZero() {
		stamped, seq = 1, 0
	}
	if c.HasPayout {
		rank = 2
		if c.Implied {
			rank = 1
		}
	}
	final := 0
	if c.Status != Pending {
		final = 1
	}
	return fmt.Sprintf("%d %020d %d %020d %d %s", final, t.UnixMilli(), stamped, seq, c.Status,
		strings.Join([]string{m.payoutText(c, rank), c.Event, c.TxID, c.Key, fmt.Sprint(c.Refund)}, "\x00"))
}

func (model) time(c Claim) time.Time {
	switch t := c.ReceivedAt; {
	case !c.SentAt.IsZero():
		return c.SentAt.Truncate(time.Millisecond)
	case c.After.IsZero() || t.After(c.After):
		return t
	}
	return c.After.Add(time.Millisecond)
}

func (model) payoutText(c Claim, rank int) string {
	if rank == 0 {
		return "0"
	}
	return fmt.Sprintf("%d%s%s", rank, c.Payout.Currency, c.Payout.Amount)
}

func (m model) content(c Claim) string {
	rank := 0
	if c.HasPayout {
		rank = 2
		if c.Implied {
			rank = 1
		}
	}
	sent := int64(-1)
	if !c.SentAt.IsZero() {
		sent = c.SentAt.UnixMilli()
	}
	return fmt.Sprintf("%q %q %q %t %d %s %d", c.Event, c.TxID, c.Key, c.Refund, c.Status, m.payoutText(c, rank), sent)
}

// split sorts claims and tells refunds from the rest.
func (m model) split() (rest, refunds model) {
	sorted := slices.Clone(m)
	slices.SortFunc(sorted, func(a, b Claim) int { return strings.Compare(m.order(a), m.order(b)) })
	for _, c := range sorted {
		if c.Refund {
			refunds = append(refunds, c)
		} else {
			rest = append(rest, c)
		}
	}
	return rest, refunds
}

func (m model) state(deadline time.Time) State {
	sorted, refunds := m.split()
	if len(sorted) == 0 && len(refunds) == 0 {
		return State{}
	}
	if len(sorted) == 0 {
		last := refunds[len(refunds)-1]
		return State{Event: last.Event, TxID: last.TxID, Time: refunds.earliest()}
	}
	last := sorted[len(sorted)-1]
	for _, c := range sorted {
		if c.Status != 0 {
			last = c
		}
	}
	s := State{Event: last.Event, TxID: last.TxID, Status: last.Status}
	for _, implied := range []bool{true, false} {
		for _, c := range sorted {
			if c.HasPayout && c.Implied == implied {
				s.Payout, s.HasPayout = c.Payout, true
			}
		}
	}
	s.Time = sorted.earliest()
	s.Booked = deadline.IsZero() || !s.Time.After(deadline)

	back := 0
	for _, key := range []string{"a", "b"} {
		amount := 0
		for _, c := range refunds { // the last one counts
			if c.Key != key || !c.HasPayout || c.Payout.Currency != s.Payout.Currency {
				continue
			}
			amount, _ = strconv.Atoi(c.Payout.Amount.String())
			if c.Status == Pending || c.Status == Rejected {
				amount = 0
			}
		}
		back += amount
	}
	paid, _ := strconv.Atoi(s.Payout.Amount.String())
	switch {
	case !s.HasPayout || back == 0 || s.Status != Pending && s.Status != Approved:
	case back >= paid:
		s.Status = Reversed
	default:
		s.Payout.Amount = usd(paid - back).Amount
	}
	return s
}

func (m model) earliest() (first time.Time) {
	for i, c := range m {
		if t := m.time(c).Truncate(time.Millisecond); i == 0 || t.Before(first) {
			first = t
		}
	}
	return first
}

func (m *model) add(c Claim, deadline time.Time) Change {
	before := m.state(deadline)
	longer := append(slices.Clone(*m), c)
	after := longer.state(deadline)
	known := slices.ContainsFunc(*m, func(o Claim) bool { return m.content(o) == m.content(c) })
	if !known || c.SentAt.IsZero() && m.said(c) != longer.said(c) {
		*m = longer
	} else {
		after = before
	}
	rest, _ := m.split()
	switch {
	case len(rest) == 0:
		return RefundsOnly
	case !after.Booked:
		return OutsideWindow
	case !before.Booked:
		return Recorded
	case before.text() != after.text():
		return Updated
	}
	return Duplicate
}

// said is what is known of that which c speaks of, and of nothing else: its
// refund, or the sale as if nothing were refunded.
func (m model) said(c Claim) string {
	rest, refunds := m.split()
	if !c.Refund {
		s := rest.state(time.Time{})
		return s.text() + s.Time.String()
	}
	said, first := "", ""
	if len(rest) == 0 {
		first = refunds.earliest().String()
	}
	for _, o := range refunds { // the last one counts
		if o.Key == c.Key && o.Payout.Currency == c.Payout.Currency {
			said = "nothing"
			if o.HasPayout && o.Payout.Amount.Sign() > 0 && o.Status != Pending && o.Status != Rejected {
				said = o.Payout.String()
			}
		}
	}
	return said + first
}

func (s State) text() string { return fmt.Sprint(s.Event, s.Status, s.HasPayout, s.Payout) }

func TestHistoryFollowsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		deadline := deadlines().Draw(t, "deadline")
		var h History
		var m model
		for i, c := range rapid.SliceOfN(claims(false), 1, 30).Draw(t, "claims") {
			c.Seq = uint64(i)
			said := c
			if c.Refund && rapid.Bool().Draw(t, "minus") {
				said.Payout.Amount = c.Payout.Amount.Neg()
			}
			got, want := h.Add(said, deadline), m.add(c, deadline)
			if got != want {
				t.Fatalf("claim %d: got %v, want %v", i, got, want)
			}
			if a, b := h.State(deadline), m.state(deadline); !a.Equal(b) {
				t.Fatalf("claim %d: got %+v, want %+v", i, a, b)
			}
			seen := 0
			for _, e := range h {
				seen += e.Seen
			}
			if seen != i+1 || len(h) != len(m) {
				t.Fatalf("claim %d: %d entries seen %d times, want %d entries", i, len(h), seen, len(m))
			}
		}
	})
}

func TestTimestampedClaimsInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		deadline := deadlines().Draw(t, "deadline")
		set := rapid.SliceOfN(claims(true), 1, 12).Draw(t, "claims")
		again := append(slices.Clone(set), rapid.SliceOfN(rapid.SampledFrom(set), 0, 12).Draw(t, "repeats")...)
		again = rapid.Permutation(again).Draw(t, "order")
		var a, b History
		recorded := 0
		for _, c := range set {
			a.Add(c, deadline)
		}
		for i, c := range again {
			c.Seq, c.ReceivedAt = uint64(1000+i), at(1000+i)
			before := b.State(deadline)
			change := b.Add(c, deadline)
			if change == Recorded {
				recorded++
			}
			if change == Updated && before.alike(b.State(deadline)) {
				t.Fatalf("claim %d updated nothing", i)
			}
		}
		x, y := a.State(deadline), b.State(deadline)
		if !x.Equal(y) || len(a) != len(b) {
			t.Fatalf("got %+v and %+v", x, y)
		}
		if (recorded == 1) != x.Booked || recorded > 1 {
			t.Fatalf("recorded %d times, booked %v", recorded, x.Booked)
		}
	})
}

func TestCompareIsATotalOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := claims(false)
		a, b, c := g.Draw(t, "a"), g.Draw(t, "b"), g.Draw(t, "c")
		if a.compare(&b) != -b.compare(&a) {
			t.Fatal("not antisymmetric")
		}
		if a.compare(&b) <= 0 && b.compare(&c) <= 0 && a.compare(&c) > 0 {
			t.Fatal("not transitive")
		}
		if a.compare(&b) == 0 && !a.SentAt.IsZero() && !a.same(&b) {
			t.Fatal("equal in order, different in content")
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		stamped := rapid.Bool().Draw(t, "stamped")
		deadline := deadlines().Draw(t, "deadline")
		var h, all History
		for i := range MaxHistory + 60 {
			c := claim(Status(1+rng.IntN(4)), rng.IntN(2000)-1, rng.IntN(500))
			c.Seq, c.Implied = uint64(i), rng.IntN(3) == 0
			if stamped || rng.IntN(2) == 0 {
				c = c.sent(rng.IntN(500))
			}
			if c.HasPayout && rng.IntN(5) == 0 {
				c.Status = 0
			}
			if rng.IntN(8) == 0 {
				c = c.refund(fmt.Sprint(rng.IntN(20)))
				c.Payout.Amount, c.HasPayout, c.Implied = usd(rng.IntN(20)).Amount, true, false
				c.Payout.Currency = []Currency{"USD", "EUR"}[rng.IntN(2)]
			}
			all = append(all, Entry{Claim: c, Seen: 1})
			h.Add(c, deadline)
			if len(h) > MaxHistory {
				t.Fatalf("%d entries", len(h))
			}
			// Claims without a timestamp that repeat an older one are not
			// appended, so only timestamped ones compare with all of them.
			if stamped && i%8 == 0 && !h.State(deadline).Equal(all.State(deadline)) {
				t.Fatalf("claim %d: dropping changed the state", i)
			}
		}
		long := slices.Clone(all)
		long.trim()
		if len(long) != MaxHistory || !long.State(deadline).Equal(all.State(deadline)) {
			t.Fatal("trimming changed the state")
		}
	})
}

// TestRefundBeforeItsSale: a message of the same ID is not taken for the refund.
func TestRefundBeforeItsSale(t *testing.T) {
	t.Parallel()
	var h History
	refund := claim(Approved, 4, 1).refund("a")
	refund.TxID = "r"
	if change := h.Add(refund, time.Time{}); change != RefundsOnly {
		t.Errorf("a refund alone is %v", change)
	}
	if s := h.State(time.Time{}); !s.Equal(State{Event: "sale", TxID: "r", Time: at(1)}) {
		t.Errorf("a refund alone comes to %+v", s)
	}
	if change := h.Add(claim(Approved, 9, 2).keyed("a"), time.Time{}); change != Recorded {
		t.Errorf("its sale is %v", change)
	}
	if s := h.State(time.Time{}); !s.Payout.Equal(usd(5)) || !s.Time.Equal(at(2)) || s.TxID != "1" {
		t.Errorf("both come to %+v", s)
	}
}

// TestRefundsAloneKeepTheirTime: a record without a sale goes by its age.
func TestRefundsAloneKeepTheirTime(t *testing.T) {
	t.Parallel()
	var h History
	for i := range 2 * MaxHistory {
		h.Add(claim(Approved, i, i).refund("a").sent(i), time.Time{})
	}
	if s := h.State(time.Time{}); len(h) != MaxHistory || !s.Time.Equal(at(0)) {
		t.Errorf("%d entries come to %+v", len(h), s)
	}
}

func TestRefundsAreBounded(t *testing.T) {
	t.Parallel()
	var h History
	h.Add(claim(Approved, 1000, 1), time.Time{})
	for i := range 2 * MaxHistory {
		// Other claims crowd the history; no refund is ever dropped for them.
		h.Add(claim(Approved, 1000+i%2, i).tx(fmt.Sprint(i)), time.Time{})
		change := h.Add(claim(Approved, 1, i).refund(fmt.Sprint(i)), time.Time{})
		if want := map[bool]Change{true: Updated, false: TooManyRefunds}[i < MaxRefunds]; change != want {
			t.Fatalf("refund %d: %v, want %v", i, change, want)
		}
		if len(h) > MaxHistory {
			t.Fatalf("%d entries", len(h))
		}
	}
	if s := h.State(time.Time{}); !s.Payout.Equal(usd(1001 - MaxRefunds)) {
		t.Errorf("%v is left", s.Payout)
	}
	// What is known can still change.
	if change := h.Add(claim(Approved, 2, 5000).refund("0"), time.Time{}); change != Updated {
		t.Errorf("a refund corrected: %v", change)
	}
	if change := h.Add(claim(Approved, 1, 1).refund("1"), time.Time{}); change != Duplicate {
		t.Errorf("a refund repeated: %v", change)
	}
}

func BenchmarkHistoryAdd(b *testing.B) {
	c := claim(Approved, 10, 1).sent(1)
	for b.Loop() {
		var h History
		h.Add(c, noon)
		h.Add(c, noon)
	}
}

func TestAddKnowsKeys(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	claim := func(s Status, key string, minute int) Claim {
		return Claim{Event: "sale", Status: s, Key: key, ReceivedAt: at.Add(time.Duration(minute) * time.Minute), Seq: uint64(minute)}
	}
	var h History
	for i, tc := range []struct {
		claim Claim
		want  Change
	}{
		{claim(Approved, "line 1", 1), Recorded},
		{claim(Reversed, "line 2", 2), Updated},
		// The same file again: nothing goes back and forth.
		{claim(Approved, "line 1", 3), Duplicate},
		{claim(Reversed, "line 2", 4), Duplicate},
		// Without a key it is news.
		{claim(Approved, "", 5), Updated},
	} {
		if got := h.Add(tc.claim, time.Time{}); got != tc.want {
			t.Errorf("claim %d: %v, want %v", i+1, got, tc.want)
		}
	}
	if len(h) != 3 || h[0].Seen != 2 || h[1].Seen != 2 {
		t.Errorf("the history is %+v", h)
	}
}

// An owner's correction follows all that was known, and nothing that comes with
// a later time; where it is of the payout alone, the status is open.
func TestCorrections(t *testing.T) {
	t.Parallel()
	correct := func(h History, status Status, payout, received int) Claim {
		c := claim(status, payout, received)
		c.After, c.Key = h.Latest(), fmt.Sprint("line ", received)
		return c
	}
	var h History
	want := func(what string, c Claim, change Change, status Status, payout int, overruled string) {
		t.Helper()
		got := h.Add(c, time.Time{})
		if s := h.State(time.Time{}); got != change || s.Status != status || !s.Payout.Equal(usd(payout)) || !s.Time.Equal(at(1)) {
			t.Errorf("%s: %v, %+v", what, got, s)
		}
		if got := h.Overruled(c); got != overruled {
			t.Errorf("%s: it is overruled as %q, want %q", what, got, overruled)
		}
	}
	want("a sale", claim(Approved, 10, 2).sent(1), Recorded, Approved, 10, "")
	want("of the future", claim(Approved, 11, 3).sent(90), Updated, Approved, 11, "")
	reversal := correct(h, Reversed, -1, 4)
	want("a reversal", reversal, Updated, Reversed, 11, "")
	want("a payout", correct(h, 0, 9, 5), Updated, Reversed, 9, "")
	want("the future again", claim(Approved, 11, 6).sent(90), Duplicate, Reversed, 9,
		"the conversion is reversed as of 2026-03-01T13:30:00.001Z, which is newer than this of 2026-03-01T13:30:00Z")
	want("pending", claim(Pending, 1, 100), Duplicate, Reversed, 9, "the conversion is reversed, which is final: pending does not change it")
	want("an old payout", claim(Reversed, 8, 7).sent(80), Duplicate, Reversed, 9,
		"the payout is 9.00 USD as of 2026-03-01T13:30:00.002Z, which is newer than this of 2026-03-01T13:20:00Z")
	want("a default", claim(Reversed, 7, 8).sent(85).implied(), Duplicate, Reversed, 9, "")
	want("newer", claim(Rejected, -1, 9).sent(95), Updated, Rejected, 9, "")
	again := reversal
	again.ReceivedAt, again.After = at(200), h.Latest()
	want("the reversal again", again, Duplicate, Rejected, 9,
		"the conversion is rejected as of 2026-03-01T13:35:00Z, which is newer than this of 2026-03-01T13:30:00.001Z")
	want("of the same time", claim(Approved, -1, 10).sent(95), Duplicate, Rejected, 9,
		"the conversion is rejected by another message of the same time, 2026-03-01T13:35:00Z")
	other := claim(Rejected, -1, 11).sent(94)
	other.Event = "lead"
	want("another event", other, Duplicate, Rejected, 9,
		`the event of the conversion is "sale" as of 2026-03-01T13:35:00Z, which is newer than this of 2026-03-01T13:34:00Z`)
	if !h.Knows(reversal.Key) || h.Knows("") || h.Knows("line 0") || !h.Latest().Equal(at(100)) {
		t.Errorf("the history is %+v", h)
	}

	h = nil
	want("not yet final", claim(Pending, 10, 1), Recorded, Pending, 10, "")
	want("a payout for it", correct(h, 0, 9, 2), Updated, Pending, 9, "")
	want("still pending", claim(Pending, 12, 3), Duplicate, Pending, 9, "the payout is 9.00 USD, which is final: that of a pending message does not change it")
	want("final, and of before", claim(Approved, 10, 4).sent(1), Updated, Approved, 9,
		"the payout is 9.00 USD as of 2026-03-01T12:02:00Z, which is newer than this of 2026-03-01T12:01:00Z")
	want("final", claim(Approved, 10, 5), Updated, Approved, 10, "")
}
