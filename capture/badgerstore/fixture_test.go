package badgerstore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// The fixtures hold a small store of format 1, the format of the first
// release: the files of a closed store, a backup of it, and what is in it. They
// are never made anew once that is out: if a test of them fails, stores of that
// release cannot be read any more.
//
//	go test ./capture/badgerstore -run TestFixture -update
var update = flag.Bool("update", false, "make the fixtures of the store's format anew")

const (
	fixtureFiles  = "testdata/store-v1.tar.gz"
	fixtureBackup = "testdata/store-v1.backup"
	fixtureJSON   = "testdata/store-v1.json"
)

func TestFixture(t *testing.T) {
	if *update {
		makeFixture(t)
	}
	want, err := os.ReadFile(fixtureJSON)
	if err != nil {
		t.Fatal(err)
	}
	for name, place := range map[string]func(*testing.T, *Engine){"files": unpackFixture, "backup": restoreFixture} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			place(t, e)
			s := openStore(t, e)
			checkHealthy(t, s)
			if got := dumpStore(t, s); !bytes.Equal(got, want) {
				t.Errorf("the store holds\n%s\nwant\n%s", got, want)
			}
			if n := countKeys(t, s, kindMerged); n != 1 || s.merging.next != 2 {
				t.Errorf("%d records of merged blocks, and it goes on at %d", n, s.merging.next)
			}
			id, err := e.Identity()
			if err != nil || id.Epoch != 7 || string(id.Secret) != "secret of the fixture, 32 bytes." {
				t.Errorf("the identity is %+v: %v", id, err)
			}
			pos := s.Position()
			if pos.NextSeq != 19 || pos.NextBatch < 5 || pos.NextBlock < 500 || name == "files" && pos.NextBlock != 500 {
				t.Errorf("the position is %+v", pos)
			}
			if s.swept.clicks == 0 || s.swept.conversions == 0 {
				t.Errorf("the note of sweeps is %+v", s.swept)
			}
			// It goes on.
			w := newWriter(t, s)
			c := w.clicks(click(day, "spring"))[0]
			w.commit(nil, []*capture.Postback{postback(c, "new", day.Add(time.Hour))})
			again := postback(c, "order", day.Add(2*time.Hour))
			again.HasRef, again.ByTxID, again.Claim.Refund, again.Claim.Key = false, true, true, "again"
			if w.commit(nil, []*capture.Postback{again}); again.Result.Outcome != capture.Updated {
				t.Errorf("a refund of a known transaction: %+v", again.Result)
			}
			sold := postback(c, "other", day.Add(3*time.Hour))
			sold.IndexTxID = true
			if w.commit(nil, []*capture.Postback{sold}); sold.Result.Outcome != capture.Recorded ||
				!sold.Result.Conversion.State.Payout.Equal(money("10")) {
				t.Errorf("a sale that a refund awaits: %+v", sold.Result.Conversion)
			}
			checkHealthy(t, s)
		})
	}
}

