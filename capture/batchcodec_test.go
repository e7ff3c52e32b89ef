package capture_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func codecRules(payout string) *capture.Rules {
	amount, _ := attribution.ParseAmount(payout)
	return &capture.Rules{
		Retain: capture.Retention{Clicks: time.Hour, Journal: 2 * time.Hour}, Window: time.Minute,
		Campaigns: map[string]capture.CampaignRules{
			"acme": {Window: time.Second, Payout: attribution.Money{Amount: amount, Currency: "USD"}, Dedup: attribution.DedupClick},
		},
	}
}

func storedBatch() *capture.Batch {
	at := time.Date(2026, 3, 1, 12, 0, 0, 1e6, time.UTC)
	amount, _ := attribution.ParseAmount("12.500")
	rules := codecRules("12.500")
	ref := clickid.Ref{Epoch: 7, Block: 9, Second: uint32(at.Unix())}
	id := attribution.ConversionID{1, 2, 3}
	return &capture.Batch{
		Now: at, Lease: 4096,
		Blocks: []*capture.Block{{Number: 9, Clicks: []*capture.Click{{Ref: ref, Time: at, Campaign: "acme", UserAgent: "x"}}}},
		Postbacks: []*capture.Postback{
			{
				Time: at, Route: "main", Rules: rules, Ref: ref, HasRef: true, ClickID: "AbC", Key: 5, ByTxID: true, TxIDs: []string{"a", "b"},
				IndexTxID: true, OnlyCampaign: "acme", Problem: capture.BadTime, ProblemDetail: "why", Notes: []string{"n"},
				Claim: attribution.Claim{
					Event: "sale", TxID: "1", Status: attribution.Pending, Payout: attribution.Money{Amount: amount, Currency: "EUR"}, HasPayout: true,
					SentAt: at, ReceivedAt: at.Add(time.Second), Key: "k", Refund: true, Implied: true,
				},
				Authentic: "token", Sender: "192.0.2.0",
				Raw: capture.Raw{Method: "POST", Host: "a.example", URI: "/\xff", Body: []byte{0, 0xff}, Headers: map[string]string{"A": "b"}, Secrets: []string{"s"}},
			},
			{Time: at, Route: "other", Rules: rules, ClickID: "\xff", Ignored: "a ping", Replays: 12, Correction: &id, Raw: capture.Raw{Method: "GET", URI: "/"}},
			{Time: at, Route: "none", Raw: capture.Raw{Method: "GET", URI: "/"}},
		},
	}
}

// Nothing of what Apply needs is lost on disk.
func TestBatchCodec(t *testing.T) {
	t.Parallel()
	want := storedBatch()
	data, err := capture.EncodeBatch(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := capture.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got.Postbacks {
		if g, w := shown(p), shown(want.Postbacks[i]); g != w {
			t.Errorf("postback %d is\n%s, want\n%s", i, g, w)
		}
	}
	if got.Postbacks[0].Rules != got.Postbacks[1].Rules {
		t.Error("the rules are not shared")
	}
	if !got.Now.Equal(want.Now) || got.Lease != want.Lease || len(got.Blocks) != 1 || got.Number != 0 ||
		!reflect.DeepEqual(capture.EncodeBlock(got.Blocks[0]), capture.EncodeBlock(want.Blocks[0])) || got.Blocks[0].Clicks[0].Ref != want.Blocks[0].Clicks[0].Ref {
		t.Errorf("the batch is %+v", got)
	}
	for n := range data {
		if _, err := capture.DecodeBatch(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes are a batch", n, len(data))
		}
	}
}

// A batch that others are joined to again and again has each of the rules once,
// and each postback keeps its own.
func TestBatchCodecJoined(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	batch := &capture.Batch{Now: at}
	payouts := []string{"1.5", "2.5"}
	for n := range 10 {
		batch.Postbacks = append(batch.Postbacks, &capture.Postback{Time: at, Route: "main", Rules: codecRules(payouts[n%2] + "0")})
		data, err := capture.EncodeBatch(batch)
		if err != nil {
			t.Fatal(err)
		}
		if batch, err = capture.DecodeBatch(data); err != nil {
			t.Fatal(err)
		}
	}
	all := make(map[*capture.Rules]bool)
	for n, p := range batch.Postbacks {
		all[p.Rules] = true
		if got := p.Rules.Campaigns["acme"].Payout.Amount.String(); got != payouts[n%2] {
			t.Errorf("postback %d has a payout of %s", n, got)
		}
	}
	if len(all) != len(payouts) {
		t.Errorf("%d rules are kept of %d", len(all), len(payouts))
	}
}

// shown is all that there is in a postback, in words.
func shown(p *capture.Postback) string {
	c, rules := *p, capture.Rules{}
	if c.Rules != nil {
		rules = *c.Rules
	}
	c.Rules = nil
	return fmt.Sprintf("%+v %+v", c, rules)
}

func FuzzDecodeBatch(f *testing.F) {
	data, err := capture.EncodeBatch(storedBatch())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := capture.DecodeBatch(data)
		if err != nil {
			return
		}
		again, err := capture.EncodeBatch(b)
		if err != nil {
			return // texts that no postback can have
		}
		c, err := capture.DecodeBatch(again)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Blocks) != len(b.Blocks) || len(c.Postbacks) != len(b.Postbacks) || !c.Now.Equal(b.Now) {
			t.Errorf("the second time it is %+v, the first time %+v", c, b)
		}
	})
}
