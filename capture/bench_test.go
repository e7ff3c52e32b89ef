package capture_test

import (
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

func BenchmarkEncodeBlock(b *testing.B) {
	block := sampleBlock(capture.BlockClicks)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		size = len(capture.EncodeBlock(block))
	}
	b.ReportMetric(float64(size)/capture.BlockClicks, "B/click")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/capture.BlockClicks, "ns/click")
}

func BenchmarkBlockReader(b *testing.B) {
	data := capture.EncodeBlock(sampleBlock(capture.BlockClicks))
	var r capture.BlockReader
	var c capture.Click
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Reset(data); err != nil {
			b.Fatal(err)
		}
		for r.Next(&c) {
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/capture.BlockClicks, "ns/click")
}

// BenchmarkLedger records with 64 writers, each of which waits for its click.
func BenchmarkLedger(b *testing.B) {
	l := openLedger(b, memstore.New())
	defer closeLedger(b, l)
	const writers = 64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				if l.Wait(l.Record(click("a")), time.Minute) != capture.SavedOnDisk {
					b.Error("a click is not on disk")
				}
			}
		})
	}
	wg.Wait()
}
