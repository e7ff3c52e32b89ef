package clickid

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	secretA = []byte("a secret for the tests, first")
	secretB = []byte("a secret for the tests, second")
	secretC = []byte("a secret for the tests, third")
)

func newCodec(t testing.TB, secrets ...[]byte) *Codec {
	t.Helper()
	c, err := New(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func randomRef(r *rand.Rand) Ref {
	return Ref{
		Epoch:  uint16(r.Uint64N(MaxEpoch + 1)),
		Block:  r.Uint64N(MaxBlock + 1),
		Slot:   uint8(r.Uint64N(256)),
		Second: r.Uint32(),
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	refs := []Ref{
		{},
		{Epoch: MaxEpoch},
		{Block: MaxBlock},
		{Slot: MaxSlot},
		{Slot: Unrecorded},
		{Second: 1<<32 - 1},
		{Epoch: MaxEpoch, Block: MaxBlock, Slot: Unrecorded, Second: 1<<32 - 1},
		{Epoch: 1, Block: 1, Slot: 1, Second: 1},
	}
	for bit := range 40 {
		refs = append(refs, Ref{Block: 1 << bit})
	}
	r := newRand(1)
	for range 20_000 {
		refs = append(refs, randomRef(r))
	}
	c := newCodec(t, secretA)
	for _, ref := range refs {
		id := c.Encode(ref)
		if len(id) != Length || strings.Trim(id, alphabet) != "" {
			t.Fatalf("Encode(%+v) = %q, not %d characters of the alphabet", ref, id, Length)
		}
		if got, err := c.Decode(id); err != nil || got != ref {
			t.Fatalf("Decode(%q) = %+v, %v; want %+v", id, got, err, ref)
		}
		if got := string(c.Append([]byte("x="), ref)); got != "x="+id {
			t.Fatalf("Append(%+v) = %q, want %q after %q", ref, got, id, "x=")
		}
	}
}

func TestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var (
			secretHex, id string
			ref           Ref
		)
		if _, err := fmt.Sscan(line, &secretHex, &ref.Epoch, &ref.Block, &ref.Slot, &ref.Second, &id); err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		secret, err := hex.DecodeString(secretHex)
		if err != nil {
			t.Fatal(err)
		}
		c := newCodec(t, secret)
		if got := c.Encode(ref); got != id {
			t.Errorf("Encode(%+v) = %q, want %q", ref, got, id)
		}
		if got, err := c.Decode(id); err != nil || got != ref {
			t.Errorf("Decode(%q) = %+v, %v; want %+v", id, got, err, ref)
		}
		seen++
	}
	if seen != 18 {
		t.Errorf("read %d vectors, want 18", seen)
	}
}

func TestEveryChangedCharacterIsRefused(t *testing.T) {
	t.Parallel()
	c, r := newCodec(t, secretA), newRand(2)
	for range 300 {
		id := c.Encode(randomRef(r))
		for i := range id {
			for _, char := range []byte(alphabet) {
				if char == id[i] {
					continue
				}
				want := ErrForged
				if i == Length-1 && strings.IndexByte(alphabet, char)%4 != 0 {
					want = ErrAlphabet
				}
				changed := id[:i] + string(char) + id[i+1:]
				if ref, err := c.Decode(changed); !errors.Is(err, want) || ref != (Ref{}) {
					t.Fatalf("Decode(%q), changed from %q at %d, = %+v, %v; want %v", changed, id, i, ref, err, want)
				}
			}
		}
	}
}

func TestSwappedCharactersAreRefused(t *testing.T) {
	t.Parallel()
	c, r := newCodec(t, secretA), newRand(3)
	for range 300 {
		id := c.Encode(randomRef(r))
		for i := range Length - 1 {
			b := []byte(id)
			b[i], b[i+1] = b[i+1], b[i]
			if string(b) == id {
				continue
			}
			if _, err := c.Decode(string(b)); err == nil {
				t.Fatalf("Decode accepts %q, %q with two characters swapped", b, id)
			}
		}
	}
}

func TestOtherLengthsAreRefused(t *testing.T) {
	t.Parallel()
	c := newCodec(t, secretA)
	id := c.Encode(Ref{Epoch: 3, Block: 99, Slot: 4, Second: 1_700_000_000})
	inputs := []string{id + id, strings.Repeat("0", 1<<16)}
	for n := range Length {
		inputs = append(inputs, id[:n])
		if n > 0 {
			inputs = append(inputs, id[n:])
		}
	}
	for _, char := range alphabet + " \n\x00=" {
		inputs = append(inputs, id+string(char), string(char)+id)
	}
	for _, s := range inputs {
		if _, err := c.Decode(s); !errors.Is(err, ErrLength) {
			t.Errorf("Decode(%.40q) of %d bytes: %v, want ErrLength", s, len(s), err)
		}
	}
}

func TestForeignCharactersAreRefused(t *testing.T) {
	t.Parallel()
	c := newCodec(t, secretA)
	id := c.Encode(Ref{Block: 12345})
	for char := range 256 {
		if strings.IndexByte(alphabet, byte(char)|0x20) >= 0 && char|0x20 >= 'a' || char >= '0' && char <= '9' {
			continue
		}
		for i := range Length {
			b := []byte(id)
			b[i] = byte(char)
			if _, err := c.Decode(string(b)); !errors.Is(err, ErrAlphabet) {
				t.Fatalf("Decode(%q): %v, want ErrAlphabet", b, err)
			}
		}
	}
}

func TestAnyLetterCase(t *testing.T) {
	t.Parallel()
	c, r := newCodec(t, secretA), newRand(4)
	for range 1000 {
		ref := randomRef(r)
		mixed := []byte(c.Encode(ref))
		for i, char := range mixed {
			if char >= 'a' && r.Uint32()&1 == 0 {
				mixed[i] = char - 'a' + 'A'
			}
		}
		for _, s := range []string{string(mixed), strings.ToUpper(string(mixed))} {
			if got, err := c.Decode(s); err != nil || got != ref {
				t.Fatalf("Decode(%q) = %+v, %v; want %+v", s, got, err, ref)
			}
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	older, newer := newCodec(t, secretA), newCodec(t, secretB)
	rotated, stranger := newCodec(t, secretB, secretA), newCodec(t, secretC)
	r := newRand(5)
	for range 1000 {
		ref := randomRef(r)
		oldID, newID := older.Encode(ref), newer.Encode(ref)
		if got := rotated.Encode(ref); got != newID || got == oldID {
			t.Fatalf("the first secret does not sign: %q, want %q", got, newID)
		}
		for _, id := range []string{oldID, newID} {
			if got, err := rotated.Decode(id); err != nil || got != ref {
				t.Fatalf("Decode(%q) = %+v, %v; want %+v", id, got, err, ref)
			}
			if _, err := stranger.Decode(id); !errors.Is(err, ErrForged) {
				t.Fatalf("Decode(%q) without its secret: %v, want ErrForged", id, err)
			}
		}
		if _, err := older.Decode(newID); !errors.Is(err, ErrForged) {
			t.Fatalf("Decode(%q) before the rotation: %v, want ErrForged", newID, err)
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := newCodec(t, secretA)
	for _, tc := range []struct{ in, want string }{
		{"", "wrong length for a click ID: has 0 characters, a click ID has 26"},
		{"0123456789abcdefghij", "wrong length for a click ID: has 20 characters, a click ID has 26"},
		{"01w3456789abcdefghijklmno!", "wrong character in a click ID: 'w' at position 3"},
		{"0123456789abcdefghijklmno!", "wrong character in a click ID: '!' at position 26"},
		{"0123456789abcdefghijklmn\u00e9", "wrong character in a click ID: 'é' at position 25"},
		{"0123456789abcdefghijklmno1", "wrong character in a click ID: '1' at position 26 cannot be the last"},
		{"0123456789abcdefghijklmnoV", "wrong character in a click ID: 'V' at position 26 cannot be the last"},
		{"0123456789abcdefghijklmno0", "click ID was not minted under any known key"},
	} {
		if _, err := c.Decode(tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("Decode(%q): %v, want %s", tc.in, err, tc.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	short := []byte("hush hush hush!")
	for _, tc := range []struct {
		name    string
		secrets [][]byte
		want    string
	}{
		{"none", nil, "no secret given"},
		{"short", [][]byte{short}, "secret 1 of 1: has 15 bytes, at least 16 are needed"},
		{"second short", [][]byte{secretA, short}, "secret 2 of 2: has 15 bytes"},
		{"empty", [][]byte{secretA, {}}, "secret 2 of 2: has 0 bytes"},
	} {
		c, err := New(tc.secrets...)
		if c != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: New = %v, %v; want an error with %q", tc.name, c, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error shows the secret: %v", tc.name, err)
		}
	}
	if _, err := New(short, secretA); err == nil {
		t.Error("New accepts a short first secret")
	}
	if _, err := New(make([]byte, minSecret)); err != nil {
		t.Errorf("New refuses a secret of %d bytes: %v", minSecret, err)
	}
}

func TestNewDoesNotKeepTheSecret(t *testing.T) {
	t.Parallel()
	secret := bytes.Clone(secretA)
	c := newCodec(t, secret)
	want := c.Encode(Ref{Block: 1})
	clear(secret)
	if got := c.Encode(Ref{Block: 1}); got != want {
		t.Errorf("the ID changed with the caller's secret: %q, want %q", got, want)
	}
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	a, errA := NewSecret()
	b, errB := NewSecret()
	if errA != nil || errB != nil || len(a) != 32 || len(b) != 32 || bytes.Equal(a, b) {
		t.Errorf("NewSecret gave %d and %d bytes, equal %t, errors %v and %v", len(a), len(b), bytes.Equal(a, b), errA, errB)
	}
	newCodec(t, a, b)
}

func TestEncodePanicsOutOfRange(t *testing.T) {
	t.Parallel()
	c := newCodec(t, secretA)
	for _, ref := range []Ref{{Epoch: MaxEpoch + 1}, {Block: MaxBlock + 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Encode(%+v) does not panic", ref)
				}
			}()
			c.Encode(ref)
		}()
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	ref := Ref{Epoch: 0xabc, Block: 0x123456789a, Slot: 0xde, Second: 0xdeadbeef}
	want := [16]byte{0x0a, 0xbc, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xde, 0xde, 0xad, 0xbe, 0xef, 0}
	if got := ref.Key(); got != want {
		t.Errorf("Key() = %x, want %x", got, want)
	}
	ordered := []Ref{{}, {Second: 1}, {Slot: 1}, {Block: 1}, {Block: 256}, {Epoch: 1}, {Epoch: 256}}
	for i := range len(ordered) - 1 {
		a, b := ordered[i].Key(), ordered[i+1].Key()
		if bytes.Compare(a[:], b[:]) >= 0 {
			t.Errorf("the key of %+v does not sort before that of %+v", ordered[i], ordered[i+1])
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	for second, want := range map[uint32]string{
		0:             "1970-01-01T00:00:00Z",
		1_767_225_600: "2026-01-01T00:00:00Z",
		1<<32 - 1:     "2106-02-07T06:28:15Z",
	} {
		if got := (Ref{Second: second}).Time().Format(time.RFC3339Nano); got != want {
			t.Errorf("Time() of %d = %s, want %s", second, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newCodec(t, secretB, secretA)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := newRand(uint64(100 + g))
			var buf [Length]byte
			for range 5000 {
				ref := randomRef(r)
				if got, err := c.Decode(string(c.Append(buf[:0], ref))); err != nil || got != ref {
					t.Errorf("got %+v, %v; want %+v", got, err, ref)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecode(f *testing.F) {
	secrets := [][]byte{secretA, secretB}
	all := newCodec(f, secrets...)
	var each []*Codec
	for _, secret := range secrets {
		c := newCodec(f, secret)
		each = append(each, c)
		id := c.Encode(Ref{Epoch: 1, Block: 2, Slot: 3, Second: 4})
		f.Add(id)
		f.Add(strings.ToUpper(id))
		f.Add(id[1:])
	}
	f.Add(newCodec(f, secretC).Encode(Ref{}))
	f.Add("")
	f.Add(strings.Repeat("\xff", Length))
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := all.Decode(s)
		if err != nil {
			if !errors.Is(err, ErrLength) && !errors.Is(err, ErrAlphabet) && !errors.Is(err, ErrForged) {
				t.Errorf("Decode(%q): %v is none of the package's errors", s, err)
			}
			if err.Error() == "" || ref != (Ref{}) {
				t.Errorf("Decode(%q) = %+v, %q", s, ref, err)
			}
			return
		}
		for _, c := range each {
			if c.Encode(ref) == strings.ToLower(s) {
				return
			}
		}
		t.Errorf("Decode(%q) = %+v, which no key encodes to the same string", s, ref)
	})
}

func TestAnIDKeepsItsFormUnderItsTag(t *testing.T) {
	first, second := []byte("the first secret of all"), []byte("the second secret of all")
	before, err := New(first)
	if err != nil {
		t.Fatal(err)
	}
	after, err := New(second, first)
	if err != nil {
		t.Fatal(err)
	}
	r := Ref{Epoch: 7, Block: 1234, Slot: 5, Second: 1_800_000_000}
	id, tag := before.Encode(r), before.Signer()
	if after.Encode(r) == id {
		t.Fatal("another key makes the same ID")
	}
	if got := after.EncodeAs(tag, r); got != id {
		t.Errorf("under its tag the ID is %s, want %s", got, id)
	}
	if _, got, err := after.DecodeTag(id); err != nil || got != tag {
		t.Errorf("the ID was signed by key %d (%v), want %d", got, err, tag)
	}
	if got := before.EncodeAs(after.Signer(), r); got != id {
		t.Errorf("without the key of the tag the ID is %s, want that of the signing key", got)
	}
}
