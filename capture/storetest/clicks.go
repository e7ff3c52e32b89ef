package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func testLookups(t *testing.T, p *place) {
	var all []*capture.Click
	for range 3 {
		var clicks []*capture.Click
		for range capture.BlockClicks {
			clicks = append(clicks, p.click())
		}
		single := p.click()
		p.commit(p.block(clicks...), p.block(single))
		all = append(append(all, clicks...), single)
	}
	check := func() {
		t.Helper()
		for _, c := range all {
			p.find(c)
		}
		for _, change := range []func(*clickid.Ref){
			func(r *clickid.Ref) { r.Second++ },
			func(r *clickid.Ref) { r.Epoch ^= 1 },
			func(r *clickid.Ref) { r.Slot = 1 },
			func(r *clickid.Ref) { r.Slot = clickid.Unrecorded },
			func(r *clickid.Ref) { r.Block = p.next },
			func(r *clickid.Ref) { r.Block = clickid.MaxBlock },
		} {
			ref := all[len(all)-1].Ref
			change(&ref)
			p.gone(ref)
			if list := p.ofClick(ref); len(list) != 0 {
				t.Errorf("a click that is none has %d conversions", len(list))
			}
		}
	}
	check()
	p.reopen()
	check()
}

func testClickFields(t *testing.T, p *place) {
	full := p.click(func(c *capture.Click) {
		*c = capture.Click{
			Time: noon.Add(1234 * time.Millisecond), Flags: capture.FlagEarly | capture.FlagCut,
			Campaign: "käse\x00/", Source: "ad network", Destination: "https://a.example/{click_id}",
			Subs: []capture.Param{{Name: "sub1", Value: "ü"}, {Name: "creative", Value: strings.Repeat("x", capture.MaxValue)}},
			Kept: []capture.Param{{Name: "gclid", Value: strings.Repeat("g", 350)}, {Name: "empty"}},
			URL:  "https://a.example/{click_id}?x=1", Host: "go.example", Path: "/go/käse", UserAgent: "Mozilla/5.0",
			Referer: "https://r.example/", Address: "192.0.2.0",
			Cost: attribution.Money{Amount: usd("0.0125").Amount, Currency: "EUR"},
		}
	})
	bare := &capture.Click{Time: noon.Add(time.Minute)}
	free := p.click(func(c *capture.Click) { c.Cost = usd("0") })
	bot := p.click(flags(capture.FlagBot | capture.FlagPrefetch))
	p.commit(p.block(full, bare, free, bot))
	for range 2 {
		p.find(full)
		p.find(bare)
		p.find(free)
		p.find(bot)
		p.reopen()
	}
}

// testRecordFields books a postback that says all it can.
func testRecordFields(t *testing.T, p *place) {
	c := p.click(func(c *capture.Click) {
		c.Flags, c.Subs = capture.FlagEarly, []capture.Param{{Name: "sub1", Value: "ü"}}
	})
	p.commit(p.block(c))
	claim := sale
	claim.SentAt = noon.Add(time.Hour + time.Millisecond)
	b := p.post(c, claim, func(b *capture.Postback) {
		b.Time = noon.Add(2 * time.Hour).Add(7 * time.Millisecond)
		b.Authentic, b.Sender = "token", "192.0.2.0"
		b.Raw = capture.Raw{
			Method: "POST", Host: "h.example", URI: "/postback?x=\x01", ContentType: "application/json", UserAgent: "curl",
			Body: []byte{0, 0xff, '{'},
		}
	})
	r := p.book(b)
	p.want(r, capture.Recorded, "")
	conv := r.Conversion
	switch {
	case conv == nil || r.Entry == nil:
		t.Fatal("the result has no conversion or no entry")
	case conv.Click != c.Ref, !conv.ClickTime.Equal(c.Time), conv.Campaign != c.Campaign, conv.Source != c.Source,
		conv.Destination != c.Destination, len(conv.Subs) != 1, conv.Subs[0] != c.Subs[0], conv.Flags != c.Flags, conv.Test:
		t.Errorf("the conversion does not carry its click: %+v", conv)
	case !conv.State.Time.Equal(claim.SentAt), !conv.State.Payout.Equal(claim.Payout), conv.State.Event != "sale",
		conv.State.TxID != "1", conv.State.Status != attribution.Approved, !conv.State.Booked:
		t.Errorf("the conversion's state is %+v", conv.State)
	}
	if want := claim.SentAt.Sub(c.Time); r.Lag != want {
		t.Errorf("the lag is %s, want %s", r.Lag, want)
	}
	e := r.Entry
	if e.Seq != b.Seq || !e.Time.Equal(b.Time) || e.Route != "main" || e.Outcome != capture.Recorded || e.Click != c.Ref ||
		!e.HasClick || e.Conversion != conv.ID || e.Campaign != c.Campaign || e.Claim.TxID != "1" ||
		e.Authentic != "token" || e.Sender != "192.0.2.0" || string(e.Raw.Body) != string(b.Raw.Body) || e.Raw.URI != b.Raw.URI {
		t.Errorf("the entry is %+v", e)
	}
	for range 2 {
		got, err := p.store.Conversion(background, conv.ID)
		p.must(err)
		if record(got) != record(conv) {
			t.Errorf("the stored conversion is\n%+v, want\n%+v", got, conv)
		}
		if list := p.ofClick(c.Ref); len(list) != 1 || record(list[0]) != record(conv) {
			t.Errorf("the click's conversions are %+v", list)
		}
		if list := p.journal(capture.JournalQuery{}); len(list) != 1 || record(list[0]) != record(e) {
			t.Errorf("the journal is %+v, want %+v", list, e)
		}
		p.reopen()
	}
}
