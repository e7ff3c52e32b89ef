package capture_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" is zero") {
		return time.Time{}
	}
	first, last := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	return time.UnixMilli(rapid.Int64Range(first.UnixMilli(), last.UnixMilli()).Draw(t, label)).UTC()
}

func drawMoney(t *rapid.T) attribution.Money {
	return money(rapid.StringMatching(`-?[1-9][0-9]{0,16}(\.[0-9]{0,8}[1-9])?`).Draw(t, "amount"), "USD")
}

func drawClaim(t *rapid.T) attribution.Claim {
	c := attribution.Claim{
		Event: rapid.String().Draw(t, "event"), TxID: rapid.String().Draw(t, "txid"),
		Status: attribution.Status(rapid.IntRange(0, 4).Draw(t, "status")),
		SentAt: drawTime(t, "sent"), ReceivedAt: drawTime(t, "received"), Seq: rapid.Uint64().Draw(t, "seq"),
	}
	if rapid.Bool().Draw(t, "has payout") {
		c.HasPayout, c.Implied, c.Payout = true, rapid.Bool().Draw(t, "implied"), drawMoney(t)
	}
	return c
}

func drawRef(t *rapid.T) clickid.Ref {
	return clickid.Ref{
		Epoch: rapid.Uint16().Draw(t, "epoch"), Block: rapid.Uint64().Draw(t, "block"),
		Slot: rapid.Byte().Draw(t, "slot"), Second: rapid.Uint32().Draw(t, "second"),
	}
}

func drawID(t *rapid.T) (id attribution.ConversionID) {
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	return id
}

// roundTrip writes v, reads it into an empty one and compares all fields.
func roundTrip[T any](t *rapid.T, v *T) {
	data, err := capture.EncodeRecord(v)
	if err != nil {
		t.Fatal(err)
	}
	got := new(T)
	if err := capture.DecodeRecord(data, got); err != nil {
		t.Fatal(err)
	}
	again, err := capture.EncodeRecord(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) {
		t.Fatalf("%+v became %+v", v, got)
	}
	// The amounts' insides may differ; all else may not.
	a, moneyA := plain(v)
	b, moneyB := plain(got)
	if !reflect.DeepEqual(a, b) || !slices.Equal(moneyA, moneyB) {
		t.Fatalf("%+v became %+v", a, b)
	}
	for n := range len(data) {
		if err := capture.DecodeRecord(data[:n], new(T)); err == nil {
			t.Fatalf("the first %d of %d bytes were read", n, len(data))
		}
	}
	if err := capture.DecodeRecord(append(data, 0), new(T)); err == nil {
		t.Fatal("one byte more was read")
	}
	data[0]++
	if err := capture.DecodeRecord(data, new(T)); err == nil {
		t.Fatal("an unknown format was read")
	}
}

// plain takes the amounts out and notes them as text.
func plain(v any) (any, []string) {
	var texts []string
	out := func(m *attribution.Money) {
		texts = append(texts, m.String())
		*m = attribution.Money{}
	}
	switch v := v.(type) {
	case *capture.Entry:
		e := *v
		out(&e.Claim.Payout)
		return e, texts
	case *capture.Conversion:
		c := *v
		c.History = append(attribution.History(nil), v.History...)
		for i := range c.History {
			out(&c.History[i].Payout)
		}
		out(&c.State.Payout)
		return c, texts
	}
	return v, nil
}

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		raw := rapid.OneOf(text, rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		e := &capture.Entry{
			Seq: rapid.Uint64().Draw(t, "seq"), Time: drawTime(t, "time"), Route: text.Draw(t, "route"),
			Outcome: rapid.SampledFrom(capture.Outcomes).Draw(t, "outcome"),
			Reason:  rapid.SampledFrom(capture.QuarantineReasons).Draw(t, "reason"), Detail: text.Draw(t, "detail"),
			Click: drawRef(t), HasClick: rapid.Bool().Draw(t, "has click"), Conversion: drawID(t), Campaign: text.Draw(t, "campaign"),
			Claim: drawClaim(t), Authentic: text.Draw(t, "authentic"), Sender: text.Draw(t, "sender"),
			Raw: capture.Raw{
				Method: raw.Draw(t, "method"), Host: raw.Draw(t, "host"), URI: raw.Draw(t, "uri"),
				ContentType: raw.Draw(t, "type"), UserAgent: raw.Draw(t, "agent"),
			},
			Test: rapid.Bool().Draw(t, "test"), Resolved: rapid.Uint64().Draw(t, "resolved"),
		}
		if body := rapid.SliceOf(rapid.Byte()).Draw(t, "body"); len(body) > 0 {
			e.Raw.Body = body
		}
		if notes := rapid.SliceOf(text).Draw(t, "notes"); len(notes) > 0 {
			e.Notes, e.Awaits = notes, notes
		}
		if headers := rapid.MapOfN(text, text, 0, 1).Draw(t, "headers"); len(headers) > 0 {
			e.Raw.Headers = headers
		}
		e.Raw.Unsigned = signature.Part(rapid.Byte().Draw(t, "unsigned"))
		roundTrip(t, e)
	})
}

