package clickid

import (
	"errors"
	"math"
	"math/bits"
	"strings"
	"testing"
)

// A forgery has all 36 bits of redundancy right, too rare to be seen in a test.
// What can be seen is that each further bit halves the number of random blocks
// that get as far, and that the accepting check asks for all 36.
func TestForgeryProbability(t *testing.T) {
	t.Parallel()
	const n = 1_000_000
	c, r := newCodec(t, secretA), newRand(7)
	var reached [redundancyBits + 1]int
	for range n {
		hi, lo := r.Uint64(), r.Uint64()
		h, _ := decipher(c.keys[0], hi, lo)
		for k := range redundancy(h) + 1 {
			reached[k]++
		}
		text := format(hi, lo)
		if ref, err := c.Decode(string(text[:])); !errors.Is(err, ErrForged) {
			t.Fatalf("Decode(%q), a random block, = %+v, %v", text, ref, err)
		}
	}
	for k, got := range reached {
		p := math.Pow(2, -float64(k))
		want := n * p
		// Five standard deviations, and a few where next to none are expected.
		if tolerance := 5*math.Sqrt(want*(1-p)) + 3; math.Abs(float64(got)-want) > tolerance {
			t.Errorf("%d of %d random blocks have %d bits of redundancy right, want %.1f within %.1f", got, n, k, want, tolerance)
		}
	}
}

// Every single bit of the redundancy counts, under the very key that signs.
func TestDecodeChecksEveryRedundantBit(t *testing.T) {
	t.Parallel()
	c, r := newCodec(t, secretA), newRand(9)
	for range 100 {
		ref := randomRef(r)
		hi, lo := ref.pack()
		for bit := range 36 {
			text := format(crypt(c.keys[0].Encrypt, hi^1<<(63-bit), lo))
			if got, err := c.Decode(string(text[:])); !errors.Is(err, ErrForged) {
				t.Fatalf("Decode accepts %+v with redundant bit %d wrong: %+v, %v", ref, bit, got, err)
			}
		}
	}
}

func TestRedundancyCoversZerosAndVersion(t *testing.T) {
	t.Parallel()
	r := newRand(8)
	for range 1000 {
		hi, _ := randomRef(r).pack()
		if got := redundancy(hi); got != redundancyBits {
			t.Fatalf("redundancy(%016x) = %d, want %d", hi, got, redundancyBits)
		}
		for bit := range 64 {
			want := min(bit, redundancyBits)
			if got := redundancy(hi ^ 1<<(63-bit)); got != want {
				t.Fatalf("redundancy of %016x with bit %d flipped = %d, want %d", hi, bit, got, want)
			}
		}
	}
}

// consecutive returns n references as a store mints them: slot after slot,
// block after block, a few thousand in the same second.
func consecutive(n int) []Ref {
	refs := make([]Ref, n)
	for i := range refs {
		refs[i] = Ref{Epoch: 1, Block: uint64(i / 64), Slot: uint8(i % 64), Second: 1_767_225_600 + uint32(i/4096)}
	}
	return refs
}

// chiSquare compares counts with an even distribution, as the number of
// standard deviations by which the statistic exceeds its mean.
func chiSquare(counts []int, total int) float64 {
	want := float64(total) / float64(len(counts))
	var sum float64
	for _, got := range counts {
		sum += (float64(got) - want) * (float64(got) - want) / want
	}
	freedom := float64(len(counts) - 1)
	return (sum - freedom) / math.Sqrt(2*freedom)
}

func TestCharactersOfConsecutiveIDsLookUniform(t *testing.T) {
	t.Parallel()
	const n = 200_000
	c := newCodec(t, secretA)
	var counts [Length][32]int
	for _, ref := range consecutive(n) {
		for i, char := range []byte(c.Encode(ref)) {
			counts[i][strings.IndexByte(alphabet, char)]++
		}
	}
	for i := range Length {
		got := counts[i][:]
		if i == Length-1 {
			got = nil
			for v := 0; v < 32; v += 4 {
				got = append(got, counts[i][v])
			}
		}
		if sigmas := chiSquare(got, n); sigmas > 6 {
			t.Errorf("position %d: chi-square is %.1f standard deviations above its mean", i, sigmas)
		}
	}
}

func TestConsecutiveIDsShareNoStructure(t *testing.T) {
	t.Parallel()
	const n = 200_000
	c := newCodec(t, secretA)
	var (
		flips      [128]int
		equal      [Length]int
		differ     [Length][32]int
		seen       = make(map[string]bool, n)
		increasing int
		last       string
	)
	for _, ref := range consecutive(n + 1) {
		id := c.Encode(ref)
		if seen[id] {
			t.Fatalf("%q was minted twice", id)
		}
		seen[id] = true
		if last != "" {
			countFlips(t, &flips, last, id)
			if id > last {
				increasing++
			}
			for i := range Length {
				a, b := values[last[i]], values[id[i]]
				differ[i][a^b]++
				if a == b {
					equal[i]++
				}
			}
		}
		last = id
	}
	half, tolerance := float64(n)/2, 6*math.Sqrt(float64(n)/4)
	for bit, got := range flips {
		if math.Abs(float64(got)-half) > tolerance {
			t.Errorf("bit %d changes %d times in %d steps", bit, got, n)
		}
	}
	if math.Abs(float64(increasing)-half) > tolerance {
		t.Errorf("%d of %d IDs sort after the one before", increasing, n)
	}
	for i := range Length - 1 {
		if sigmas := chiSquare(differ[i][:], n); sigmas > 6 {
			t.Errorf("position %d: differences of neighbours are %.1f standard deviations off", i, sigmas)
		}
		p := 1.0 / 32
		if math.Abs(float64(equal[i])-n*p) > 6*math.Sqrt(n*p*(1-p)) {
			t.Errorf("position %d: %d of %d neighbours have the same character", i, equal[i], n)
		}
	}
}

func countFlips(t *testing.T, flips *[128]int, a, b string) {
	t.Helper()
	ah, al, errA := parse(a)
	bh, bl, errB := parse(b)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for i, word := range [2]uint64{ah ^ bh, al ^ bl} {
		for ; word != 0; word &= word - 1 {
			flips[64*i+bits.LeadingZeros64(word&-word)]++
		}
	}
}
