package pgstore

import (
	"fmt"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

func benchNode(b *testing.B, schema string) *node {
	b.Helper()
	e := &Engine{DSN: pgtest.Shared(b).DSN(), Schema: schema, Dir: b.TempDir(), Logger: zap.NewNop()}
	s, err := e.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(0) })
	pos := s.Position()
	return &node{e: e, s: s.(*Store), next: pos.NextBlock, batch: pos.NextBatch}
}

// BenchmarkClicks writes clicks in batches of so many blocks.
func BenchmarkClicks(b *testing.B) {
	for _, blocks := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d-blocks", blocks), func(b *testing.B) {
			n := benchNode(b, pgtest.Schema())
			for b.Loop() {
				var list []*capture.Block
				for range blocks {
					list = append(list, n.block(capture.BlockClicks))
				}
				if err := n.commit(list); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*blocks*capture.BlockClicks)/b.Elapsed().Seconds(), "clicks/s")
		})
	}
}

// BenchmarkPostbacks books sales of clicks that were written before.
func BenchmarkPostbacks(b *testing.B) {
	for _, posts := range []int{1, 64, 640} {
		b.Run(fmt.Sprintf("%d-at-once", posts), func(b *testing.B) {
			n := benchNode(b, pgtest.Schema())
			for b.Loop() {
				b.StopTimer()
				var blocks []*capture.Block
				var list []*capture.Postback
				for i := range posts {
					if i%capture.BlockClicks == 0 {
						blocks = append(blocks, n.block(min(posts, capture.BlockClicks)))
					}
					list = append(list, sale(blocks[len(blocks)-1].Clicks[i%capture.BlockClicks], "1"))
				}
				if err := n.commit(blocks); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := n.commit(nil, list...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*posts)/b.Elapsed().Seconds(), "postbacks/s")
		})
	}
}

// BenchmarkTwoNodes books other postbacks on each of two nodes at the same time.
func BenchmarkTwoNodes(b *testing.B) {
	schema := pgtest.Schema()
	nodes := []*node{benchNode(b, schema), benchNode(b, schema)}
	const posts = 64
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			for i := range b.N {
				block := n.block(posts)
				if err := n.commit([]*capture.Block{block}); err != nil {
					errs <- err
					return
				}
				var list []*capture.Postback
				for _, c := range block.Clicks {
					list = append(list, sale(c, fmt.Sprint(i)))
				}
				if err := n.commit(nil, list...); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range nodes {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*posts*len(nodes))/b.Elapsed().Seconds(), "postbacks/s")
}