// fixtureHistory has all that a store of format 1 can hold.
func fixtureHistory(t *testing.T, s *Store) {
	w := newWriter(t, s)
	full := click(day.Add(1234*time.Millisecond), "käse/ä\x00")
	full.Flags = capture.FlagEarly | capture.FlagCut
	full.Kept = []capture.Param{{Name: "gclid", Value: "abc"}, {Name: "empty"}}
	full.Key = 0xabc
	full.URL, full.Referer, full.Cost = "https://example.com/offer?x={click_id}", "https://referer.example/", money("0.0125")
	bot, ahead, test := click(day, "spring"), click(day, "spring"), click(day, "spring")
	bot.Flags, ahead.Flags, test.Flags = capture.FlagBot, capture.FlagPrefetch, capture.FlagTest
	erased, swept := click(day.Add(time.Second), "spring"), click(day.Add(-100*24*time.Hour), "spring")
	w.clicks(full, bot, ahead, test, erased)
	w.next.NextBlock = groupBlocks // to be merged, as there are later ones
	for range 3 {
		w.clicks(click(day.Add(time.Minute), "slow"), click(day.Add(time.Hour), "slow"))
	}
	w.next.NextBlock = 300 // out of reach of the rounded markers of the others
	w.clicks(swept)
	w.next.NextBlock = 400
	w.clicks(click(day.Add(2*time.Hour), "late"))

	at := day.Add(time.Hour)
	claim := func(c *capture.Click, change func(*capture.Postback)) *capture.Postback {
		p := postback(c, "tx", at)
		p.Sender = "192.0.2.0"
		p.Raw.ContentType, p.Raw.Body, p.Raw.UserAgent = "application/json", []byte{0, 0xff, '{'}, "sender/1.0"
		change(p)
		return p
	}
	as := func(status attribution.Status, event, txid string) func(*capture.Postback) {
		return func(p *capture.Postback) { p.Claim.Status, p.Claim.Event, p.Claim.TxID = status, event, txid }
	}
	short := &capture.Rules{Window: 30 * time.Minute, Campaigns: map[string]capture.CampaignRules{
		"spring": {Dedup: attribution.DedupEvent, Payout: money("3")},
	}}
	waits := unknownPostback(77, at)
	w.commit(nil, []*capture.Postback{
		claim(full, as(attribution.Pending, "lead", "")),
		claim(full, func(p *capture.Postback) {
			as(attribution.Approved, "lead", "")(p)
			p.Claim.SentAt = at.Add(time.Millisecond)
		}),
		claim(full, func(p *capture.Postback) { as(attribution.Approved, "sale", "eur")(p); p.Claim.Payout.Currency = "EUR" }),
		claim(full, as(attribution.Reversed, "sale", "eur")),
		claim(bot, as(attribution.Rejected, "sale", "1")),
		claim(test, as(attribution.Approved, "sale", "1")),
		claim(erased, func(p *capture.Postback) { // outside the window
			p.Rules, p.Raw.URI = short, p.Raw.URI+"&late"
			p.Claim.HasPayout = false
		}),
		claim(erased, as(attribution.Approved, "sale", "1")),
		waits,
		claim(bot, func(p *capture.Postback) { p.Problem, p.ProblemDetail = capture.BadPayout, "because" }),
		claim(swept, func(p *capture.Postback) { p.Claim.SentAt = swept.Time.Add(time.Hour) }),
	})
	known := claim(full, func(p *capture.Postback) { p.Claim.TxID, p.Claim.Key = "replayed", "import:1:0" })
	known.Replays = waits.Seq
	w.commit(nil, []*capture.Postback{known, claim(full, func(p *capture.Postback) { p.HasRef = false; p.Problem = capture.MissingClickID })})
	// Refunds: one that finds its sale, one that waits for its own, and what
	// there is nothing to book of.
	order := claim(full, as(attribution.Approved, "sale", "order"))
	order.IndexTxID = true
	refund := func(key, txid string) *capture.Postback {
		return claim(full, func(p *capture.Postback) {
			p.Ref, p.HasRef, p.ByTxID = clickid.Ref{}, false, true
			p.Claim.Event, p.Claim.TxID, p.Claim.Key, p.Claim.Refund, p.Claim.Payout = "", txid, key, true, money("2.50")
			p.Notes, p.Raw.Headers = []string{"a note"}, map[string]string{"X-Topic": "refunds/create"}
		})
	}
	waiting := refund("b", "unknown")
	waiting.TxIDs = []string{"other"}
	early := refund("early", "")
	early.ByTxID, early.Ref, early.HasRef, early.Claim.Event = false, full.Ref, true, "early"
	w.commit(nil, []*capture.Postback{
		order, refund("a", "order"), waiting, early,
		claim(full, func(p *capture.Postback) { p.Ignored = "a ping" }),
	})
	if _, err := s.Erase(ctx, erased.Ref); err != nil {
		t.Fatal(err)
	}
	month := 30 * 24 * time.Hour
	n, err := s.Sweep(ctx, day.Add(48*time.Hour), capture.Retention{Clicks: month, Conversions: month})
	if err != nil || n.Blocks != 1 || n.Conversions != 1 {
		t.Fatalf("the sweep deleted %+v: %v", n, err)
	}
}