// TestRawIsTextWhereItCan: what is text is stored as such, which is what all
// entries were before bytes could be stored.
func TestRawIsTextWhereItCan(t *testing.T) {
	t.Parallel()
	encode := func(raw capture.Raw) []byte {
		data, err := capture.EncodeRecord(&capture.Entry{Seq: 1, Raw: raw})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	const uri = "/postback?x=\u00e9"
	text := append([]byte{0x03, 0x60 + byte(len(uri))}, uri...)
	if data := encode(capture.Raw{Method: "GET", URI: uri}); !bytes.Contains(data, text) {
		t.Errorf("text is stored as %x", data)
	}
	const exact = "/postback?x=\xe9"
	if data := encode(capture.Raw{Method: "GET", URI: exact}); !bytes.Contains(data, append([]byte{0x03, 0x40 + byte(len(exact))}, exact...)) {
		t.Errorf("bytes are stored as %x", data)
	}
	// Only in the raw request: elsewhere bytes in the place of text are damage.
	damaged := bytes.Replace(encode(capture.Raw{}), []byte{0x03, 0x60}, []byte{0x03, 0x40}, 1)
	var e capture.Entry
	if err := capture.DecodeRecord(damaged, &e); err == nil {
		t.Errorf("a route made of bytes is read as %q", e.Route)
	}
}

func drawConversion(t *rapid.T) *capture.Conversion {
	text := rapid.String()
	c := &capture.Conversion{
		ID: drawID(t), Click: drawRef(t), ClickTime: drawTime(t, "click time"),
		Dedup: attribution.Dedup(rapid.IntRange(0, 2).Draw(t, "dedup")), Campaign: text.Draw(t, "campaign"),
		Source: text.Draw(t, "source"), Destination: text.Draw(t, "destination"),
		Flags: capture.ClickFlags(rapid.Byte().Draw(t, "flags")), Test: rapid.Bool().Draw(t, "test"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "subs") {
		c.Subs = append(c.Subs, capture.Param{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")})
	}
	for range rapid.IntRange(1, 3).Draw(t, "claims") {
		c.History = append(c.History, attribution.Entry{
			Claim: drawClaim(t), Seen: rapid.IntRange(1, 1000).Draw(t, "seen"), LastSeen: drawTime(t, "last"),
		})
		c.Parked = append(c.Parked, rapid.Uint64().Draw(t, "parked"))
	}
	c.State = c.History.State(drawTime(t, "deadline"))
	return c
}

func TestConversionRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, drawConversion(t)) })
}

func FuzzDecodeRecord(f *testing.F) {
	for i := range 3 {
		c := rapid.Custom(drawConversion).Example(i)
		e := &capture.Entry{Seq: 1, Time: time.UnixMilli(1e12), Claim: c.History[0].Claim, Raw: capture.Raw{Body: []byte("x")}}
		for _, v := range []any{c, e} {
			data, err := capture.EncodeRecord(v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte{1, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{1, 0xa1, 0x0b, 0x9a, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var c capture.Conversion
		if capture.DecodeRecord(data, &c) == nil {
			_ = c.Cell()
			_ = c.Counts()
			_, _ = capture.EncodeRecord(&c)
		}
		var e capture.Entry
		if capture.DecodeRecord(data, &e) == nil {
			_ = e.Waiting()
			_, _ = capture.EncodeRecord(&e)
		}
	})
}
