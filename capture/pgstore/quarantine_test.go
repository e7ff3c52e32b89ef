package pgstore

import (
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A postback waits by way of one node and is booked by way of another, which has
// not counted it before. Neither says that less than nothing waits, and both
// agree once they have counted anew.
func TestQuarantineOfAnother(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	a, b := open(t, e), open(t, another(t, e))
	block := a.block(1)
	p := sale(block.Clicks[0], "1")
	b.must(b.commit(nil, p))
	if n := b.s.Status().Quarantine[capture.UnknownClick]; p.Result.Reason != capture.UnknownClick || n != 1 {
		t.Fatalf("the postback is %+v, and %d are in quarantine", p.Result, n)
	}
	a.must(a.commit([]*capture.Block{block}))
	if got := a.totals(); got.Conversions != 1 {
		t.Fatalf("%+v is booked", got)
	}
	if q := a.s.Status().Quarantine; len(q) > 0 {
		t.Errorf("the node that booked it counts %v in quarantine", q)
	}
	for _, n := range []*node{a, b} {
		n.must(n.s.recount(t.Context()))
		if q := n.s.Status().Quarantine; len(q) > 0 {
			t.Errorf("anew, %v are counted in quarantine", q)
		}
	}
}