func makeFixture(t *testing.T) {
	e := newEngine(t)
	e.Now = func() time.Time { return day }
	h, err := e.claim(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.writeIdentity(identityFile{1, 7, day, []byte("secret of the fixture, 32 bytes.")}); err != nil {
		t.Fatal(err)
	}
	h.release()
	s := openStore(t, e)
	fixtureHistory(t, s)
	var backup bytes.Buffer
	if err := s.Backup(ctx, &backup); err != nil {
		t.Fatal(err)
	}
	dump := dumpStore(t, s)
	closeStore(t, s, 500)

	var files bytes.Buffer
	zip := gzip.NewWriter(&files)
	archive := tar.NewWriter(zip)
	names, err := os.ReadDir(e.Dir)
	for _, f := range names {
		data, reading := os.ReadFile(filepath.Join(e.Dir, f.Name()))
		head := archive.WriteHeader(&tar.Header{Name: f.Name(), Mode: 0o600, Size: int64(len(data))})
		_, writing := archive.Write(data)
		err = errors.Join(err, reading, head, writing)
	}
	err = errors.Join(err, archive.Close(), zip.Close(), os.MkdirAll("testdata", 0o755),
		os.WriteFile(fixtureFiles, files.Bytes(), 0o644), os.WriteFile(fixtureBackup, backup.Bytes(), 0o644),
		os.WriteFile(fixtureJSON, dump, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if size := files.Len() + backup.Len() + len(dump); size > 100<<10 {
		t.Errorf("the fixtures have %d bytes", size)
	}
}

func unpackFixture(t *testing.T, e *Engine) {
	f, err := os.Open(fixtureFiles)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(zip); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err == nil {
			err = os.WriteFile(filepath.Join(e.Dir, filepath.Base(head.Name)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func restoreFixture(t *testing.T, e *Engine) {
	f, err := os.Open(fixtureBackup)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := e.Restore(ctx, f); err != nil {
		t.Fatal(err)
	}
}

// dumpStore writes down all records. Fields that are empty are left out, so
// that new ones do not change what is known of old records.
func dumpStore(t *testing.T, s *Store) []byte {
	t.Helper()
	all := make(map[string][]any)
	eachRecord(t, s, func(kind string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatal(err)
		}
		all[kind] = append(all[kind], prune(plain))
	})
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// eachRecord calls do with all that can be read from a store.
func eachRecord(t *testing.T, s *Store, do func(kind string, v any)) {
	t.Helper()
	seen := make(map[clickid.Ref]bool)
	unbooked := func(c *capture.Click) {
		if seen[c.Ref] {
			return
		}
		seen[c.Ref] = true
		for _, k := range knownOf(t, s, c.Ref) {
			conv, err := s.Conversion(ctx, k.ID)
			if err != nil {
				t.Fatal(err)
			}
			do("conversions of clicks", conv)
		}
	}
	for _, test := range []bool{false, true} {
		err := s.Clicks(ctx, capture.ClickQuery{Test: test}, func(c *capture.Click) bool {
			do("clicks", c)
			unbooked(c)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conversions(t, s, capture.ConversionQuery{Test: test}) {
			do("listed", c.ID.String())
		}
	}
	if err := s.Journal(ctx, capture.JournalQuery{}, func(e *capture.Entry) bool { do("journal", e); return true }); err != nil {
		t.Fatal(err)
	}
	for _, seq := range journal(t, s, capture.JournalQuery{Open: true}) {
		do("quarantine", seq)
	}
	do("report", report(t, s, attribution.Query{
		By: []string{"campaign", "source", "destination", "event", "hour"}, From: day.Add(-1000 * time.Hour * 24), To: day.Add(1000 * time.Hour),
	}))
	do("quarantine counted", s.Status().Quarantine)
}

func knownOf(t *testing.T, s *Store, ref clickid.Ref) []capture.Known {
	t.Helper()
	ts, err := s.gate.read()
	if err != nil {
		t.Fatal(err)
	}
	defer s.gate.done(ts)
	txn := s.transaction(ts, false)
	defer txn.Discard()
	var k keys
	list, err := getKnown(txn, &k, ref)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// prune leaves out what is empty; nil if nothing is left.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if field = prune(field); field == nil {
				delete(v, name)
			} else {
				v[name] = field
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = prune(v[i])
		}
	case string:
		if v == "" || v == "0001-01-01T00:00:00Z" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	}
	return v
}
