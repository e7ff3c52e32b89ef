package attribution

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// in makes it a claim about another event.
func (c Claim) in(event string) Claim { c.Event = event; return c }

// TestNewsThatDoesNotShow: the last word about a refund and the last word about
// its sale count, also where neither shows as it comes in.
func TestNewsThatDoesNotShow(t *testing.T) {
	t.Parallel()
	type step struct {
		claim Claim
		want  Change
	}
	took := func(key string, amount, received int) Claim { return claim(Approved, amount, received).refund(key) }
	failed := func(key string, amount, received int) Claim { return claim(Rejected, amount, received).refund(key) }
	for name, c := range map[string]struct {
		steps   []step
		status  Status
		payout  int
		entries int
	}{
		"made after all, before the sale": {status: Approved, payout: 7, entries: 4, steps: []step{
			{took("a", 3, 1), RefundsOnly},
			{failed("a", 3, 2), RefundsOnly},
			{took("a", 3, 3), RefundsOnly},
			{claim(Approved, 10, 4), Recorded},
			{took("a", 3, 5), Duplicate},
		}},
		"failed after all, before the sale": {status: Approved, payout: 10, entries: 4, steps: []step{
			{failed("a", 3, 1).in("lead"), RefundsOnly},
			{took("a", 3, 2), RefundsOnly},
			{failed("a", 3, 3).in("lead"), RefundsOnly},
			{claim(Approved, 10, 4), Recorded},
			{failed("a", 3, 5).in("lead"), Duplicate},
		}},
		"a repeat is as old as what it repeats, before the sale": {status: Approved, payout: 9, entries: 4, steps: []step{
			{took("a", 3, 1), RefundsOnly},
			{took("b", 1, 2).in("lead"), RefundsOnly},
			{took("a", 3, 4), RefundsOnly},
			{failed("a", 3, 5).sent(3), RefundsOnly},
			{claim(Approved, 10, 6), Recorded},
		}},
		"made after all, while the sale is reversed": {status: Approved, payout: 7, entries: 6, steps: []step{
			{claim(Approved, 10, 1), Recorded},
			{claim(Reversed, 10, 2), Updated},
			{took("a", 3, 3), Duplicate},
			{failed("a", 3, 4), Duplicate},
			{took("a", 3, 5), Duplicate},
			{claim(Approved, 10, 6), Updated},
		}},
		"made after all, with nothing left to take": {status: Approved, payout: 4, entries: 6, steps: []step{
			{claim(Approved, 10, 1), Recorded},
			{took("a", 12, 2), Updated},
			{took("b", 4, 3), Duplicate},
			{failed("b", 4, 4), Duplicate},
			{took("b", 4, 5), Duplicate},
			{claim(Approved, 20, 6), Updated},
		}},
		"approved after all, while all is refunded": {status: Approved, payout: 10, entries: 5, steps: []step{
			{claim(Approved, 10, 1), Recorded},
			{took("a", 10, 2), Updated},
			{claim(Reversed, 10, 3), Duplicate},
			{claim(Approved, 10, 4), Duplicate},
			{failed("a", 10, 5), Updated},
		}},
		"reversed after all, while all is refunded": {status: Reversed, payout: 10, entries: 5, steps: []step{
			{took("a", 10, 1), RefundsOnly},
			{claim(Reversed, 10, 2), Recorded},
			{claim(Approved, 10, 3), Duplicate},
			{claim(Reversed, 10, 4), Duplicate},
			{claim(Reversed, 10, 5), Duplicate},
			{failed("a", 10, 6), Duplicate},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h History
			for i, s := range c.steps {
				if got := h.Add(s.claim, time.Time{}); got != s.want {
					t.Errorf("step %d: %v, want %v", i, got, s.want)
				}
			}
			if s := h.State(time.Time{}); s.Status != c.status || !s.Payout.Equal(usd(c.payout)) {
				t.Errorf("it comes to %v %v, want %v %d", s.Status, s.Payout, c.status, c.payout)
			}
			if len(h) != c.entries {
				t.Errorf("%d entries, want %d: %+v", len(h), c.entries, h)
			}
		})
	}
}

// mostlyRefunds draws claims of which many contradict each other.
func mostlyRefunds() *rapid.Generator[Claim] {
	return rapid.Custom(func(t *rapid.T) Claim {
		c := claim(rapid.SampledFrom([]Status{Approved, Rejected, Reversed, Approved, Pending}).Draw(t, "status"),
			rapid.IntRange(1, 4).Draw(t, "payout"), 0)
		c.Event = rapid.SampledFrom([]string{"sale", "lead"}).Draw(t, "event")
		if rapid.Bool().Draw(t, "refund") {
			c = c.refund(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"))
		}
		if rapid.IntRange(0, 5).Draw(t, "stamped") == 5 {
			c = c.sent(rapid.IntRange(0, 9).Draw(t, "sent"))
		}
		return c
	})
}

// TestRefundsAndSaleDoNotWaitForEachOther: what is said of refunds and what is
// said of the sale come to the same, whichever of them is known first.
func TestRefundsAndSaleDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		deadline := deadlines().Draw(t, "deadline")
		few := rapid.SliceOfN(mostlyRefunds(), 3, 6).Draw(t, "claims")
		list := rapid.SliceOfN(rapid.SampledFrom(few), 2, 16).Draw(t, "messages")
		var sales, refunds []Claim
		for i := range list {
			list[i].Seq, list[i].ReceivedAt = uint64(i), at(i)
			if list[i].Refund {
				refunds = append(refunds, list[i])
			} else {
				sales = append(sales, list[i])
			}
		}
		come := func(list ...Claim) State {
			var h History
			for _, c := range list {
				h.Add(c, deadline)
			}
			return h.State(deadline)
		}
		want := come(list...)
		for _, other := range [][]Claim{slices.Concat(sales, refunds), slices.Concat(refunds, sales)} {
			if got := come(other...); len(sales) > 0 && !got.Equal(want) {
				t.Fatalf("%+v come to %+v, want %+v", other, got, want)
			}
		}
	})
}
