package pgstore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// TestPooler: behind a pooler that gives each transaction another connection,
// and has fewer of them than the nodes would like, all goes as without one.
func TestPooler(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	e.DSN = pgtest.Shared(t).Pooler(t, 3)
	nodes := []*node{open(t, e)}
	for range 4 {
		nodes = append(nodes, open(t, another(t, e)))
	}
	const rounds, each = 10, 16
	var blocks []*capture.Block
	for _, n := range nodes {
		b := n.block(each)
		blocks = append(blocks, b)
		n.must(n.commit([]*capture.Block{b}))
		n.s.contended = time.Now().Add(time.Hour) // all wait for their turn
	}
	var wg sync.WaitGroup
	for k, n := range nodes {
		wg.Go(func() {
			for round := range rounds {
				var posts []*capture.Postback
				for _, c := range blocks[(k+round)%len(blocks)].Clicks {
					posts = append(posts, sale(c, fmt.Sprint(round/len(blocks))))
				}
				if err := n.commit(nil, posts...); err != nil {
					t.Errorf("node %d, round %d: %v", k, round, err)
					return
				}
				if _, err := n.s.ClickToBook(context.Background(), posts[0].Ref); err != nil {
					t.Error(err)
				}
				_, err := n.s.Report(context.Background(), attribution.Query{From: noon.AddDate(0, 0, -1), To: noon.AddDate(0, 0, 1)})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, want := nodes[0].totals().Conversions, int64(len(nodes)*each*rounds/len(nodes)); got != want {
		t.Errorf("%d conversions are counted, want %d", got, want)
	}
	r, err := nodes[0].s.Sweep(context.Background(), noon.AddDate(0, 0, 60), capture.Retention{Clicks: 30 * 24 * time.Hour})
	nodes[0].must(err)
	if r.Blocks != len(nodes) {
		t.Errorf("the sweep deleted %+v", r)
	}
	nodes[1].healthy()
}
