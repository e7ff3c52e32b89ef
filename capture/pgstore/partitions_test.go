package pgstore

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestDaysAhead: sweeps make the partitions of a week to come, however often and
// on how many nodes they run; and clicks of those days make none.
func TestDaysAhead(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	nodes := []*node{open(t, e), open(t, another(t, e))}
	click := nodes[0].block(1)
	nodes[0].must(nodes[0].commit([]*capture.Block{click}))
	for day := range 2 {
		for _, n := range nodes {
			for range 2 {
				_, err := n.s.Sweep(t.Context(), noon.AddDate(0, 0, day), capture.Retention{})
				n.must(err)
			}
		}
		var want []time.Time
		for i := range day + 8 {
			want = append(want, dayOf(noon).AddDate(0, 0, i))
		}
		days, err := nodes[0].s.daysUntil(t.Context(), nodes[0].s.read, time.Time{})
		nodes[0].must(err)
		if !slices.EqualFunc(days, want, time.Time.Equal) {
			t.Errorf("on day %d there are partitions of %v, want %v", day, days, want)
		}
	}
	// Somebody has the table locked in a way that would keep others from making one.
	conn, err := nodes[0].s.bulk.Acquire(t.Context())
	nodes[0].must(err)
	defer giveBack(conn)
	for _, sql := range []string{"BEGIN", nodes[0].s.q(`LOCK TABLE {s}.blocks IN SHARE UPDATE EXCLUSIVE MODE`)} {
		_, err := conn.Exec(t.Context(), sql)
		nodes[0].must(err)
	}
	for _, n := range nodes {
		late := n.block(1)
		late.Clicks[0].Time = noon.AddDate(0, 0, 8)
		late.Clicks[0].Ref.Second = uint32(late.Clicks[0].Time.Unix())
		n.must(n.s.Commit(within(t, time.Minute), n.make([]*capture.Block{late})))
	}
	if got := nodes[0].totals(); got.Clicks != 3 {
		t.Errorf("%d clicks are counted, want 3", got.Clicks)
	}
}

// TestSweepWithoutRoom: what is expired is deleted also where the partitions to come
// cannot be made, and the clicks of the days that have theirs are taken.
func TestSweepWithoutRoom(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.must(n.commit([]*capture.Block{n.block(1)}))
	later := noon.AddDate(0, 0, 40)
	_, err := n.s.write.Exec(t.Context(), "CREATE TABLE "+n.s.partition(dayOf(later).AddDate(0, 0, 3))+" (somebody int)")
	n.must(err)
	r, err := n.s.Sweep(t.Context(), later, capture.Retention{Clicks: 30 * 24 * time.Hour})
	n.must(err)
	if r.Blocks != 1 {
		t.Errorf("the sweep deleted %+v", r)
	}
	late := n.block(1)
	late.Clicks[0].Time = later
	late.Clicks[0].Ref.Second = uint32(later.Unix())
	n.must(n.commit([]*capture.Block{late}))
	n.healthy()
}
