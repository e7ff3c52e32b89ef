package clickid

import (
	"errors"
	"testing"
)

var benchRef = Ref{Epoch: 7, Block: 123_456_789, Slot: 63, Second: 1_767_225_600}

func BenchmarkEncode(b *testing.B) {
	c := newCodec(b, secretA)
	b.ReportAllocs()
	for b.Loop() {
		c.Encode(benchRef)
	}
}

func BenchmarkAppend(b *testing.B) {
	c := newCodec(b, secretA)
	buf := make([]byte, 0, Length)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.Append(buf[:0], benchRef)
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	c := newCodec(b, secretA)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var buf [Length]byte
		for pb.Next() {
			c.Append(buf[:0], benchRef)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	id := newCodec(b, secretA).Encode(benchRef)
	forged := newCodec(b, secretC).Encode(benchRef)
	for _, bc := range []struct {
		name    string
		in      string
		secrets [][]byte
		want    error
	}{
		{"genuine", id, [][]byte{secretA}, nil},
		{"second key", id, [][]byte{secretB, secretA}, nil},
		{"forged", forged, [][]byte{secretA}, ErrForged},
		{"cut", id[:20], [][]byte{secretA}, ErrLength},
		{"foreign character", "!" + id[1:], [][]byte{secretA}, ErrAlphabet},
	} {
		b.Run(bc.name, func(b *testing.B) {
			c := newCodec(b, bc.secrets...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decode(bc.in); !errors.Is(err, bc.want) {
					b.Fatal(err)
				}
			}
		})
	}
}
